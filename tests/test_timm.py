"""The models of mixerlib in timm's registry: what timm's own tests and scripts ask of a model."""

import copy
import importlib.util
import pickle
import sys
from pathlib import Path

import pytest
import torch
from helpers import Later, registrations_undone, trained_look
from torch import nn
from torch.nn.functional import cross_entropy

from mixerlib.costs import measure, thop
from mixerlib.models import OneSegment, create_model, list_models, model_entry, register_mixing
from mixerlib.speed import fold
from mixerlib.weights import load_weights, save_weights

timm, in_timm = Later("timm"), Later("mixerlib.timm")
transforms = Later("torchvision.transforms")
timm_loss, timm_optim, timm_utils = Later("timm.loss"), Later("timm.optim"), Later("timm.utils")
TIMMS_OWN = ("convmixer_768_32", "convmixer_1536_20")
NAMES = [name for name in list_models() if name not in TIMMS_OWN]
FAMILIES = [name for name in NAMES if name == model_entry(name).family]
MAPS = [name for name in FAMILIES if name != "mlp_mixer"]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="needs the extra `timm`"
)
every_name = pytest.mark.parametrize("name", NAMES)
every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    """One import enters the models, and it takes seconds: so not when the tests are collected."""
    importlib.import_module("mixerlib.timm")


def options(name: str) -> dict[str, int]:
    """Options that make a family small."""
    small = {"dim": 12, "depth": 3}
    return small | ({"tokens_dim": 5, "channels_dim": 20} if name == "mlp_mixer" else {})


def small(name: str, **more: object) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, **(options(name) | more))


def images(count: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.randn(count, channels, 32, 32, generator=torch.Generator().manual_seed(1))


def test_every_model_is_listed_and_none_of_timms_is_hidden():
    ours = set(timm.list_models(module="entries"))
    assert ours >= set(NAMES)  # other tests may have registered more
    splits = {name for name in ours if name.startswith("splitmixer")}
    assert set(timm.list_models("splitmixer*")) == splits >= set(list_models("splitmixer*"))
    for name in TIMMS_OWN:
        assert timm.is_model(name) and timm.models.is_model_in_modules(name, ["convmixer"])
        assert timm.models.get_pretrained_cfg(name).hf_hub_id


@every_family
def test_it_is_the_model_of_mixerlib(name: str):
    torch.manual_seed(0)
    ours = trained_look(create_model(name, **options(name), num_classes=7)).eval()
    timms = trained_look(small(name, num_classes=7)).eval()
    assert list(timms.state_dict()) == list(ours.state_dict())
    assert torch.equal(timms(images()), ours(images()))
    assert torch.equal(timms.forward_features(images()), ours.forward_features(images()))


@every_name
def test_the_default_configuration_is_the_models(name: str):
    """On the device "meta", where shapes are computed and numbers are not."""
    model = timm.create_model(name, device="meta").eval()
    cfg, state, expected = model.default_cfg, model.state_dict(), create_model_shape(name)
    assert cfg["architecture"] == name and cfg["num_classes"] == model.num_classes
    assert {k: tuple(v.shape) for k, v in state.items()} == expected
    for layer in (cfg["classifier"], cfg["first_conv"]):
        assert f"{layer}.weight" in state
    x = torch.empty(2, *cfg["input_size"], device="meta")
    features, data = model.forward_features(x), timm.data.resolve_model_data_config(model)
    assert data["input_size"] == cfg["input_size"]
    if cfg["fixed_input_size"]:
        assert features.shape[2] == model.num_features and cfg["pool_size"] is None
    else:
        assert features.shape == (2, model.num_features, *cfg["pool_size"])
        least = torch.empty(1, *cfg["min_input_size"], device="meta")
        assert model(least).shape == (1, model.num_classes)
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
    assert model(x).shape == (2, model.num_classes)


def create_model_shape(name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {k: tuple(v.shape) for k, v in create_model(name).state_dict().items()}


@every_family
def test_every_parameter_gets_a_gradient(name: str):
    model = small(name, num_classes=42)
    outputs = model(images())
    outputs.square().mean().backward()
    assert outputs.shape == (2, 42)
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert not [n for n in without if "mixer" not in n], without


@every_family
def test_checkpointing_changes_nothing(name: str):
    """Not a bit of the loss, the gradients and BatchNorm's statistics; the blocks run twice."""
    plain, calls = small(name), []
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    assert saving.grad_checkpointing and not plain.grad_checkpointing
    saving.blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))
    losses = []
    for model in (plain, saving):
        loss = cross_entropy(model(images(4)), torch.arange(4))
        loss.backward()
        losses.append(loss.detach())
    assert torch.equal(*losses) and len(calls) == 2
    for (name, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert (p.grad is None and q.grad is None) or torch.equal(p.grad, q.grad), name
    for (name, p), q in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(p, q), name
    with torch.no_grad():
        assert torch.equal(plain.eval()(images()), saving.eval()(images()))


POOLED = {
    "avg": lambda x: x.mean((2, 3)),
    "max": lambda x: x.amax((2, 3)),
    "avgmax": lambda x: (x.mean((2, 3)) + x.amax((2, 3))) / 2,
    "catavgmax": lambda x: torch.cat((x.mean((2, 3)), x.amax((2, 3))), 1),
    "": lambda x: x,
}


@pytest.mark.parametrize("pool", POOLED)
def test_poolings(pool: str):
    model = small("splitmixer_i", global_pool=pool, num_classes=0 if not pool else 10).eval()
    expected = POOLED[pool](model.forward_features(images()))
    actual = model.forward_head(model.forward_features(images()), pre_logits=True)
    torch.testing.assert_close(actual, expected)
    assert model.head_hidden_size == expected.shape[1]
    model.reset_classifier(0)
    torch.testing.assert_close(model(images()), expected)
    model.reset_classifier(5, "avg")
    assert model(images()).shape == (2, 5)


@every_family
def test_the_classifier_is_read_reset_and_left_out(name: str):
    model = small(name).double().eval()
    x, features = images().double(), model.forward_features(images().double())
    assert model.get_classifier() is model.head
    model.reset_classifier(0)
    assert model.num_classes == 0 and model(x).shape == (2, 12)
    model.reset_classifier(0, "")
    assert torch.equal(model(x), features)
    model.reset_classifier(3, "avg")
    assert model(x).shape == (2, 3) and model.head.weight.dtype == torch.float64
    assert not model.head.training and not model.global_pool.training
    unpooled = small(name, num_classes=0, global_pool="")
    assert unpooled(images()).shape == features.shape


@every_family
def test_dropout_is_before_the_classifier(name: str):
    model = small(name, drop_rate=0.9)
    features = torch.ones(50, *model.eval().forward_features(images()).shape[1:])
    assert torch.equal(model.forward_head(features, pre_logits=True), torch.ones(50, 12))
    dropped = model.train().forward_head(features, pre_logits=True)
    assert 0.7 < (dropped == 0).float().mean() < 1


@every_family
@pytest.mark.parametrize("kind", ["getter", "hook", "fx"])
def test_feature_maps(name: str, kind: str):
    if kind != "getter" and name == "mlp_mixer":
        pytest.skip("its blocks give tokens, which `forward_intermediates` alone turns into maps")
    whole = trained_look(small(name, depth=4)).eval()
    model = small(name, depth=4, features_only=True, out_indices=(0, -2), feature_cls=kind)
    state = {key.rpartition("model.")[2]: value for key, value in whole.state_dict().items()}
    prefix = {"getter": "model.", "hook": "body.", "fx": "graph_module."}[kind]
    kept = {f"{prefix}{key}": value for key, value in state.items()}
    result = model.load_state_dict(kept, strict=False)
    assert not result.missing_keys, result.missing_keys
    x, expected = whole.stem(images()), []
    for block in whole.blocks:
        x = block(x)
        expected.append(x)
    if name == "mlp_mixer":
        expected = [x.transpose(1, 2).unflatten(2, (8, 8)) for x in expected]
    actual = model.eval()(images())
    assert len(actual) == 2
    for got, wanted in zip(actual, (expected[0], expected[2]), strict=True):
        torch.testing.assert_close(got, wanted)
    assert model.feature_info.channels() == [12, 12]
    assert model.feature_info.reduction() == [whole.patch_size] * 2


def test_classes_channels_and_features_in_one_call():
    """As a user of timm asks for a backbone; it has no classifier, whatever is said of classes."""
    given = {"pretrained": False, "num_classes": 7, "in_chans": 1, "features_only": True}
    maps = timm.create_model("splitmixer_i_256_8", **given)(images(channels=1))
    assert [x.shape for x in maps] == [(2, 256, 16, 16)] * 3


@every_family
def test_intermediates(name: str):
    model = trained_look(small(name)).eval()
    last, maps = model.forward_intermediates(images())
    torch.testing.assert_close(last, model.forward_features(images()))
    assert len(maps) == 3 and all(x.shape[:2] == (2, 12) and x.ndim == 4 for x in maps)
    tokens = model.forward_intermediates(images(), 1, True, output_fmt="NLC")[1]
    expected = last if name == "mlp_mixer" else last.flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens[0], expected)
    calls = []
    model.blocks[1].register_forward_hook(lambda *_: calls.append(1))
    (first,) = model.forward_intermediates(images(), [0], stop_early=True, intermediates_only=True)
    assert torch.equal(first, maps[0]) and not calls
    for wrong in ([3], [-4], 4, 0):
        with pytest.raises(ValueError, match=r"`indices`=.* must lie among the 3 blocks"):
            model.forward_intermediates(images(), wrong)
    with pytest.raises(ValueError, match="`output_fmt`='NHWC' must be one of"):
        model.forward_intermediates(images(), output_fmt="NHWC")


@every_family
def test_a_learning_rate_of_each_layer(name: str):
    """With a decay of 1/2 the head has the full rate, and each layer before it half the next's; a
    norm goes with the block before it."""
    model = small(name)
    optimizer = timm_optim.create_optimizer_v2(model, "adamw", lr=1.0, layer_decay=0.5)
    rate = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    rates = {n: rate[id(p)] for n, p in model.named_parameters()}
    for n, scale in rates.items():
        first, second = n.split(".")[:2]
        layer = {"stem": 0, "head": 4, "norm": 3}.get(first, 0)
        layer = int(second) + 1 if first == "blocks" else layer
        assert scale == 0.5 ** (4 - layer), (n, scale)


def test_timms_words_and_ours_for_options():
    model = small("splitmixer_ii", in_chans=1, act_layer=nn.ReLU, segments=3, dtype=torch.float64)
    assert model.in_chans == model.in_channels == 1 and type(model.stem[1]) is nn.ReLU
    assert model(images(channels=1).double()).dtype == torch.float64
    assert type(small("splitmixer_i", act_layer="relu").stem[1]) is nn.ReLU
    assert small("mlp_mixer", img_size=64).image_size == (64, 64)
    with pytest.raises(
        ValueError, match=r"`drop_path_rate`=0\.1 is not an option of 'splitmixer_i'"
    ):
        small("splitmixer_i", drop_path_rate=0.1)
    with pytest.raises(ValueError, match=r"`drop_rate`=2 must be between 0 and 1"):
        small("splitmixer_i", drop_rate=2)
    with pytest.raises(ValueError, match="`activation`='silu' must be one of 'gelu', 'relu'"):
        small("splitmixer_i", act_layer="silu")
    with pytest.raises(ValueError, match="`global_pool`='median' must be one of 'avg'"):
        small("splitmixer_i", global_pool="median")
    with pytest.raises(ValueError, match="`global_pool`='max' must be one of 'avg', ''"):
        small("mlp_mixer", global_pool="max")
    with pytest.raises(ValueError, match="`global_pool`='' needs `num_classes`=0, not 10"):
        small("splitmixer_i", global_pool="")
    with pytest.raises(RuntimeError, match="No pretrained weights exist"):
        small("splitmixer_i", pretrained=True)


@every_family
def test_it_can_be_traced_exported_copied_and_pickled(name: str):
    model, x = trained_look(small(name)).eval(), images()
    expected = model(x)
    assert torch.equal(torch.fx.symbolic_trace(model)(x), expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)


@every_family
def test_mixerlib_takes_it_for_its_own(name: str, tmp_path: Path):
    timms = trained_look(small(name, num_classes=7)).eval()
    timms.set_grad_checkpointing()
    ours = create_model(name, **options(name), num_classes=7).eval()
    save_weights(timms, tmp_path / "timms.safetensors")
    assert load_weights(ours, tmp_path / "timms.safetensors") == "mixerlib"
    save_weights(ours, tmp_path / "ours.safetensors")
    assert (tmp_path / "ours.safetensors").read_bytes() == (
        tmp_path / "timms.safetensors"
    ).read_bytes()
    assert load_weights(timms, tmp_path / "ours.safetensors") == "mixerlib"
    torch.testing.assert_close(
        fold(timms, images())(images()), ours(images()), rtol=1e-4, atol=1e-4
    )


@every_family
def test_it_costs_what_mixerlibs_own_does(name: str):
    ours = create_model(name, **options(name))
    assert measure(small(name), 32).macs == measure(ours, 32).macs
    assert thop(measure(small(name), 32)) == thop(measure(ours, 32))


def test_it_is_written_in_the_layouts_of_its_architecture(tmp_path: Path):
    timms = trained_look(small("convmixer"))
    save_weights(timms, tmp_path / "authors.pth", layout="locuslab")
    ours = create_model("convmixer", **options("convmixer"))
    assert load_weights(ours, tmp_path / "authors.pth") == "locuslab"
    assert all(torch.equal(v, ours.state_dict()[k]) for k, v in timms.state_dict().items())


@pytest.mark.filterwarnings("ignore")  # timm's own
@pytest.mark.parametrize("name", ["splitmixer_iii", "mlp_mixer"])
def test_what_timms_trainer_does(name: str, tmp_path: Path):
    """Its loader, optimizer, schedule, mixing, average and checkpoint; then as validate.py does."""
    made = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8).numpy()
    pictures = [(transforms.ToPILImage()(a), i % 4) for i, a in enumerate(made)]
    model = small(name, num_classes=4)
    data = timm.data.resolve_data_config({}, model=model)
    dataset = MadeImages(pictures)
    loader = timm.data.create_loader(
        dataset,
        data["input_size"],
        8,
        is_training=True,
        use_prefetcher=False,
        num_workers=0,
        auto_augment="rand-m9-mstd0.5-inc1",
        re_prob=0.25,
        mean=data["mean"],
        std=data["std"],
        device=torch.device("cpu"),
    )
    mix = timm.data.Mixup(mixup_alpha=0.5, cutmix_alpha=0.5, num_classes=4)
    optimizer = timm_optim.create_optimizer_v2(model, "adamw", lr=0.01, eps=1e-3)
    average = timm_utils.ModelEmaV3(model, decay=0.9)
    saver = timm_utils.CheckpointSaver(
        model,
        optimizer,
        model_ema=average,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    before = copy.deepcopy(model.state_dict())
    for x, labels in loader:
        x, targets = mix(x, labels)
        loss = timm_loss.SoftTargetCrossEntropy()(model(x), targets)
        optimizer.zero_grad()
        loss.backward()
        timm_utils.dispatch_clip_grad(model.parameters(), 1.0)
        optimizer.step()
        average.update(model)
    saver.save_checkpoint(0, metric=1.0)
    assert not torch.equal(before["head.weight"], model.state_dict()["head.weight"])

    again = small(name, num_classes=4, checkpoint_path=str(tmp_path / "last.pth.tar")).eval()
    assert torch.equal(again(images()), average.module.eval()(images()))  # as timm prefers it
    ours = create_model(name, **options(name), num_classes=4).eval()
    load_weights(ours, tmp_path / "last.pth.tar", average=True)
    assert torch.equal(ours(images()), again(images()))
    load_weights(ours, tmp_path / "last.pth.tar", average=False)
    assert torch.equal(ours(images()), model.eval()(images()))


class MadeImages(torch.utils.data.Dataset):
    """Pictures with their labels; `transform` is what timm's loader sets."""

    def __init__(self, pictures: list):
        self.pictures, self.transform = pictures, None

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        picture, label = self.pictures[i]
        return self.transform(picture), label


def test_a_registered_mixing_follows():
    with registrations_undone():
        name = register_mixing("quarter", lambda i, dim, s: OneSegment(dim, 0, dim // 4))
        assert in_timm.register_models() == [name] and in_timm.register_models() == []
        model = timm.create_model(name, dim=16, depth=2)
        assert isinstance(model, in_timm.InTimm) and model(images()).shape == (2, 10)


def test_a_script_of_timms_knows_the_models(tmp_path: Path, monkeypatch, capsys):
    """A stand-in; tests/training/test_against_timm.py runs the real ones, where they are."""
    (tmp_path / "beside.py").write_text("WORD = 'beside'")
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, timm\nfrom beside import WORD\n"
        "if __name__ == '__main__':\n"
        "    print(timm.is_model('splitmixer_i_256_8'), WORD, sys.argv[1:])\n"
    )
    words = ["--model", "splitmixer_i_256_8"]
    monkeypatch.setattr(sys, "argv", ["mixerlib.timm", str(script), *words])
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    Later("mixerlib.timm.__main__").main()
    assert capsys.readouterr().out == f"True beside {words}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "no script is given; usage: "), (["no-such.py"], "'no-such.py' is no file; usage: ")],
)
def test_no_script_is_a_mistake_in_a_line(words: list[str], message: str, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mixerlib.timm", *words])
    with pytest.raises(SystemExit, match=f"^{message}"):
        Later("mixerlib.timm.__main__").main()


def test_without_timm_the_error_says_how_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mixerlib\[timm\]'") as caught:
        Later("mixerlib.timm.importing").import_timm()
    assert caught.value.name == "timm"
