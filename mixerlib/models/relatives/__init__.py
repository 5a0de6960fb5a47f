"""The relatives: networks that mixers are compared with, one architecture a file, small enough to
train beside them.

`create_model` builds them by name, as it builds the mixers; `list_relatives` lists them. They are
not in `list_models`, so timm's registry, PyTorch Hub and the speed tables stay the mixers' own.

**How a relative is made**, in six places:

1. `NAME.py` here, under 120 lines: the class, a `Classifier` with `stem`,
   `blocks`, `head`, `forward_features` and `forward_head`, whose options are keyword arguments; and
   `PRESETS`, name → (the options' defaults, a line about it). The first name is the family's, bare,
   its defaults for 32×32 images and ten classes. `in_channels` and "gelu" need not be said. What
   two files share stands in `pieces.py`, attention in `transformer.py`, stages in `pyramid.py` and
   `maps.py`; embedding and MLP of patches in `models/mlp_mixer.py`.
2. Here: the import, and a line in `RELATIVES`.
3. Modules of a block are named so that `costs.measure` knows their part, by `PART_OF_NAME` in
   `costs/measurement.py`: `norm*` and `scale*` are normalisation, `mlp_tokens`, `linear_tokens`,
   `attn` and `gate` token mixing, `conv_dw` and `spatial` spatial mixing, `conv1`, `conv2`,
   `merge` and `dense` mix space and channels at once, and the rest is channel mixing. Every
   parameter lies in a module of a part. Networks with stages are `pyramid.Pyramid`s of `maps`.
4. `NAME.py` in `mixerlib/costs/relatives`: parameters and MACs in sympy, part by part; a line in
   `costs/relatives/__init__.py`.
5. A new option: its flag in `cli/options.py` and, for a number, its top in `checks.TOPS`.
6. Tests: all that is listed is tested by `tests/models/test_relatives.py` (a small size of it in
   `SMALL`) and `tests/costs/test_sizes_of_relatives.py`; weights of others, number by number, in
   `tests/models/test_relatives_parity.py`.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mixerlib.models.relatives import (
    as_mlp,
    convnext,
    cycle_mlp,
    deit,
    gmlp,
    mdmlp,
    resmlp,
    resnet,
    s_fc,
    vip,
    vit,
)

# The class of each relative → its presets, the family's bare name first
RELATIVES: dict[type[nn.Module], Mapping[str, tuple[Any, str]]] = {
    resnet.CifarResNet: resnet.PRESETS,
    vit.ViT: vit.PRESETS,
    deit.DeiT: deit.PRESETS,
    resmlp.ResMLP: resmlp.PRESETS,
    gmlp.GMLP: gmlp.PRESETS,
    convnext.ConvNeXt: convnext.PRESETS,
    as_mlp.ASMLP: as_mlp.PRESETS,
    cycle_mlp.CycleMLP: cycle_mlp.PRESETS,
    vip.ViP: vip.PRESETS,
    mdmlp.MDMLP: mdmlp.PRESETS,
    s_fc.SFC: s_fc.PRESETS,
}
FAMILIES: dict[type[nn.Module], str] = {
    model: next(iter(presets)) for model, presets in RELATIVES.items()
}

__all__ = [
    *("FAMILIES", "RELATIVES", "as_mlp", "convnext", "cycle_mlp", "deit", "gmlp", "mdmlp"),
    *("resmlp", "resnet", "s_fc", "vip", "vit"),
]
