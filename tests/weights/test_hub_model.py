"""The methods of the Hugging Face Hub, on a model; nothing reaches the network."""

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import FAMILIES, ROOT, Later, small_mixer
from torch import nn

from mixerlib import weights
from mixerlib.models import made_of
from mixerlib.records import read_record
from mixerlib.weights import from_pretrained, save_pretrained

hub = Later("huggingface_hub")

RECORD = ROOT / "book" / "records" / "cpu" / "splitmixer_i_64_4" / "seed0.json"
FILES = {"README.md", "config.json", "model.safetensors"}


@pytest.fixture(autouse=True)
def extra() -> None:
    pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_both_ways(name: str, tmp_path: Path):
    model, images = small_mixer(name, num_classes=7), torch.randn(2, 3, 32, 32)
    ours = weights.HubModel(model)
    assert isinstance(ours, hub.PyTorchModelHubMixin) and torch.equal(ours(images), model(images))
    assert ours.save_pretrained(tmp_path / "new") is None
    assert {file.name for file in (tmp_path / "new").iterdir()} == FILES
    again = weights.HubModel.from_pretrained(tmp_path / "new")
    assert not again.training and torch.equal(again(images), model(images))
    assert made_of(again.model) == made_of(model)


def test_the_functions_and_the_methods_have_the_same_folders(tmp_path: Path):
    model, images = small_mixer(), torch.randn(2, 3, 32, 32)
    told = {"mean": (0.5, 0.4, 0.3), "std": (0.25,) * 3, "image_size": 48}
    told |= {"classes": [f"class {i}" for i in range(10)]}
    save_pretrained(model, tmp_path / "function", record=read_record(RECORD), **told)
    weights.HubModel(model, record=read_record(RECORD), **told).save_pretrained(tmp_path / "method")
    for file in (tmp_path / "function").iterdir():
        assert file.read_bytes() == (tmp_path / "method" / file.name).read_bytes()
    assert torch.equal(from_pretrained(tmp_path / "method")(images), model(images))
    # what images need is kept on the way; the record is that of the first training alone
    again = weights.HubModel.from_pretrained(str(tmp_path / "function"))
    again.save_pretrained(tmp_path / "again")
    configs = [json.loads((tmp_path / f / "config.json").read_text()) for f in ("method", "again")]
    for word in ("input_size", "mean", "std", "num_classes"):
        assert configs[0]["pretrained_cfg"][word] == configs[1]["pretrained_cfg"][word]
    assert configs[0]["label_names"] == configs[1]["label_names"]
    assert {file.name for file in (tmp_path / "again").iterdir()} == FILES
    other = weights.HubModel.from_pretrained(tmp_path / "function", mean=[0.1] * 3)
    other.save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["pretrained_cfg"]["mean"] == [0.1] * 3


def test_a_changed_head_goes_along(tmp_path: Path):
    model = weights.HubModel(nn.DataParallel(small_mixer()))
    model.model.module.reset_classifier(3)
    model.save_pretrained(tmp_path)
    assert weights.HubModel.from_pretrained(tmp_path).model.num_classes == 3


def test_what_is_uploaded_is_that_folder(tmp_path: Path, monkeypatch):
    record, sent = read_record(RECORD), {}

    class Api:
        """The Hub, as far as the method asks for it."""

        def __init__(self, token: str | None = None):
            sent["token"] = token

        def create_repo(self, repo_id: str, **options: object) -> hub.RepoUrl:
            return hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload_folder(self, *, repo_id: str, folder_path: Path, **options: object) -> str:
            sent.update({file.name: file.read_bytes() for file in Path(folder_path).iterdir()})
            return f"https://huggingface.co/{repo_id}/commit/1"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    model = weights.HubModel(small_mixer(), record=record)
    assert model.push_to_hub("somebody/mixer", token="t").endswith("somebody/mixer/commit/1")
    assert sent.pop("token") == "t" and set(sent) == {*FILES, "recipe.yaml"}
    card = sent["README.md"].decode()
    assert f"{record.test_accuracy:.2%} of 10,000 test images of `cifar10`" in card
    assert record.recipe in sent["recipe.yaml"].decode()


def test_a_repository_is_fetched_by_its_name(tmp_path: Path, monkeypatch):
    model, images, asked = small_mixer(), torch.randn(2, 3, 32, 32), {}
    save_pretrained(model, tmp_path)

    def snapshot_download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    config = lambda repo_id, filename, **options: str(tmp_path / filename)  # noqa: E731
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", config)
    given = {"revision": "v1", "local_files_only": True, "token": "t"}
    given |= {"cache_dir": str(tmp_path), "force_download": False}
    again = weights.HubModel.from_pretrained("somebody/mixer", **given)
    assert torch.equal(again(images), model(images))
    assert given.items() <= asked.items() and asked["name"] == "somebody/mixer"
    before_1 = {"proxies": None, "resume_download": None}
    assert weights.HubModel.from_pretrained("somebody/mixer", **before_1).model.strategy == "I"


def test_it_is_copied_and_pickled_like_other_modules():
    model, images = weights.HubModel(small_mixer()), torch.randn(2, 3, 32, 32)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(images), model(images))


def test_what_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="must be one that `create_model` has made"):
        weights.HubModel(nn.Linear(2, 2))
    save_pretrained(small_mixer(), tmp_path)
    with pytest.raises(TypeError, match="unexpected keyword argument 'dim'"):
        weights.HubModel.from_pretrained(tmp_path, dim=3)
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ValueError, match="`save_pretrained` has not written it"):
        weights.HubModel.from_pretrained(tmp_path)


def test_what_is_refused_leaves_a_folder_as_it_was(tmp_path: Path):
    told = {"classes": [f"class {i}" for i in range(10)]}
    model = weights.HubModel(small_mixer(), **told)
    model.save_pretrained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    model.model.reset_classifier(3)
    with pytest.raises(ValueError, match="`classes`"):
        model.save_pretrained(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_config_of_less_is_enough(tmp_path: Path):
    save_pretrained(small_mixer(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["pretrained_cfg"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert weights.HubModel.from_pretrained(tmp_path).model.strategy == "I"


def test_all_is_imported_without_the_extra():
    hidden = "import sys; sys.modules['huggingface_hub'] = None; from mixerlib.weights import *"
    subprocess.run([sys.executable, "-c", f"{hidden}; load_weights, get_model"], check=True)


def test_without_the_extra_a_line_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "mixerlib.weights.hub", raising=False)
    with pytest.raises(
        ImportError, match=r"HubModel needs: pip install 'mixerlib\[hub\]'"
    ) as error:
        _ = weights.HubModel
    assert "\n" not in str(error.value)
    with pytest.raises(AttributeError, match="has no attribute 'HubMdel'"):
        _ = weights.HubMdel
