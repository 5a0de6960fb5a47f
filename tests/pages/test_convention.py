"""Which convention?: what it counts, what fits, and what it says of the audit's numbers."""

import functools
import itertools
from fractions import Fraction

import pytest
import torch
from helpers import ROOT
from torch import nn

from mixerlib import create_model
from mixerlib.pages import audit, which_convention
from mixerlib.pages.interactives import convention

PUBLISHED = audit.load(ROOT / "book/published.yaml")
ENTRIES = [PUBLISHED.entries[name] for name in convention.PUZZLES]


@functools.cache
def piece():
    return which_convention(PUBLISHED)


def its_rows(entry):
    """The printed numbers of a puzzle, its own first."""
    family = convention.siblings(entry, PUBLISHED)
    return [entry, *(other for other in family if other is not entry)]


def its_choices(kind, counts):
    """Every choice of ticks as names and times, without what the model has none of."""
    parts = convention.KINDS[kind].parts
    times = [p.times if count else p.times[:1] for p, count in zip(parts, counts, strict=True)]
    factor = convention.KINDS[kind].factor
    for by, *chosen in itertools.product((0, 1), *times):
        yield {factor.name: by} | {p.name: t for p, t in zip(parts, chosen, strict=True)}


def by_hand(kind, counts, ticks):
    """The count that the ticks mean, written out."""
    t = ticks
    if kind == "work":
        full, spatial, biases, norms, gelu, mean = counts
        macs = (2 if t["twice"] else 1) * (full + t["spatial"] * spatial)
        return (
            macs + t["biases"] * biases + t["norms"] * norms + t["gelu"] * gelu + t["mean"] * mean
        )
    weights, bias, scales, head, running = counts
    numbers = weights + t["bias"] * bias + t["scales"] * scales + t["head"] * head
    return (4 if t["bytes"] else 1) * (numbers + t["running"] * running)


STATED = [
    audit.configurations(PUBLISHED.entries[name])[0]
    for name in (
        *(f"readme-cifar10/{row}/flops" for row in ("convmixer", "i", "ii", "iii", "iv")),
        "timm-benchmark/convmixer-768-32/gmacs",
        "timm-benchmark/mixer-s32/gmacs",
    )
]


@pytest.mark.parametrize("stated", STATED, ids=lambda stated: stated.title)
def test_the_parts_are_those_of_the_running_module(stated):
    with torch.device("meta"):
        model = create_model(stated.family, **stated.options).eval()
        images = torch.zeros(1, 3, stated.image_size, stated.image_size)
    seen = dict.fromkeys(("biases", "norms", "gelu", "spatial"), 0)

    def note(layer, given, output):
        if isinstance(layer, nn.GELU):
            seen["gelu"] += output.numel()
        elif isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            seen["norms"] += output.numel()
        else:
            seen["biases"] += output.numel()
            if getattr(layer, "groups", 1) > 1:
                seen["spatial"] += output.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.GELU | nn.BatchNorm2d | nn.LayerNorm):
            layer.register_forward_hook(note)
    with torch.no_grad():
        model(images)
    work = zip(convention.KINDS["work"].parts, convention.counts_of(stated, "work"), strict=True)
    counted = {part.name: count for part, count in work}
    assert {name: counted[name] for name in seen} == seen
    named = list(model.named_parameters())
    flat = {name: weight.numel() for name, weight in named if weight.ndim == 1}
    norms = sum(count for name, count in flat.items() if is_norm(model, name))
    head = sum(weight.numel() for weight in model.head.parameters())
    biases = sum(flat.values()) - norms - model.head.bias.numel()
    whole = sum(weight.numel() for _, weight in named)
    running = sum(b.numel() for b in model.buffers() if b.is_floating_point())
    expected = [whole - biases - norms - head, biases, norms, head, running]
    assert convention.counts_of(stated, "size") == expected


def is_norm(model, name):
    layer = model.get_submodule(name.rpartition(".")[0])
    return isinstance(layer, nn.BatchNorm2d | nn.LayerNorm)


def test_every_choice_counts_and_fits_as_in_the_audit(run_script):
    answers = run_script(
        piece(),
        "return api.puzzles.map(p => api.choices(p).map(ticks => [ticks, "
        "p.rows.map(row => { const n = api.total(p.kind, row.slice(2), ticks);"
        " return [n, api.fits(row, n)]; })]))",
    )
    hows = {"exactly": "exact", "rounded to the nearest": "to nearest"}
    assert [len(answer) for answer in answers] == [240, 16, 32, 120, 80, 32]
    for entry, answer in zip(ENTRIES, answers, strict=True):
        kind, rows = convention.kind_of(entry), its_rows(entry)
        counts = [convention.counts_of(audit.configurations(row)[0], kind) for row in rows]
        assert [ticks for ticks, _ in answer] == list(its_choices(kind, counts[0]))
        for ticks, numbers in answer:
            totals = [by_hand(kind, count, ticks) for count in counts]
            expected = [audit.fits(row, Fraction(n)) for row, n in zip(rows, totals, strict=True)]
            assert [n for n, _ in numbers] == totals
            assert [hows.get(how, how) for _, how in numbers] == expected


def test_the_ways_of_the_audit_are_choices_of_ticks():
    none = {"spatial": 1, "biases": 0, "norms": 0, "gelu": 0, "mean": 0, "twice": 0}
    every = {"bias": 1, "scales": 1, "head": 1, "running": 0, "bytes": 0}
    habits, of_files = audit.HABITS, audit.CONVENTIONS["file size"]
    ways = [
        *((audit.CONVENTIONS["flops"][name], "work", none | ticks) for name, ticks in (
            ("MACs", {}),
            ("2 × MACs", {"twice": 1}),
            ("thop", {"norms": 4, "mean": 1}),
        )),
        (habits["flops"]["thop before version 0.1.1"], "work", none | {"norms": 2, "mean": 1}),
        (audit.CONVENTIONS["parameters"]["trainable parameters"], "size", every),
        (habits["parameters"]["the classifier left out"], "size", every | {"head": 0}),
        (of_files["4 bytes for each parameter and running statistic"], "size",
         every | {"bytes": 1, "running": 1}),
        (habits["file size"]["the parameters alone"], "size", every | {"bytes": 1}),
    ]  # fmt: skip
    for stated in STATED:
        norm = 5 if stated.family == "mlp_mixer" else 2
        fvcore = audit.CONVENTIONS["flops"]["fvcore"], "work", none | {"norms": norm}
        blind = (
            habits["flops"]['fvcore, which misses the convolutions with padding="same"'],
            "work",
            none | {"norms": norm, "spatial": 0},
        )
        for way, kind, ticks in (*ways, fvcore, blind):
            assert by_hand(kind, convention.counts_of(stated, kind), ticks) == stated.count(way)


def test_what_the_audit_calls_it_is_among_the_best_choices(run_script):
    """The ticks of each puzzle's convention have its digits, and none gives more numbers."""
    expected = [
        ("thop", {"norms": 4, "mean": 1, "spatial": 1}),
        ("parameters without the classifier", {"bias": 1, "scales": 1}),
        ("4 bytes for each parameter and running statistic",
         {"bias": 1, "scales": 1, "head": 1, "running": 1, "bytes": 1}),
        ("fvcore", {"norms": 5}),
        ('fvcore, which misses the convolutions with padding="same"', {"norms": 2}),
    ]  # fmt: skip
    answers = run_script(piece(), "return api.puzzles.map(p => [p.audit, api.search(p)])")
    for entry, (name, ticks), (said, search) in zip(ENTRIES, expected, answers, strict=False):
        kind, rows = convention.kind_of(entry), its_rows(entry)
        counts = [convention.counts_of(audit.configurations(row)[0], kind) for row in rows]

        def score(choice, kind=kind, rows=rows, counts=counts):
            numbers = (Fraction(by_hand(kind, count, choice)) for count in counts)
            return [bool(audit.fits(r, n)) for r, n in zip(rows, numbers, strict=True)]

        scores = [score(choice) for choice in its_choices(kind, counts[0])]
        fitting = [sum(fits) for fits in scores if fits[0]]
        most = max(fitting)
        assert search["fitting"] == len(fitting) and search["most"] == most == len(rows)
        assert search["best"] == fitting.count(most)
        its = score(dict.fromkeys(next(its_choices(kind, counts[0])), 0) | ticks)
        assert said == name and its[0] and sum(its) == most
    assert answers[-1][1]["fitting"] == 0 and len(answers) == 6
    verdict = audit.check(PUBLISHED)["keras-params"]
    assert verdict.kind == audit.NOT_REPRODUCED
    assert answers[-1][0] in {other.text for other in verdict.explained}


def test_a_guess_is_judged_by_the_plain_count(run_script):
    answers = run_script(
        piece(),
        "return api.puzzles.map(p => [api.plain(p), api.actual(p)])",
    )
    for entry, (plain, said) in zip(ENTRIES, answers, strict=True):
        way = {"flops": "MACs", "parameters": "trainable parameters"}.get(entry.quantity)
        ways = audit.CONVENTIONS if way else audit.HABITS
        (stated,) = audit.configurations(entry)
        exact = stated.count(ways[entry.quantity][way or "the parameters alone"])
        assert plain == exact
        beside = "fewer" if entry.value < exact else "more"
        assert said == ("same" if audit.fits(entry, exact) else beside)
    assert {said for _, said in answers} == {"same", "fewer", "more"}
