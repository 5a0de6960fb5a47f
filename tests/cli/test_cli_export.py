"""`mixerlib export`: a trained model as a file, checked; what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from commands import SMALL, refusal, run

from mixerlib.cli.exporting import KINDS, spread_out
from mixerlib.models import create_model
from mixerlib.speed import ARTEFACTS, load_artefact
from mixerlib.training import list_trained, trained_model
from mixerlib.weights import save_weights

KEPT = "digits/splitmixer_iii_64_4"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_help_names_every_kind(capsys):
    assert (*ARTEFACTS,) == KINDS
    _, text, _ = run(capsys, "export", "--help")
    assert all(kind in text for kind in KINDS)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_kept_weights_by_name(capsys, place):
    assert KEPT in list_trained()
    status, out, err = run(capsys, "export", KEPT, "--to", "exported", "--json")
    assert (status, err) == (0, "")
    said = json.loads(out)
    assert said["path"] == "splitmixer_iii_64_4.pt2" and said["images"] == 64
    assert said["difference"] < 1e-4 and said["agreement"] == 1
    images = torch.randn(3, 1, 8, 8)
    with torch.inference_mode():
        expected = trained_model(KEPT)(images)
    torch.testing.assert_close(load_artefact(said["path"])(images), expected, rtol=1e-4, atol=1e-4)
    again = refusal(capsys, "export", KEPT, "--to", "exported")
    assert "'splitmixer_iii_64_4.pt2' exists already" in again


@pytest.mark.filterwarnings("ignore")
def test_a_run_and_int8_from_its_training_images(capsys, place):
    pytest.importorskip("onnxscript", reason="needs the extra `onnx`")
    run(capsys, "train", "digits", "--epochs", 1, "--out", "run", *SMALL[:2])
    status, out, err = run(capsys, "export", "run", "--to", "onnx-int8", "--out", "a.onnx")
    assert (status, err) == (0, ""), err
    assert out.startswith("a.onnx: onnx-int8, ") and "% of the answers are the model's" in out


@pytest.mark.filterwarnings("ignore")
def test_weights_alone_with_a_model(capsys, place):
    size = {"dim": 8, "depth": 1, "kernel_size": 3, "patch_size": 2}
    save_weights(create_model("convmixer", **size), "w.safetensors")
    words = ("export", "w.safetensors", "--model", "convmixer", *SMALL, "--image-size", 12)
    status, out, err = run(capsys, *words, "--to", "torchscript")
    assert (status, err) == (0, "") and out.startswith("convmixer.ts: torchscript")
    assert load_artefact("convmixer.ts")(torch.zeros(2, 3, 12, 12)).shape == (2, 10)
    assert "`to`='onnx-int8' needs training images" in refusal(capsys, *words, "--to", "onnx-int8")
    short = refusal(capsys, *words, "--to", "exported", "--tolerance", "1e-30")
    assert "more than `tolerance`=1.0e-30; convmixer.pt2 was not written" in short
    assert not Path("convmixer.pt2").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no file or folder nowhere, nor kept weights of that name"),
        ([KEPT, "--to", "tflite"], "`to`='tflite' must be one of onnx, onnx-int8"),
        ([KEPT, "--dim", "8"], "`dim` needs `model`"),
        ([KEPT, "--out", "no/such/a.onnx"], "no/such"),
        (["nowhere.pt", "--model", "resnet"], "'resnet' is no model of mixerlib"),
    ],
)
def test_mistakes(capsys, words, message):
    assert message in refusal(capsys, "export", *words)


def test_numbers_are_spread_out():
    assert spread_out(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert spread_out(3, 64).tolist() == [0, 1, 2]
    assert spread_out(360, 64).max() == 354
