"""The audit's road from records of our own runs to a verdict on a published accuracy."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from helpers import ROOT, made_record

from mixerlib import records
from mixerlib.pages import audit
from mixerlib.training import load_recipe, spread

ROW = "readme-cifar10/i/top1"  # a number that our runs may decide
PUBLISHED = 0.9391


@pytest.fixture(scope="module")
def published() -> audit.Published:
    return audit.load(ROOT / "book" / "published.yaml")


@pytest.fixture(scope="module")
def entry(published) -> audit.Entry:
    return published.entries[ROW]


def run(entry: audit.Entry, accuracy: float, seed: int = 0, **changes) -> records.Record:
    """A made-up record of the run that an entry describes; `changes` are to its settings."""
    train_images, test_images = audit.IMAGES[entry.training["dataset"]]
    return made_record(
        settings={"model": entry.model, "model_options": {}} | dict(entry.training) | changes,
        seed=seed,
        train_images=train_images,
        test_images=test_images,
        test_accuracy=accuracy,
    )


def runs(entry: audit.Entry, accuracies: Iterable[float], **changes) -> list[records.Record]:
    return [run(entry, a, seed, **changes) for seed, a in enumerate(accuracies)]


def verdict(published: audit.Published, made: list[records.Record]) -> audit.Verdict:
    alone = audit.Published(published.documents, {ROW: published.entries[ROW]})
    return audit.check(alone, made)[ROW]


# Three runs, ± 0.86 points for one more: both sides of both ends of the interval
@pytest.mark.parametrize(
    "mean, kind",
    [
        (PUBLISHED, audit.REPRODUCED),
        (PUBLISHED - 0.0085, audit.REPRODUCED),
        (PUBLISHED + 0.0085, audit.REPRODUCED),
        (PUBLISHED - 0.0088, audit.NOT_REPRODUCED),
        (PUBLISHED + 0.0088, audit.NOT_REPRODUCED),
    ],
)
def test_a_published_accuracy_lies_inside_our_interval_or_outside(published, entry, mean, kind):
    values = [mean - 0.00173, mean, mean + 0.00173]
    decided = verdict(published, runs(entry, values))
    assert decided.kind == kind
    half = spread([values]).half_width_of_difference(len(values), 1)  # chapter 14's, written anew
    assert 0.0086 - 0.00005 < half < 0.0086 + 0.00005
    assert f"± {100 * half:.2f} points" in decided.reason and "3 seeds" in decided.reason
    assert ("inside" in decided.reason) == (kind == audit.REPRODUCED)
    assert f"{100 * abs(PUBLISHED - mean):.2f} points from our mean" in decided.reason


@pytest.mark.parametrize("count", range(audit.SEEDS))
def test_too_few_seeds_decide_nothing(published, entry, count):
    decided = verdict(published, runs(entry, [0.5, 0.9][:count]))
    assert decided.kind == audit.NEEDS_TRAINING


def test_a_run_of_a_mixing_that_is_not_registered_here_counts_for_no_number(entry):
    assert audit.matching(entry, [run(entry, 0.9, model="splitmixer_of_somebody")]) == []


def test_a_seed_counts_once(published, entry):
    again = [run(entry, 0.9391, seed=0), run(entry, 0.9390, seed=0), run(entry, 0.939, seed=0)]
    assert verdict(published, again).kind == audit.NEEDS_TRAINING


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "cifar100"},
        {"epochs": 10},
        {"batch_size": 256},
        {"max_learning_rate": 0.01},
        {"weight_decay": 0.1},
        {"clip_norm": None},
        {"schedule": "cosine"},
        {"flip": "none"},
        {"policy": "none"},
        {"policy_magnitude": 9},
        {"crop": "pad"},
        {"mixup": 0.2},
        {"label_smoothing": 0.1},
        {"weights": "trained.safetensors"},
        {"frozen": True},
        {"ema": 0.999},
        {"image_size": 64},
        {"model_options": {"ratio": "3/5"}},
        {"model_options": {"kernel_size": 3}},
        {"model_options": {"dim": 64, "depth": 4}},
        {"model_options": {"activation": "relu"}},
        {"model_options": {"shuffle": True}},
        {"model": "splitmixer_ii_256_8"},
        {"model": "splitmixer_i_ablated_256_8", "model_options": {"residual": "none"}},
    ],
    ids=str,
)
def test_a_record_of_another_recipe_scale_or_data_set_never_counts(published, entry, changes):
    made = runs(entry, [0.9391, 0.9390, 0.9392], **changes)
    assert audit.matching(entry, made) == []
    assert verdict(published, made).kind == audit.NEEDS_TRAINING
    assert len(audit.matching(entry, runs(entry, [0.9391, 0.9390, 0.9392]))) == 3


@pytest.mark.parametrize("field", ["train_images", "test_images"])
def test_a_record_of_fewer_images_never_counts(entry, field):
    made = run(entry, 0.9391)
    assert audit.matching(entry, [replace(made, **{field: getattr(made, field) - 1})]) == []


def test_the_model_counts_by_what_it_is_and_not_by_its_name(entry):
    other_name = run(entry, 0.9, model="splitmixer_i", model_options={"shuffle": False})
    assert audit.matching(entry, [other_name]) == [other_name]


def test_a_record_decides_all_prints_of_its_number_and_no_others(published, entry):
    accuracies = {e.id: e for e in published.entries.values() if e.quantity == "accuracy"}
    published = audit.Published(published.documents, accuracies)
    before, after = audit.check(published), audit.check(published, runs(entry, [0.9391] * 3))
    changed = {name for name in before if before[name].kind != after[name].kind}
    assert ROW in changed and "slides-ablation/baseline/cifar10" in changed
    assert "slides-ablation/relu/cifar10" not in changed
    assert "slides-ablation/no-clipping/cifar10" not in changed
    for name in changed:
        known = published.entries[name]
        assert audit.family_of(known.model) == "splitmixer_i" and not known.change
        assert known.training["dataset"] == "cifar10"


@pytest.mark.parametrize(
    "unit, about, printed, kind",
    [
        ("%", False, "94", audit.REPRODUCED),  # may stand for 93.5 to 94.5
        ("%", False, "95", audit.NOT_REPRODUCED),
        ("%", False, "93", audit.NOT_REPRODUCED),
        ("%", True, "93", audit.REPRODUCED),  # "about": 92 to 94
        ("%", True, "95", audit.NOT_REPRODUCED),
        ("% or more", False, "90", audit.REPRODUCED),
        ("% or more", False, "94", audit.NOT_REPRODUCED),
    ],
)
def test_a_number_stands_for_what_its_digits_can_mean(published, entry, unit, about, printed, kind):
    known = replace(entry, unit=unit, about=about, printed=printed)
    changed = audit.Published(published.documents, {ROW: known})
    made = runs(entry, [0.9389, 0.9390, 0.9391])  # the interval of one more: 93.85 to 93.95
    assert audit.check(changed, made)[ROW].kind == kind


ABLATED = {
    "no-residual": {"residual": "none"},
    "second-residual": {"residual": "both"},
    "layernorm": {"norm": "layer"},
    "spatial-only": {"mixes": "spatial"},
    "channel-only": {"mixes": "channels"},
    "one-segment": {"segments_mixed": "first"},
}
RETRAINED = {
    "no-randaugment": {"policy": "none", "policy_operations": None, "policy_magnitude": None},
    "no-clipping": {"clip_norm": None},
}


def ablation_runs(known: audit.Entry, row: str) -> list[records.Record]:
    """Three runs that have the change of a row of the slides' table, at the paper's size."""
    close = [float(known.value) + off for off in (-0.001, 0, 0.001)]
    if row in RETRAINED:
        return runs(known, close, **RETRAINED[row])
    if row in ABLATED:
        changes = {"model": "splitmixer_i_ablated_256_8", "model_options": ABLATED[row]}
        return runs(known, close, **changes)
    return runs(known, close, model_options={"activation": "relu"} if row == "relu" else {})


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
@pytest.mark.parametrize("row", ["baseline", "relu", *ABLATED, *RETRAINED])
def test_a_run_of_an_ablation_counts_for_its_row_and_for_no_other(published, row, data):
    known = published.entries[f"slides-ablation/{row}/{data}"]
    made = ablation_runs(known, row)
    table = {e.id: e for e in published.entries.values() if e.table == "slides-ablation"}
    counted = {name for name, e in table.items() if audit.matching(e, made)}
    assert counted == {known.id}
    verdicts = audit.check(audit.Published(published.documents, table), made)
    assert verdicts[known.id].kind == audit.REPRODUCED
    assert {verdicts[name].kind for name in table if name != known.id} == {audit.NEEDS_TRAINING}
    far = [replace(record, test_accuracy=record.test_accuracy - 0.05) for record in made]
    far_off = audit.check(audit.Published(published.documents, table), far)[known.id]
    assert far_off.kind == audit.NOT_REPRODUCED
    assert "+5.00 points from our mean" in far_off.reason and "3 seeds" in far_off.reason


@pytest.mark.parametrize("row", [*ABLATED, *RETRAINED])
def test_the_recipe_of_an_ablation_is_the_run_that_its_row_needs(published, row):
    """And the same at another scale, or with one more change, never is."""
    names = {"second-residual": "residual_after_mixing", "layernorm": "layer_norm"}
    recipe = load_recipe(f"cifar10/ablation/{names.get(row, row.replace('-', '_'))}")
    known = published.entries[f"slides-ablation/{row}/cifar10"]
    settings = {key: value for key, value in vars(recipe).items() if key != "name"}
    made = replace(run(known, 0.9), settings=settings)
    assert audit.matching(known, [made]) == [made]
    options = settings["model_options"]
    for more in ({"dim": 64, "depth": 4}, {"ratio": "3/5"}, {"activation": "relu"}):
        other = settings | {"model_options": options | more}
        assert audit.matching(known, [replace(made, settings=other)]) == []
    for more in ({"epochs": 5}, {"batch_size": 128}, {"crop": "pad"}, {"jitter": 0.2}):
        assert audit.matching(known, [replace(made, settings=settings | more)]) == []
    moved = settings | {
        "model": "splitmixer_i_ablated_256_8",
        "model_options": options | {"residual": "channel"},
    }
    assert audit.matching(known, [replace(made, settings=moved)]) == []


def test_a_change_that_is_not_said_in_settings_has_no_runs(published):
    known = published.entries["slides-ablation/no-residual/cifar10"]
    made = ablation_runs(known, "no-residual")
    assert audit.matching(replace(known, replaced={}), made) == []


def test_published_weights_need_an_evaluation_and_no_training(published):
    released = [e for e in published.entries.values() if e.quantity == "accuracy" and e.weights]
    verdicts = audit.check(published)
    assert released
    assert {verdicts[e.id].kind for e in released} <= {audit.NEEDS_EVALUATION, audit.NOT_REPRODUCED}
    assert audit.NEEDS_EVALUATION in {verdicts[e.id].kind for e in released}


def test_what_a_source_states_of_its_training_is_what_our_recipe_does(published):
    """So a run of the recipe that the book names for a number is one that counts for it."""
    for data in ("cifar10", "cifar100", "flowers102", "food101"):
        for row in ("convmixer", "i", "ii", "iii", "iv"):
            known = published.entries[f"readme-{data}/{row}/top1"]
            family = row if row == "convmixer" else f"splitmixer_{row}"
            recipe = load_recipe(f"{data}/{family}_256_8")
            for setting, value in known.training.items():
                assert getattr(recipe, setting) == value, (data, row, setting)


def test_no_committed_record_counts_for_a_published_number_that_it_is_not_of(published):
    committed = records.read_records(ROOT / "book" / "records")
    small = [record for record in committed if record.recipe.startswith("cpu/")]
    assert small
    for known in published.entries.values():
        if known.quantity == "accuracy":
            assert audit.matching(known, small) == []


# Borrowed accuracies of other models


def test_a_borrowed_accuracy_of_a_model_of_this_book_needs_training(published):
    name = "slides-comparison-cifar/mdmlp/cifar10"
    entry = published.entries[name]
    alone = audit.Published(published.documents, {name: entry})
    assert audit.check(alone, [])[name].kind == audit.NEEDS_TRAINING
    made = [run(entry, a, s, model="mdmlp_64_8") for s, a in enumerate([0.908, 0.909, 0.910])]
    assert audit.check(alone, made)[name].kind == audit.REPRODUCED
    assert audit.matching(entry, made) == made
    others = [
        run(entry, 0.909, model="mdmlp_64_8", epochs=100),
        run(entry, 0.909, model="mdmlp_64_8", model_options={"depth": 4}),
        run(entry, 0.909, model="mdmlp_64_8_224"),
        run(entry, 0.909, model="vip"),
        run(entry, 0.909, model="vip_of_somebody"),
    ]
    assert audit.matching(entry, others) == []


def test_the_other_borrowed_accuracies_need_evaluation_or_cannot_be_checked(published):
    rows = [e for e in published.entries.values() if e.quantity == "accuracy" and not e.model]
    decided = audit.check(published, [])
    for entry in rows:
        kind, reason = decided[entry.id].kind, decided[entry.id].reason
        if entry.preset:
            assert kind == audit.NEEDS_TRAINING
        elif entry.weights:
            assert kind == audit.NEEDS_EVALUATION and entry.weights in reason
        else:
            known = entry.other and not entry.searched
            assert kind == audit.CANNOT_BE_CHECKED
            assert reason.startswith("Another model" if known else "A model of unknown size")
    kinds = {decided[e.id].kind for e in rows}
    assert kinds == {audit.NEEDS_TRAINING, audit.NEEDS_EVALUATION, audit.CANNOT_BE_CHECKED}


def test_a_preset_is_a_model_of_this_book(tmp_path):
    text = (ROOT / "book" / "published.yaml").read_text().replace("mdmlp_64_8,", "mdmlp_64,", 1)
    path = tmp_path / "published.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"`preset`='mdmlp_64' .* must be a name of"):
        audit.load(path)
