"""What a race of rooflines says, in tables and sentences for the pages. Chapter 18.

Numbers are set beside one another only where they come from the same rounds.
"""

from collections import Counter
from collections.abc import Sequence

from mixerlib.models import model_entry
from mixerlib.pages import LABELS, SHORT_LABELS, digits, listed, machine, percent, table
from mixerlib.speed.machine import DATA_SHEETS
from mixerlib.speed.roofline_report import bills, by_role, speed_band
from mixerlib.speed.rooflines import ROLES, Layer, Roofline, RooflineRace, by_kind, seconds_together
from mixerlib.speed.timing import Timing

NOUNS = {
    "channel mixing": "channel mixing",
    "depthwise": "depthwise convolutions",
    "BatchNorm": "BatchNorms",
    "GELU": "GELUs",
    "residual sum": "residual sums",
    "stem and head": "layers before and after the blocks",
}


def label_of(report: Roofline) -> str:
    """A model in words, with the options that are not the registry's: "ConvMixer patch_size=1"."""
    options = {key: value for key, value in report.options.items() if key != "depth"}
    words = (f"{key}={value}" for key, value in options.items())
    return " ".join([LABELS[model_entry(report.model).family], *words])


def conditions(race: RooflineRace) -> str:
    """Where and how a race was measured, and what the machine could do in the same rounds."""
    report = race.reports[0]
    rates, stamp = report.machine, report.provenance
    others = {
        "for sums of two maps": rates.triad_bytes_per_second,
        "for reading one": rates.read_bytes_per_second,
    }
    more = "".join(f", {digits(rate / 1e9)} {name}" for name, rate in others.items() if rate)
    (way, _), *slower = rates.ways.items()
    multiplied = f" by a {way}" + "".join(
        f" ({digits(rate / 1e9)} by a {other})" for other, rate in slower
    )
    multiplied += " in TF32, as convolutions there are" * report.in_tf32
    return (
        f"**{machine(stamp, report.settings)}.** Batches of {report.batch} images of "
        f"{report.image_size}×{report.image_size}, {report.dtype}, {len(report.whole.runs)} "
        f"rounds, {stamp.date[:10]}{'' if race.load is None else f'; {race.load}'}. In the same "
        f"rounds: {digits(rates.macs_per_second / 1e9)} G MACs a second{multiplied}, "
        f"{digits(rates.copy_bytes_per_second / 1e9)} GB a second for copies of one map{more}, and "
        f"{digits(rates.memory_bytes_per_second / 1e9)} for copies beyond the caches. That is a "
        f"balance of {digits(rates.rates.balance)} MACs a byte."
    )


def layer_table(report: Roofline) -> str:
    """The layers of a report, those at the same place of every block together."""
    rows = []
    for name, count, layers in by_kind(report.layers):
        needed = sum(layer.predicted for layer in layers)
        took = seconds_together(layers).median
        name = name.replace("blocks.*.", "")
        rows.append(
            [
                f"`{name}`" + (f"\u00a0×\u00a0{count}" if count > 1 else ""),
                "depthwise convolution" if layers[0].role == "depthwise" else layers[0].role,
                digits(layers[0].macs / layers[0].moved_bytes),
                digits(1000 * needed),
                digits(1000 * took),
                percent(needed / took),
            ]
        )
    head = ["module", "what it is", "MACs a byte", "at best, ms", "measured, ms", "reached"]
    return table(head, rows, text_columns=2)


def band_of(layers: Sequence[Layer]) -> tuple[float, float]:
    """Seconds predicted for some layers: their larger bills, and both bills of each."""
    least = sum(layer.predicted for layer in layers)
    return least, sum(layer.by_macs + layer.by_bytes for layer in layers)


def predicted_speed(race: RooflineRace, base: str, other: str) -> tuple[float, float]:
    """How many times as fast as `base` another model is predicted to be in this race, from least
    to most, as `speed_band` has it. Raises `ValueError` for a model that did not run."""
    bands = []
    for name in (base, other):
        report = race.of(name)
        if report is None:
            ran = ", ".join(one.model for one in race.reports)
            raise ValueError(f"`{name}` is not in this race of {ran}")
        bands.append(band_of(report.layers))
    low, high = sorted(theirs / ours for theirs, ours in zip(*bands, strict=True))
    return low, high


def speeds_table(race: RooflineRace, base: str) -> str:
    """Each model's milliseconds an image and, where `base` ran too, its speed in times of `base`:
    predicted as a band, and measured with its interval."""
    rows, compared = [], race.of(base) is not None and len(race.reports) > 1
    for report in race.reports:
        least, most = (digits(1000 * s / report.batch) for s in band_of(report.layers))
        took = report.whole.median
        row = [
            SHORT_LABELS[model_entry(report.model).family],
            f"{least} to {most}",
            digits(1000 * took / report.batch),
            percent(band_of(report.layers)[0] / took),
        ]
        if compared:
            low, high = predicted_speed(race, base, report.model)
            timing = race.speedup(base, report.model)
            assert timing is not None  # both ran
            ends = "{:.2f} to {:.2f}".format(*timing.interval())
            other = [f"{low:.2f} to {high:.2f}", f"{timing.median:.2f}", ends]
            row += ["1", "1", ""] if report.model == base else other
        rows.append(row)
    head = ["", "predicted, ms", "measured, ms", "least : measured"]
    return table(head + ["speed predicted", "measured", "its interval"] * compared, rows)


def verdicts(race: RooflineRace) -> str:
    """A line on each model: what it was predicted to take, what it took, and where the rest is."""
    lines = []
    for report in race.reports:
        needed, took = by_role(report)
        all_layers = seconds_together(report.layers).median
        least, most = band_of(report.layers)
        arithmetic = sum(x.predicted for x in report.layers if x.by_macs > x.by_bytes) / least
        share = percent(arithmetic) if arithmetic else "none"
        largest, seconds = took.most_common(1)[0]
        room = {role: took[role] - needed[role] for role in ROLES}
        worst = sorted(room, key=room.__getitem__, reverse=True)[:2]
        lost = sum(room[role] for role in worst) / max(sum(room.values()), 1e-12)
        per_image = 1000 / report.batch
        line = (
            f"- **{label_of(report)}** is predicted to take {digits(per_image * least)} to "
            f"{digits(per_image * most)} ms an image; {share} of the "
            f"least is arithmetic. Its layers took {digits(per_image * all_layers)} ms. The "
            f"longest part: {the_layers(largest)}, {percent(seconds / all_layers)} of that, "
            f"{digits(seconds / max(needed[largest], 1e-12))} times the larger bill."
        )
        if least < 0.7 * all_layers:
            line += f" Of the time above the larger bills, {percent(min(lost, 1))} is in "
            line += f"{listed(map(the_layers, worst))}."
        lines.append(line)
    return "\n".join(lines)


def account(race: RooflineRace, base: str, other: str) -> str:
    """The difference of two models of one race by what the layers are, as a table and a sentence.

    Differences are taken round by round, and their medians are given; so a difference need not be
    that of the two medians beside it. Only those whose interval leaves out 0 are named in the
    sentence. Raises `ValueError` where one of the models did not run.
    """
    first, second = (race.of(name) for name in (base, other))
    if first is None or second is None:
        raise ValueError(f"`{base}` and `{other}` must both be in the race: it explains no other")
    a, b = in_rounds(first), in_rounds(second)
    gaps = {
        role: Timing.of([y - x for x, y in zip(a[role].runs, b[role].runs, strict=True)])
        for role in a
    }
    rows = [
        [
            role,
            digits(a[role].median),
            digits(b[role].median),
            _signed(gap.median),
            "{} to {}".format(*map(_signed, gap.interval())),
        ]
        for role, gap in gaps.items()
    ]
    head = ["ms an image", label_of(first), label_of(second), "difference", "its interval"]
    note = (
        "All are medians of the rounds, the differences too: these are taken round by round, and "
    )
    note += "need not be those of the two columns."
    return f"{table(head, rows)}\n\n{note}\n\n{_sentence(first, second, gaps)}"


def in_rounds(report: Roofline) -> dict[str, Timing]:
    """Milliseconds an image in each round, by what the layers are, and of all of them."""
    scale = 1000 / report.batch
    groups = {role: [layer for layer in report.layers if layer.role == role] for role in ROLES}
    groups["all layers"] = report.layers
    return {
        role: Timing.of([scale * seconds for seconds in seconds_together(layers).runs])
        for role, layers in groups.items()
    }


def _sentence(first: Roofline, second: Roofline, gaps: dict[str, Timing]) -> str:
    """What can be said for certain of a difference, and what is not the second model's doing."""
    name, whole = label_of(second), gaps["all layers"]
    of_roles = {role: gap for role, gap in gaps.items() if role in ROLES}
    saved = {role: -gap.median for role, gap in of_roles.items() if gap.interval()[1] < 0}
    spent = {role: gap.median for role, gap in of_roles.items() if gap.interval()[0] > 0}
    low, high = whole.interval()
    subject = name if low <= 0 <= high else "It"
    if subject == name:
        text = "Which of the two takes longer cannot be told here: the interval of the difference "
        text += "holds 0. "
    else:
        text = f"{name} takes {digits(abs(whole.median))} ms an image "
        text += f"{'more' if whole.median > 0 else 'less'} here. "
    counts = [Counter(layer.role for layer in report.layers) for report in (first, second)]
    words, fewer = {}, {}  # of what is spent, and of what is saved
    for role in ROLES:
        more = counts[1][role] - counts[0][role] if role != "channel mixing" else 0
        words[role] = f"its {more} more {NOUNS[role]}" if more > 0 else the_layers(role)
        fewer[role] = the_layers(role) + f" ({more} more of them)" * (more > 0)
    if saved:
        places = listed(fewer[role] for role in saved)
        text += f"{subject} saves {digits(sum(saved.values()))} ms in {places}"
    else:
        text += f"{subject} saves nothing that is certain"
    if spent:
        largest = max(spent, key=spent.__getitem__)
        text += f", and spends {digits(sum(spent.values()))} ms more"
        text += f", {digits(spent[largest])} ms of it" * (len(spent) > 1)
        text += f" on {words[largest]}"
    bills_of = [_bill_by_role(report) for report in (first, second)]
    odd = [
        role
        for role in saved
        if all(b >= a for a, b in zip(*(bill[role] for bill in bills_of), strict=True))
    ]
    if odd:
        text += (
            f". But {listed(map(the_layers, odd))} have no less to do than "
            f"{label_of(first)}'s: that they took less is the machine's doing, not the model's"
        )
    return f"{text}."


def _bill_by_role(report: Roofline) -> dict[str, tuple[int, int]]:
    """Bytes and MACs by what the layers are."""
    return {
        role: (
            sum(layer.moved_bytes for layer in report.layers if layer.role == role),
            sum(layer.macs for layer in report.layers if layer.role == role),
        )
        for role in ROLES
    }


def sheets_table(models: Sequence[str], base: str, dtype: str = "float32") -> str:
    """What each data sheet predicts in a dtype: the machine's balance, images a second of `base`,
    and how many times as fast the other models would be, each from least to most."""
    width = {"float32": 4, "tf32": 4}.get(dtype, 2)
    first, others, rows = bills(base), [bills(name) for name in models], []
    for sheet in DATA_SHEETS.values():
        if dtype not in sheet.macs_per_second:
            continue
        rates = sheet.rates(dtype)
        slow, quick = sorted(1 / seconds for seconds in first.band(rates, width))
        speeds = [speed_band(one, first, rates, width) for one in others]
        rows.append(
            [
                sheet.name,
                digits(rates.macs_per_second / 1e12),
                digits(rates.copy_bytes_per_second / 1e9),
                f"{rates.balance:.1f}",
                f"{digits(slow)} to {digits(quick)}",
                *(f"{low:.2f} to {high:.2f}" for low, high in speeds),
            ]
        )
    short = [SHORT_LABELS[model_entry(name).family] for name in models]
    head = ["data sheet", "T MACs/s", "GB/s", "balance", "ConvMixer, images/s", *short]
    return table(head, rows)


def the_layers(role: str) -> str:
    """The layers of a role in words: "the GELUs"."""
    return f"the {NOUNS[role]}"


def _signed(number: float) -> str:
    return ("+" if number >= 0 else "−") + digits(abs(number))
