"""A list of races, written down once: models, kernel sizes, layouts, dtypes, compiled or not.

>>> from mixerlib.speed import read_matrix
>>> for name, cases in read_matrix("book/sweeps/bench_matrix.yaml", "cuda").items():
...     pass  # report = benchmark(cases, name=name, device="cuda", leave_out=True)

The file holds a list `races`. Each entry stands for one race of every model × kernel size × dtype;
in it each layout runs plainly, compiled in each of the modes `compile`, and with each of the cuDNN
kernels `depthwise`:

races:
- models: [convmixer, splitmixer_i]
  options: {dim: 256, depth: 2, patch_size: 7}   # of all of them
  kernel_sizes: [3, 5, 7, 9]
  dtypes: [float32, bfloat16]
  layouts: [contiguous, channels_last]
  compile: [default]             # may be left out, like the next one
  depthwise: [cudnn, native]     # on a GPU only
  batch: 64
  image_size: 224
"""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from mixerlib import checks
from mixerlib.files import read_yaml
from mixerlib.models import check_options, model_entry
from mixerlib.speed.cases import LAYOUTS, Case
from mixerlib.speed.form import Form

LISTS = {"models": str, "kernel_sizes": int, "dtypes": str, "layouts": str}
MAY_BE_EMPTY = {"compile": str, "depthwise": str}
MOST_CASES = 10_000  # of an entry
KEYS = (*LISTS, "options", "batch", "image_size")


def read_matrix(path: str | Path, device: torch.device | str) -> dict[str, list[Case]]:
    """The races that a file lists, by name, in its order. A race that is listed again is left out.

    Raises `ValueError` for a file of another form, naming the entry and the rule, and
    `FileNotFoundError` for one that is not there.
    """
    path = Path(path)
    all_races: dict[str, list[Case]] = {}
    on_gpu = torch.device(device).type == "cuda"
    for number, entry in enumerate(read_yaml(path, "races")):
        where = f"{path}: `races[{number}]`"
        checks.table(where, entry, KEYS, MAY_BE_EMPTY)
        try:
            _check(entry)
            races = _races(entry, on_gpu)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        for name, cases in races.items():
            if all_races.setdefault(name, cases) != cases:  # their records would be one file
                raise ValueError(f"{where} lists a second race of the name {name!r}")
    return all_races


def _check(entry: dict[str, Any]) -> None:
    checks.of_type("options", entry["options"], dict[str, Any])
    count = 1
    for key, kind in (LISTS | MAY_BE_EMPTY).items():
        values = checks.list_of(key, entry.get(key, []), kind, empty=key in MAY_BE_EMPTY)
        count *= max(1, len(values))
    if count > MOST_CASES:
        raise ValueError(f"{count:,} cases are above {MOST_CASES:,}")
    for model in entry["models"]:
        model_entry(model, "models")
        check_options(model, entry["options"])


def _races(entry: dict[str, Any], on_gpu: bool) -> dict[str, list[Case]]:
    kernels = entry.get("depthwise", []) if on_gpu else []
    races = {}
    for model, size, dtype in product(entry["models"], entry["kernel_sizes"], entry["dtypes"]):
        cases = []
        for layout in entry["layouts"]:
            plain = Case(
                model,
                entry["options"] | {"kernel_size": size},
                batch=entry["batch"],
                image_size=entry["image_size"],
                dtype=dtype,
                form=Form(channels_last=LAYOUTS[checks.one_of("layout", layout, tuple(LAYOUTS))]),
            )
            cases.append(plain)
            compiled = replace(plain.form, compile=True)
            cases += [
                replace(plain, form=compiled, compile_mode=mode)
                for mode in entry.get("compile", [])
            ]
            cases += [replace(plain, depthwise=name) for name in kernels]
        races[f"{model}-k{size}-{dtype}"] = cases
    return races
