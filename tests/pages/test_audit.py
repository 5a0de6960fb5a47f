"""The audit: every printed number has its verdict from code, and a changed number changes it."""

import importlib.util
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import cache
from html.parser import HTMLParser

import pytest
import torch
from helpers import ROOT, SHARED

from mixerlib import costs
from mixerlib.files import read_yaml
from mixerlib.models import create_model, model_entry
from mixerlib.pages import audit

FILE = ROOT / "book" / "published.yaml"
SEEDS = SHARED / "seeds"


@pytest.fixture(scope="session")
def published() -> audit.Published:
    return audit.load(FILE)


@pytest.fixture(scope="session")
def entries(published) -> Mapping[str, audit.Entry]:
    return published.entries


@pytest.fixture(scope="session")
def others() -> audit.OtherCounts:
    return audit.read_others(ROOT / "book" / "records" / "counts" / "others.json")


@pytest.fixture(scope="session")
def verdicts(published, others) -> dict[str, audit.Verdict]:
    return audit.check(published, others=others)


def printed_as(published: audit.Published, name: str, printed: str) -> audit.Published:
    """What is published, with one number printed otherwise."""
    changed = replace(published.entries[name], printed=printed)
    return audit.Published(published.documents, {**published.entries, name: changed})


# The file


def test_no_name_is_there_twice():
    content = read_yaml(FILE)
    assert not content["tables"].keys() & content["numbers"].keys()


def test_every_entry_says_what_it_is_and_where_it_stands(entries):
    for entry in entries.values():
        assert entry.where and entry.name and entry.printed
        named = entry.model or entry.borrowed or entry.against
        assert named or entry.quantity == "statement", entry.id
        if entry.quantity == "accuracy":
            assert entry.training.get("dataset"), entry.id
        if entry.quantity in ("parameters", "flops") and entry.model and not entry.formula:
            assert entry.image_size and entry.options.get("num_classes"), entry.id


def test_every_document_has_a_title_and_an_address_and_is_used(published, entries):
    for document in published.documents.values():
        assert document["title"] and document["url"].startswith("https://")
    assert {entry.document for entry in entries.values()} == set(published.documents)


SMALL = """
documents: {paper: {title: A paper, url: "https://example.org"}}
tables:
  one:
    document: paper
    where: Table 1
    common: {image_size: 32, num_classes: 10}
    columns:
      params: {name: Params, quantity: parameters, unit: M}
    rows:
      i: {name: SplitMixer-I, model: splitmixer_i_256_8, values: ["0.276"]}
numbers: {}
"""


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("document: paper", "document: papers", "`document`='papers' of one/i/params"),
        ("quantity: parameters", "quantity: weight", "`quantity`='weight' of one/i/params"),
        ("unit: M", "unit: k", "`unit`='k' of one/i/params"),
        ('["0.276"]', "[0.276]", "`printed`=0.276 of one/i/params must be a number, as text"),
        ('["0.276"]', '["1e99999999"]', "`printed`='1e99999999' of one/i/params must be a number"),
        ("numbers: {}", "number: {}", "what follows one/i/params is not of its form"),
        ("columns:", "colums:", "what follows its beginning is not of its form"),
        ('["0.276"]', '["much"]', "`printed`='much' of one/i/params"),
        ('["0.276"]', '["0.276", "71.8"]', "`one/i` must have 1 values"),
        ("model: splitmixer_i_256_8", "modell: x", "`modell`='x' of one/i/params"),
        ("model: splitmixer_i_256_8", "model: splitmixer_9", "is no model of mixerlib"),
        ("num_classes: 10", "segments: 2", "`segments` of one/i/params must be an option of"),
        ("unit: M", "", "one/i/params: .*'unit'"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_entry(tmp_path, old, new, message):
    path = tmp_path / "published.yaml"
    path.write_text(SMALL)
    assert [*audit.load(path).entries] == ["one/i/params"]
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(ValueError, match=message):
        audit.load(path)


@pytest.mark.skipif(not SEEDS.is_dir(), reason="the source documents are not beside this checkout")
def test_every_number_of_the_source_tables_is_in_the_file(entries):
    """Numbers with a decimal point in table rows; those without are few, and checked below."""
    held, printed = Counter(entry.printed for entry in entries.values()), Counter()
    for path in SEEDS.glob("*.txt"):
        rows = [x for x in path.read_text().splitlines() if x.startswith("|") or "\t" in x]
        for row in rows:
            printed.update(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", row))
    assert printed.total() > 170
    assert printed - held == Counter()


def test_the_whole_numbers_of_the_source_tables_are_in_the_file(entries):
    printed = [entry.printed for entry in entries.values()]
    for number in ("86", "129", "828", "792", "181"):
        assert printed.count(number) == 2  # ConvMixer's table is reprinted twice
    for number in ("134", "206", "52", "56", "75", "73", "207", "85", "98"):
        assert number in printed


# Printed digits


@pytest.mark.parametrize(
    "exact, printed, decimals, how",
    [
        ("0.5", "0.5", 1, "exact"),
        ("0.594186", "0.594", 3, "to nearest"),
        ("0.275834", "0.276", 3, "to nearest"),
        ("0.275834", "0.275", 3, "cut off"),
        ("0.275834", "0.277", 3, None),
        ("2.5", "3", 0, "to nearest"),  # halves go up
        ("2.5", "2", 0, "cut off"),
        ("206.939", "206", 0, "cut off"),
        ("0.594186", "0.60", 2, None),
    ],
)
def test_rounding(exact, printed, decimals, how):
    assert audit.rounding(Fraction(exact), Fraction(printed), decimals) == how


def test_about_allows_one_in_the_last_digit_and_no_more(entries):
    entry = replace(entries["slides-abstract-saving-params"], printed="52")
    assert audit.fits(entry, Fraction("0.5299")) == "cut off"
    assert audit.fits(entry, Fraction("0.53")) == "about"
    assert audit.fits(entry, Fraction("0.5301")) is None
    assert audit.fits(replace(entry, about=False), Fraction("0.53")) is None


# Verdicts


def test_every_entry_has_a_verdict_and_a_reason(entries, verdicts):
    assert verdicts.keys() == entries.keys()
    for name, verdict in verdicts.items():
        assert verdict.kind in audit.VERDICTS
        assert len(verdict.reason) > 15 and verdict.reason.endswith((".", ")")), name
        assert (verdict.kind == audit.REPRODUCED) == bool(verdict.convention), name
    assert {verdict.kind for verdict in verdicts.values()} == set(audit.VERDICTS)


def test_a_kind_of_verdict_is_given_only_where_it_can_be(entries, verdicts):
    for name, verdict in verdicts.items():
        entry = entries[name]
        if verdict.kind == audit.NEEDS_TRAINING:
            assert entry.quantity == "accuracy" and not entry.weights, name
            assert entry.model or entry.preset, name
        if verdict.kind == audit.NEEDS_EVALUATION:
            assert entry.quantity == "accuracy" and entry.weights, name
        if verdict.kind == audit.CANNOT_BE_CHECKED:
            assert (
                entry.quantity == "throughput"
                or not (entry.model or entry.other)
                or (entry.quantity == "accuracy" and not (entry.model or entry.preset))
            ), name


@cache
def measured(
    quantity: str, name: str, options: tuple, image_size: int, cost: str
) -> costs.Counts[int]:
    """A registered model, built, and run where operations are wanted: no formula is used."""
    with torch.device("meta"):
        model = create_model(name, **dict(options))
    if quantity == "flops" or cost == "body":
        return costs.measure(model, image_size)
    nothing = {key: {} for key in costs.QUANTITIES}
    return costs.Counts(**nothing | {"params": {"all": sum(p.numel() for p in model.parameters())}})


def test_what_is_reproduced_has_the_printed_digits_when_the_module_is_measured(entries, verdicts):
    rules = {"to nearest": ROUND_HALF_UP, "exact": ROUND_HALF_UP, "cut off": ROUND_DOWN}
    tables = [*audit.CONVENTIONS.values(), *audit.STATED.values()]
    ways = {way: f for table in tables for way, f in table.items()}
    checked = 0
    counted = [
        entry
        for entry in entries.values()
        if verdicts[entry.id].kind == audit.REPRODUCED
        and entry.quantity in ("parameters", "flops")
        and entry.model
        and not entry.formula
    ]
    for entry in counted:
        verdict, classes = verdicts[entry.id], entry.options["num_classes"]
        several = classes if isinstance(classes, list) else [classes]
        values = []
        for n in several:
            options = {**entry.options, "num_classes": n}
            if "image_size" in model_entry(entry.model).defaults:
                options["image_size"] = entry.image_size
            key = tuple(sorted(options.items()))
            counts = measured(entry.quantity, entry.model, key, entry.image_size, entry.cost)
            values.append(Decimal(ways[verdict.convention](counts)))
        value = sum(values) / len(values) / Decimal(int(entry.scale))
        if verdict.rounding in (audit.TWICE, audit.PADDED):
            continue  # which have tests of their own
        digits = value.quantize(Decimal(1).scaleb(-entry.decimals), rules[verdict.rounding])
        assert str(digits) == entry.printed, entry.id
        checked += 1
    assert checked > 90


def test_what_is_not_reproduced_has_other_digits_in_every_convention(entries, verdicts):
    for name, verdict in verdicts.items():
        entry = entries[name]
        if verdict.kind == audit.NOT_REPRODUCED and entry.quantity in audit.CONVENTIONS:
            for stated in audit.configurations(entry):
                for way in audit.ways_of(entry).values():
                    how = audit.fits(entry, stated.count(way))
                    assert how is None or (
                        how == "cut off" and "fewer digits" in str(verdict.remarks)
                    ), name


@pytest.mark.parametrize(
    "name, printed, before, after",
    [
        ("readme-cifar10/convmixer/flops", "152.8", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("readme-flowers102/ii/params", "0.25", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("mixer-paper/b16/params", "61", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("readme-cifar10/convmixer/params", "0.59", audit.NOT_REPRODUCED, audit.REPRODUCED),
        ("draft3-cifar100/ii/params", "0.199", audit.NOT_REPRODUCED, audit.REPRODUCED),
        ("timm-benchmark/mixer-s16/gmacs", "3.80", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("slides-comparison-cifar/mlp-mixer/flops", "1.25", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("slides-iv-example", "66.7", audit.REPRODUCED, audit.REPRODUCED),
        ("slides-iv-example", "66.8", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("slides-abstract-saving-flops", "56", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("slides-throughput-ratio", "4", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("slides-throughput-ratio", "2", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("slides-convmixer/deit-b/params", "87", audit.REPRODUCED, audit.REPRODUCED),
        ("slides-convmixer/deit-b/params", "88", audit.REPRODUCED, audit.NOT_REPRODUCED),
        ("draft1-cifar10/ii/top1", "92.25", audit.NOT_REPRODUCED, audit.NEEDS_TRAINING),
        ("readme-cifar10/ii/top1", "94.17", audit.NEEDS_TRAINING, audit.NEEDS_TRAINING),  # 2 : 1
        ("draft3-cifar10/iii/top1", "93.38", audit.NEEDS_TRAINING, audit.NEEDS_TRAINING),
        (
            "slides-versus/convmixer-768-32/throughput",
            "206",
            audit.NOT_REPRODUCED,
            audit.CANNOT_BE_CHECKED,
        ),
    ],
)
def test_a_changed_number_changes_its_verdict(
    name, printed, before, after, published, verdicts, others
):
    assert verdicts[name].kind == before
    changed = printed_as(published, name, printed)
    assert audit.check(changed, others=others)[name].kind == after


@pytest.mark.parametrize(
    "name, formula, after",
    [
        ("slides-spatial-saving-flops", "k/3", audit.NOT_REPRODUCED),
        ("slides-iii-saving-params", "1 - 1/s", audit.NOT_REPRODUCED),
        ("slides-i-saving-flops", "1 - m**2/h**2", audit.REPRODUCED),
        ("slides-channel-params-channel", "h**2 + h", audit.REPRODUCED),
    ],
)
def test_a_changed_formula_changes_its_verdict(name, formula, after, published, entries, verdicts):
    changed = replace(entries[name], formula=formula)
    verdict = audit.check(audit.Published(published.documents, {name: changed}))[name]
    assert verdict.kind == after
    assert verdicts[name].kind == audit.REPRODUCED


def test_every_formula_of_the_slides_is_right_for_the_part_that_it_names(entries, verdicts):
    formulas = [entry for entry in entries.values() if entry.formula]
    assert {verdicts[entry.id].kind for entry in formulas} == {audit.REPRODUCED}
    assert all(f"Right for the {entry.part}" in verdicts[entry.id].reason for entry in formulas)
    assert verdicts["slides-spatial-saving-flops"].convention == "exactly"
    assert verdicts["slides-spatial-saving-params"].convention == "without biases"
    assert verdicts["slides-i-saving-params"].convention == "in the wide limit"


# Findings, each as the search finds it


def test_one_convention_gives_all_flops_of_the_present_readme(entries, verdicts):
    flops = [e for e in entries.values() if e.document == "splitmixer-readme"]
    flops = [e for e in flops if e.quantity == "flops"]
    assert len(flops) == 20
    assert {verdicts[e.id].convention for e in flops} == {"thop"}


@pytest.mark.parametrize("row", ["ii", "iii", "iv"])
def test_the_cifar_100_counts_belong_to_kernel_size_2(row, verdicts):
    for name in (
        f"draft2-cifar100/{row}/params",
        f"draft2-cifar100/{row}/flops",
        f"draft3-cifar100/{row}/params",
    ):
        assert verdicts[name].explained[0].text == "kernel size 2", name
    assert verdicts[f"draft3-cifar100/{row}/flops"].kind == audit.REPRODUCED


def test_the_row_that_convmixer_has_twice_is_splitmixer_i_with_that_kernel(verdicts):
    for column in ("params", "flops"):
        verdict = verdicts[f"draft2-cifar100/first/{column}"]
        assert verdict.explained[0].text == "SplitMixer-I, kernel size 2"


def test_two_throughputs_are_parameter_counts_of_splitmixer_i_and_of_nothing_else(entries):
    for row in ("convmixer-1536-20", "convmixer-768-32"):
        twins = audit.parameter_twins(entries[f"slides-versus/{row}/throughput"])
        assert [twin.text for twin in twins] == ["SplitMixer-I"]
        assert audit.parameter_twins(entries[f"slides-convmixer/{row}/throughput"]) == []


def test_the_draft_has_accuracies_on_wrong_rows(published, entries):
    rows = {
        entry.id: row.name
        for entry in entries.values()
        if entry.quantity == "accuracy" and (row := audit.row_of(entry, published))
    }
    assert rows == {
        "draft1-cifar10/i/top1": "SplitMixer-II 256/8",
        "draft1-cifar10/ii/top1": "ConvMixer-256/8",
        "draft1-cifar10/iii/top1": "ConvMixer-256/8",
        "draft1-cifar10/iv/top1": "ConvMixer-256/8",
        "draft2-cifar100/first/top1": "SplitMixer-I 256/8",
    }


def test_contradictions_and_repeated_rows_are_remarked(published, entries, verdicts):
    (remark,) = verdicts["slides-comparison-cifar/splitmixer-i/cifar100"].remarks
    assert "72.88" in remark
    repeated = {e.id for e in entries.values() if audit.repeated_row(e, published)}
    assert repeated == {"mindspore-mixer/s16/top1", "mindspore-mixer/s16/top5"}


def test_the_depthwise_work_is_missing_from_timms_gmacs(verdicts):
    for row in ("convmixer-1536-20", "convmixer-768-32", "convmixer-1024-20"):
        verdict = verdicts[f"timm-benchmark/{row}/gmacs"]
        assert verdict.explained[0].text.startswith("fvcore, which misses the convolutions")


# The page


class Page(HTMLParser):
    """What a browser would find in the table's HTML."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.rows, self.labels, self.depth = Counter(), [], 0, []
        self.controls, self.addresses = [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags[tag] += 1
        given = dict(attrs)
        if tag == "tr" and "data-verdict" in given:
            self.rows.append((given["data-verdict"], given["data-source"]))
        if tag in ("input", "select"):
            self.controls.append((given["name"], "label" in self.depth))
        self.addresses += [given[key] for key in ("src", "href") if key in given]
        if tag not in ("input", "col"):
            self.depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.depth.pop() == tag, f"</{tag}> closes another element"


@pytest.fixture(scope="module")
def table(published, verdicts) -> str:
    path = ROOT / "book" / "assets" / "audit_table.py"
    spec = importlib.util.spec_from_file_location("audit_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.table(published, verdicts)


def test_the_table_has_a_row_for_every_number_and_needs_no_network(table, entries, verdicts):
    page = Page(table)
    expected = [(verdicts[name].kind, entry.document) for name, entry in entries.items()]
    assert page.rows == expected
    assert page.depth == [] and page.addresses == []
    assert "http" not in table and "@import" not in table and "url(" not in table


def test_every_control_has_its_label(table):
    assert Page(table).controls == [("words", True), ("verdict", True), ("source", True)]
    assert 'role="region" aria-label' in table and 'tabindex="0"' in table


def test_text_is_escaped(table):
    assert "SplitMixer&#x27;s slides" in table and "slide &quot;SplitMixer vs. ConvMixer" in table


@pytest.mark.prose
def test_no_count_of_the_audit_is_typed_into_the_page(verdicts):
    text = (ROOT / "book" / "audit.md").read_text(encoding="utf-8")
    prose = re.sub(r"^---.*?^---|```.*?```|`[^`\n]*`|\([^)]*\)", "", text, flags=re.S | re.M)
    tally = Counter(verdict.kind for verdict in verdicts.values())
    typed = set(re.findall(r"\d+", prose))
    assert not typed & {str(len(verdicts)), *map(str, tally.values())}
    assert not re.search(r"\d+\.\d+|\d ?%|\d ?[MGk]\b", prose)
    assert "audit.check(published" in text
