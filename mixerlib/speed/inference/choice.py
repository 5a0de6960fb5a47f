"""The choice among equal forms of a model, by a short measurement on its device.

    fast = optimize_for_inference(model, images, dtype=torch.bfloat16)

The rewriting, the layout of images in memory, how many go through the network at once, and whether
it is compiled: none of these is always good, so each is timed.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from mixerlib.models.convmixer import ConvMixer
from mixerlib.speed.inference.rewritings import MIXINGS, Folded, fold

LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
AS_IT_IS = "as it is"
TOLERANCE = 1e-4  # of the outputs' scale: a form that differs by more is not chosen, unless the
# plain model's own rounding is as coarse: in bfloat16, or in a GPU's TF32 convolutions
CHECKED = 8  # images of the example whose outputs are compared
ROUNDS = 5  # timed runs of each candidate, in turn with the others'
FAR = 2.0  # times the fastest one's seconds: candidates beyond are not run again


@dataclass(frozen=True)
class Way:
    """One way to compute a model."""

    rewriting: str  # "as it is", or the form of the folded model's mixing
    layout: str  # "NCHW", or "NHWC": the channels of a place side by side
    at_once: int  # images that go through the network together
    compiled: bool


@dataclass(frozen=True)
class Trial:
    """What came out when a way was tried."""

    way: Way
    difference: float = math.nan  # from the model in float64, as a share of the outputs' scale
    seconds: float = math.nan  # for the example, in the least disturbed run
    note: str = ""  # why it is no candidate


@dataclass(frozen=True)
class Choice:
    """What `optimize_for_inference` tried on the example, and what it took. Prints as a table."""

    way: Way
    trials: tuple[Trial, ...]
    setting: str  # the example, the dtype and the device
    images: int

    def __str__(self) -> str:
        lines = [self.setting, "  rewriting    layout at once compiled  images/s  difference"]
        for trial in self.trials:
            way = trial.way
            rate = "-" if math.isnan(trial.seconds) else f"{self.images / trial.seconds:,.0f}"
            gap = "-" if math.isnan(trial.difference) else f"{trial.difference:.0e}"
            lines.append(
                f"{'*' if way == self.way else ' '} {way.rewriting:12} {way.layout:6}"
                f" {way.at_once:7} {'yes' if way.compiled else 'no':8} {rate:>9}  {gap:>10}"
                f"  {trial.note}".rstrip()
            )
        return "\n".join(lines)


class FastModel(nn.Module):
    """A model in a fast form: images (B, in_channels, H, W) → logits (B, `num_classes`).

    For images of the example's size, in any number and floating dtype, on its device; the logits
    have the images' dtype and carry no gradient. Compiled code serves batches of `at_once` images,
    and what is left over takes the same form uncompiled, so that nothing is ever compiled again.

    Raises `ValueError` for images of another size or on another device.
    """

    def __init__(self, net: nn.Module, way: Way, example: torch.Tensor, dtype: torch.dtype):
        super().__init__()
        self.way, self.dtype = way, dtype
        self.shape, self.device = tuple(example.shape[1:]), example.device
        self.net = net.to(dtype).to(memory_format=LAYOUTS[way.layout])
        self.code = self.compiled(example) if way.compiled else None
        self.choice: Choice | None = None

    def arranged(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.dtype).contiguous(memory_format=LAYOUTS[self.way.layout])

    @torch.inference_mode()
    def compiled(self, example: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """The network as compiled code for `at_once` images, with its weights frozen in.

        The graph is exported and compiled as it stands. `torch.compile` would also guard it against
        changes, and compile it again when such a thing as the number of threads changes.
        """
        x = self.arranged(example[: self.way.at_once])
        options = {"freezing": True, "layout_optimization": self.way.layout == "NHWC"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own deprecations
            graph = torch.export.export(self.net, (x,)).module()
            return torch._inductor.compile(graph, [x], options=options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape or x.device != self.device:
            raise ValueError(
                f"`x` of shape {tuple(x.shape)} on {x.device} must be images (B, "
                f"{', '.join(map(str, self.shape))}) on {self.device}: this fast form was made "
                "and measured for that size"
            )
        with torch.inference_mode(), torch.autocast(x.device.type, enabled=False):
            logits = []
            for part in self.arranged(x).split(self.way.at_once):
                whole = self.code is not None and len(part) == self.way.at_once
                logits.append(self.code(part) if whole else self.net(part))
            logits = torch.cat(logits).to(x.dtype)
        return logits.clone()  # outside of inference mode: an ordinary tensor


def relative_difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """The largest absolute difference, as a share of the largest absolute value expected."""
    expected, found = expected.cpu().double(), found.cpu().double()
    scale = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return ((found - expected).abs().max() / scale).item()


@torch.inference_mode()
def check(model: nn.Module, fast: nn.Module, images: torch.Tensor) -> float:
    """How far the fast form's logits are from the model's, as a share of their scale.

    The model computes in evaluation mode and in its own dtype; it is not touched.
    """
    return relative_difference(copy.deepcopy(model).eval()(images), fast(images))


def time_in_turn(candidates: dict[Way, FastModel], example: torch.Tensor) -> dict[Way, float]:
    """Seconds of each candidate for the example: the shortest of `ROUNDS` runs, as what disturbs a
    run only makes it longer. All are run in turn, so that it meets all of them; those that fall far
    behind are not run again."""
    seconds = dict.fromkeys(candidates, math.inf)
    running = list(candidates)
    for turn in range(ROUNDS):
        for way in running:
            synchronize(example.device)
            start = time.perf_counter()
            candidates[way](example)
            synchronize(example.device)
            seconds[way] = min(seconds[way], time.perf_counter() - start)
        if turn > 0:  # one run alone may have been disturbed
            running = [way for way in running if seconds[way] <= FAR * min(seconds.values())]
    return seconds


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has done what it was given; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def optimize_for_inference(
    model: nn.Module,
    example: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
    compile: bool | None = None,
) -> FastModel:
    """The model in the form that is the fastest one for images like the example, on its device.

    `example` is a batch of images (B, in_channels, H, W), as large and as many as will be usual.
    `dtype` is what to compute in (default: the model's own); `compile` True or False, or None to
    measure whether it helps, which takes up to a minute for a network of 256/8. The outputs are the
    model's in evaluation mode: within 1e-4 of their scale in float32 (`check` says how close), and
    where the plain model rounds more coarsely, no further off than twice that. The original is left
    as it is. The result's `choice` tells what was measured.

    Raises `ValueError` for a bad example, and `RuntimeError` when `compile` is True and the
    compiler cannot be used.
    """
    weight = next(model.parameters())
    if example.ndim != 4 or len(example) == 0 or not example.is_floating_point():
        raise ValueError(
            f"`example` of shape {tuple(example.shape)} and {example.dtype} must be one or more "
            "images (B, in_channels, H, W) in floating point"
        )
    if example.device != weight.device:
        raise ValueError(f"`example` on {example.device} must be on {weight.device}, as the model")
    dtype = weight.dtype if dtype is None else dtype

    plain = copy.deepcopy(model).eval().requires_grad_(False)
    forms = {AS_IT_IS: plain} | {form: fold(model, example, form) for form in MIXINGS}
    if not isinstance(forms["linear"], Folded):
        forms = {AS_IT_IS: plain}
    elif type(model) is ConvMixer:
        del forms["one matrix"]  # its mixing is one
    shown, exact = example[:CHECKED], torch.float32 if weight.is_mps else torch.float64
    with torch.inference_mode():
        expected = copy.deepcopy(plain).to(exact)(shown.to(exact))
        rounded = copy.deepcopy(plain).to(dtype)(shown.to(dtype))
    limit = max(TOLERANCE, 2 * relative_difference(expected, rounded))
    trials: dict[Way, Trial] = {}
    usable: dict[Way, FastModel] = {}

    def try_out(ways: Iterable[Way]) -> None:
        new = {}
        for way in ways:
            try:
                fast = FastModel(copy.deepcopy(forms[way.rewriting]), way, example, dtype)
                difference = relative_difference(expected, fast(example)[:CHECKED])
            except Exception as error:  # no compiler, no memory, no such operation: it is told
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                trials[way] = Trial(way, note=f"failed: {reason}")
                continue
            trials[way] = Trial(way, difference)
            if difference <= limit:
                new[way] = fast
            else:
                trials[way] = Trial(way, difference, note="differs")
        measure(new)

    def measure(candidates: dict[Way, FastModel]) -> None:
        for way, seconds in (time_in_turn(candidates, example) if candidates else {}).items():
            usable[way] = candidates[way]
            trials[way] = replace(trials[way], seconds=seconds)

    def fastest(count: int = 1, compiled: bool | None = None) -> list[Way]:
        ways = [way for way in usable if compiled in (None, way.compiled)]
        return sorted(ways, key=lambda way: trials[way].seconds)[:count]

    batch = len(example)
    try_out(Way(form, layout, batch, False) for form in forms for layout in LAYOUTS)
    best = fastest()[0]
    try_out(replace(best, at_once=n) for n in sorted({batch // 4, batch // 8, batch // 16} - {0}))
    if compile is not False:
        best = fastest()[0]
        ranked = dict.fromkeys(way.rewriting for way in fastest(len(usable)))
        try_out(replace(best, rewriting=form, compiled=True) for form in list(ranked)[:2])
        other = {"NCHW": "NHWC", "NHWC": "NCHW"}
        try_out(replace(way, layout=other[way.layout]) for way in fastest(compiled=True))
    candidates = fastest(3, True if compile else None)
    if not candidates:
        notes = {trial.note for way, trial in trials.items() if way.compiled}
        raise RuntimeError(f"`compile`=True, but the compiler {'; '.join(notes)}")
    measure({way: usable[way] for way in candidates})  # once more, now all in the same minute

    threads = f", {torch.get_num_threads()} threads" if example.device.type == "cpu" else ""
    shape = "×".join(map(str, example.shape[1:]))
    setting = (
        f"{type(model).__name__}, {batch} images of {shape}, {dtype} on {example.device}{threads}"
    )
    chosen = min(candidates, key=lambda way: trials[way].seconds)
    fast = usable[chosen].eval()
    fast.choice = Choice(chosen, tuple(trials.values()), setting, batch)
    return fast
