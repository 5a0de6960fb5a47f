"""What is timed, and the record of it: a case, its result, and a benchmark of several cases."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mixerlib import checks
from mixerlib.models import model_entry
from mixerlib.records import Provenance, parse_record, provenance
from mixerlib.speed.form import Form
from mixerlib.speed.load import Load
from mixerlib.speed.machine import Machine
from mixerlib.speed.timing import Timing, ratios
from mixerlib.speed.training_step import check_form

SCHEMA = "mixerlib benchmark 3"  # a record of another shape has another name here
SCHEMA_2 = "mixerlib benchmark 2"  # nothing was said of the load, and no rates were measured

IMPLEMENTATIONS = ("mixerlib", "listing", "timm", "fast")
TASKS = ("inference", "training", "as published")
# The names of the dtypes that a case may have → the dtypes
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LAYOUTS = {"contiguous": False, "channels_last": True}  # their names → a form's `channels_last`
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
DEPTHWISE = ("auto", "cudnn", "native")  # torch.backends.cudnn.depthwise_kernel


@dataclass(frozen=True)
class Case:
    """A model and how it is run. Raises `ValueError` for a value that does not exist.

    Args:
        model: a name of the registry.
        options: those of `create_model`.
        implementation: "mixerlib" is mixerlib's own module; "listing" and "timm" are the same model
            as others write it (`listing_form`, `timm_form`); "fast" is what
            `optimize_for_inference` makes of it, which chooses a form by itself.
        task: "inference" is one batch through the model in evaluation mode, without gradients;
            weights and images have the `dtype`. "training" is forward, cross-entropy, backward and
            a step of AdamW; weights are float32, and autocast computes in the `dtype`. "as
            published" is how SplitMixer's table 3 was timed: no gradients, but BatchNorm in
            training mode.
        batch: images in a step.
        image_size: pixels; None: the size that the model is meant for.
        dtype: "float32", "bfloat16" or "float16".
        form: one that a training step can have, too: the layout, compiled or not, and, of
            mixerlib's own SplitMixers, mixed by one matrix.
        compile_mode: of `torch.compile`, for a form that is compiled.
        depthwise: which depthwise kernels on a GPU; None: as torch is set.
    """

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    implementation: str = "mixerlib"
    task: str = "inference"
    batch: int = 64
    image_size: int | None = None
    dtype: str = "float32"
    form: Form = field(default_factory=Form)
    compile_mode: str = "default"
    depthwise: str | None = None

    def __post_init__(self):
        entry = model_entry(self.model, "model")
        known: dict[str, tuple[str | None, ...]]
        known = {"implementation": IMPLEMENTATIONS, "task": TASKS, "dtype": tuple(DTYPES)}
        known |= {"compile_mode": COMPILE_MODES, "depthwise": (None, *DEPTHWISE)}
        for name, values in known.items():
            checks.one_of(name, getattr(self, name), values)
        if "image_size" in self.options:
            raise ValueError("`options` must not hold `image_size`: a case has a field for it")
        size = entry.image_size if self.image_size is None else self.image_size
        object.__setattr__(self, "image_size", size)
        for name in ("batch", "image_size"):
            checks.positive_int(name, getattr(self, name))
        check_form(self.form)
        if self.compile_mode != "default" and not self.form.compile:
            raise ValueError(f"`compile_mode`={self.compile_mode!r} needs a form that is compiled")
        if self.implementation == "fast" and (self.task != "inference" or self.form != Form()):
            raise ValueError("`implementation`='fast' is for inference, and chooses its own form")

    @property
    def label(self) -> str:
        """The model's name, and what makes it another than the registry's."""
        options = (f"{name}={value}" for name, value in self.options.items())
        return " ".join([self.model, *options])

    @property
    def description(self) -> str:
        """How it is run, such as "timm, float32, channels_last, compiled"."""
        words = [] if self.implementation == "mixerlib" else [self.implementation]
        words += [self.form.mixing] * (self.form.mixing != "own")
        words += ["shifted sums"] * self.form.shifted + [self.dtype]
        if self.implementation != "fast":
            words.append("channels_last" if self.form.channels_last else "contiguous")
        if self.form.compile:
            mode = "" if self.compile_mode == "default" else f" ({self.compile_mode})"
            words.append(f"compiled{' by block' * self.form.by_block}{mode}")
        if self.depthwise is not None:
            words.append(f"depthwise {self.depthwise}")
        return ", ".join(words)


@dataclass(frozen=True)
class Result:
    """What one case was measured to take.

    Args:
        case: what was run.
        detail: what the fast form has chosen, or timm's version.
        seconds: of a step, which is one batch.
        images_per_second: by the median of the seconds.
        peak_memory_bytes: of tensors, in a step: weights, images and all that it makes.
    """

    case: Case
    detail: str | None
    seconds: Timing
    images_per_second: float
    peak_memory_bytes: int | None

    @property
    def chosen_form(self) -> Form | None:
        """The form that the fast implementation has chosen, as `detail` says it; None for others.

        Raises `ValueError` for a detail that says no form.
        """
        if self.case.implementation != "fast":
            return None
        words = (self.detail or "").partition(";")[0].split(", ")
        try:
            said = dict(word.split("=") for word in words)
            flags = {name: said[name] == "True" for name in ("folded", "channels_last", "compile")}
            at_once = None if said["at_once"] == "None" else int(said["at_once"])
            return Form(said["mixing"], at_once=at_once, **flags)
        except (KeyError, ValueError) as error:
            raise ValueError(f"`detail`={self.detail!r} must say a form: {error}") from None


@dataclass(frozen=True)
class Benchmark:
    """The cases of one race, or of one run in a row, and where they were measured.

    Args:
        name: of the benchmark.
        results: one for each case that could be run.
        left_out: cases that could not be run, and why.
        settings: what else a speed depends on, from `settings_here`.
        provenance: where and when they were measured.
        machine: what the device could do at best in the same rounds; None where it was not asked.
        load: what else the machine did meanwhile; None in older records.
        schema: the shape of the record.
    """

    name: str
    results: list[Result]
    left_out: list[str]
    settings: dict[str, Any]
    provenance: Provenance
    machine: Machine | None = None
    load: Load | None = None
    schema: str = SCHEMA

    @property
    def models(self) -> list[str]:
        """The names of the models in this race, in its order."""
        return list(dict.fromkeys(result.case.model for result in self.results))

    def speedup(self, base: Result | None, other: Result | None) -> Timing | None:
        """How many times as fast as `base` the other was, round by round, as `ratios` has it;
        None where there is no such result.

        Both must be results of this race: what two races gave was measured at two times, and its
        ratio is one of the hours as much as one of the models. Raises `ValueError` for a result of
        another one.

        >>> from mixerlib.speed import Case, benchmark
        >>> cases = [Case("convmixer", {"dim": 32, "depth": depth}, batch=4) for depth in (1, 2)]
        >>> report, again = benchmark(cases, rounds=3), benchmark(cases, rounds=3)
        >>> len(report.speedup(*report.results).runs)
        3
        >>> report.speedup(report.results[0], again.results[1])
        Traceback (most recent call last):
            ...
        ValueError: `other` is of another race than `base`: their ratio would be one of two hours
        """
        for name, result in (("base", base), ("other", other)):
            if result is not None and result not in self.results:
                first = "`base`" if name == "other" else "this one"
                raise ValueError(
                    f"`{name}` is of another race than {first}: their ratio would be one of two "
                    "hours"
                )
        if base is None or other is None:
            return None
        return ratios(base.seconds, other.seconds)

    def fastest(self, **values: Any) -> Result | None:
        """The fastest result whose case has these values of its fields, or of its form's fields;
        None where there is none. Raises `ValueError` for a name that is no such field.

        >>> from mixerlib.speed import Case, benchmark
        >>> report = benchmark([Case("convmixer", {"dim": 32, "depth": 2}, batch=4)], rounds=1)
        >>> report.fastest(implementation="mixerlib", compile=False).case.batch
        4
        >>> report.fastest(dtype="bfloat16") is None
        True
        """
        known = vars(Form()).keys() | Case.__dataclass_fields__.keys()
        for name in values.keys() - known:
            raise ValueError(f"`{name}` is not a field of a case or of its form")
        fit = [
            result
            for result in self.results
            if values.items() <= {**vars(result.case.form), **vars(result.case)}.items()
        ]
        return max(fit, key=lambda result: result.images_per_second, default=None)


def read_benchmark(path: str | Path) -> Benchmark:
    """Read a benchmark that `write_record` wrote, of this schema or of an earlier one.

    Errors as in `records.read_record`.
    """
    return parse_record(path, Benchmark, {SCHEMA_2: _of_schema_2})


def _of_schema_2(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"machine": None, "load": None, "schema": SCHEMA}


def has_measured(path: Path, cases: Sequence[Case], device: torch.device | str) -> bool:
    """Whether a record of just these cases lies there, measured on a device of this model.

    Raises `ValueError` when a record of others does, which must not be written over.
    """
    if not path.exists():
        return False
    record = read_benchmark(path)
    left_out = {reason.partition(": ")[0] for reason in record.left_out}
    expected = [case for case in cases if f"{case.label} ({case.description})" not in left_out]
    same_device = record.provenance.device_name == provenance(device).device_name
    if not same_device or [result.case for result in record.results] != expected:
        raise ValueError(f"{path} holds other measurements; name another folder")
    return True
