"""The choice among equal forms of a model, by a short measurement on its device.

The mixing, the layout of images in memory, how many go through the network at once, and whether it
is compiled: none of these is always good. What is cheap to try is timed on few images. The compiler
takes longer than all the rest, so only the form that it is likely to help most is compiled.
"""

import copy
import math
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from tqdm import tqdm

from mixerlib.data.progress import progress_bar
from mixerlib.models.convmixer import ConvMixer
from mixerlib.speed.form import Form
from mixerlib.speed.inference import remembered
from mixerlib.speed.inference.fast_model import (
    TOLERANCE,
    FastModel,
    plain_form,
    relative_difference,
)
from mixerlib.speed.inference.folding import MIXINGS, Folded, fold, passes_channels
from mixerlib.speed.linear_layers import convolved
from mixerlib.speed.timing import race

CHECKED = 2  # images of the example whose outputs are compared
PROBES = (16, 8, 4, 2, 1)  # images of a race on a CPU: as many as take no longer than `PATIENCE`
PATIENCE = 0.05  # seconds
LONG = 0.25  # seconds of a run of more images at once than those
ROUNDS = 3  # timed runs of each candidate, in turn with the others'
FAR = 1.5  # times the fastest one's seconds: candidates beyond are not run again
MAP_BYTES = 2**21  # about what a core's caches hold
WORTH_COMPILING = 0.1  # the share of the time that the compiler could save, or it is not asked
STEPS = 3  # of the progress bar
PLAIN = Form()


@dataclass(frozen=True)
class Trial:
    """What came out when a form was tried."""

    form: Form
    difference: float = math.nan  # from the model in float64, as a share of the outputs' scale
    speed: float = math.nan  # images in a second, in the least disturbed run
    note: str = ""  # why it is no candidate


@dataclass(frozen=True)
class Choice:
    """What `optimize_for_inference` tried on the example, and what it took. Prints as a table."""

    form: Form
    trials: tuple[Trial, ...]
    setting: str  # the example, the dtype and the device

    def __str__(self) -> str:
        lines = [
            self.setting,
            "  mixing       folded layout at once compiled  images/s  difference",
        ]
        for trial in self.trials:
            form = trial.form
            rate = "-" if math.isnan(trial.speed) else f"{trial.speed:,.0f}"
            difference = "-" if math.isnan(trial.difference) else f"{trial.difference:.0e}"
            lines.append(
                f"{'*' if form == self.form else ' '} {form.mixing:12}"
                f" {'yes' if form.folded else 'no':6} {'NHWC' if form.channels_last else 'NCHW':6}"
                f" {form.at_once or 'all':>7} {'yes' if form.compile else 'no':8} {rate:>9}"
                f"  {difference:>10}  {trial.note}".rstrip()
            )
        return "\n".join(lines)


class Trials:
    """The forms of one model that were tried on one example: which may be used, and how fast."""

    def __init__(self, model: nn.Module, example: torch.Tensor, dtype: torch.dtype):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.example, self.dtype = example, dtype
        self.trials: dict[Form, Trial] = {}
        self.usable: dict[Form, FastModel] = {}
        shown = example[:CHECKED]
        exact = torch.float32 if example.device.type == "mps" else torch.float64
        with torch.inference_mode():
            self.expected = copy.deepcopy(self.model).to(exact)(shown.to(exact))
            rounded = copy.deepcopy(self.model).to(dtype)(shown.to(dtype))
        self.limit = max(TOLERANCE, 2 * relative_difference(self.expected, rounded))

    def rewritten(self) -> list[Form]:
        """The forms in which the model is rewritten and may win."""
        on_cpu = self.example.device.type == "cpu"
        if not isinstance(fold(self.model, self.example), Folded):
            linear = sum(type(layer) is nn.Linear for layer in self.model.modules())
            return [Form("convolution")] if on_cpu and linear > 1 else []  # one is but the head
        needless = {"one matrix"} if type(self.model) is ConvMixer else set()  # it is one already
        if not passes_channels(self.model):
            needless.add("in place")  # nothing to leave there
        if on_cpu:
            needless.add("linear")  # on the CPU of our records, convolutions are quicker
        return [Form(mixing, folded=True) for mixing in MIXINGS if mixing not in needless]

    def network(self, form: Form) -> nn.Module:
        """A copy of the model, rewritten for a form."""
        if form.folded:
            return fold(self.model, self.example, form.mixing)
        return convolved(self.model) if form.convolved else copy.deepcopy(self.model)

    def prepare(self, form: Form) -> FastModel | None:
        """The model in this form; None, and a note, where it fails or its outputs differ."""
        if form in self.usable:
            return self.usable[form]
        try:
            fast = FastModel(self.network(form), form, self.example, self.dtype)
            shown = self.example[: max(CHECKED, fast.at_once if form.compile else 0)]
            difference = relative_difference(self.expected, fast(shown)[:CHECKED])
        except Exception as error:  # no compiler, no memory, no such operation: the note says so
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.trials[form] = Trial(form, note=f"failed: {reason}")
            return None
        correct = difference <= self.limit
        self.trials[form] = Trial(form, difference, note="" if correct else "differs")
        if correct:
            self.usable[form] = fast
        return fast if correct else None

    def measure(self, forms: Iterable[Form], count: int) -> None:
        """Race the forms that can be used on the first `count` images of the example."""
        images = self.example[:count]
        ready = {form: fast for form in forms if (fast := self.prepare(form)) is not None}
        if not ready:
            return
        runs = {form: lambda fast=fast: fast(images) for form, fast in ready.items()}
        timings = race(runs, ROUNDS, images.device, drop_behind=FAR, warm_up_calls=1)
        for form, timing in timings.items():
            self.trials[form] = replace(self.trials[form], speed=len(images) / timing.fastest)

    def product_seconds(self, form: Form, count: int) -> tuple[float, float]:
        """A form's seconds in its convolutions and linear layers, and in all, for `count` images:
        the less disturbed of two runs. What lies between the products is all that a compiler saves.
        """
        fast, images = self.usable[form], self.example[:count]
        runs: list[tuple[float, float]] = []
        inside, started = 0.0, 0.0

        def begin(*_: object) -> None:
            nonlocal started
            started = time.perf_counter()

        def end(*_: object) -> None:
            nonlocal inside
            inside += time.perf_counter() - started

        products = [m for m in fast.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        hooks = [layer.register_forward_pre_hook(begin) for layer in products]
        hooks += [layer.register_forward_hook(end) for layer in products]
        for _ in range(2):
            inside, start = 0.0, time.perf_counter()
            fast(images)
            runs.append((inside, time.perf_counter() - start))
        for hook in hooks:
            hook.remove()
        return min(runs, key=lambda run: run[1])

    def piece(self) -> int:
        """How many images compiled code should serve at once on a CPU: as many as fill `MAP_BYTES`
        with the features of a block; all of them where a model does not show its features.
        """
        forward_features = getattr(self.model, "forward_features", None)
        if forward_features is None:
            return len(self.example)
        with torch.inference_mode():
            features = forward_features(self.example[:1].to(next(self.model.parameters()).dtype))
        size = features.numel() * self.dtype.itemsize
        return max(1, min(len(self.example), MAP_BYTES // size))

    def fastest(self, forms: Iterable[Form] | None = None) -> Form | None:
        """The fastest of the forms that were timed, or of these."""
        timed = [
            form
            for form in (self.usable if forms is None else forms)
            if form in self.usable and not math.isnan(self.trials[form].speed)
        ]
        return max(timed, key=lambda form: self.trials[form].speed, default=None)


def _probed(trials: Trials) -> int:
    """How many images the forms are raced on: all on a GPU, a few on a CPU, fewer if it is slow."""
    batch = len(trials.example)
    if trials.example.device.type != "cpu":
        return batch
    few = min(batch, PROBES[-1])
    trials.measure([replace(PLAIN, at_once=few)], few)
    speed = trials.trials[replace(PLAIN, at_once=few)].speed
    fit = [n for n in PROBES if n <= batch and n / speed <= PATIENCE]
    return fit[0] if fit else few


def _search(trials: Trials, compile: bool | None, bar: tqdm) -> Form:
    """The fastest form: the mixing and the layout first, then how many at once, then compiled."""
    batch = len(trials.example)
    probed = _probed(trials)
    mixed = [PLAIN, *trials.rewritten()]
    if compile is not False:  # the compiler finds by itself what need not be copied
        mixed = [form for form in mixed if form.mixing != "in place"]
    mixed = [replace(form, channels_last=True, at_once=probed) for form in mixed]
    trials.measure([*mixed, replace(PLAIN, at_once=probed)], probed)
    first = trials.fastest(mixed)
    if first is not None:
        trials.measure([first, replace(first, channels_last=False)], probed)
    best = trials.fastest()
    if best is None:
        raise RuntimeError("no form of the model could be run:\n" + _notes(trials))
    bar.update()
    quick = batch / trials.trials[best].speed < PATIENCE
    probed = batch if quick or probed == batch else probed
    sizes = sorted({probed, probed // 2, batch // 4, batch // 8} - {0})
    sized = [replace(best, at_once=n) for n in sizes if n <= probed]
    trials.measure(sized, probed)
    best = trials.fastest(sized) or best
    best = _grown(trials, best) if best.at_once == probed else best
    bar.update()
    if compile is False:
        return best
    compiled = replace(best, compile=True)
    if trials.example.device.type == "cpu":
        compiled, to_gain = _predicted(trials, best, max(probed, best.at_once or 0))
        if compile is None and to_gain < WORTH_COMPILING:
            note = f"not tried: {to_gain:.0%} to gain at most"
            trials.trials[compiled] = Trial(compiled, note=note)
            return best
    if trials.prepare(compiled) is None:
        if compile:
            note = trials.trials[compiled].note
            raise RuntimeError(f"`compile`=True, but the compiler {note}")
        warnings.warn(
            f"the fast form is not compiled: {trials.trials[compiled].note}", stacklevel=3
        )
        return best
    bar.update()
    trials.measure([best, compiled], max(probed, compiled.at_once or 0))
    return compiled if compile else trials.fastest([best, compiled]) or best


def _grown(trials: Trials, best: Form) -> Form:
    """The form with twice as many images at once, and twice as many again, as long as that pays: a
    large product may be quicker than two small ones. Up to runs that should take `LONG`."""
    batch = len(trials.example)
    while (count := best.at_once or batch) < batch:
        count = min(2 * count, batch)
        if count / trials.trials[best].speed > LONG:
            break
        larger = replace(best, at_once=count)
        trials.measure([best, larger], count)
        if trials.fastest([best, larger]) != larger:
            break
        best = larger
    return best


def _predicted(trials: Trials, best: Form, count: int) -> tuple[Form, float]:
    """The form to compile on a CPU, and the share of the best form's time that this can save.

    It is the folded one with the fastest products, as the compiler joins what lies between them.
    """
    folded = [form for form in trials.usable if form.folded] or [best]
    seconds = {form: trials.product_seconds(form, count)[0] for form in folded}
    form = min(seconds, key=lambda form: seconds[form])
    _, whole = trials.product_seconds(best, count)
    at_once = max(best.at_once or count, trials.piece())
    return replace(form, at_once=at_once, compile=True), 1 - seconds[form] / whole


def _notes(trials: Trials) -> str:
    return "\n".join(f"{trial.form}: {trial.note}" for trial in trials.trials.values())


def _setting(model: nn.Module, example: torch.Tensor, dtype: torch.dtype) -> str:
    """What was measured, in a line: the model, the example, the dtype and the device."""
    shape, count = "×".join(map(str, example.shape[1:])), torch.get_num_threads()
    threads = f", {count} thread{'s' * (count > 1)}" if example.device.type == "cpu" else ""
    return (
        f"{type(model).__name__}, {len(example)} images of {shape}, {dtype} on "
        f"{example.device}{threads}"
    )


def optimize_for_inference(
    model: nn.Module,
    example: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
    compile: bool | None = None,
    remember: bool = True,
) -> FastModel:
    """The model in the form that is the fastest one for images like the example, on its device.

    Args:
        model: a model of mixerlib; another one is raced as it is, and on a CPU with its linear
            layers as convolutions. It may be compiled, in `DataParallel` or averaged, pruned or
            parametrized. It is left as it is.
        example: images (B, in_channels, H, W), as large and as many as will be usual.
        dtype: what to compute in. None: the model's own.
        compile: True or False, or None to measure whether it helps.
        remember: whether the choice is kept in a file (`MIXERLIB_CACHE`, or the user's cache
            folder) for the next call with such a model and images on this machine; the outputs are
            compared each time.

    The outputs are the model's in evaluation mode: within 1e-4 of their scale in float32 (`check`
    says how close), and where the plain model rounds more coarsely, no further off than twice that.
    The result's `choice` is what was measured. Chapter 19.

    Raises `ValueError` for a bad example or a model that cannot compute it, as one whose weights
    are NaN, on "meta", sharded or quantized; and `RuntimeError` when `compile` is True and the
    compiler cannot be used.

    >>> import torch
    >>> from mixerlib.models import create_model
    >>> from mixerlib.speed import check, optimize_for_inference
    >>> model, images = create_model("convmixer", dim=32, depth=2).eval(), torch.randn(4, 3, 32, 32)
    >>> fast = optimize_for_inference(model, images, compile=False, remember=False)
    >>> fast(images).shape, check(model, fast, images) < 1e-4
    (torch.Size([4, 10]), True)
    """
    model = plain_form(model, example)
    computed_in = next(model.parameters()).dtype
    example = example.detach().to(computed_in)  # in a coarser dtype all forms would differ
    dtype = computed_in if dtype is None else dtype
    asked = remembered.question(model, example, dtype, compile) if remember else ""
    trials = Trials(model, example, dtype)
    chosen = remembered.recall(asked) if remember else None
    if chosen is None or trials.prepare(chosen) is None:
        with progress_bar(total=STEPS, desc="choosing a fast form", delay=2) as bar:
            chosen = _search(trials, compile, bar)
        if remember:
            remembered.remember(asked, chosen)
    fast = trials.usable[chosen].eval()
    setting = _setting(model, example, dtype)
    fast.choice = Choice(chosen, tuple(trials.trials.values()), setting)
    return fast
