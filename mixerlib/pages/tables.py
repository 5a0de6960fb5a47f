"""Numbers, names and tables as the pages print them.

>>> from mixerlib.pages import LABELS, digits, table
>>> print(table(["model", "million MACs"], [[LABELS["convmixer"], digits(148.13)]]))
| model | million MACs |
| :-- | --: |
| ConvMixer | 148 |
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mixerlib import costs
from mixerlib.models import create_model, model_entry
from mixerlib.records import Provenance

# The families of the book → their names
LABELS = {
    "convmixer": "ConvMixer",
    "splitmixer_i": "SplitMixer-I",
    "splitmixer_ii": "SplitMixer-II",
    "splitmixer_iii": "SplitMixer-III",
    "splitmixer_iv": "SplitMixer-IV",
    "splitmixer_v": "SplitMixer-V",
    "splitmixer_3d": "SplitMixer, 3-D form",
}
# The families → their names where they stand beside one another
SHORT_LABELS = {
    "convmixer": "ConvMixer",
    "splitmixer_i": "I",
    "splitmixer_ii": "II",
    "splitmixer_iii": "III",
    "splitmixer_iv": "IV",
    "splitmixer_v": "V",
    "splitmixer_3d": "3-D",
}
# MLP-Mixer and the relatives → their names
RELATIVE_LABELS = {
    "mlp_mixer": "MLP-Mixer",
    "resmlp": "ResMLP",
    "gmlp": "gMLP",
    "vit": "ViT",
    "deit": "DeiT",
    "vip": "ViP",
    "mdmlp": "MDMLP",
    "as_mlp": "AS-MLP",
    "cycle_mlp": "CycleMLP",
    "convnext": "ConvNeXt",
    "resnet_cifar": "ResNet",
    "s_fc": "S-FC",
}
# The families in the SplitMixer paper's tables, ConvMixer and I to IV
IN_PAPER = tuple(LABELS)[:5]
# The ablations at the CPU scale, as recipes name them → in words, and the row of the slides' table
ABLATIONS = {
    "channel_only": ("no spatial mixing", "channel-only"),
    "spatial_only": ("no channel mixing", "spatial-only"),
    "layer_norm": ("LayerNorm for BatchNorm", "layernorm"),
    "no_residual": ("no residual", "no-residual"),
    "residual_after_mixing": ("a second residual", "second-residual"),
    "residual_moved": ("the residual moved", "second-residual"),
    "relu": ("ReLU for GELU", "relu"),
    "one_segment": ("one segment mixed", "one-segment"),
    "one_segment_narrow": ("one segment wide", "one-segment"),
    "no_randaugment": ("no RandAugment", "no-randaugment"),
    "no_clipping": ("no clipping", "no-clipping"),
}
# A change that the search of chapter 15 tries → what it changes.
SEARCHED = {
    "cosine": "a cosine after 1 epoch",
    "warmup": "a cosine after ½ epoch",
    "onecycle": "torch's OneCycle",
    "rate_low": "rate 0.01",
    "rate_high": "rate 0.05",
    "muon": "Muon",
    "muon_high": "Muon at rate 0.05",
    "muon_higher": "Muon at rate 0.1",
    "small_batch": "batches of 64",
    "matrices": "tenfold decay, of matrices",
    "no_clipping": "no clipping",
    "ema": "averaged weights",
    "smoothing": "smoothed targets",
    "alternating": "alternating flips",
    "small_crop": "crops of 2 pixels",
    "no_crop": "no crops",
    "trivial": "TrivialAugment",
    "randaugment": "RandAugment",
    "small_first": "small images at first",
}
TOGETHER = {"SplitMixer-": "SplitMixer\u2011", "CIFAR-1": "CIFAR\u20111", " ± ": "\u00a0±\u00a0"}
DECIDES = '<span class="decides"></span>'  # in the head of a column that stays: mixerbook.css


def table(
    head: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    text_columns: int | Collection[int] = 1,
    decides: bool = False,
) -> str:
    """A Markdown table: text columns are aligned to the left, the others, of numbers, to the right.
    Names and intervals are kept in one line.

    `text_columns` are the first so many, or those with these places (the last is -1). Where a table
    is wider than a phone, its first column stays while the others scroll; with `decides` the last
    one stays too, for the sake of which the others are there.
    Raises `ValueError` for a row that has not one cell for every column.

    >>> from mixerlib.pages import table
    >>> print(table(["model", "accuracy"], [["ConvMixer", "93.9 %"], ["I", "93.2 %"]]))
    | model | accuracy |
    | :-- | --: |
    | ConvMixer | 93.9 % |
    | I | 93.2 % |
    """
    texts = range(text_columns) if isinstance(text_columns, int) else text_columns
    places = {place % len(head) for place in texts}
    rows = [[str(cell) for cell in row] for row in rows]
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"row {row} must have the {len(head)} cells of `head`={list(head)}")
    rules = [":--" if place in places else "--:" for place in range(len(head))]
    head = [*head[:-1], f"{head[-1]}{DECIDES}"] if decides else head
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in (head, rules, *rows)]
    text = "\n".join(lines)
    for split, together in TOGETHER.items():
        text = text.replace(split, together)
    return text


def folded(title: str, text: str) -> str:
    """Markdown that stays closed under its title until a reader opens it, for a long table whose
    picture is on the page. The same on the page, in JupyterLab and on Colab.

    >>> from mixerlib.pages import folded, table
    >>> print(folded("All rows", table(["", "images/s"], [["I", "196"]])).splitlines()[0])
    <details><summary>All rows</summary>
    """
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def prints_and_counts(prints: Mapping[str, tuple[str, str]], image_size: int = 32) -> str:
    """A Markdown table of models, by registered name, with the parameters and FLOPS in millions
    that a source prints, as it prints them, beside what they are counted to be. Chapters 06, 08
    and 09.
    """
    rows = []
    for name, (params, flops) in prints.items():
        measured = costs.measure(create_model(name), image_size)
        ours = f"{measured.total('params') / 1e6:.3f}"
        work = (f"{count(measured) / 1e6:.1f}" for count in (costs.macs, costs.thop))
        rows.append([f"`{name}`", params, ours, flops, *work])
    head = ["model", "printed parameters", "ours", "printed FLOPS", "ours, MACs", "ours, thop"]
    return table(head, rows, decides=True)


def listed(words: Iterable[str]) -> str:
    """Words as English lists them; nothing for none.

    >>> from mixerlib.pages import listed
    >>> listed(["I", "II", "IV"])
    'I, II and IV'
    """
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def digits(number: float, count: int = 3) -> str:
    """A number with `count` significant digits, and all of those before the point: 1,234 or 0.0567.

    Infinite numbers and NaN print as Python prints them.

    >>> from mixerlib.pages import digits
    >>> digits(1234.5), digits(0.05674), digits(2 / 3, count=2)
    ('1,234', '0.0567', '0.67')
    """
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    decimals = count - 1 - math.floor(math.log10(abs(number)))
    if round(abs(number), decimals) >= 10 ** (count - decimals):  # 9.996 is 10.0
        decimals -= 1
    return f"{number:,.{max(0, decimals)}f}"


def percent(share: float) -> str:
    """A share in per cent, with a decimal where it is small: "42%", "3.8%"."""
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"


def span(numbers: Iterable[float], form: str = "{:.2f}") -> str:
    """The least and the greatest of some numbers, "0.99 to 1.03", or one where they print alike.

    Raises `ValueError` for none.
    """
    numbers = [*numbers]
    if not numbers:
        raise ValueError("`numbers` must hold at least one")
    low, high = form.format(min(numbers)), form.format(max(numbers))
    return low if low == high else f"{low} to {high}"


def unbroken(text: str) -> str:
    """The text with spaces and hyphens that keep it in one line."""
    return text.replace(" ", "\u00a0").replace("-", "\u2011")


def preset_label(name: str) -> str:
    """A registered model as people write it: "SplitMixer-I 256/8", "Mixer-S/16"; and where a
    preset is for another size of image, with that: "SplitMixer-I 256/8 at 224×224".

    What is no preset of the families of `LABELS` or of MLP-Mixer keeps its name; errors as in
    `model_entry`.
    """
    family = model_entry(name).family
    if family == "mlp_mixer" and name != family:
        size = name.removeprefix("mixer_")
        return f"Mixer-{size[0].upper()}/{size[1:]}"
    if family not in LABELS:
        return name
    width, _, rest = name.removeprefix(family).strip("_").partition("_")
    depth, _, side = rest.partition("_")
    label = f"{LABELS[family]} {width}/{depth}".removesuffix(" /")
    return f"{label} at {side}×{side}" if side else label


def signed(number: float, half_width: float | None = None, decimals: int = 2) -> str:
    """A difference with its sign and, where it is known, the half-width of its interval.

    >>> from mixerlib.pages import signed
    >>> signed(1.24, 0.71), signed(-0.5)
    ('+1.24 ± 0.71', '−0.50')
    """
    text = f"{number:+.{decimals}f}".replace("-", "−")
    return text if half_width is None else f"{text} ± {half_width:.{decimals}f}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> from mixerlib.pages import duration
    >>> duration(1.25), duration(0.012), duration(3e-6)
    ('1.25 s', '12.0 ms', '3.00 µs')
    """
    if seconds == 0:
        return "0"
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds / 1e-6)} µs"


def machine_name(provenance: Provenance, settings: Mapping[str, Any] | None = None) -> str:
    """A device and its processor's instructions, by which machines of one name differ.

    `settings` are a benchmark's: "AMD EPYC with AVX2". Chapter 17b.
    """
    instructions = (settings or {}).get("instructions")
    return f"{provenance.device_name}{f' with {instructions}' if instructions else ''}"


def device_label(provenance: Provenance, settings: Mapping[str, Any] | None = None) -> str:
    """A `machine_name`, and of a CPU how many threads: "CPU 9 with AVX2, 2 threads"."""
    return f"{machine_name(provenance, settings)}{_threads(provenance)}"


def _threads(provenance: Provenance) -> str:
    if provenance.device != "cpu":
        return ""
    return f", {provenance.threads} thread{'s' if provenance.threads != 1 else ''}"


def machine(provenance: Provenance, settings: Mapping[str, Any] | None = None) -> str:
    """Where a number was measured, in a few words: device, threads, PyTorch, environment.

    `settings` are a benchmark's: the processor's instructions, whether a GPU rounds the factors of
    float32's products to TF32 in convolutions, and environment variables.
    """
    given = settings or {}
    rounded = ", convolutions in TF32" if given.get("convolutions in TF32") else ""
    knobs = "".join(f", `{name}={given[name]}`" for name in given if name.isupper())
    return f"{device_label(provenance, settings)}, PyTorch {provenance.torch}{rounded}{knobs}"
