"""What the landing page and the README's head say of the book, computed: three findings, and what
has been trained.

>>> from assets import front
>>> front.separate().headline
'Three of the six strategies are separate networks'
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from mixerlib import costs, speed
from mixerlib.models import create_model, model_entry
from mixerlib.pages import IN_PAPER, LABELS, SHORT_LABELS, audit, device_label, listed, span
from mixerlib.records import Record, read_records
from mixerlib.training import Scale, load_recipe

BOOK = Path(__file__).parents[1]
WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SPLITS = tuple(LABELS)[1:]  # the strategies of SplitMixer
FAR = 64  # blocks after which nobody new is met; all that ever meet have met by then
PAPER, SMALL = "cifar10/{}_256_8", "cpu/{}_64_4"  # the scales of the papers and of our runs


@dataclass(frozen=True)
class Finding:
    """A headline, a sentence that says what it rests on, and the page that shows it."""

    headline: str
    sentence: str
    page: str


def news(family: str, blocks: int) -> list[list[bool]]:
    """Who has heard of the last channel after 1, 2, … blocks: a list of channels for each."""
    model = create_model(family, depth=blocks)
    steps = costs.mixing_steps(model)
    last = model.num_features - 1
    heard = [costs.reach(last + 1, steps[: block + 1])[:, last] for block in range(blocks)]
    return [row.tolist() for row in heard]


def all_heard(family: str) -> int | None:
    """The blocks after which every channel can hear every other; None: never."""
    steps = costs.mixing_steps(create_model(family, depth=FAR))
    width = create_model(family, depth=1).num_features
    if not costs.reach(width, steps).all():
        return None
    return next(b for b in range(1, FAR) if costs.reach(width, steps[:b]).all())


def separate() -> Finding:
    """Strategies of which some channels never hear some others."""
    never = [SHORT_LABELS[f] for f in SPLITS if all_heard(f) is None]
    those, of_all = WORDS[len(never)].capitalize(), WORDS[len(SPLITS)]
    return Finding(
        f"{those} of the {of_all} strategies are separate networks",
        f"In {listed(never)} the segments of the channels never meet, however many blocks follow. "
        "Only the last layer brings them together.",
        "notebooks/11-design-space",
    )


def not_reproduced(records: Sequence[Record]) -> Finding:
    """The audit's tally."""
    published = audit.load(BOOK / "published.yaml")
    others = audit.read_others(BOOK / "records" / "counts" / "others.json")
    kinds = [verdict.kind for verdict in audit.check(published, records, others).values()]
    wrong, right = kinds.count(audit.NOT_REPRODUCED), kinds.count(audit.REPRODUCED)
    return Finding(
        f"{wrong} of the {wrong + right} published numbers that could be decided do not come out",
        f"Of {len(kinds)} in all, code decided every one that it could: {right} come out as "
        f"printed. The other {len(kinds) - wrong - right} need training or evaluation, or cannot "
        "be checked.",
        "book/audit",
    )


def fewer_but_not_faster() -> Finding:
    """SplitMixer-I against ConvMixer: work, and time side by side in every rerun of Table 3."""
    pair = ("splitmixer_i_256_8_224", "convmixer_256_8_224")
    measured = [costs.measure(create_model(name), 224) for name in pair]
    work, moved = (
        split / whole
        for split, whole in (
            [costs.macs(one) for one in measured],
            [one.total("moved") for one in measured],
        )
    )
    races = speed.read_by_device(BOOK / "records" / "bench", "table3*.json", speed.read_benchmark)
    times: list[float] = []
    told = []  # device by device, a GPU first
    for of_device in races.values():
        longer = [_times_as_long(race, *pair) for race in of_device.values()]
        first = next(iter(of_device.values()))
        device = device_label(first.provenance, first.settings)
        told.append(f"{span(longer, '{:.0%}')} on {device}")
        times += longer
    rows = audit.load(BOOK / "published.yaml").entries.values()
    whole, split = [e.value for e in rows if e.table == "slides-throughput"][:2]
    return Finding(
        f"SplitMixer-I takes {work:.0%} of ConvMixer's multiplications, and "
        f"{span(times, '{:.0%}')} of its time",
        "As their papers write them, in float32, on 224×224 images, side by side: "
        f"{'; '.join(told)}. By the numbers printed for a V100 it "
        f"would be {float(whole / split):.0%}. Run one operation after the other, it moves "
        f"{moved:.1f} times as many numbers through memory.",
        "notebooks/17b-published-table",
    )


def _times_as_long(race: speed.Benchmark, model: str, base: str) -> float:
    """How many times as long as `base` a model takes, round by round, with its first options."""
    runs = {
        r.case.model: r.seconds
        for r in reversed(race.results)  # the first ratio of a model, 2/3, is kept
        if r.case.task == "inference" and r.case.model in (model, base)
    }
    return speed.ratios(runs[model], runs[base]).median


def findings() -> list[Finding]:
    """The three, in the order of the page."""
    return [separate(), not_reproduced(read_records(BOOK / "records")), fewer_but_not_faster()]


def _size(template: str, families: Sequence[str]) -> str:
    """Width, depth and epochs of a scale, in words."""
    recipe = load_recipe(template.format(families[0]))
    options = dict(model_entry(recipe.model).defaults) | recipe.model_options
    return f"{options['dim']} channels, {options['depth']} blocks, {recipe.epochs} epochs"


def trained() -> str:
    """What has been trained, at which scale, and what has not; as plain text. How many runs there
    are is not said, so that a README stays right when one is added.
    """
    records = read_records(BOOK / "records")
    small, paper = Scale(SMALL, records).runs(), Scale(PAPER, records).runs(IN_PAPER)
    devices = {"CPU" if record.provenance.device == "cpu" else "GPU" for record in records}
    every = "ConvMixer and every strategy of SplitMixer"
    models = every if set(LABELS) <= set(small) else listed(LABELS[f] for f in small if f in LABELS)
    done = (
        f"{models} have been trained on CIFAR-10, on {listed(f'{d}s' for d in sorted(devices))}, "
        f"mostly small: {_size(SMALL, list(small))}."
    )
    size = _size(PAPER, IN_PAPER)
    missing = [LABELS[family] for family in IN_PAPER if family not in paper]
    if len(missing) == len(IN_PAPER):
        return f"{done} At the papers' own size ({size}), and on ImageNet, nothing is trained yet."
    if missing:
        return f"{done} At the papers' own size ({size}), {listed(missing)} are not trained yet."
    return f"{done} ConvMixer and strategies I to IV are trained at the papers' size too ({size})."


def html() -> str:
    """The findings as links for the landing page, which lies in the folder `book`."""
    links = (
        f'<a class="finding" href="../{one.page}.html"><strong>{escape(one.headline)}</strong>'
        f"<span>{escape(one.sentence)}</span></a>"
        for one in findings()
    )
    return f'<div class="findings">{"".join(links)}</div>'


def readme() -> str:
    """The same as Markdown, for the README."""
    lines = [f"- **[{one.headline}]({one.page}.md).** {one.sentence}" for one in findings()]
    return "\n".join([*lines, "", trained()])
