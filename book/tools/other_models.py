"""What the models cost that mixers are compared with: counted, and kept as a record for the audit.

    python -m book.tools.other_models [NAME …]

builds each of them (mixerlib's relatives, and torchvision's ResNet-152), counts it with PyTorch's
own counter, fvcore and thop, and writes `book/records/counts/others.json`. With names only those
are counted anew, and the others stay as they are recorded. Needs the extras `test` and `count`. No
weights are downloaded, and nothing is trained.
"""

import argparse
import copy
import logging
import warnings
from collections.abc import Callable, Collection
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixerlib.data import import_torchvision
from mixerlib.models import create_model
from mixerlib.pages import audit
from mixerlib.records import provenance, write_record

WORDS = ("convmixer", "splitmixer")  # models that are said to be in timm
PACKAGES = ("timm", "torchvision", "fvcore", "thop")
RECORD = Path(__file__).parents[1] / "records" / "counts" / "others.json"


def _resnet152() -> nn.Module:
    return import_torchvision().models.resnet152(weights=None)


CIFAR, FLOWERS = {"num_classes": 10}, {"num_classes": 102}
ON_32 = CIFAR | {"image_size": 32, "patch_size": 4}
ON_224 = FLOWERS | {"image_size": 224, "patch_size": 14}
VIT = (
    "ViT with 192 channels, 9 blocks, an MLP twice as wide and no biases on queries, keys and "
    "values"
)
# 24 does not divide 224: a convolution of stride 24 leaves out what no whole patch covers
CUT = FLOWERS | {"image_size": 216, "patch_size": 24}
# name → what it is, pixels, how it is built
MODELS: dict[str, tuple[str, int, Callable[[], nn.Module]]] = {
    "resnet152": ("torchvision's resnet152", 224, _resnet152),
    "deit_b": ("DeiT-B/16 without distillation", 224, partial(create_model, "vit_b16")),
    "resmlp_b24_8": ("ResMLP-B24/8", 224, partial(create_model, "resmlp_b24_8")),
    "resnet20_32": (
        "ResNet-20 with skips of option A, 32×32",
        32,
        partial(create_model, "resnet20", **CIFAR),
    ),
    "resnet20_224": (
        "ResNet-20 with skips of option A, 224×224",
        224,
        partial(create_model, "resnet20", **FLOWERS),
    ),
    "vit_32": (f"{VIT}, patch 4, 32×32", 32, partial(create_model, "vit", **ON_32)),
    "vit_224": (f"{VIT}, patch 14, 224×224", 224, partial(create_model, "vit", **ON_224)),
    "gmlp_32": (
        "gMLP-Ti (128 channels, 30 blocks), patch 4, 32×32",
        32,
        partial(create_model, "gmlp_ti16", **ON_32),
    ),
    "gmlp_224": (
        "gMLP-Ti (128 channels, 30 blocks), patch 14, 224×224",
        224,
        partial(create_model, "gmlp_ti16", **ON_224),
    ),
    "resmlp_32": ("ResMLP-S12, patch 4, 32×32", 32, partial(create_model, "resmlp_s12", **ON_32)),
    "resmlp_224": (
        "ResMLP-S12, patch 24, on the 216×216 pixels of 224×224 that whole patches cover",
        216,
        partial(create_model, "resmlp_s12", **CUT),
    ),
    "vip_32": (
        "ViP-Small/14's 384 channels and 18 blocks, patch 4, 32×32",
        32,
        partial(create_model, "vip_s14", **ON_32),
    ),
    "vip_224": (
        "ViP-Small/14's 384 channels and 18 blocks, patch 28, 224×224",
        224,
        partial(create_model, "vip_s14", **(ON_224 | {"patch_size": 28})),
    ),
    "mdmlp_32": ("MDMLP-64/8, patch 4 every 2, 32×32", 32, partial(create_model, "mdmlp_64_8")),
    "mdmlp_224": (
        "MDMLP-64/8, patch 14 every 7, 224×224",
        224,
        partial(create_model, "mdmlp_64_8_224"),
    ),
    # of AS-MLP's three sizes and all patches none fits both numbers; these two are the nearest
    "as_mlp_32": (
        "AS-MLP-T, patch 2, 32×32",
        32,
        partial(create_model, "as_mlp_t", patch_size=2, **CIFAR),
    ),
    "as_mlp_224": (
        "AS-MLP-T, patch 7, 224×224",
        224,
        partial(create_model, "as_mlp_t", patch_size=7, **FLOWERS),
    ),
}


def registered() -> dict[str, int]:
    """How many of timm's own registered names hold each of `WORDS`."""
    import_torchvision()
    import timm

    names = [n for n in timm.list_models() if timm.model_entrypoint(n).__module__[:5] == "timm."]
    return {word: sum(word in name for name in names) for word in WORDS}


def count(name: str) -> audit.OtherModel:
    """One of `MODELS`, built and counted in every convention."""
    description, size, build = MODELS[name]
    model, image = build(), torch.zeros(1, 3, size, size)
    statistics = [n for key, n in model.named_buffers() if key.endswith(("_mean", "_var"))]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:  # sizes alone will do for it
        copy.deepcopy(model).to("meta").eval()(image.to("meta"))
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


def main(names: Collection[str] = (), path: Path = RECORD) -> None:
    """Count those of `MODELS`, or all, and write the record."""
    kept = {model.name: model for model in audit.read_others(path).models} if names else {}
    warnings.filterwarnings("ignore")  # the tracer's, on sizes that it takes for constants
    logging.disable(logging.WARNING)
    models, here = [], provenance("cpu")
    for name in MODELS:
        models.append(kept[name] if names and name not in names else count(name))
        print(models[-1], flush=True)
    versions = {package: metadata.version(package) for package in PACKAGES}
    write_record(audit.OtherCounts(models, registered(), versions, here), path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.other_models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}")
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"{', '.join(unknown)}: no such model; there are {', '.join(MODELS)}")
    main(names)
