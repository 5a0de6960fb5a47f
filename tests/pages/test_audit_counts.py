"""The rules by which the audit counts: stated conventions, rounding twice, one model for a row."""

import importlib.metadata
from collections import defaultdict
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
import torch
from helpers import ROOT
from torch.utils.flop_counter import FlopCounterMode

from book.tools import other_models
from mixerlib.models import create_model
from mixerlib.pages import audit

RECORD = ROOT / "book" / "records" / "counts" / "others.json"


@pytest.fixture(scope="module")
def published() -> audit.Published:
    return audit.load(ROOT / "book" / "published.yaml")


@pytest.fixture(scope="module")
def others() -> audit.OtherCounts:
    return audit.read_others(RECORD)


@pytest.fixture(scope="module")
def verdicts(published, others) -> dict[str, audit.Verdict]:
    return audit.check(published, others=others)


def checked(published, names, others=None, **changes) -> dict[str, audit.Verdict]:
    """The verdicts on a few entries alone; `changes` are to the first."""
    few = {name: published.entries[name] for name in names}
    few[names[0]] = replace(few[names[0]], **changes)
    return audit.check(audit.Published(published.documents, few), others=others)


# A convention that the source states


def test_the_mixer_paper_is_counted_as_its_caption_says(published, verdicts):
    rows = [entry for entry in published.entries.values() if entry.table == "mixer-paper"]
    assert len(rows) == 7
    for entry in rows:
        assert entry.cost == "body"
        with torch.device("meta"):
            changes = {key: v for key, v in entry.options.items() if key != "num_classes"}
            model = create_model(entry.model, **changes)
        millions = sum(p.numel() for n, p in model.named_parameters() if "head" not in n) / 1e6
        assert f"{millions:.0f}" == entry.printed
        assert verdicts[entry.id].kind == audit.REPRODUCED
        assert verdicts[entry.id].rounding == "to nearest"


def test_without_the_caption_two_of_them_would_fail(published):
    rows = [entry for entry in published.entries.values() if entry.table == "mixer-paper"]
    whole = {entry.id: replace(entry, cost="params") for entry in rows}
    kinds = audit.check(audit.Published(published.documents, whole))
    failing = [name for name, verdict in kinds.items() if verdict.kind == audit.NOT_REPRODUCED]
    assert failing == ["mixer-paper/l16/params", "mixer-paper/h14/params"]


# File sizes


def test_a_checkpoint_has_the_published_size_in_millions_of_bytes(published, verdicts):
    rows = [entry for entry in published.entries.values() if entry.quantity == "file size"]
    assert len(rows) == 3
    for entry in rows:
        with torch.device("meta"):
            state = create_model(entry.model).state_dict()
        kept = {name: t for name, t in state.items() if t.is_floating_point()}
        size = sum(t.numel() * t.element_size() for t in kept.values())
        assert (
            f"{size / 10**6:.0f}" == entry.printed and verdicts[entry.id].kind == audit.REPRODUCED
        )
        assert f"{size / 2**20:.0f}" != entry.printed  # MB is no MiB
    parameters_alone = [
        audit.fits(e, audit.configurations(e)[0].count(audit.HABITS[e.quantity][habit]))
        for e in rows
        for habit in audit.HABITS[e.quantity]
    ]
    assert None in parameters_alone  # so the running statistics are in the files


# Digits printed once more


@pytest.mark.parametrize(
    "finer, decimals, printed",
    [("0.175", 2, "0.17"), ("0.276", 2, "0.28"), ("0.125", 2, "0.12"), ("0.375", 2, "0.38")],
)
def test_rounded_again_is_what_a_format_gives(finer, decimals, printed):
    assert audit.rounded_again(finer, decimals) == printed
    assert printed == str(Decimal(float(finer)).quantize(Decimal("0.01")))  # halves to even


def test_one_format_call_gives_nine_of_the_ten_numbers_of_the_readme(published):
    again = {}
    for data in ("cifar10", "cifar100"):
        for row in ("convmixer", "i", "ii", "iii", "iv"):
            finer, coarse = (
                published.entries[f"{table}-{data}/{row}/params"] for table in ("draft3", "readme")
            )
            again[coarse.id] = audit.rounded_again(finer.printed, 2) == coarse.printed
    assert [name for name, same in again.items() if not same] == ["readme-cifar10/convmixer/params"]


def test_a_number_is_right_when_the_finer_print_it_was_made_from_is_right(published, verdicts):
    """The rule: rounded from a print that is right, it is right; from one that is wrong, wrong."""
    checks = 0
    for name, verdict in verdicts.items():
        entry = published.entries[name]
        if entry.quantity != "parameters" or not entry.model or entry.unstated:
            continue
        (stated,) = audit.configurations(entry)
        for way in () if entry.formula else audit.ways_of(entry).values():
            exact = stated.count(way) / entry.scale
            nearest = Decimal(float(exact)).quantize(Decimal(entry.printed), ROUND_HALF_UP)
            finer = [
                other
                for other in published.others(entry)
                if other.decimals > entry.decimals and other.unit == entry.unit
                if f"{float(other.printed):.{entry.decimals}f}" == entry.printed
            ]
            if finer and str(nearest) != entry.printed:
                right = verdicts[finer[0].id].kind == audit.REPRODUCED
                assert (verdict.kind == audit.REPRODUCED) == right, name
                assert (verdict.rounding == audit.TWICE) == right, name
                checks += 1
    assert checks >= 4


@pytest.mark.parametrize(
    "finer, kind",
    [("0.175", audit.REPRODUCED), ("0.174", audit.NOT_REPRODUCED), ("0.184", audit.REPRODUCED)],
)
def test_the_finer_print_decides(published, finer, kind):
    """0.184 would print as 0.18: it explains nothing, and the number counts as cut off."""
    names = ["draft3-cifar10/ii/params", "readme-cifar10/ii/params"]
    verdict = checked(published, names, printed=finer)["readme-cifar10/ii/params"]
    assert verdict.kind == kind
    assert verdict.rounding == {"0.175": audit.TWICE, "0.174": "", "0.184": "cut off"}[finer]


# Ways of counting


def test_no_number_picks_a_way_of_counting_for_itself(published, verdicts):
    """All counted numbers of a kind that a document has of its own, or from one source, one way."""
    ways = defaultdict(set)
    for name, verdict in verdicts.items():
        entry = published.entries[name]
        counted = entry.quantity in audit.CONVENTIONS and not entry.formula
        if counted and verdict.kind == audit.REPRODUCED:
            group = entry.document, entry.borrowed, entry.quantity, entry.cost
            ways[group].add(verdict.convention)
    assert len(ways) > 10 and {len(used) for used in ways.values()} == {1}


def test_a_number_in_another_way_than_the_rest_of_its_source_is_not_reproduced(published):
    names = [f"draft1-cifar10/{row}/flops" for row in ("convmixer", "i", "ii", "iii", "iv")]
    kinds = checked(published, names, printed="148.1")  # the MACs of this model
    assert kinds[names[0]].kind == audit.NOT_REPRODUCED
    assert "as MACs, unlike the rest" in kinds[names[0]].reason
    assert {kinds[name].kind for name in names[1:]} == {audit.REPRODUCED}


def test_one_table_counts_in_two_ways(published, verdicts, others):
    tables = ("slides-comparison-cifar", "slides-comparison-large")
    flops = [e for e in published.entries.values() if e.table in tables and e.quantity == "flops"]
    counted = [e for e in flops if verdicts[e.id].kind == audit.REPRODUCED]
    own = {verdicts[e.id].convention for e in counted if not e.borrowed}
    borrowed = {verdicts[e.id].convention for e in counted if e.borrowed}
    assert (own, borrowed) == ({"thop"}, {"fvcore, in training mode"})
    models = {model.name: model for model in others.models}
    fitting = {
        way: sum(
            audit.fits(e, models[e.other].in_conventions("flops")[way]) is not None
            for e in counted
            if e.other
        )
        for way in audit.CONVENTIONS["flops"]
    }
    borrowed_rows = sum(bool(e.other) for e in counted)
    assert fitting.pop("fvcore, in training mode") == borrowed_rows >= 8
    assert max(fitting.values()) < borrowed_rows


# One model for a row


def rows_of(published):
    """Rows whose model the source leaves open, with their counted entries."""
    rows = defaultdict(list)
    for entry in published.entries.values():
        if entry.quantity in audit.CONVENTIONS and (entry.unstated or entry.searched):
            rows[entry.row].append(entry)
    return rows


def test_the_numbers_of_one_row_have_one_verdict(published, verdicts):
    rows = rows_of(published)
    assert sum(len(entries) == 2 for entries in rows.values()) >= 10
    for entries in rows.values():
        assert len({verdicts[entry.id].kind for entry in entries}) == 1


@pytest.mark.parametrize("column", ["params", "flops"])
def test_one_wrong_number_of_a_row_takes_the_other_with_it(published, others, column):
    names = [f"slides-comparison-large/mlp-mixer/{c}" for c in ("params", "flops")]
    names.sort(key=lambda name: not name.endswith(column))
    names += [f"slides-comparison-large/{row}/flops" for row in ("resnet20", "gmlp")]
    assert {v.kind for v in checked(published, names, others).values()} == {audit.REPRODUCED}
    # what another size of the family has: 59.4 M and 12.9 G fit Mixer-B
    wrong = checked(published, names, others, printed="59.99")
    assert [wrong[name].kind for name in names[:2]] == [audit.NOT_REPRODUCED] * 2


def test_a_slip_of_who_copied_a_number_is_named(published, others):
    """ResMLP has 1.23 G. Printed as 1.32, no model has the row; but exchanged digits would do."""
    names = [f"slides-comparison-large/resmlp/{column}" for column in ("flops", "params")]
    wrong = checked(published, names, others, printed="1.32")
    assert {verdict.kind for verdict in wrong.values()} == {audit.NOT_REPRODUCED}
    assert "would have it with two digits exchanged, as 1.23." in wrong[names[0]].reason
    assert "patch 24, on the 216×216 pixels" in wrong[names[1]].reason
    assert "has this one." in wrong[names[1]].reason
    other = checked(published, names, others, printed="1.33")
    assert other[names[0]].reason.startswith("No one model has all numbers of this row.")
    assert "exchanged" not in other[names[0]].reason
    assert list(audit.exchanged("14.99")) == ["41.99"] and list(audit.exchanged("0.7")) == []


def test_the_borrowed_mlp_mixers_are_found(verdicts):
    for table, model in (("cifar", "Mixer-S/4"), ("large", "Mixer-S/14")):
        for column in ("params", "flops"):
            verdict = verdicts[f"slides-comparison-{table}/mlp-mixer/{column}"]
            assert verdict.kind == audit.REPRODUCED
            assert f"{model} has both numbers" in verdict.reason
        assert verdicts[f"slides-comparison-{table}/mlp-mixer/params"].rounding == audit.PADDED


def test_a_zero_is_added_only_to_a_number_that_was_copied(published):
    entry = published.entries["slides-comparison-cifar/mlp-mixer/params"]
    exact = Fraction(17_110_026)
    assert audit.fits(entry, exact) == audit.PADDED
    assert audit.fits(replace(entry, borrowed=""), exact) is None
    assert audit.fits(replace(entry, printed="17.12"), exact) is None
    assert audit.fits(entry, Fraction(17_151_000)) is None


# Other models


# Rows of which no public configuration has both numbers
UNDECIDED = {
    "slides-comparison-cifar/as-mlp",
    "slides-comparison-cifar/vip",
    "slides-comparison-large/as-mlp",
}


def test_other_models_decide_twenty_two_numbers_and_more(published, verdicts):
    decided = [e for e in published.entries.values() if e.other and e.quantity in audit.CONVENTIONS]
    known = [e for e in decided if e.row not in UNDECIDED]
    assert len(known) >= 22
    assert {verdicts[entry.id].kind for entry in known} == {audit.REPRODUCED}
    without = audit.check(published)
    assert {without[entry.id].kind for entry in decided} == {audit.CANNOT_BE_CHECKED}


@pytest.mark.filterwarnings("ignore")  # those of other packages, on import and while they trace
@pytest.mark.parametrize("name", ["resnet20_32", "gmlp_32", "resmlp_32", "mdmlp_32"])
def test_a_recount_gives_the_recorded_counts(others, name):
    pytest.importorskip("fvcore")
    pytest.importorskip("thop")
    (recorded,) = (model for model in others.models if model.name == name)
    versions = {package: importlib.metadata.version(package) for package in others.versions}
    if versions != others.versions:
        pytest.skip(f"counted with {others.versions}, and here are {versions}")
    assert other_models.count(name) == recorded


def test_every_model_has_the_recorded_parameters_and_macs(others):
    """Those that were counted as timm builds them, too: ours are the same networks."""
    assert [model.name for model in others.models] == list(other_models.MODELS)
    for recorded in others.models:
        _, size, build = other_models.MODELS[recorded.name]
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model = build().eval()
            model(torch.zeros(1, 3, size, size))
        assert sum(p.numel() for p in model.parameters()) == recorded.parameters, recorded.name
        assert counter.get_total_flops() // 2 == recorded.macs, recorded.name
        assert size == recorded.image_size


def test_the_names_in_timm_are_as_recorded(others):
    if importlib.metadata.version("timm") != others.versions["timm"]:
        pytest.skip(f"looked up in timm {others.versions['timm']}")
    assert other_models.registered() == others.registered


# Claims in words


def test_claims_in_words_have_verdicts_from_records_and_tables(published, verdicts, others):
    assert verdicts["convmixer-in-timm"].kind == audit.REPRODUCED
    assert verdicts["draft1-in-timm"].kind == audit.NOT_REPRODUCED
    turned = replace(others, registered={"convmixer": 0, "splitmixer": 2})
    kinds = checked(published, ["draft1-in-timm", "convmixer-in-timm"], turned)
    assert [v.kind for v in kinds.values()] == [audit.REPRODUCED, audit.NOT_REPRODUCED]
    unknown = checked(published, ["draft1-in-timm"])["draft1-in-timm"]
    assert unknown.kind == audit.CANNOT_BE_CHECKED


def test_what_is_said_to_be_higher_is_looked_up_in_the_same_source(published):
    pair = ("slides-ablation/baseline/cifar10", "slides-ablation/relu/cifar10")
    names = ["slides-relu-helps", *pair]
    assert checked(published, names, higher=[pair])[names[0]].kind == audit.REPRODUCED
    assert checked(published, names, higher=[pair[::-1]])[names[0]].kind == audit.NOT_REPRODUCED


def test_almost_is_a_little_less_and_the_reading_is_told(published, verdicts):
    verdict = verdicts["slides-throughput-ratio"]
    assert "mean of all 17" in verdict.reason and "SplitMixer-I 2.69" in verdict.reason
    entry = published.entries["slides-throughput-ratio"]
    assert audit.fits(entry, Fraction("2.71")) == audit.fits(entry, Fraction("2.5")) == "almost"
    for ratio in ("2.49", "3", "3.01"):
        assert audit.fits(entry, Fraction(ratio)) is None


# What stands beside the numbers


def test_a_borrowed_row_keeps_its_own_training(published):
    rows = [e for e in published.entries.values() if e.borrowed and e.quantity == "accuracy"]
    assert len(rows) > 30
    for entry in rows:
        assert set(entry.training) == {"dataset", "epochs"}, entry.id
        if entry.borrowed == "the MDMLP paper":
            assert entry.training["epochs"] == 200, entry.id  # as the slides say under the table


def test_every_number_stands_in_a_document_that_we_have_read(published):
    for entry in published.entries.values():
        assert "not seen" not in entry.where + entry.note, entry.id
        assert "passed on" not in entry.note.lower(), entry.id
