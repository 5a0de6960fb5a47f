"""The equal forms of a training step, and which of them is the fastest here.

    form = fastest_form(model, images, labels)       # measured: half a minute, with a compiler more
    net = in_form(model, form)                       # computes as the model does, with its weights
    F.cross_entropy(net(images), labels).backward()  # the gradients are the model's

A recipe names a form (`one_matrix`, `channels_last`, `compile`), or asks for the fastest one with
`fastest: true`. All forms have the same parameters and gradients, up to rounding. Chapter 19
derives them and shows what each is worth.
"""

import copy
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.models.splitmixer import SplitMixer
from mixerlib.speed.timing import race
from mixerlib.speed.whole_matrix import OneMatrix

ROUNDS = 5  # steps of each form, in turn with the others'; fewer when the time is up
SECONDS = 30.0  # after which no further round of a race begins
ON_A_CPU = 64  # images of the batch that are enough there


@dataclass(frozen=True)
class Form:
    """One way to compute a training step."""

    one_matrix: bool = False  # each channel mixing of a SplitMixer as one h×h product
    channels_last: bool = False
    compile: bool = False


def in_form(model: nn.Module, form: Form) -> nn.Module:
    """The model as a training step of this form calls it. Its weights take on the form's layout.

    Images should have that layout too. Raises `ValueError` for `one_matrix` of another model than a
    SplitMixer.
    """
    model.to(memory_format=layout(form))
    net = OneMatrix(model) if form.one_matrix else model
    return torch.compile(net, dynamic=False) if form.compile else net


def layout(form: Form) -> torch.memory_format:
    """The layout of images and weights in memory."""
    return torch.channels_last if form.channels_last else torch.contiguous_format


def fastest_form(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    dtype: torch.dtype | None = None,
    compile: bool = True,
) -> Form:
    """The form whose step takes the least time on this device, by a short measurement.

    `images` (B, in_channels, H, W) and `labels` (B,) are a batch as large as the steps will have;
    on a CPU its first 64 images stand for it. `dtype` is that of autocast, None for float32.
    Without `compile` only uncompiled forms are tried. A compiled one that cannot be run, as without
    a compiler, is left out with a warning. A step here is forward, cross-entropy and backward; the
    optimizer's part is the same in all forms. The model and torch's random numbers stay as they
    were.
    """
    if images.device.type == "cpu":
        images, labels = images[:ON_A_CPU], labels[:ON_A_CPU]
    mixings = [False, True] if type(model) is SplitMixer else [False]
    seconds: dict[Form, float] = {}

    def measure(forms: list[Form]) -> None:
        steps = {}
        for form in forms:
            step = step_of(copy.deepcopy(model).train(), form, images, labels, dtype)
            try:
                step()
            except Exception as error:  # of a compiler that is missing, torch raises many kinds
                if not form.compile:
                    raise
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                warnings.warn(f"{form} is left out, it cannot be run: {reason}", stacklevel=3)
                continue
            steps[form] = step
        timings = race(steps, ROUNDS, images.device, SECONDS) if steps else {}
        seconds.update({form: timing.median for form, timing in timings.items()})

    def fastest() -> Form:
        return min(seconds, key=seconds.__getitem__)

    measure([Form(one, last) for one in mixings for last in (False, True)])
    if compile:
        last = fastest().channels_last  # the compiler may turn the mixings' order round
        measure([Form(one, last, True) for one in mixings])
        if fastest().compile:
            measure([fastest(), replace(fastest(), channels_last=not last)])
        torch.compiler.reset()  # or these would count among the models that may be compiled
    return fastest()


def step_of(
    model: nn.Module,
    form: Form,
    images: torch.Tensor,
    labels: torch.Tensor,
    dtype: torch.dtype | None,
) -> Callable[[], None]:
    """Forward, cross-entropy and backward of the model in a form, on always the same batch."""
    net, images = in_form(model, form), images.contiguous(memory_format=layout(form))

    def step() -> None:
        mixed = torch.autocast(images.device.type, dtype) if dtype else nullcontext()
        with mixed:
            logits = net(images)
        F.cross_entropy(logits.float(), labels).backward()
        model.zero_grad()

    return step
