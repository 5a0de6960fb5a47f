"""Files for elsewhere: each computes what the model does, or is not written."""

import copy
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from helpers import trained_look

from mixerlib.models import create_model
from mixerlib.speed.deploy import (
    ARTEFACTS,
    RUNTIMES,
    export_model,
    load_artefact,
    missing_operators,
    onnx_operators,
)
from mixerlib.speed.deploy.writers import WRITERS, compiler
from mixerlib.speed.inference import relative_difference

SMALL = {"dim": 12, "depth": 2, "kernel_size": 3, "patch_size": 2, "num_classes": 7}
IMAGES = torch.randn(5, 3, 8, 12, generator=torch.Generator().manual_seed(3))
NO_ONNX = "needs the extra `onnx`"


def model_of(family: str = "splitmixer_iii", **options) -> torch.nn.Module:
    torch.manual_seed(0)
    return trained_look(create_model(family, **SMALL | options))


def written(kind: str, folder: Path, **options) -> tuple[torch.nn.Module, object]:
    """A model, and what `export_model` says of its file."""
    if kind.startswith("onnx"):
        for package in ("onnxruntime", "onnxscript", "onnx"):
            pytest.importorskip(package, reason=NO_ONNX)
    if kind == "aoti" and compiler() is None:
        pytest.skip("no C++ compiler here")
    model = model_of(shuffle=True)
    return model, export_model(model, IMAGES, folder / f"a{ARTEFACTS[kind]}", kind, **options)


def test_every_kind_has_a_writer():
    assert [*WRITERS] == [*ARTEFACTS]
    assert len(set(ARTEFACTS.values())) == len(ARTEFACTS)


@pytest.mark.parametrize("kind", ARTEFACTS)
@pytest.mark.filterwarnings("ignore")  # the exporters' own
def test_a_file_computes_what_the_model_does_for_any_number_of_images(kind, tmp_path):
    options = {"tolerance": 0.5} if kind == "onnx-int8" else {}
    model, artefact = written(kind, tmp_path, **options)
    assert [file.name for file in tmp_path.iterdir()] == [artefact.path.name]
    assert artefact.size == artefact.path.stat().st_size > 1000
    limit = {"onnx-int8": 0.5, "exported-bfloat16": 0.1}.get(kind, 1e-5)
    assert 0 < artefact.difference < limit
    plain, run = copy.deepcopy(model).eval(), load_artefact(artefact.path)
    with torch.inference_mode():
        for count in (1, 3, 9):
            batch = torch.randn(count, 3, 8, 12, generator=torch.Generator().manual_seed(count))
            logits = run(batch)
            assert logits.dtype == torch.float32 and logits.shape == (count, 7)
            assert relative_difference(plain(batch), logits) < 2 * limit
        same = (run(IMAGES).argmax(1) == plain(IMAGES).argmax(1)).double().mean().item()
    assert same == artefact.agreement


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["onnx", "exported"])
def test_images_that_need_a_gradient_are_run_without_one(kind, tmp_path):
    run = load_artefact(written(kind, tmp_path)[1].path)
    logits = run(IMAGES.clone().requires_grad_())
    assert torch.equal(logits, run(IMAGES)) and not logits.requires_grad


@pytest.mark.filterwarnings("ignore")
def test_the_model_is_left_as_it_is(tmp_path):
    model = model_of().train()
    before = copy.deepcopy(model.state_dict())
    export_model(model, IMAGES, tmp_path / "a.pt2", "exported-bfloat16")
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.dtype == before[name].dtype


@pytest.mark.filterwarnings("ignore")
def test_no_image_travels_in_a_file(tmp_path):
    """An exported program keeps the images that it was traced with."""
    export_model(model_of(), IMAGES, tmp_path / "a.pt2", "exported")
    with zipfile.ZipFile(tmp_path / "a.pt2") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert IMAGES[0].numpy().tobytes() not in content
    assert IMAGES[0, 0, 0].numpy().tobytes() not in content
    assert b".py" not in content  # nor do the names of the folders that the code lies in


@pytest.mark.filterwarnings("ignore")
def test_bfloat16_halves_the_weights(tmp_path):
    wide = create_model("convmixer", dim=128, depth=2, kernel_size=3, patch_size=4)
    x = torch.randn(2, 3, 16, 16)
    sizes = [
        export_model(wide, x, tmp_path / f"{kind}.pt2", kind).size
        for kind in ("exported", "exported-bfloat16")
    ]
    weights = 4 * sum(p.numel() for p in wide.parameters())
    assert 0.8 * weights / 2 < sizes[0] - sizes[1] < 1.2 * weights / 2 + 4 * 2 * 128 * 16


@pytest.mark.filterwarnings("ignore")
def test_int8_is_smaller_and_its_ranges_are_those_of_the_calibration(tmp_path):
    pytest.importorskip("onnxruntime", reason=NO_ONNX)
    onnx = pytest.importorskip("onnx", reason=NO_ONNX)
    pytest.importorskip("onnxscript", reason=NO_ONNX)
    torch.manual_seed(0)
    model = create_model("convmixer", dim=64, depth=2, kernel_size=3, patch_size=4).eval()
    images = torch.randn(32, 3, 16, 16)
    whole = export_model(model, images, tmp_path / "a.onnx", folded=False)
    small = export_model(model, images, tmp_path / "b.onnx", "onnx-int8", calibration=images)
    assert small.size < 0.6 * whole.size
    kinds = {node.op_type for node in onnx.load(small.path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    narrow = 0.05 * images  # ranges that the images then leave
    with pytest.raises(ValueError, match=r"`to`='onnx-int8' gives logits that differ by"):
        export_model(
            model, images, tmp_path / "c.onnx", "onnx-int8", calibration=narrow, tolerance=0.1
        )
    assert not (tmp_path / "c.onnx").exists()
    poor = export_model(
        model, images, tmp_path / "c.onnx", "onnx-int8", calibration=narrow, tolerance=9
    )
    assert poor.difference > 2 * small.difference


REFUSED = {
    "kind": ({"to": "onx"}, "`to`='onx' is no kind of file; did you mean onnx"),
    "nothing near": ({"to": "tflite"}, "it must be one of onnx, onnx-int8, exported"),
    "tolerance": ({"to": "exported", "tolerance": 0}, "`tolerance`=0 must be above 0"),
    "no ranges": (
        {"to": "exported", "calibration": IMAGES},
        "`calibration` is for `to`='onnx-int8', not for 'exported'",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_argument_is_refused_by_name(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_model(model_of(), IMAGES, tmp_path / "a", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "calibration", [IMAGES[:0], IMAGES * torch.nan, IMAGES[:, :1], [1, 2]], ids=str
)
def test_a_bad_calibration_is_refused(calibration, tmp_path):
    for package in ("onnxruntime", "onnxscript", "onnx"):
        pytest.importorskip(package, reason=NO_ONNX)
    with pytest.raises(ValueError, match="`calibration`"):
        export_model(model_of(), IMAGES, tmp_path / "a", "onnx-int8", calibration=calibration)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        export_model(model_of(), IMAGES, tmp_path / "no" / "a.pt2", "exported")


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    other = WRITERS["exported"](model_of("convmixer").eval(), IMAGES, IMAGES)
    monkeypatch.setitem(WRITERS, "exported", lambda *_: other)
    with pytest.raises(ValueError, match=r"`to`='exported' gives .*a\.pt2 was not written"):
        export_model(model_of(), IMAGES, tmp_path / "a.pt2", "exported")
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_that_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"`to`='aoti' needs a C\+\+ compiler"):
        export_model(model_of(), IMAGES, tmp_path / "a.pt2", "aoti")


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_without_the_packages_the_extra_is_named(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mixerlib\[onnx\]'"):
        export_model(model_of(), IMAGES, tmp_path / "a.onnx")


def test_what_is_no_artefact_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_artefact(tmp_path / "none.onnx")
    (tmp_path / "a.pt2").write_bytes(b"no zip")
    torch.save({"a": torch.ones(1)}, tmp_path / "b.pt")
    for name in ("a.pt2", "b.pt"):
        with pytest.raises(ValueError, match="is no file that `export_model` writes"):
            load_artefact(tmp_path / name)


# Runtimes


def test_what_a_runtime_lacks():
    assert missing_operators({"Conv": 3, "Gemm": 1}, "WebGPU") == []
    assert missing_operators({"Conv": 3, "Conv3d": 1}, "WebGPU") == ["Conv3d"]
    assert missing_operators({"BatchNormalization": 1}, "Core ML") == ["BatchNormalization"]
    with pytest.raises(ValueError, match="`runtime`='Metal' must be one of WebGPU, Core ML"):
        missing_operators({}, "Metal")
    for runtime in RUNTIMES.values():
        assert runtime.source.startswith("https://") and "Conv" in runtime.operators


@pytest.mark.filterwarnings("ignore")
def test_folding_takes_out_what_a_phone_lacks(tmp_path):
    for package in ("onnxruntime", "onnxscript", "onnx"):
        pytest.importorskip(package, reason=NO_ONNX)
    lacking = {}
    here = str(Path(__file__).parents[2]).encode()
    for folded in (True, False):
        path = tmp_path / f"{folded}.onnx"
        export_model(model_of("convmixer", depth=1), IMAGES, path, folded=folded)
        assert here not in path.read_bytes()
        operators = onnx_operators(path)
        assert operators["Conv"] == 3 and [*operators.values()] == sorted(
            operators.values(), reverse=True
        )
        lacking[folded] = missing_operators(operators, "Core ML")
    assert "BatchNormalization" in lacking[False] and "BatchNormalization" not in lacking[True]


@pytest.mark.parametrize("kind", ["exported", "torchscript"])
def test_torchs_defaults_do_not_reach_a_file(kind, tmp_path):
    model = model_of()
    torch.set_default_dtype(torch.float64)
    try:
        export_model(model, IMAGES, tmp_path / "a", kind)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):  # as after `torch.set_default_device("cuda")`
        export_model(model, IMAGES, tmp_path / "b", kind)
    with torch.autocast("cpu"):
        export_model(model, IMAGES, tmp_path / "c", kind)
