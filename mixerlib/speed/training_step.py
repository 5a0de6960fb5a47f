"""The equal forms of a training step, and which of them is the fastest here.

>>> import torch
>>> from mixerlib.models import create_model
>>> from mixerlib.speed import fastest_form, in_form
>>> model, images = create_model("splitmixer_i", dim=32, depth=2), torch.randn(4, 3, 32, 32)
>>> labels = torch.tensor([0, 1, 2, 3])
>>> form = fastest_form(model, images, labels, compile=False)  # measured
>>> net = in_form(model, form)  # computes as the model does, with its weights
>>> torch.nn.functional.cross_entropy(net(images), labels).backward()

A recipe names a form (`one_matrix`, `shifted`, `channels_last`, `compile`, `by_block`), or asks for
the fastest one with `fastest: true`. All forms have the same parameters and gradients, up to
rounding. Chapter 19 derives them and shows what each is worth.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.models.splitmixer import SplitMixer
from mixerlib.speed.compiling import compiled
from mixerlib.speed.form import Form
from mixerlib.speed.shifted_sums import with_shifted_sums
from mixerlib.speed.timing import race
from mixerlib.speed.whole_matrix import OneMatrix

ROUNDS = 5  # steps of each form, in turn with the others'; fewer when the time is up
SECONDS = 30.0  # after which no further round of a race begins
ON_A_CPU = 64  # images of the batch that are enough there
MIXINGS = ("own", "one matrix")  # those that a training step can have

Step = Callable[[], None]


def form_of_settings(settings: Mapping[str, bool]) -> Form:
    """The form that a recipe, a record or a checkpoint names by its fields `one_matrix`,
    `shifted`, `channels_last`, `compile` and `by_block`."""
    return Form(
        mixing="one matrix" if settings["one_matrix"] else "own",
        channels_last=settings["channels_last"],
        compile=settings["compile"],
        shifted=settings.get("shifted", False),
        by_block=settings.get("by_block", False),
    )


def settings_of_form(form: Form) -> dict[str, bool]:
    """The fields of a recipe that name a form of a training step. `ValueError` as `check_form`."""
    check_form(form)
    return {
        "one_matrix": form.mixing == "one matrix",
        "channels_last": form.channels_last,
        "compile": form.compile,
        "shifted": form.shifted,
        "by_block": form.by_block,
    }


def check_form(form: Form) -> None:
    """Raises `ValueError` for a form that is for inference alone."""
    if form.mixing not in MIXINGS or form.folded or form.at_once is not None:
        raise ValueError(
            f"`form`={form} must be one of a training step: `mixing` 'own' or 'one matrix', not "
            "folded, with all images at once"
        )


def in_form(model: nn.Module, form: Form, mode: str | None = None) -> nn.Module:
    """The model as a training step of this form calls it. Its weights take on the form's layout.
    A `shifted` form, and one compiled `by_block`, stay in the mode that the model is in now.
    `mode` is `torch.compile`'s, for a form that is compiled.

    Images should have that layout too: `form.memory_format`. Raises `ValueError` for a form that is
    for inference alone, and for one matrix of another model than a SplitMixer.
    """
    check_form(form)
    model.to(memory_format=form.memory_format)
    net = with_shifted_sums(model) if form.shifted else model
    net = OneMatrix(net) if form.mixing == "one matrix" else net
    return compiled(net, form, mode) if form.compile else net


def fastest_form(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    dtype: torch.dtype | None = None,
    compile: bool = True,
) -> Form:
    """The form whose step takes the least time on this device, by a short measurement.

    A step here is forward, cross-entropy and backward; the optimizer's part is the same in all
    forms. A compiled form that cannot be run, as without a compiler, is left out with a warning.
    The model and torch's random numbers stay as they were.

    Args:
        model: in training or in evaluation mode; the step is one of training.
        images: a batch (B, in_channels, H, W) as large as the steps will have; on a CPU its first
            64 stand for it.
        labels: their classes (B,).
        dtype: that of autocast; None for float32.
        compile: whether compiled forms are tried, too.
    """
    if images.device.type == "cpu":
        images, labels = images[:ON_A_CPU], labels[:ON_A_CPU]
    mixings = MIXINGS if type(model) is SplitMixer else ("own",)
    seconds: dict[Form, float] = {}

    def measure(forms: list[Form]) -> None:
        steps = {}
        for form in forms:
            step = step_of(copy.deepcopy(model).train(), form, images, labels, dtype)
            if _can_run(form, step):
                steps[form] = step
        timings = race(steps, ROUNDS, images.device, SECONDS) if steps else {}
        seconds.update({form: timing.median for form, timing in timings.items()})

    def fastest() -> Form:
        return min(seconds, key=seconds.__getitem__)

    measure([Form(mixing, channels_last=last) for mixing in mixings for last in (False, True)])
    if compile:
        last = fastest().channels_last  # the compiler may turn the mixings' order round
        measure([Form(mixing, channels_last=last, compile=True) for mixing in mixings])
        if fastest().compile:
            measure([fastest(), replace(fastest(), channels_last=not last)])
        torch.compiler.reset()  # or these would count among the models that may be compiled
    return fastest()


def _can_run(form: Form, step: Step) -> bool:
    """Whether the step can be made. A compiled form that fails is warned of; others raise."""
    try:
        step()
    except Exception as error:  # of a compiler that is missing, torch raises many kinds
        if not form.compile:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(f"{form} is left out, it cannot be run: {reason}", stacklevel=4)
        return False
    return True


def step_of(
    model: nn.Module,
    form: Form,
    images: torch.Tensor,
    labels: torch.Tensor,
    dtype: torch.dtype | None,
) -> Step:
    """Forward, cross-entropy and backward of the model in a form, on always the same batch.

    Args:
        model: its gradients are deleted after each step.
        form: one of a training step.
        images: (B, in_channels, H, W), in any layout.
        labels: their classes (B,).
        dtype: that of autocast; None for float32.
    """
    net, images = in_form(model, form), images.contiguous(memory_format=form.memory_format)

    def step() -> None:
        mixed = torch.autocast(images.device.type, dtype) if dtype else nullcontext()
        with mixed:
            logits = net(images)
        F.cross_entropy(logits.float(), labels).backward()
        model.zero_grad()

    return step
