"""What races of training steps say, in a table and sentences for the pages. Chapter 17b.

`races` is always what `model_races` gives for one device: model → the race that it ran in.
"""

from mixerlib.models import model_entry
from mixerlib.pages import LABELS, span, table
from mixerlib.speed.race_text import NOTHING, Races, distinct, speed, times
from mixerlib.speed.reports import PLAIN, fastest_forms
from mixerlib.speed.timing import Timing

WORDS = {"shifted": "made of shifted sums", "by_block": "compiled block by block"}


def training_table(races: Races) -> str:
    """Images a second of training steps, plain and best, how many times as long a step takes as
    inference where both ran in one race, and the memory of the plain one."""
    rows, factors = [], []
    for name, report in races.items():
        forms = fastest_forms(report, name, task="training")
        plain, memory = forms.get("plain"), None
        if plain is not None:
            memory = plain.peak_memory_bytes
        best = [
            report.fastest(model=name, task="training", dtype=dtype)
            for dtype in ("float32", "bfloat16")
        ]
        asked = report.fastest(model=name, task="inference", **PLAIN)
        factor = report.speedup(plain, asked)
        factors += [factor.median] if factor else []
        mebibytes = NOTHING if memory is None else f"{memory / 2**20:,.0f}"
        label = LABELS[model_entry(name).family]
        rows.append([label, speed(plain), *map(speed, best), times(factor), mebibytes])
    head = ["model", "plain", "best", "best, bfloat16", "step : inference", "MiB, plain"]
    keep = [i for i in range(len(head)) if any(row[i] != NOTHING for row in rows)]
    text = table([head[i] for i in keep], [[row[i] for i in keep] for row in rows])
    compiled = any(result.case.form.compile for one in distinct(races) for result in one.results)
    text += "\n\nBest is here the fastest of "
    text += "all forms, compiled ones too." if compiled else "the forms that are not compiled."
    text += compiled_gain(races)
    if factors:
        text += f" Plain, a training step takes {span(factors, '{:.1f}')} times as long as "
        text += "inference on as many images."
    return text


def compiled_gain(races: Races) -> str:
    """A sentence on what the compiler does to a training step: in float32, a model's fastest
    compiled form beside its fastest other one, of the same race. Empty where none is compiled."""
    gains: list[Timing] = []
    for name, report in races.items():
        same = {"model": name, "task": "training", "dtype": "float32"}
        other, compiled = (report.fastest(**same, compile=which) for which in (False, True))
        if (gain := report.speedup(other, compiled)) is not None:
            gains.append(gain)
    if not gains:
        return ""
    faster = sum(gain.interval()[0] > 1 for gain in gains)
    slower = sum(gain.interval()[1] < 1 for gain in gains)
    ends = span([gain.median for gain in gains], "{:.2f}")
    forms = [result.case.form for one in distinct(races) for result in one.results]
    out = [name for name in WORDS if not any(getattr(form, name) for form in forms)]
    missing = f" No form that is {' or '.join(WORDS[name] for name in out)} was in the race."
    return (
        f" In float32 the fastest compiled step runs {ends} times as fast as the fastest that is "
        f"not compiled: surely faster for {faster} of {len(gains)} models, surely slower for "
        f"{slower}." + missing * bool(out)
    )
