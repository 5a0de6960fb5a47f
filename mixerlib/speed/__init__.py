"""Speed: races that can be compared, the roofline, and equal forms that are faster. Part V.

>>> import torch
>>> from mixerlib.models import create_model
>>> from mixerlib.speed import check, optimize_for_inference, race, ratios
>>> model, images = create_model("splitmixer_i", dim=64, depth=2).eval(), torch.randn(8, 3, 32, 32)
>>> fast = optimize_for_inference(model, images, compile=False, remember=False)
>>> check(model, fast, images) < 1e-5  # the same outputs
True
>>> timings = race({"model": lambda: model(images), "fast": lambda: fast(images)}, rounds=3)
>>> speedup = ratios(timings["model"], timings["fast"]).median
"""

from mixerlib.speed import (
    form_text,
    machine_text,
    pair_text,
    race_text,
    roofline_gains,
    roofline_text,
    training_text,
)
from mixerlib.speed.bench import Prepared, benchmark, peer_forms
from mixerlib.speed.cases import DTYPES, Benchmark, Case, Result, has_measured, read_benchmark
from mixerlib.speed.deploy import (
    ARTEFACTS,
    RUNTIMES,
    Artefact,
    Runtime,
    export_model,
    load_artefact,
    missing_operators,
    onnx_operators,
    with_numeric_padding,
)
from mixerlib.speed.environment import extra_memory, keeps_memory, memory_kept, settings_here
from mixerlib.speed.form import Form
from mixerlib.speed.inference import (
    FastModel,
    check,
    choice,
    export_onnx,
    fold,
    folding,
    optimize_for_inference,
    relative_difference,
)
from mixerlib.speed.linear_layers import by_convolution, convolved
from mixerlib.speed.load import Load, Watch, load_now, recordable, require_quiet
from mixerlib.speed.machine import (
    DATA_SHEETS,
    DataSheet,
    Gauge,
    Machine,
    Rates,
    measure_machine,
)
from mixerlib.speed.matrix import read_matrix
from mixerlib.speed.page_times import PageRecord, PageTimes, read_page_record
from mixerlib.speed.peers import listing_form, timm_form, timm_is_installed
from mixerlib.speed.published_table3 import REPETITIONS, TABLE_3, published_table
from mixerlib.speed.races import read_races
from mixerlib.speed.reports import (
    FORMS,
    PLAIN,
    STOCK,
    by_form,
    fastest,
    fastest_forms,
    model_races,
    read_by_device,
    speedups_over,
)
from mixerlib.speed.roof_page import roofline_machine
from mixerlib.speed.roofline_report import (
    Bills,
    bills,
    by_role,
    roles_of,
    speed_band,
)
from mixerlib.speed.roofline_runs import roofline, roofline_race
from mixerlib.speed.roofline_text import label_of, the_layers
from mixerlib.speed.rooflines import (
    ROLES,
    Layer,
    Part,
    Roofline,
    RooflineRace,
    by_kind,
    read_roofline_race,
    role_of,
    seconds_together,
)
from mixerlib.speed.shifted_sums import with_shifted_sums
from mixerlib.speed.table3_report import RoofReading, Table3, finer_is_faster, roof_readings
from mixerlib.speed.timing import Timing, coverage, race, ratios, stopwatch, synchronize, warm_up
from mixerlib.speed.training_step import (
    fastest_form,
    form_of_settings,
    in_form,
    settings_of_form,
)
from mixerlib.speed.whole_matrix import OneMatrix

__all__ = [
    "ARTEFACTS",
    "DATA_SHEETS",
    "DTYPES",
    "FORMS",
    "PLAIN",
    "REPETITIONS",
    "ROLES",
    "RUNTIMES",
    "STOCK",
    "TABLE_3",
    "Artefact",
    "Benchmark",
    "Bills",
    "Case",
    "DataSheet",
    "FastModel",
    "Form",
    "Gauge",
    "Layer",
    "Load",
    "Machine",
    "OneMatrix",
    "PageRecord",
    "PageTimes",
    "Part",
    "Prepared",
    "Rates",
    "Result",
    "RoofReading",
    "Roofline",
    "RooflineRace",
    "Runtime",
    "Table3",
    "Timing",
    "Watch",
    "benchmark",
    "bills",
    "by_convolution",
    "by_form",
    "by_kind",
    "by_role",
    "check",
    "choice",
    "convolved",
    "coverage",
    "export_model",
    "export_onnx",
    "extra_memory",
    "fastest",
    "fastest_form",
    "fastest_forms",
    "finer_is_faster",
    "fold",
    "folding",
    "form_of_settings",
    "form_text",
    "has_measured",
    "in_form",
    "keeps_memory",
    "label_of",
    "listing_form",
    "load_artefact",
    "load_now",
    "machine_text",
    "measure_machine",
    "memory_kept",
    "missing_operators",
    "model_races",
    "onnx_operators",
    "optimize_for_inference",
    "pair_text",
    "peer_forms",
    "published_table",
    "race",
    "race_text",
    "ratios",
    "read_benchmark",
    "read_by_device",
    "read_matrix",
    "read_page_record",
    "read_races",
    "read_roofline_race",
    "recordable",
    "relative_difference",
    "require_quiet",
    "role_of",
    "roles_of",
    "roof_readings",
    "roofline",
    "roofline_gains",
    "roofline_machine",
    "roofline_race",
    "roofline_text",
    "seconds_together",
    "settings_here",
    "settings_of_form",
    "speed_band",
    "speedups_over",
    "stopwatch",
    "synchronize",
    "the_layers",
    "timm_form",
    "timm_is_installed",
    "training_text",
    "warm_up",
    "with_numeric_padding",
    "with_shifted_sums",
]
