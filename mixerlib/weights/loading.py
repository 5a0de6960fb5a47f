"""Weights in: the layout is recognised, the tensors are renamed and held against the model."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from mixerlib.costs.unwrapping import unwrapped
from mixerlib.models.wrappers import check_of_mixerlib, computed_weights
from mixerlib.weights.layouts import LAYOUTS, OURS, Layout, our_names, recognize, their_names
from mixerlib.weights.reading import read
from mixerlib.weights.resampling import advice, restated, with_resampled_stem
from mixerlib.weights.saving import traits

OPTIONAL = ".num_batches_tracked"  # a step counter that no output depends on; old files lack it
HEADS = ("head.", "head_teacher.")  # the classifiers; DeiT has two
LOWEST_GELU = -0.17  # GELU's minimum, rounded down


def load_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    head: bool = True,
    key: str | None = None,
    average: bool | None = None,
    finite: bool = True,
    resample_stem: bool = False,
) -> str:
    """Fill a model of mixerlib with the weights in a file; return the name of the file's layout.

    Args:
        model: keeps its dtype and device. It may be compiled, in `DataParallel` or averaged.
        path: `.safetensors`, or `torch.save`'s `.pt`, `.pth`, `.pth.tar`, `.ckpt` or `.bin`, with a
            state dict under any key; an unfinished run's `checkpoint.pt` under any name;
            MindSpore's `.ckpt`; or NumPy's `.npz`, as JAX programs write it.
        head: False leaves the file's classifier out; the model keeps its own, or has none.
        key: of the state dict to be taken, with dots between the keys that lead to it, where the
            file holds several.
        average: True takes the moving average (a key such as "state_dict_ema"), False the weights
            themselves. None takes the average where there is one, and a `UserWarning` says so.
        finite: False also loads weights that are NaN or infinite, as of a run that diverged.
        resample_stem: True resamples the stem to the model's patch size, where the file has another
            and as many patches. A larger one is exact: a patch that is enlarged bilinearly gives
            what the small one gave. A smaller one loses what it cannot show.

    `mixerlib.weights` lists the layouts. What wrappers put before every name (`module.`, …) is
    dropped, and so are counters of other tools. What else lies beside the weights is left unread.
    Every tensor must be there, none may be left over, and every shape must fit; BatchNorm's
    `num_batches_tracked` alone may be absent, or of any dtype. Until all of it fits, nothing in the
    model changes. The checksums of a file are tested, and the digest of our own.

    Names and shapes do not tell GELU from ReLU, nor SplitMixer II, III and 3D with equal segments.
    What the file states of them is held against the model. Of an activation that is not stated a
    `UserWarning` says when the signs of BatchNorm's running means speak against it.

    Raises `OSError` for a path that cannot be read, and `ValueError` for a file that is damaged, no
    regular file, of another suffix or layout, would run code if unpickled, holds several state
    dicts or does not fit; and for a model that has no numbers or computes its weights.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.weights import load_weights, save_weights
    >>> save_weights(create_model("splitmixer_iii", dim=64, segments=2), "mine.safetensors")
    >>> load_weights(create_model("splitmixer_iii", dim=64, segments=4), "mine.safetensors")
    Traceback (most recent call last):
    ValueError: `path`='mine.safetensors', in the layout mixerlib, does not fit `model`, ...
    """
    path, model = Path(path), _fillable(model)
    tensors, stated, note = read(path, key, average)
    layout = _layout(path, tensors, stated)
    given = _fitting(path, tensors, layout, model, head, resample_stem)
    if finite:
        check_finite(path, given, model)
    stated = restated(stated, model) if resample_stem else stated
    _check_stated(path, stated, layout, model, given)
    if note:
        warnings.warn(note, stacklevel=2)
    model.load_state_dict(given, strict=False)  # only OPTIONAL tensors can be absent here
    return layout.name


def _layout(path: Path, tensors: Mapping[str, torch.Tensor], stated: Mapping[str, str]) -> Layout:
    """The layout that a file states or its names show. `ValueError` for none."""
    layout = OURS if stated.get("layout") == OURS.name else recognize(tensors)
    if layout is None:
        raise ValueError(
            f"`path`='{path}' has none of the layouts that mixerlib reads "
            f"({', '.join(sorted({known.name for known in LAYOUTS}))}); "
            f"its tensors are named {', '.join(list(tensors)[:3])} …"
        )
    return layout


def _fillable(model: nn.Module) -> nn.Module:
    """The model itself, out of its wrappers. `ValueError` for one that cannot be filled."""
    model = unwrapped(model)
    check_of_mixerlib(model)
    made_there = any(tensor.is_inference() for tensor in model.state_dict().values())
    if made_there and not torch.is_inference_mode_enabled():
        raise ValueError(
            "`model` was made under torch.inference_mode(), where its weights can be changed and "
            "nowhere else: make it outside of it"
        )
    for path, _, name in computed_weights(model):
        raise ValueError(
            f"`model` must have its weights as parameters, and computes `{path}.{name}`: prune, "
            "normalise or parametrize it after they are loaded"
        )
    return model


def _fitting(
    path: Path,
    tensors: dict[str, torch.Tensor],
    layout: Layout,
    model: nn.Module,
    head: bool,
    resample_stem: bool,
) -> dict[str, torch.Tensor]:
    """The tensors under the model's names. `ValueError` unless each has its place."""
    if layout.gathered:
        tensors = layout.gathered(tensors)
    names = our_names(tensors, layout)
    if layout.to_ours:
        tensors = {name: layout.to_ours(tensor) for name, tensor in tensors.items()}
    for name in layout.zero:
        if (ours := model.state_dict().get(name)) is not None:
            tensors, names = tensors | {name: torch.zeros_like(ours)}, names | {name: name}
    if not head:
        classifier = {k: v for k, v in model.state_dict().items() if k.startswith(HEADS)}
        tensors = {k: v for k, v in tensors.items() if not (names[k] or "").startswith(HEADS)}
        tensors, names = tensors | classifier, names | {name: name for name in classifier}
    if resample_stem:
        tensors = with_resampled_stem(tensors, names, model)
    faults = _faults(tensors, names, model, layout)
    if faults:
        more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
        if all(fault.startswith(tuple(f"`{name}" for name in HEADS)) for fault in faults):
            more += "; `head=False` leaves the file's classifier out, and the model keeps its own"
        raise ValueError(
            f"`path`='{path}', in the layout {layout.name}, does not fit `model`, "
            f"a {type(model).__name__} of {len(model.blocks)} blocks: {'; '.join(faults[:4])}{more}"
            f"{advice(tensors, names, model)}"
        )
    given = {names[name] or name: tensor for name, tensor in tensors.items()}
    _check_tied(path, given, model)
    return given


def check_finite(path: Path, tensors: Mapping[str, torch.Tensor], model: nn.Module) -> None:
    """Raises `ValueError` for numbers that no trained model has, in the file or in the dtype of the
    model.
    """
    for name, expected in model.state_dict().items():
        if name not in tensors:
            continue
        inside = tensors[name] if name.endswith(OPTIONAL) else tensors[name].to(expected.dtype)
        if inside.is_floating_point() and not inside.isfinite().all():
            fits = "" if not tensors[name].isfinite().all() else f" in the model's {expected.dtype}"
            reason = f"holds NaN or infinite numbers{fits}"
        elif name.endswith(".running_var") and (inside < 0).any():
            reason = "is a variance, and holds negative numbers"
        else:
            continue
        raise ValueError(
            f"`path`='{path}' cannot be computed with: `{name}` {reason}, as of a run that diverged"
        )


def _check_tied(path: Path, tensors: Mapping[str, torch.Tensor], model: nn.Module) -> None:
    """Raises `ValueError` where a file has two answers for what is one tensor in the model."""
    firsts: dict[tuple[int, torch.Size], str] = {}
    for name, ours in model.state_dict().items():
        if name not in tensors or name.endswith(OPTIONAL):
            continue
        first = firsts.setdefault((ours.data_ptr(), ours.shape), name)
        if first == name:
            continue
        one, other = tensors[first].double(), tensors[name].double()
        if not torch.allclose(one, other, rtol=0, atol=0, equal_nan=True):
            raise ValueError(
                f"`path`='{path}' has different numbers for `{first}` and `{name}`, which are one "
                "tensor in `model`: load it into a model whose layers are not tied"
            )


def _check_stated(
    path: Path,
    stated: Mapping[str, str],
    layout: Layout,
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Hold what a file states against the model, and what its statistics betray; both may be wrong
    where every tensor fits.
    """
    ours = traits(model)
    for trait in ours if layout is OURS else ("activation",):
        if stated.get(trait, ours[trait]) != ours[trait]:
            raise ValueError(
                f"`path`='{path}' states {trait}={stated[trait]!r}, and `model` has "
                f"{trait}={ours[trait]!r}: the tensors fit, but the outputs would be wrong"
            )
    seen = None if "activation" in stated else activation_seen(tensors)
    if seen not in (None, ours["activation"]):
        warnings.warn(
            f"`path`='{path}' looks trained with {seen}, by the signs of BatchNorm's running "
            f"means, and `model` has {ours['activation']}: the outputs may be wrong",
            stacklevel=3,
        )


def activation_seen(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The activation that BatchNorm's running means show in a ConvMixer or SplitMixer, or None.

    Every BatchNorm there follows an activation. After a ReLU no mean is negative; after a GELU none
    is below its minimum, -0.17, and in a trained network some are negative. None stands for
    untrained (all zero), for neither of the two, and for a model without BatchNorm.
    """
    means = [t.float() for name, t in tensors.items() if name.endswith(".running_mean")]
    if not any(mean.any() for mean in means):
        return None
    lowest = min(float(mean.min()) for mean in means)
    return "relu" if lowest >= 0 else "gelu" if lowest >= LOWEST_GELU else None


def _faults(
    tensors: dict[str, torch.Tensor],
    names: dict[str, str | None],
    model: nn.Module,
    layout: Layout,
) -> list[str]:
    """Each tensor that is missing, left over, or of another shape or kind, in both namings."""

    def both(ours: str | None, theirs: str | None) -> str:
        if ours == theirs or ours is None or theirs is None:
            return f"`{ours or theirs}`"
        return f"`{ours}` (`{theirs}` in {layout.name})"

    def form(tensor: torch.Tensor) -> str:
        kind = "" if tensor.is_floating_point() else f" of {tensor.dtype}"
        return f"{tuple(tensor.shape)}{kind}"

    expected, translated = model.state_dict(), set(names.values())
    theirs_of = their_names(expected, layout, len(model.blocks))
    faults = [
        f"{both(name, theirs_of[name])} is missing, wanted {form(tensor)}"
        for name, tensor in expected.items()
        if name not in translated and not name.endswith(OPTIONAL)
    ]
    for theirs, tensor in tensors.items():
        ours = names[theirs]
        if ours is None or ours not in expected:
            faults.append(f"{both(ours, theirs)} is {form(tensor)}, wanted none")
        elif ours.endswith(OPTIONAL) and tensor.shape == expected[ours].shape:
            continue  # of any dtype
        elif form(tensor) != form(expected[ours]):
            faults.append(f"{both(ours, theirs)} is {form(tensor)}, wanted {form(expected[ours])}")
    return faults
