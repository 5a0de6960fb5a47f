"""The stem's weights for patches of another size.

A patch x of p×p pixels is resized to B·x, of p'×p' pixels. B is bilinear interpolation, and where
p' < p also averages, as antialiasing does. The new weights are W' = W·B⁺, by the pseudo-inverse of
B: so FlexiViT resizes its patch embedding (Beyer et al., arXiv 2212.08013).

For p' ≥ p the columns of B are independent, so B⁺B = 1 and W'·(B·x) = W·x: nothing is lost. For
p' < p it is W'·(B·x) = W·(B⁺B·x), the old answer to what the small patch still tells of the large
one; finer pattern than that is lost.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.checks import TOPS

Names = Mapping[str, str | None]
Tensors = dict[str, torch.Tensor]

FLAG = "resample_stem=True (`mixerlib import --resample-stem`)"
# How the names of weights end that belong to one number of tokens → their dimension that counts it
OF_TOKENS = {
    "mlp_tokens.fc1.weight": 1,
    "linear_tokens.weight": 0,
    "gate.proj.weight": 0,
    "stem.places": 1,
}


def resizing(old: int, new: int) -> torch.Tensor:
    """B along one side, (new, old), in float64: the whole of it is the Kronecker product of two."""
    columns = torch.eye(old, dtype=torch.float64)[None, None]  # each: one pixel
    return F.interpolate(columns, (new, old), mode="bilinear", antialias=True)[0, 0]


def resampled(weight: torch.Tensor, sides: tuple[int, ...]) -> torch.Tensor:
    """W' of W: (h, in_channels, p, p) → (h, in_channels, *sides), in float64."""
    pairs = zip(weight.shape[-2:], sides, strict=True)
    # the pseudo-inverse of a Kronecker product is the product of the pseudo-inverses
    rows, columns = (torch.linalg.pinv(resizing(old, new)) for old, new in pairs)
    return torch.einsum("ocyx,yv,xu->ocvu", weight.double(), rows, columns)


def with_resampled_stem(tensors: Tensors, names: Names, model: nn.Module) -> Tensors:
    """The tensors of a file, the stem's weights resampled where the model has other patches.

    `names` gives the model's name of each tensor.
    """
    wanted = _of_another_patch(tensors, names, model)
    return tensors | {name: resampled(tensors[name], sides) for name, sides in wanted.items()}


def _of_another_patch(
    tensors: Tensors, names: Names, model: nn.Module
) -> dict[str, tuple[int, ...]]:
    """The tensors that differ from the model's in the sides of a patch alone → the model's sides.

    They are weights of a convolution of the stem whose patches lie side by side.
    """
    side_by_side = {
        f"{path}.weight": part.weight.shape
        for path, part in model.named_modules()
        if path.split(".")[0] == "stem"
        and isinstance(part, nn.Conv2d)
        and part.kernel_size == part.stride
    }
    found = {}
    for theirs, tensor in tensors.items():
        wanted, shape = side_by_side.get(names[theirs] or ""), tensor.shape
        if wanted is None or len(shape) != 4 or not tensor.is_floating_point():
            continue
        real = all(0 < side <= TOPS["patch_size"] for side in shape[2:])
        if real and shape[:2] == wanted[:2] and shape != wanted:
            found[theirs] = tuple(wanted[2:])
    return found


def restated(stated: Mapping[str, str], model: nn.Module) -> dict[str, str]:
    """What a file states, as if its patches were the model's, and its images larger or smaller by
    as much: so it has as many patches in a row and in a column as before.
    """
    old, new = stated.get("patch_size", ""), getattr(model, "patch_size", None)
    if new is None or not re.fullmatch("[1-9][0-9]{0,5}", old):
        return dict(stated)
    changed = {"patch_size": str(new)}
    if sides := re.findall("[0-9]{1,6}", stated.get("image_size", "")):
        changed["image_size"] = str(tuple(int(side) * new // int(old) for side in sides))
    return dict(stated) | changed


def advice(tensors: Tensors, names: Names, model: nn.Module) -> str:
    """What a refusal adds where patches of another number or size are at fault; else nothing."""
    expected = model.state_dict()
    for theirs, tensor in tensors.items():
        ours = names[theirs] or ""
        counts = next((d for end, d in OF_TOKENS.items() if ours.endswith(end)), None)
        if counts is None or ours not in expected or tensor.ndim != expected[ours].ndim:
            continue
        extra = getattr(model, "extra", 0)  # tokens of no patch, as a ViT has
        here, there = (t.shape[counts] - extra for t in (tensor, expected[ours]))
        if here != there:
            return (
                f"; token weights belong to one number of patches, {here} in the file and {there} "
                "in `model`: another image size needs as many patches as before, by another patch "
                f"size and {FLAG}"
            )
    if _of_another_patch(tensors, names, model):
        return f"; {FLAG} resamples the stem to another patch size"
    return ""
