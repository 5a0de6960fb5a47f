"""The explorer's JavaScript against Python, on a grid of options."""

import itertools
import json

from mixerlib import costs, create_model
from mixerlib.costs.channel_reach import mixing_steps, reach
from mixerlib.pages.interactives import explorer

GRID = [
    {"family": family, "h": h, "d": d, "k": k, "p": p, "side": side, "s": s, "alpha": alpha}
    for family in explorer.LABELS
    for (h, d, k), (p, side), (s, alpha) in itertools.product(
        [(256, 8, 5), (55, 3, 4), (24, 5, 1)],
        [(2, 32), (7, 224)],
        [(2, "2/3"), (5, "6/11"), (8, "3/5"), (1, "1/1")],
    )
]


def python_side(case: dict) -> tuple[dict, dict]:
    """The options of the model that a case of the grid means, and the script's fields for them."""
    options = {
        "dim": case["h"],
        "depth": case["d"],
        "kernel_size": case["k"],
        "patch_size": case["p"],
        "num_classes": 10,
        "in_channels": 3,
        "activation": "gelu",
    }
    if case["family"] in ("splitmixer_i", "splitmixer_v"):
        options["ratio"] = case["alpha"]
    elif case["family"] != "convmixer":
        options["segments"] = case["s"]
    if "shuffle" in costs.OPTIONS[case["family"]]:
        options["shuffle"] = bool(case.get("shuffle", 0))
    numerator, denominator = map(int, case["alpha"].split("/"))
    fields = {key: case[key] for key in "hdkps"} | {
        "n": 10,
        "C_in": 3,
        "H": case["side"],
        "W": case["side"],
        "shuffle": case.get("shuffle", 0),
        "gelu": 1,
        "alpha_num": numerator,
        "alpha_den": denominator,
    }
    return options, fields


def test_the_script_counts_what_python_counts(run_script):
    cases, expected = [], []
    for case in GRID + [c | {"shuffle": 1} for c in GRID if c["h"] % c["s"] == 0]:
        if case.get("shuffle") and "shuffle" not in costs.OPTIONS[case["family"]]:
            continue
        options, fields = python_side(case)
        forms = costs.formulas(case["family"])
        try:
            totals = [
                sum(
                    costs.value_of(form, case["family"], options, image_size=case["side"])
                    for form in getattr(forms, quantity).values()
                )
                for quantity in explorer.QUANTITIES
            ]
        except ValueError:  # segments that do not divide
            continue
        cases.append([case["family"], fields])
        expected.append(totals)
    assert len(cases) > 120
    counted = run_script(
        explorer.Explorer(),
        f"return {json.dumps(cases)}.map(([f, o]) => "
        f"{json.dumps(explorer.QUANTITIES)}.map(q => api.formulas[f](o)[q]))",
    )
    assert counted == expected


def test_the_script_hears_what_python_hears(run_script):
    cases, expected = [], []
    for family, (s, shuffle) in itertools.product(
        explorer.LABELS, [(2, 0), (3, 0), (3, 1), (5, 0)]
    ):
        case = {"family": family, "h": 24, "d": 4, "k": 3, "p": 2, "side": 32, "s": s}
        case |= {"alpha": "3/5", "shuffle": shuffle}
        options, fields = python_side(case)
        try:
            model = create_model(family, **options)
        except ValueError:
            continue
        steps = mixing_steps(model)
        fields["s"] = s if "segments" in options else 1
        fields["shuffle"] = int(options.get("shuffle", False))
        for blocks in (0, 1, 2, 4):
            cases.append([family, fields, blocks])
            expected.append(int(reach(24, steps[:blocks]).sum()))
    counted = run_script(
        explorer.Explorer(),
        f"return {json.dumps(cases)}.map(([f, o, b]) => api.pairs(api.reach(f, o, b)))",
    )
    assert counted == expected


def test_the_script_refuses_what_the_models_refuse(run_script):
    cases = [
        ["splitmixer_iii", {"h": 256, "s": 3, "p": 2, "H": 32, "shuffle": 0}],
        ["splitmixer_iv", {"h": 256, "s": 3, "p": 2, "H": 32, "shuffle": 1}],
        ["convmixer", {"h": 256, "s": 2, "p": 3, "H": 32, "shuffle": 0}],
        ["splitmixer_ii", {"h": 8, "s": 9, "p": 2, "H": 32, "shuffle": 0}],
        ["splitmixer_ii", {"h": 256, "s": 3, "p": 2, "H": 32, "shuffle": 0}],
    ]
    said = run_script(
        explorer.Explorer(),
        f"return {json.dumps(cases)}.map(([f, o]) => api.wrong(f, o))",
    )
    assert [bool(text) for text in said] == [True, True, True, True, False]


def test_a_difference_says_in_words_whether_it_is_a_saving(run_script):
    pairs = [[56, 100], [147_900, 100_000], [7, 7], [100_001, 100_000], [99_940, 100_000]]
    said = run_script(
        explorer.Explorer(),
        f"return {json.dumps(pairs)}.map(([a, b]) => api.beside(a, b))",
    )
    assert said == ["44.0 % less", "47.9 % more", "the same", "under 0.1 % more", "0.1 % less"]
