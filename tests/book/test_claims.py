"""What several pages say of one thing is the same on all of them, and is so.

A claim is a value that code gives, and the pages that state it: for each a pattern whose groups
are what the page says. A page that says otherwise, or no longer says it, fails.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import sympy
from helpers import ROOT
from torch import nn

from mixerlib import costs
from mixerlib.models import create_model, list_models, model_entry
from mixerlib.pages import IN_PAPER, LABELS, SHORT_LABELS, audit, check
from mixerlib.records import read_records
from mixerlib.training import Scale, list_recipes, load_recipe

pytestmark = pytest.mark.prose

WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen"
)
NUMBERS = {word: i for i, word in enumerate(WORDS.split(), start=1)} | {"third": 3}
SPLITS = tuple(LABELS)[1:]  # the strategies of SplitMixer
IMAGENET = ("convmixer_1536_20", "convmixer_768_32", "convmixer_1024_20")


@cache
def page(name: str) -> str:
    """The text of a page, its strings in code joined where they go on in the next line."""
    folder = "notebooks" if name[:2].isdigit() else "book"
    if re.fullmatch(r"\d\d[a-z]?", name):
        name += "-"
    found = [ROOT / name] if name.isupper() else [*(ROOT / folder).glob(f"{name}*.md")]
    (path,) = [p.with_suffix(".md") for p in found]
    return " ".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()).split())


def number(said: str) -> object:
    """A word or digits as a number, anything else as it stands."""
    word = said.lower().replace(",", "")
    return NUMBERS.get(word) or (int(word) if word.isdigit() else said)


@dataclass(frozen=True)
class Claim:
    """What code gives, as a tuple, and page → the patterns, with as many groups each."""

    value: Callable[[], tuple]
    said: dict[str, str | tuple[str, ...]]


def norms() -> tuple[int, ...]:
    """BatchNorms in a block of ConvMixer and in one of any SplitMixer."""
    blocks = [create_model(family, dim=24, depth=1).blocks[0] for family in LABELS]
    first, *others = [sum(isinstance(m, nn.BatchNorm2d) for m in b.modules()) for b in blocks]
    assert len(set(others)) == 1
    return first, others[0]


def reached(family: str, blocks: int = 24, **options) -> list[bool]:
    """After 1, 2, … blocks: whether every channel can hear every other."""
    model = create_model(family, dim=132, depth=blocks, **options)
    steps = costs.mixing_steps(model)
    return [bool(costs.reach(132, steps[: b + 1]).all()) for b in range(blocks)]


def blocks_to_meet(family: str, **options) -> int:
    return reached(family, **options).index(True) + 1


def separate() -> tuple[str, ...]:
    """The strategies whose segments never meet."""
    options = {f: {} if f in ("splitmixer_i", "splitmixer_v") else {"segments": 2} for f in SPLITS}
    return tuple(SHORT_LABELS[f] for f in SPLITS if not reached(f, **options[f])[-1])


def meet_in_one() -> int:
    """Blocks until all meet with strategy I, the same for each ratio of the paper."""
    ratios = [f"{i}/{2 * i - 1}" for i in range(2, 7)]
    (blocks,) = {blocks_to_meet("splitmixer_i", ratio=ratio) for ratio in ratios}
    return blocks


def meet_with_a_shuffle() -> int:
    ways = [(f"splitmixer_{f}", {"shuffle": True}) for f in ("iii", "iv")] + [("splitmixer_3d", {})]
    (blocks,) = {blocks_to_meet(f, segments=s, **o) for f, o in ways for s in (2, 3, 4, 6)}
    return blocks


def setting(template: str, families: tuple[str, ...]) -> tuple[int, ...]:
    """Width, depth, patch and epochs of the recipes of a scale, which must agree."""
    rows = set()
    for family in families:
        recipe = load_recipe(template.format(family))
        options = dict(model_entry(recipe.model).defaults) | recipe.model_options
        rows.add((options["dim"], options["depth"], options["patch_size"], recipe.epochs))
    (row,) = rows
    return row


def policies() -> tuple[int, int]:
    """RandAugment's operations and magnitude on CIFAR, in the papers' recipes."""
    names = [f"cifar10/{f}_256_8" for f in IN_PAPER] + ["cifar10/convmixer_authors_100"]
    recipes = [load_recipe(name) for name in names]
    (row,) = {(r.policy_operations, r.policy_magnitude) for r in recipes}
    return row


def schedules() -> list[str]:
    """Those that a recipe may have, as it says itself."""
    with pytest.raises(ValueError, match="`schedule`='none of them'") as raised:
        load_recipe("digits", {"schedule": "none of them"})
    return re.findall(
        r"\w+", str(raised.value).split("must be")[1].replace("one of", "").replace(" or ", " ")
    )


def hidden_widths() -> tuple[str, ...]:
    """The hidden widths of every published Mixer in widths of the model."""
    found = set()
    for name in list_models():
        options = dict(model_entry(name).defaults)
        if name.startswith("mixer_"):
            found.add(
                tuple(
                    str(sympy.Rational(options[o], options["dim"]) * sympy.Symbol("h")).replace(
                        "*", ""
                    )
                    for o in ("tokens_dim", "channels_dim")
                )
            )
    (row,) = found
    return row


def price_of_a_norm() -> tuple[int]:
    """What thop counts for an element of a norm, beyond MACs and the final mean."""
    counts = [costs.measure(create_model(f, dim=8, depth=2), 32) for f in ("convmixer", SPLITS[0])]
    (price,) = {
        (costs.thop(c) - costs.macs(c) - c.total("pooling")) / c.total("normalized") for c in counts
    }
    return (int(price),)


def printed_speeds() -> tuple[int]:
    published = audit.load(ROOT / "book" / "published.yaml").entries.values()
    rows = [e for e in published if e.table == "slides-throughput" and e.quantity == "throughput"]
    return (sum(e.name.startswith("SplitMixer") for e in rows),)


def by_activation() -> tuple[str, ...]:
    """The sizes of the ImageNet ConvMixers that have ReLU, and the number of the others."""
    relu = [n for n in IMAGENET if dict(model_entry(n).defaults)["activation"] == "relu"]
    return (relu[0].removeprefix("convmixer_").replace("_", "/"), len(IMAGENET) - len(relu))


THREE = r"(\w+), (\w+) and (\w+)"
CLAIMS = {
    "norms in a block": Claim(
        norms,
        {
            "17": r"A ConvMixer block has (\w+) norms and a SplitMixer block (\w+)\.",
        },
    ),
    "norms in a block, SplitMixer first": Claim(
        lambda: norms()[::-1],
        {"audit": r"a SplitMixer block has (\w+) of them, a ConvMixer block (\w+)\."},
    ),
    "norms that the split adds": Claim(
        lambda: (norms()[1] - norms()[0],),
        {
            "05": r"there is (\w+) BatchNorm more",
            "06": r"each block has (\w+) norm more than ConvMixer's",
            "19": r"two depthwise convolutions and (\w+) norm more",
        },
    ),
    "strategies": Claim(
        lambda: (len(SPLITS),),
        {
            "preface": r"it splits the channels, in (\w+) different ways",
            "11": r"(\w+) ways to split the channels",
            "README": r"The (\w+) SplitMixer strategies",
            "CHANGELOG": r"the (\w+) forms of SplitMixer",
        },
    ),
    "strategies whose segments never meet": Claim(
        separate,
        {
            "09": rf"the segments of {THREE} are deaf to one another",
            "11": rf"{THREE} without a shuffle are \$s\$ thin networks",
            "14": rf"found that {THREE} are several thin networks",
        },
    ),
    "how many of them": Claim(
        lambda: (len(separate()), len(SPLITS)),
        {"11": r"show that (\w+) of the (\w+) strategies are several small networks"},
    ),
    "blocks of I until all meet": Claim(
        lambda: (meet_in_one(),),
        {
            "11": (
                r"from (\w+) blocks on nothing is missing",
                r"After (\w+), for every \$\\alpha\$ between",
                r"from the (\w+) block on, wherever its segments overlap",
            ),
            "06": r"The (\w+) block closes the gap",
        },
    ),
    "blocks until a shuffle has joined all": Claim(
        lambda: (meet_with_a_shuffle(),),
        {
            "10": r"and (\w+) blocks suffice, as for the 3-D form",
            "11": (
                r"It joins III and IV after (\w+) blocks",
                r"III and IV need only (\w+) blocks with a shuffle",
            ),
        },
    ),
    "the paper's setting": Claim(
        lambda: (lambda w, d, _, e: (w, d, e))(*setting("cifar10/{}_256_8", IN_PAPER)),
        {"14": r"(\d+) channels, (\d+) blocks, (\d+) epochs\. It asks for a GPU"},
    ),
    "its width and depth": Claim(
        lambda: setting("cifar10/{}_256_8", SPLITS)[:2],
        {
            "11": r"\$h = (\d+)\$ channels, \$d = (\d+)\$ blocks",
            "17b": r"CIFAR-10 tables, (\d+) channels and (\d+) blocks",
        },
    ),
    "the CPU scale": Claim(
        lambda: setting("cpu/{}_64_4", tuple(LABELS)),
        {"14": r"(\d+) channels, (\d+) blocks, patches of side (\d+), (\d+) epochs"},
    ),
    "RandAugment on CIFAR": Claim(
        policies,
        {
            "12": (
                r"take \$q = (\d+)\$ and \$M = (\d+)\$",
                r"torchvision's RandAugment\((\d+), (\d+)\), the scale of 31 magnitudes",
            ),
        },
    ),
    "shapes of the learning rate": Claim(
        lambda: (len(schedules()),),
        {"13": r"The library has (\w+) shapes for"},
    ),
    "ConvMixer's batch on ImageNet": Claim(
        lambda: (10, load_recipe("imagenet/convmixer_1536_20").batch_size // 10),
        {"13b": r"ImageNet recipe, (\w+) GPUs with (\d+) images each"},
    ),
    "hidden widths of MLP-Mixer": Claim(
        hidden_widths,
        {"02": r"In all published sizes \$D_S = (\S+)\$ and \$D_C = (\w+)\$"},
    ),
    "thop's price of a norm": Claim(
        price_of_a_norm,
        {"04": r"counts MACs and puts (\w+) on top for each element of a norm"},
    ),
    "SplitMixers in Table 3": Claim(
        printed_speeds, {"17b": r"ConvMixer-256/8 and (\w+) SplitMixers"}
    ),
    "ConvMixers with ReLU": Claim(
        by_activation,
        {"03": r"The published ConvMixer-(\S+) was trained with ReLU, the other (\w+) with GELU"},
    ),
}


STATED = [
    (name, where, pattern)
    for name, claim in CLAIMS.items()
    for where, patterns in claim.said.items()
    for pattern in ((patterns,) if isinstance(patterns, str) else patterns)
]


@pytest.mark.parametrize(("name", "where", "pattern"), STATED)
def test_a_page_states_what_code_gives(name, where, pattern):
    stated = re.findall(pattern, page(where), flags=re.IGNORECASE)
    assert stated, f"{where} no longer says /{pattern}/"
    rows = [(row,) if isinstance(row, str) else row for row in stated]
    assert [tuple(map(number, row)) for row in rows] == [CLAIMS[name].value()] * len(rows)


# What a strategy saves for wide models: in parameters, in MACs, as its chapter's box has it.
BOXES = [
    ("06", "splitmixer_i", "params", r"saving of \$(.+?)\$ is the limit for wide models"),
    ("07", "splitmixer_ii", "params", r"saves about \$(.+?)\$ of the channel mixing"),
    ("08", "splitmixer_iii", "params", r"saves nearly \$(.+?)\$ of the mixing's parameters"),
    ("09", "splitmixer_iv", "params", r"and saves \$(.+?)\$ of the weights"),
    ("10", "splitmixer_v", "params", r"Both tend to \$(.+?)\$ for wide models"),
    ("08", "splitmixer_iii", "macs", r"parameters but only \$(.+?)\$ of its MACs"),
    ("09", "splitmixer_iv", "macs", r"The paper says \$(.+?)\$ for both\. For the MACs that is"),
]


@pytest.mark.parametrize(("where", "family", "quantity", "pattern"), BOXES)
def test_a_saving_is_the_one_that_large_models_approach(where, family, quantity, pattern):
    (stated,) = re.findall(pattern, page(where))
    plain = re.sub(r"(\d)\s*(a)", r"\1*\2", stated.replace("\\alpha", "a").replace("^", "**"))
    expected = sympy.sympify(plain).subs({"a": sympy.Rational(2, 3), "s": 3})
    size, split_by = {"dim": 3 * 10**7, "depth": 6}, {"ratio": "2/3", "segments": 3}
    parts = []
    for name in ("convmixer", family):
        defaults = dict(model_entry(name).defaults)
        options = defaults | size | {o: v for o, v in split_by.items() if o in defaults}
        parts.append(costs.formulas(name).counts(options, image_size=32))
    whole, split = (getattr(part, quantity)["channel mixing"] for part in parts)
    assert float(1 - sympy.Rational(split, whole)) == pytest.approx(float(expected), abs=1e-6)


# How long a notebook may take → the seconds, as the first lines of chapters bound it
BOUNDS = {"half a minute": 30, "a minute": 60}
SECONDS = json.loads((ROOT / "book/records/notebooks/cpu.json").read_text())["seconds"]


@pytest.mark.parametrize("name", SECONDS)
def test_a_chapter_runs_in_the_time_that_it_promises(name):
    (bound,) = re.findall(r"notebook runs in under (half a minute|a minute)", page(name))
    assert SECONDS[name] < BOUNDS[bound]


@pytest.mark.parametrize("where", ["index", "contributing"])
def test_the_bound_for_all_chapters_holds_for_each(where):
    (bound,) = re.findall(
        r"quiet machine with two CPU cores, .{,20}runs in under ([a ]+minute)", page(where)
    )
    assert max(SECONDS.values()) < BOUNDS[bound]


RECORDS = read_records(ROOT / "book" / "records")
PAPER, CPU = Scale("cifar10/{}_256_8", RECORDS), Scale("cpu/{}_64_4", RECORDS)
UNTRAINED = "At this size we have not trained them yet."
COMPARED = {
    "06": ("convmixer", "splitmixer_i"),
    "07": ("convmixer", "splitmixer_i", "splitmixer_ii"),
    "08": ("splitmixer_iii", "splitmixer_iv"),
    "09": ("convmixer", "splitmixer_iv"),
}


@pytest.mark.parametrize("where", COMPARED)
def test_a_chapter_says_that_its_models_are_untrained_as_long_as_they_are(where):
    families = COMPARED[where]
    assert (UNTRAINED in page(where)) == (not PAPER.runs(families))
    assert set(CPU.runs(families)) == set(families)  # the smaller ones, to which it points
    accuracy = page(where).split("**Accuracy.**")[1][:700]
    assert "{doc}`14-results`" in accuracy


def test_the_first_page_says_at_which_scale_was_trained_as_long_as_it_is_one():
    large = [r for r in RECORDS if "256" in r.recipe]
    for where in ("index", "README"):
        assert ("trained at a small scale" in page(where)) == (not large)


@pytest.mark.parametrize(
    ("where", "row", "sentence"),
    [
        ("12", "no_randaugment", "at this size we have not run it yet"),
        ("13", "no_clipping", "at the paper's size, which we have not done yet"),
    ],
)
def test_an_ablation_is_missing_as_long_as_it_has_no_record(where, row, sentence):
    have = {record.recipe for record in RECORDS}
    assert (sentence in page(where)) == (f"cifar10/ablation/{row}" not in have)
    assert f"cpu/ablation/{row}" in have  # the small one, which the page shows


def test_square_and_split_kernels_have_not_been_compared_on_cifar_as_long_as_they_have_not():
    def alone(record) -> bool:
        """Whether a record is of a model that differs from a ConvMixer's in its kernels only."""
        model = record.settings["model"]
        if not model.startswith("splitmixer_i"):  # also of mixings that are not registered here
            return False
        options = dict(model_entry(model).defaults) | record.settings["model_options"]
        return str(options.get("ratio")) == "1" and options["dim"] in (64, 256)

    assert ("On CIFAR we have not trained this comparison yet." in page("05")) == (
        not any(map(alone, RECORDS))
    )


def test_no_recipe_uses_every_step_of_the_path_of_an_image():
    assert "No recipe uses all of them." in page("12")
    for name in list_recipes():
        recipe = load_recipe(name)
        steps = (recipe.crop != "none", recipe.flip != "none", recipe.policy != "none")
        assert not all((*steps, recipe.jitter, recipe.erase, recipe.mixup or recipe.cutmix)), name


def test_the_published_recipes_do_not_smooth_and_decay_all():
    assert "The published CIFAR recipes use none." in page("13")
    assert "The CIFAR scripts of both papers hand all parameters to AdamW" in page("13")
    for family in (*IN_PAPER, "convmixer_authors"):
        size = "100" if family == "convmixer_authors" else "256_8"
        recipe = load_recipe(f"cifar10/{family}_{size}")
        assert (recipe.label_smoothing, recipe.decay_on) == (0, "all"), family


def test_the_settings_of_the_cpu_scale_are_one_recipe_for_four_blocks_that_was_not_searched():
    scale = re.compile(r"cpu/(depth/)?(conv|split)mixer\w*_64_\d+")
    recipes = [load_recipe(name) for name in list_recipes() if scale.fullmatch(name)]
    assert len(recipes) > 10
    assert len({(one.max_learning_rate, one.weight_decay, one.epochs) for one in recipes}) == 1
    assert load_recipe("cpu/convmixer_64_4").model_options["depth"] == 4
    for name in ("14", "16"):
        assert "written once, for a ConvMixer of four blocks, and no settings" in page(name)


def test_the_changelog_counts_the_chapters_and_parts():
    spans, parts = re.search(
        r"\*\*Chapters ([\d, and to]+)\*\*, in (\w+) parts", page("CHANGELOG")
    ).groups()
    stated = set()
    for first, last in re.findall(r"(\d+)(?: to (\d+))?", spans):
        stated |= {*range(int(first), int(last or first) + 1)}
    assert stated == {int(path.name[:2]) for path in (ROOT / "notebooks").glob("*.md")}
    numbered = re.findall(r"caption: [IVX]+ ·", (ROOT / "_toc.yml").read_text())
    assert len(numbered) == number(parts)


def test_every_chapter_has_the_switch():
    for path in (ROOT / "notebooks").glob("*.md"):
        assert 'FULL = os.environ.get("MIXERBOOK_FULL") == "1"' in path.read_text(), path.name


def test_an_exercise_says_what_its_check_asks_of_a_schedule():
    assert (
        "end at a tenth of its height or less, and climb or fall by no more than half of its "
        "height within one per cent of the run" in page("13")
    )
    ends = {end: check("training-5", lambda q, end=end: 1 - (1 - end) * q) for end in (0.1, 0.11)}
    assert ends[0.1].passed and not ends[0.11].passed
    steps = {
        low: check("training-5", lambda q, low=low: 1 if q < 0.3 else low if q < 0.9 else 0.1)
        for low in (0.5, 0.49)
    }
    assert steps[0.5].passed and not steps[0.49].passed
