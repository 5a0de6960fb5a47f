"""What models that mixerlib does not build cost: counted, and kept as a record for the audit.

    python -m book.tools.other_models [FILE]

builds each of them (torchvision's, timm's, and a ResNet-20 as its paper has it for small images),
counts it with PyTorch's own counter, fvcore and thop, and writes `book/records/counts/others.json`.
Needs the extras `test` and `count`. No weights are downloaded, and nothing is trained.
"""

import copy
import logging
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mixerlib.data import import_torchvision
from mixerlib.pages import audit
from mixerlib.records import provenance, write_record

WORDS = ("convmixer", "splitmixer")  # models that are said to be in timm
PACKAGES = ("timm", "torchvision", "fvcore", "thop")
RECORD = Path(__file__).parents[1] / "records" / "counts" / "others.json"


class PlainBlock(nn.Module):
    """Two 3×3 convolutions and a skip. Where the map shrinks, the skip takes every other place and
    fills the new channels with zeros ("option A")."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        if self.stride > 1:
            half = (y.shape[1] - x.shape[1]) // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(x + y)


class ResNet20(nn.Module):
    """He et al., "Deep residual learning", section 4.2, with 20 layers."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        widths = (16, 16, 16, 16, 32, 32, 32, 64, 64, 64)
        blocks = [PlainBlock(a, b, stride=1 if a == b else 2) for a, b in pairwise(widths)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def _timm(name: str, **options: object) -> nn.Module:
    import_torchvision()
    import timm

    timm.layers.set_fused_attn(False)  # in one kernel, attention's products are in no count
    return timm.create_model(name, pretrained=False, **options)


def _mlp(kinds: tuple[str, str, str], sizes: dict[str, int]) -> nn.Module:
    """A model of timm's MLP family, whose presets do not let their patches be changed."""
    import_torchvision()
    from timm import layers
    from timm.models import mlp_mixer

    block, mlp, norm = kinds
    return mlp_mixer.MlpMixer(
        **sizes,
        block_layer=getattr(mlp_mixer, block),
        mlp_layer=getattr(layers, mlp),
        norm_layer=getattr(mlp_mixer, norm, nn.LayerNorm),
    )


def _resnet152() -> nn.Module:
    return import_torchvision().models.resnet152(weights=None)


VIT = {"embed_dim": 192, "depth": 9, "num_heads": 3, "mlp_ratio": 2, "qkv_bias": False}
GMLP = ("SpatialGatingBlock", "GatedMlp", "LayerNorm")
GMLP_SIZES = {"num_blocks": 30, "embed_dim": 128, "mlp_ratio": 6}
RESMLP = ("ResBlock", "Mlp", "Affine")
RESMLP_SIZES = {"num_blocks": 12, "embed_dim": 384, "mlp_ratio": 4}
SMALL, LARGE = (32, 10), (224, 102)  # pixels and classes: CIFAR-10, Flowers102
# name → what it is, pixels, how it is built
MODELS: dict[str, tuple[str, int, Callable[[], nn.Module]]] = {
    "resnet152": ("torchvision's resnet152", 224, _resnet152),
    "deit_b": (
        "timm's deit_base_patch16_224",
        224,
        partial(_timm, "deit_base_patch16_224"),
    ),
    "resmlp_b24_8": ("timm's resmlp_big_24_224", 224, partial(_timm, "resmlp_big_24_224")),
}
for _patch, (_size, _classes) in ((4, SMALL), (14, LARGE)):
    _given = {"patch_size": _patch, "img_size": _size, "num_classes": _classes}
    MODELS |= {
        f"resnet20_{_size}": (
            f"ResNet-20 with skips of option A, {_size}×{_size}",
            _size,
            partial(ResNet20, _classes),
        ),
        f"vit_{_size}": (
            "ViT with 192 channels, 9 blocks, an MLP twice as wide and no biases on queries, keys "
            f"and values, patch {_patch}, {_size}×{_size}",
            _size,
            partial(_timm, "vit_tiny_patch16_224", **(VIT | _given)),
        ),
        f"gmlp_{_size}": (
            f"gMLP-Ti (128 channels, 30 blocks), patch {_patch}, {_size}×{_size}",
            _size,
            partial(_mlp, GMLP, GMLP_SIZES | _given),
        ),
    }
MODELS["resmlp_32"] = (
    "ResMLP-S12, patch 4, 32×32",
    32,
    partial(_mlp, RESMLP, RESMLP_SIZES | {"patch_size": 4, "img_size": 32, "num_classes": 10}),
)


def registered() -> dict[str, int]:
    """How many of timm's own registered names hold each of `WORDS`."""
    import_torchvision()
    import timm

    names = [n for n in timm.list_models() if timm.model_entrypoint(n).__module__[:5] == "timm."]
    return {word: sum(word in name for name in names) for word in WORDS}


def count(name: str) -> audit.OtherModel:
    """One of `MODELS`, built and counted in every convention."""
    description, size, build = MODELS[name]
    model = build()
    statistics = [n for key, n in model.named_buffers() if key.endswith(("_mean", "_var"))]
    image = torch.zeros(1, 3, size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(model).eval()(image)
    return audit.OtherModel(
        name=name,
        title=description,
        image_size=size,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        buffers=sum(n.numel() for n in statistics),
        macs=counter.get_total_flops() // 2,
        fvcore=_fvcore(model.eval(), image),
        fvcore_training=_fvcore(model.train(), image),
        thop=_thop(model, image),
    )


def _fvcore(model: nn.Module, image: torch.Tensor) -> int:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(copy.deepcopy(model), image)
    return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def _thop(model: nn.Module, image: torch.Tensor) -> int:
    import thop

    return int(thop.profile(copy.deepcopy(model), (image,), verbose=False)[0])


def main(path: Path = RECORD) -> None:
    """Count all of `MODELS` and write the record."""
    warnings.filterwarnings("ignore")  # the tracer's, on sizes that it takes for constants
    logging.disable(logging.WARNING)
    models = []
    for name in MODELS:
        models.append(count(name))
        print(models[-1])
    versions = {package: metadata.version(package) for package in PACKAGES}
    write_record(audit.OtherCounts(models, registered(), versions, provenance("cpu")), path)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
