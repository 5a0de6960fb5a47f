"""What the pages say of the machines of rooflines: rates, rounding, and how near to the roof.

Chapters 18 and 18b. Each sentence is of one machine.
"""

import re

from mixerlib.models import model_entry
from mixerlib.pages import digits, machine_name, percent
from mixerlib.speed.environment import with_memory
from mixerlib.speed.machine import DATA_SHEETS, DataSheet
from mixerlib.speed.roofline_report import by_role
from mixerlib.speed.roofline_text import band_of, in_rounds, label_of
from mixerlib.speed.rooflines import Roofline, RooflineRace
from mixerlib.speed.timing import ratios


def in_tf32_say(race: RooflineRace) -> str:
    """What roof float32 has in a race whose convolutions were in TF32, and whether that bounds any
    layer; and whether the depthwise ones, which no tensor core computes, would be bound without it.
    Empty for a race in which nothing was rounded."""
    report = race.reports[0]
    if not report.in_tf32:
        return ""
    layers = [layer for one in race.reports for layer in one.layers]
    bound = sum(layer.by_macs > layer.by_bytes for layer in layers)
    text = (
        f"On {machine_name(report.provenance, report.settings)} PyTorch rounded the inputs of the "
        "convolutions to TF32, its default for float32, and the product of the roof did the same. "
        f"That is a balance of {digits(report.machine.rates.balance)} MACs a byte, and the MACs "
        f"are the larger bill in {bound or 'none'} of the {len(layers)} layers."
    )
    sheet = _sheet_of(report)
    if sheet is not None:
        rate = sheet.rates("float32").macs_per_second
        depthwise = [layer for layer in layers if layer.role == "depthwise"]
        slow = sum(layer.macs / rate > layer.by_bytes for layer in depthwise)
        text += (
            " Tensor cores, which multiply so fast, compute no depthwise convolution; but at the "
            f"{digits(rate / 1e12)} T MACs a second that the data sheet has without them, the MACs "
            f"would be the larger bill in {slow or 'none'} of those {len(depthwise)} layers"
            f"{' either' * (not slow and not bound)}."
        )
    return text


def beside_its_sheet(report: Roofline) -> str:
    """A sentence on the rates that were measured beside those that the maker prints; empty for a
    machine whose data sheet we do not have."""
    sheet, dtype = _sheet_of(report), "tf32" if report.in_tf32 else report.dtype
    if sheet is None:
        return ""
    printed, rates = sheet.rates(dtype), report.machine
    share = percent(rates.macs_per_second / printed.macs_per_second)
    shown = "TF32" if report.in_tf32 else dtype
    copied, way = digits(rates.copy_bytes_per_second / 1e9), next(iter(rates.ways))
    return (
        f"The {machine_name(report.provenance, report.settings)} of our records does "
        f"{digits(rates.macs_per_second / 1e12)} T MACs a second in a large {way} ({shown}), "
        f"{share} of its sheet, and copies {copied} GB a second, "
        f"{percent(rates.copy_bytes_per_second / printed.copy_bytes_per_second)} of it: "
        f"$I^\\star = {rates.rates.balance:.1f}$."
    )


def nearness_say(race: RooflineRace, base: str, other: str) -> str:
    """What share of their roofs two families' models reached in a race, operation by operation,
    and how fast one then was in times of the other; empty where one of them did not run."""
    pair = _both(race, base, other)
    if pair is None:
        return ""
    shares = [percent(band_of(report.layers)[0] / report.whole.median) for report in pair]
    timing = race.speedup(*(report.model for report in pair))
    assert timing is not None  # both ran
    low, high = timing.interval()
    first, second = map(label_of, pair)
    return (
        f"On {_where(pair)}, with images of "
        f"{pair[0].image_size} pixels, {first} reached {shares[0]} of its roof and {second} "
        f"{shares[1]}, and "
        f"{second} ran {timing.median:.2f} times as fast ({low:.2f} to {high:.2f})."
    )


def depthwise_say(race: RooflineRace) -> str:
    """What share of their roofs the depthwise convolutions of ConvMixer and of SplitMixer-I
    reached in a race; empty where one of the two did not run."""
    pair = _both(race, "convmixer", "splitmixer_i")
    if pair is None:
        return ""
    found = [(needed["depthwise"], took["depthwise"]) for needed, took in map(by_role, pair)]
    square, split = (percent(needed / took) for needed, took in found)
    return (
        f"On {_where(pair)} ConvMixer's square kernels reach "
        f"{square} of their roof and SplitMixer-I's pairs {split}."
    )


SPLIT = {  # what is split → what was how many times as fast as what
    "depthwise": ("the pairs were", "the square kernels"),
    "channel mixing": ("SplitMixer-I's channel mixing was", "ConvMixer's"),
}


def split_say(race: RooflineRace, role: str) -> str:
    """How many times as fast the layers of a role, one of `SPLIT`, were in SplitMixer-I as in
    ConvMixer in a race, and would have been at their roofs; empty where one of the two did not
    run."""
    pair = _both(race, "convmixer", "splitmixer_i")
    if pair is None:
        return ""
    square, split = (in_rounds(report)[role] for report in pair)
    at_best = [by_role(report)[0][role] for report in pair]
    gain = ratios(square, split)
    low, high = gain.interval()
    options = dict(model_entry(pair[0].model).defaults) | pair[0].options
    size = f"$k = {options['kernel_size']}$"
    size = size if role == "depthwise" else f"images of {pair[0].image_size} pixels"
    ours, theirs = SPLIT[role]
    return (
        f"On {_where(pair)}, with {size}, {ours} "
        f"{gain.median:.2f} times as fast as {theirs} ({low:.2f} to {high:.2f}); by the "
        f"machine's rates of copying and arithmetic it would be {at_best[0] / at_best[1]:.2f}."
    )


def _where(pair: list[Roofline]) -> str:
    settings = pair[0].settings
    return with_memory(machine_name(pair[0].provenance, settings), settings)


def _both(race: RooflineRace, base: str, other: str) -> list[Roofline] | None:
    """The reports of two families in a race; None where one of them did not run."""
    models = {model_entry(report.model).family: report for report in race.reports}
    return [models[base], models[other]] if {base, other} <= {*models} else None


def _sheet_of(report: Roofline) -> DataSheet | None:
    device = report.provenance.device_name  # such as Tesla V100-SXM2-32GB
    words = re.findall(r"\w+", device)
    return next((sheet for name, sheet in DATA_SHEETS.items() if name in words), None)
