"""The relatives against timm's and torchvision's: equal parameters, equal MACs, and with the same
weights the same logits.

Their weights are random, and what starts at a trivial value is drawn anew: norms, running
statistics, LayerScale, class tokens.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from commands import refusal, run
from helpers import Later
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixerlib.models import create_model
from mixerlib.weights import load_weights, save_weights

timm = Later("timm")
layers = Later("timm.layers")
mlp_mixer = Later("timm.models.mlp_mixer")
transformers = Later("timm.models.vision_transformer")
distilled = Later("timm.models.deit")
convnext = Later("timm.models.convnext")
resnet = Later("torchvision.models.resnet")

State = dict[str, torch.Tensor]


def renamed(state: State, *pairs: tuple[str, str]) -> State:
    """A state dict with every pattern in its keys replaced."""
    keys = {}
    for key, value in state.items():
        for pattern, name in pairs:
            key = re.sub(pattern, name, key)
        keys[key] = value
    return keys


def of_mixer_family(block: str, mlp: str, norm: str, **sizes: Any) -> nn.Module:
    return mlp_mixer.MlpMixer(
        **sizes,
        block_layer=getattr(mlp_mixer, block),
        mlp_layer=getattr(layers, mlp),
        **({"norm_layer": getattr(mlp_mixer, norm)} if norm else {}),
    )


def their_convnext(dim: int, depth: int, kernel: int, patch: int) -> nn.Module:
    """One stage of timm's, with its stem and its head."""
    theirs = convnext.ConvNeXt(
        depths=(depth, 1, 1, 1),
        dims=(dim,) * 4,
        kernel_sizes=kernel,
        patch_size=patch,
        num_classes=10,
    )
    theirs.stages = theirs.stages[:1]
    return theirs


VIT = {"dim": 24, "depth": 3, "heads": 3, "channels_dim": 48, "image_size": (32, 24)}
VIT |= {"patch_size": 8, "num_classes": 7}
THEIR_VIT = {"embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_ratio": 2, "img_size": (32, 24)}
THEIR_VIT |= {"patch_size": 8, "num_classes": 7}
MLP = {"depth": 3, "image_size": 32, "patch_size": 8, "num_classes": 7}
THEIR_MLP = {"num_blocks": 3, "img_size": 32, "patch_size": 8, "num_classes": 7}

# Ours, theirs, and the side of the images
CASES: dict[str, tuple[Callable, Callable, tuple[int, int]]] = {
    "vit": (
        lambda: create_model("vit", **VIT, qkv_bias=True),
        lambda: transformers.VisionTransformer(**THEIR_VIT, qkv_bias=True),
        (32, 24),
    ),
    "vit without biases of queries, keys and values": (
        lambda: create_model("vit", **VIT, qkv_bias=False),
        lambda: transformers.VisionTransformer(**THEIR_VIT, qkv_bias=False),
        (32, 24),
    ),
    "deit": (
        lambda: create_model("deit", **VIT),
        lambda: distilled.VisionTransformerDistilled(**THEIR_VIT),
        (32, 24),
    ),
    "resmlp": (
        lambda: create_model("resmlp", **MLP, dim=24, channels_dim=96),
        lambda: of_mixer_family(
            "ResBlock", "Mlp", "Affine", **THEIR_MLP, embed_dim=24, mlp_ratio=4
        ),
        (32, 32),
    ),
    "gmlp": (
        lambda: create_model("gmlp", **MLP, dim=24, channels_dim=144),
        lambda: of_mixer_family(
            "SpatialGatingBlock", "GatedMlp", "", **THEIR_MLP, embed_dim=24, mlp_ratio=6
        ),
        (32, 32),
    ),
    "convnext": (
        lambda: create_model("convnext", dim=24, depth=3, channels_dim=96, kernel_size=7),
        lambda: their_convnext(24, 3, 7, 4),
        (28, 36),
    ),
}
# Of the full sizes, without numbers: the name here, and what timm calls it
PRESETS = {
    "vit_ti16": "vit_tiny_patch16_224",
    "vit_s16": "vit_small_patch16_224",
    "vit_b16": "deit_base_patch16_224",
    "deit_ti16_distilled": "deit_tiny_distilled_patch16_224",
    "deit_s16_distilled": "deit_small_distilled_patch16_224",
    "deit_b16_distilled": "deit_base_distilled_patch16_224",
    "resmlp_s12": "resmlp_12_224",
    "resmlp_s24": "resmlp_24_224",
    "resmlp_s36": "resmlp_36_224",
    "resmlp_b24_8": "resmlp_big_24_224",
    "gmlp_ti16": "gmlp_ti16_224",
    "gmlp_s16": "gmlp_s16_224",
    "gmlp_b16": "gmlp_b16_224",
}


@pytest.fixture(autouse=True)
def _attention_is_counted():
    torch.manual_seed(0)
    layers.set_fused_attn(False)  # in one kernel, attention's products are in no count


def nothing_trivial(model: nn.Module) -> nn.Module:
    """Every tensor of fewer than two dimensions, and every token, drawn anew."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name.endswith("running_var"):
            tensor.data.uniform_(0.5, 2)
        elif tensor.is_floating_point() and (tensor.squeeze().dim() < 2 or "token" in name):
            tensor.data.normal_()
    return model.double().eval()


def macs(model: nn.Module, x: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("case", CASES)
def test_logits_from_timms_weights_are_timms(case: str, record_property, tmp_path):
    build, build_theirs, side = CASES[case]
    ours, theirs = build().double().eval(), nothing_trivial(build_theirs())
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    assert load_weights(ours, tmp_path / "w.pth") == "timm"
    x = torch.randn(3, 3, *side, dtype=torch.float64)
    logits, expected = ours(x).detach(), theirs(x).detach()
    record_property("largest difference", (logits - expected).abs().max().item())
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    count = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert count[0] == count[1]
    assert macs(ours, x) == macs(theirs, x)
    for suffix in (".pth", ".safetensors"):  # and the way back
        save_weights(ours, tmp_path / f"back{suffix}", layout="timm")
        assert load_weights(build().double(), tmp_path / f"back{suffix}") == "timm"
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_named_in_both_namings(case: str, tmp_path):
    build, build_theirs, _ = CASES[case]
    theirs = build_theirs().state_dict()
    parameters = [name for name in theirs if "head" not in name]
    for missing in (parameters[0], parameters[-3]):
        torch.save({k: v for k, v in theirs.items() if k != missing}, tmp_path / "w.pth")
        with pytest.raises(ValueError, match="in the layout timm, does not fit `model`") as caught:
            load_weights(build(), tmp_path / "w.pth")
        assert missing in str(caught.value) and "is missing, wanted" in str(caught.value)
    torch.save(theirs | {"blocks.0.more": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"`blocks\.0\.more` is \(1,\), wanted none"):
        load_weights(build(), tmp_path / "w.pth")


@pytest.mark.parametrize("case", CASES)
def test_without_the_classifier_the_model_keeps_its_own(case: str, tmp_path):
    build, build_theirs, _ = CASES[case]
    theirs, ours = build_theirs(), build()
    ours.reset_classifier(3)
    kept = {k: v.clone() for k, v in ours.state_dict().items() if k.startswith("head")}
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"`head\.weight`"):
        load_weights(ours, tmp_path / "w.pth")
    assert load_weights(ours, tmp_path / "w.pth", head=False) == "timm"
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in kept.items())
    filled = build()
    load_weights(filled, tmp_path / "w.pth")
    same = filled.blocks[0].state_dict().items()
    assert all(torch.equal(ours.blocks[0].state_dict()[name], value) for name, value in same)


def test_the_command_reads_and_writes_timms_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _, build_theirs, _ = CASES["deit"]
    torch.save(build_theirs().state_dict(), "theirs.pth")
    shape = ["--model", "deit", "--dim", 24, "--depth", 3, "--heads", 3, "--channels-dim", 48]
    shape += ["--image-size", 32, "--patch-size", 8, "--num-classes", 7]
    line = refusal(capsys, "import", "theirs.pth", *shape)
    assert "`stem.places` (`pos_embed` in timm) is (1, 14, 24), wanted (1, 18, 24)" in line
    model = create_model("deit", **VIT | {"image_size": 32})
    save_weights(model, "mine.safetensors")
    status, out, _ = run(capsys, "import", "mine.safetensors", *shape, "--to", "timm")
    assert status == 0 and "weights:  mine.pth" in out
    assert {"cls_token", "dist_token", "head_dist.bias"} <= torch.load("mine.pth").keys()


@pytest.mark.parametrize("name", PRESETS)
def test_a_full_size_has_timms_parameters_and_macs(name: str):
    with torch.device("meta"):
        ours, theirs = create_model(name), timm.create_model(PRESETS[name])
        x = torch.zeros(1, 3, 224, 224)
        count = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
        assert count[0] == count[1]
        assert macs(ours.eval(), x) == macs(theirs.eval(), x)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_of_resnet_is_torchvisions(stride: int):
    """torchvision's `BasicBlock`, with the same convolutions and norms, and the paper's skip."""
    width = 8 * stride
    block = create_model("resnet_cifar", dim=8, depth=6).blocks[2 if stride > 1 else 1]
    skip = None

    class Shrunk(nn.Module):
        """Every other place, and zeros before and after the channels."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            zeros = torch.zeros(len(x), 4, *x[:, :, ::2, ::2].shape[2:], dtype=x.dtype)
            return torch.cat((zeros, x[:, :, ::2, ::2], zeros), dim=1)

    if stride > 1:
        skip = Shrunk()
    theirs = nothing_trivial(resnet.BasicBlock(8, width, stride, skip))
    state = renamed(dict(theirs.state_dict()), (r"^bn(\d)\.", r"norm\1."))
    block.double().eval().load_state_dict(state)
    x = torch.randn(2, 8, 7, 10, dtype=torch.float64)
    torch.testing.assert_close(block(x), theirs(x), rtol=1e-12, atol=1e-12)
    assert macs(block, x) == macs(theirs, x)


def test_resnet20_is_torchvisions_blocks_in_the_papers_order():
    """The same network from torchvision's `BasicBlock`, its stem and head from plain layers."""

    class Shrunk(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            zeros = torch.zeros_like(x[:, : x.shape[1] // 2, ::2, ::2])
            return torch.cat((zeros, x[:, :, ::2, ::2], zeros), dim=1)

    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [
        resnet.BasicBlock(a, b, 1 if a == b else 2, None if a == b else Shrunk())
        for a, b in pairwise(widths)
    ]
    theirs = nothing_trivial(
        nn.Sequential(
            nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
            ),
            nn.Sequential(*blocks),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
        )
    )
    ours = create_model("resnet20").double().eval()
    ours.load_state_dict(
        renamed(
            dict(theirs.state_dict()),
            (r"^0\.", "stem."),
            (r"^1\.", "blocks."),
            (r"^2\.2\.", "head."),
            (r"\.bn(\d)\.", r".norm\1."),
        )
    )
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
    assert sum(p.numel() for p in ours.parameters()) == 269_722
    assert macs(ours, x) == macs(theirs, x)
