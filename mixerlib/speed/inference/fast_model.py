"""A model in one of its equal forms, ready to compute, and how far its outputs are from another's.

>>> import torch
>>> from mixerlib.models import create_model
>>> from mixerlib.speed import FastModel, Form, fold
>>> model, images = create_model("convmixer", dim=32, depth=2).eval(), torch.randn(4, 3, 32, 32)
>>> form = Form("convolution", folded=True)
>>> fast = FastModel(fold(model, images), form, images, torch.float32)
>>> torch.allclose(fast(images), model(images), atol=1e-5)
True
"""

import itertools
import warnings
from collections.abc import Callable

import torch
from torch import nn

from mixerlib.costs.unwrapping import unwrapped
from mixerlib.models.wrappers import check_has_numbers, made_permanent
from mixerlib.speed.form import Form

TOLERANCE = 1e-4  # of the outputs' scale: a form that differs by more is not chosen, unless the
# plain model's own rounding is as coarse: in bfloat16, or in a GPU's TF32 convolutions


class FastModel(nn.Module):
    """A model in a fast form: images (B, in_channels, H, W) → logits (B, `num_classes`).

    For images of the example's size, in any number and floating dtype, on its device; the logits
    have the images' dtype and carry no gradient. Compiled code serves batches of `form.at_once`
    images, and what is left over takes the same form uncompiled, so that nothing is ever compiled
    again.

    Raises `ValueError` for images of another size, of whole or complex numbers, or on another
    device.
    """

    def __init__(self, net: nn.Module, form: Form, example: torch.Tensor, dtype: torch.dtype):
        super().__init__()
        self.form, self.dtype = form, dtype
        self.shape, self.device = tuple(example.shape[1:]), example.device
        self.at_once = form.at_once or len(example)
        self.net = net.to(dtype).to(memory_format=form.memory_format)
        self.code = self.compiled(example) if form.compile else None
        self.choice = None

    def extra_repr(self) -> str:
        chosen = self.form if self.choice is None else f"{self.form}\n{self.choice}"
        return f"{chosen}"

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
        """Cast or moved, as by `half()`, it goes on without the code that was compiled for it."""
        super()._apply(fn, recurse)
        weight = next(itertools.chain(self.net.parameters(), self.net.buffers()))
        if (weight.dtype, weight.device) != (self.dtype, self.device):
            self.dtype, self.device, self.code = weight.dtype, weight.device, None
        return self

    def arranged(self, x: torch.Tensor) -> torch.Tensor:
        """The images in the dtype and the layout of the form."""
        return x.to(self.dtype).contiguous(memory_format=self.form.memory_format)

    @torch.inference_mode()
    def compiled(self, example: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """The network as compiled code for `at_once` images, with its weights frozen in.

        The graph is exported and compiled as it stands. `torch.compile` would also guard it against
        changes, and compile it again when such a thing as the number of threads changes.
        """
        x = self.arranged(example[: self.at_once])
        options = {"freezing": True, "layout_optimization": self.form.channels_last}
        # The compiler would build a library to see that the processor's own flags are true, which
        # takes a third of the time. What it makes is run, and compared, before it is used.
        options["cpp.vec_isa_ok"] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own deprecations
            graph = torch.export.export(self.net, (x,)).module()
            return torch._inductor.compile(graph, [x], options=options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, torch.Tensor) or x.layout != torch.strided:
            raise ValueError(f"`x` must be a dense tensor of images, not {type(x).__name__}")
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape or x.device != self.device:
            raise ValueError(
                f"`x` of shape {tuple(x.shape)} on {x.device} must be images (B, "
                f"{', '.join(map(str, self.shape))}) on {self.device}: this fast form was made "
                "and measured for that size"
            )
        if not x.is_floating_point():
            raise ValueError(f"`x` of {x.dtype} must be in floating point, as the plain model's")
        with torch.inference_mode(), torch.autocast(x.device.type, enabled=False):
            logits = []
            for part in self.arranged(x).split(self.at_once):
                whole = len(part) == self.at_once
                logits.append(self.code(part) if self.code and whole else self.net(part))
            logits = torch.cat(logits).to(x.dtype)
        return logits.clone()  # outside of inference mode: an ordinary tensor


def relative_difference(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """The largest absolute difference, as a share of the largest absolute value expected."""
    expected, actual = expected.cpu().double(), actual.cpu().double()
    scale = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return ((actual - expected).abs().max() / scale).item()


@torch.inference_mode()
def check(model: nn.Module, fast: nn.Module, images: torch.Tensor) -> float:
    """How far the fast form's logits are from the model's, as a share of their scale.

    The model computes in evaluation mode and in its own dtype; it is not touched.
    """
    return relative_difference(made_permanent(unwrapped(model))(images), fast(images))


def plain_form(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """A copy of a model in evaluation mode, out of its wrappers, with no weight computed from
    others. Raises `ValueError` unless it can compute the example.

    Asked before any form is tried: of a form that fails, a search says only that it failed.
    """
    model = unwrapped(model)
    check_has_numbers(model)
    if isinstance(model, FastModel):
        raise ValueError("`model` is in a fast form already: give the one that it was made from")
    model = made_permanent(model)
    if next(model.parameters(), None) is None:
        raise ValueError(f"`model`, a {type(model).__name__}, must have parameters")
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"`model` must have finite weights, and `{name}` has others")
    _check_example(model, example)
    return model


def _check_example(model: nn.Module, example: torch.Tensor) -> None:
    weight = next(model.parameters())
    if not isinstance(example, torch.Tensor) or example.layout != torch.strided:
        raise ValueError(f"`example` must be a dense tensor, not a {type(example).__name__}")
    if example.ndim != 4 or example.numel() == 0 or not example.is_floating_point():
        raise ValueError(
            f"`example` of shape {tuple(example.shape)} and {example.dtype} must be one or more "
            "images (B, in_channels, H, W) in floating point"
        )
    if example.device != weight.device:
        raise ValueError(f"`example` on {example.device} must be on {weight.device}, as the model")
    if not example.isfinite().all():
        raise ValueError("`example` must be finite: outputs are compared on it")
    try:
        with torch.inference_mode():
            model(example[:1].to(weight.dtype))
    except ValueError as error:
        raise ValueError(f"`example` of shape {tuple(example.shape)}: {error}") from None
    except Exception as error:  # torch has many kinds for images that do not fit
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise ValueError(
            f"`example` of shape {tuple(example.shape)} must be images that `model` takes: {reason}"
        ) from None
