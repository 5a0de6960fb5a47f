"""Speed: races that can be compared, the roofline, and equal forms that are faster. Part V.

timings = race({"whole": lambda: whole(x), "part": lambda: part(x)})
fast = optimize_for_inference(model, images)
"""

from mixerlib.speed.bench import (
    REPETITIONS,
    Benchmark,
    Case,
    Result,
    benchmark,
    published_table,
    read_benchmark,
)
from mixerlib.speed.inference import (
    FastModel,
    check,
    choice,
    export_onnx,
    fold,
    optimize_for_inference,
    rewritings,
)
from mixerlib.speed.inference.choice import Way, relative_difference
from mixerlib.speed.matrix import read_matrix
from mixerlib.speed.peers import listing_form, timm_form
from mixerlib.speed.rooflines import Roofline, by_kind, measure_machine, read_roofline, roofline
from mixerlib.speed.timing import (
    Timing,
    coverage,
    race,
    ratios,
    stopwatch,
    synchronize,
    warm_up,
)
from mixerlib.speed.training_step import Form, fastest_form, in_form
from mixerlib.speed.whole_matrix import OneMatrix

__all__ = [
    "REPETITIONS",
    "Benchmark",
    "Case",
    "FastModel",
    "Form",
    "OneMatrix",
    "Result",
    "Roofline",
    "Timing",
    "Way",
    "benchmark",
    "by_kind",
    "check",
    "choice",
    "coverage",
    "export_onnx",
    "fastest_form",
    "fold",
    "in_form",
    "listing_form",
    "measure_machine",
    "optimize_for_inference",
    "published_table",
    "race",
    "ratios",
    "read_benchmark",
    "read_matrix",
    "read_roofline",
    "relative_difference",
    "rewritings",
    "roofline",
    "stopwatch",
    "synchronize",
    "timm_form",
    "warm_up",
]
