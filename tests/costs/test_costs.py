"""The closed forms against the running modules, and both against numbers known from elsewhere.

MIXERLIB_EXAMPLES sets how many random configurations of each of the eight families are tried, and
of the ablations of SplitMixer-I.
"""

import copy
import os
import warnings
from fractions import Fraction

import pytest
import sympy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from mixerlib import checks, costs
from mixerlib.costs import symbols as sym
from mixerlib.models import create_model, list_models, model_entry

EXAMPLES = int(os.environ.get("MIXERLIB_EXAMPLES", "250"))
OVERLAPPING = ("splitmixer_i", "splitmixer_v")
EQUAL = ("splitmixer_iii", "splitmixer_3d")
SHUFFLING = [family for family in costs.FAMILIES if "shuffle" in costs.OPTIONS[family]]
SPLIT = [family for family in costs.FAMILIES if family.startswith("splitmixer")]
FORMULATED = [name for name in list_models() if model_entry(name).family in costs.FAMILIES]
every_family = pytest.mark.parametrize("family", costs.FAMILIES)
every_split = pytest.mark.parametrize("family", SPLIT)


def family_of(name: str) -> str:
    """The family of a registered name: the one that the same class and strategy belong to."""
    entry = model_entry(name)
    families = ((family, model_entry(family)) for family in costs.FAMILIES)
    return next(f for f, e in families if (e.model, e.fixed) == (entry.model, entry.fixed))


def own_image_size(name: str) -> int:
    """The image size that a preset is meant for."""
    large = name.endswith("_224") or model_entry(name).defaults["num_classes"] == 1000
    return model_entry(name).defaults.get("image_size", 224 if large else 32)


def assert_equal(formula: costs.Counts, measured: costs.Measured) -> None:
    """Every quantity, part by part, and the two independent counts of MACs, layer by layer."""
    for quantity in costs.QUANTITIES:
        assert getattr(formula, quantity) == getattr(measured, quantity), quantity
        assert all(type(count) is int for count in getattr(formula, quantity).values()), quantity
    assert costs.macs(formula) == measured.flop_counter
    assert measured.macs_by_layer == measured.flop_counter_by_layer
    for convention in costs.CONVENTIONS.values():
        assert convention(formula) == convention(measured)


# Formula = measurement


@st.composite
def configurations(draw, family: str) -> tuple[dict, tuple[int, int]]:
    """Any options of a family, small, and any image that fits them: height and width in pixels."""
    options = {
        "dim": draw(st.integers(2 if family in OVERLAPPING else 1, 48)),
        "depth": draw(st.integers(1, 3) | st.integers(1, 9)),  # mostly few blocks, to be quick
        "patch_size": draw(st.integers(1, 4)),
        "num_classes": draw(st.integers(1, 12)),
        "in_channels": draw(st.integers(1, 4)),
        "activation": draw(st.sampled_from(("gelu", "relu"))),
    }
    dim, p = options["dim"], options["patch_size"]
    places = st.tuples(st.integers(1, 5), st.integers(1, 5))
    if family == "mlp_mixer":
        rows, columns = draw(places)
        options |= {
            "tokens_dim": draw(st.integers(1, 16)),
            "channels_dim": draw(st.integers(1, 64)),
        }
        options["image_size"] = (rows * p, columns * p)
        return options, options["image_size"]
    rows, columns = draw(places.filter(lambda pair: pair != (1, 1)))  # BatchNorm needs two numbers
    options["kernel_size"] = draw(st.integers(1, 8))
    if family in OVERLAPPING:
        below = draw(st.integers(1, 24))
        options["ratio"] = Fraction(draw(st.integers(below // 2 + 1, below)), below)
    elif family in EQUAL:
        divisors = [s for s in range(1, 9) if dim % s == 0]
        options["segments"] = draw(st.sampled_from(divisors))
    elif family != "convmixer":
        options["segments"] = draw(st.integers(1, min(8, dim)))
    if family in SHUFFLING:
        options["shuffle"] = draw(st.booleans()) and dim % options["segments"] == 0
    return options, (rows * p, columns * p)


@every_family
def test_the_formulas_are_what_is_measured(family, record_property):
    formulas, tried = costs.formulas(family), 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(configurations(family))
    def check(configuration):
        nonlocal tried
        options, image_size = configuration
        measured = costs.measure(
            create_model(family, **options), image_size, options["in_channels"], device="cpu"
        )
        assert_equal(formulas.counts(options, image_size), measured)
        tried += 1

    check()
    record_property("configurations", tried)
    assert tried >= EXAMPLES


# The corners, each on its own, so that none is left to chance
CORNERS = {
    "an even kernel": ("convmixer", {"kernel_size": 4}),
    "even kernels of one dimension": ("splitmixer_i", {"kernel_size": 4}),
    "one channel": ("convmixer", {"dim": 1}),
    "all channels overlap": ("splitmixer_v", {"ratio": 1}),
    "all channels in the one segment": ("splitmixer_i", {"ratio": 1}),
    "a gap between the segments": ("splitmixer_v", {"dim": 3, "ratio": "6/11"}),
    "segments that just meet": ("splitmixer_v", {"dim": 12, "ratio": "6/11"}),
    "where floats round wrongly": ("splitmixer_i", {"dim": 55, "ratio": "6/11"}),
    "a ragged segment whose turn comes": ("splitmixer_ii", {"segments": 5, "depth": 6}),
    "a ragged segment whose turn never comes": ("splitmixer_ii", {"segments": 5, "depth": 4}),
    "one segment": ("splitmixer_ii", {"segments": 1}),
    "ragged segments": ("splitmixer_iv", {"segments": 5}),
    "a segment for each channel": ("splitmixer_3d", {"segments": 12}),
    "a shuffle of II": ("splitmixer_ii", {"segments": 3, "shuffle": True}),
    "a shuffle of IV": ("splitmixer_iv", {"segments": 3, "shuffle": True}),
    "ReLU": ("splitmixer_v", {"activation": "relu"}),
    "one token": ("mlp_mixer", {"image_size": 4}),
    "one channel of tokens": ("mlp_mixer", {"dim": 1, "activation": "relu"}),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("corner", CORNERS)
def test_the_formulas_hold_in_every_corner(corner, device):
    family, special = CORNERS[corner]
    options = (
        dict(model_entry(family).defaults) | {"dim": 12, "depth": 3, "patch_size": 4} | special
    )
    if family == "mlp_mixer":
        options |= {"tokens_dim": 5, "channels_dim": 7}
    image_size = options.get("image_size", (8, 12))
    measured = costs.measure(create_model(family, **options), image_size, device=device)
    assert_equal(costs.formulas(family).counts(options, image_size), measured)


@pytest.mark.parametrize("name", FORMULATED)
def test_the_formulas_hold_for_every_preset_at_its_image_size(name):
    with torch.device("meta"):
        model = create_model(name)
    formulas, image_size = costs.formulas(family_of(name)), own_image_size(name)
    measured = costs.measure(model, image_size)
    assert_equal(formulas.counts(model_entry(name).defaults, image_size), measured)


# The ablations of SplitMixer-I, which have no closed forms: counted by hand from their options


@st.composite
def ablations(draw) -> tuple[dict, tuple[int, int]]:
    """Any ablation of a small SplitMixer-I, and the one image size that it is asked about."""
    options, image_size = draw(configurations("splitmixer_i"))
    options |= {
        "residual": draw(st.sampled_from(("spatial", "none", "both", "channel"))),
        "norm": draw(st.sampled_from(("batch", "layer"))),
        "mixes": draw(st.sampled_from(("both", "spatial", "channels"))),
        "segments_mixed": draw(st.sampled_from(("alternating", "first"))),
        "image_size": image_size,
    }
    return options, image_size


def ablated_by_hand(options: dict, image_size: tuple[int, int]) -> dict[str, dict[str, int]]:
    """Every quantity of an ablation by part, in Python integers."""
    names = ("dim", "depth", "kernel_size", "patch_size", "num_classes", "in_channels")
    h, d, k, p, n, colors = (options[name] for name in names)
    (height, width), m = image_size, int(Fraction(options["ratio"]) * h)
    places, image = height * width // p**2, colors * height * width
    space, channels = options["mixes"] != "channels", options["mixes"] != "spatial"
    sums_in_space = options["residual"] in ("spatial", "both")
    sums_in_channels = options["residual"] in ("channel", "both")
    layer, gelu, even = options["norm"] == "layer", options["activation"] == "gelu", k % 2 == 0
    norms, one_map = 1 + d * (2 * space + channels), h * places
    border = even * h * (height // p + width // p)  # of both paddings of an even kernel together
    slice_copied = 2 * m * (m < h)
    concatenated = 2 * m + 2 * h  # the segment mixed; every channel read and written
    counts = {
        "params": (
            h * colors * p**2 + h,
            d * 2 * (h * k + h),
            d * (m**2 + m),
            norms * 2 * h * (places if layer else 1),
            h * n + n,
        ),
        "buffers": (0, 0, 0, 0 if layer else norms * 2 * h, 0),
        "macs": (image * h, d * 2 * k * one_map, d * m**2 * places, 0, h * n),
        "normalized": (0, 0, 0, norms * one_map, 0),
        "pooling": (0, 0, 0, 0, one_map + h),
        "activations": (
            image + one_map,
            d * (4 * one_map + border),
            d * 2 * one_map,
            norms * (gelu * one_map + (2 if layer else 2 * h)),
            h,
        ),
        "moved": (
            image + 3 * one_map,
            d * ((8 + 3 * sums_in_space + 4 * even) * one_map + 2 * border),
            d * ((slice_copied + concatenated) * places + (2 + 3 * sums_in_channels) * one_map),
            norms * 2 * one_map,
            one_map + h + h + n,
        ),
    }
    present = (True, space, channels, True, True)
    parts = ("stem", "spatial mixing", "channel mixing", "normalisation", "head")
    return {
        quantity: {part: x for part, x, kept in zip(parts, row, present, strict=True) if kept}
        for quantity, row in counts.items()
    }


def test_the_ablations_are_measured_as_counted_by_hand(record_property):
    tried = 0

    @settings(max_examples=EXAMPLES, deadline=None, print_blob=True)
    @given(ablations())
    def check(configuration):
        nonlocal tried
        options, image_size = configuration
        model = create_model("splitmixer_i_ablated", **options)
        measured = costs.measure(model, image_size, options["in_channels"], device="cpu")
        by_hand = ablated_by_hand(options, image_size)
        assert by_hand.keys() == set(costs.QUANTITIES)
        for quantity, parts in by_hand.items():
            assert getattr(measured, quantity) == parts, quantity
        assert costs.macs(measured) == measured.flop_counter
        assert measured.macs_by_layer == measured.flop_counter_by_layer
        tried += 1

    check()
    record_property("configurations", tried)
    assert tried >= EXAMPLES


def test_a_family_without_closed_forms_says_so():
    (family,) = costs.MEASURED_ONLY
    assert family not in costs.FAMILIES
    message = f"`family`='{family}' has no closed forms: it is counted by measurement only"
    for ask in (costs.formulas, costs.saving, lambda f: costs.value_of(sym.h, f, {"dim": 8})):
        with pytest.raises(ValueError, match=message):
            ask(family)


def test_the_parts_of_a_measurement_stand_in_the_order_of_the_formulas():
    for family in costs.FAMILIES:
        with torch.device("meta"):
            model = create_model(family)
        measured = costs.measure(model, 32)
        assert list(measured.params) == list(costs.formulas(family).params)


# Numbers known from elsewhere


def preset(name: str, **options) -> costs.Counts:
    """The counts of a preset at its image size, from the formulas."""
    defaults = dict(model_entry(name).defaults) | options
    return costs.formulas(family_of(name)).counts(defaults, own_image_size(name))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("convmixer_256_8", 594_186),
        ("convmixer_768_32", 21_110_248),
        ("convmixer_1024_20", 24_383_464),
        ("convmixer_1536_20", 51_625_960),
        ("mixer_s16", 18_528_264),
    ],
)
def test_known_parameter_counts(name, parameters):
    assert preset(name).total("params") == parameters


def test_convmixer_256_8_under_every_convention():
    counts = preset("convmixer_256_8")
    assert counts.total("params") + counts.total("buffers") == 602_890
    assert costs.macs(counts) == 148_113_920
    assert costs.flops(counts) == 296_227_840
    assert costs.thop(counts) == 152_636_160  # what thop 0.1.1 and 2.2.3 print for it


# The "FLOPS" of the paper's tables (arXiv 2207.10255), in millions: ConvMixer, SplitMixer-I to IV
TABLED = ("convmixer", "splitmixer_i", "splitmixer_ii", "splitmixer_iii", "splitmixer_iv")
PUBLISHED = {
    ("CIFAR-10", "_256_8", 10): ("152.6", "71.8", "46.2", "79.8", "79.8"),
    ("CIFAR-100", "_256_8", 100): ("152.6", "71.9", "46.2", "79.8", "79.8"),
    ("Flowers102", "_256_8_224", 102): ("696", "331", "229", "363", "363"),
    ("Food101", "_256_8_224", 101): ("696", "331", "229", "363", "363"),
}


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row[0])
def test_the_published_flops_are_the_thop_convention(row):
    data, suffix, classes = row
    for family, published in zip(TABLED, PUBLISHED[row], strict=True):
        millions = costs.thop(preset(family + suffix, num_classes=classes)) / 1e6
        decimals = len(published.partition(".")[2])
        if (data, family) == ("CIFAR-100", "convmixer"):  # the table repeats CIFAR-10's number here
            assert f"{millions:.1f}" == "152.7"
        else:
            assert f"{millions:.{decimals}f}" == published


@pytest.mark.parametrize("convention", [costs.macs, costs.flops])
def test_the_published_flops_are_neither_macs_nor_flops(convention):
    for family, published in zip(TABLED, PUBLISHED["CIFAR-10", "_256_8", 10], strict=True):
        assert abs(convention(preset(family + "_256_8")) / 1e6 / float(published) - 1) > 0.02


# Savings

SETTING = {"dim": 256, "depth": 8, "kernel_size": 5, "patch_size": 2, "num_classes": 10}
SETTING |= {"in_channels": 3, "activation": "gelu"}


def split_options(family: str, **options) -> dict:
    return SETTING | ({"ratio": "2/3"} if family in OVERLAPPING else {"segments": 2}) | options


@pytest.mark.parametrize("quantity", ["params", "macs"])
@every_split
def test_the_paper_s_channel_savings_are_the_limits_of_the_exact_ones(family, quantity):
    alpha, s = sym.alpha, sym.s
    limits = {
        ("splitmixer_v", "params"): 1 - 2 * alpha**2,  # what the paper does not state
        ("splitmixer_v", "macs"): 1 - 2 * alpha**2,
        ("splitmixer_iii", "macs"): 1 - 1 / s,
        ("splitmixer_3d", "params"): 1 - 1 / s**2,
        ("splitmixer_3d", "macs"): 1 - 1 / s,
    }
    wide = costs.wide_saving(family, quantity=quantity)
    if (family, quantity) in limits:
        with pytest.raises(ValueError, match="states no saving"):
            costs.paper_saving(family, quantity=quantity)
        expected = limits[family, quantity]
    else:
        expected = costs.paper_saving(family, quantity=quantity)
    assert sympy.simplify(wide - expected) == 0
    # the channel mixing outgrows every other part, so the whole model tends to the same
    assert sympy.simplify(costs.wide_saving(family, None, quantity) - expected) == 0


@every_split
def test_an_exact_saving_approaches_the_limit_as_the_model_widens(family):
    """And this without sympy's limit: the error at ever larger h, floors and all."""
    difference = costs.saving(family) - costs.wide_saving(family)
    split = {"ratio": "5/9"} if family in OVERLAPPING else {"segments": 3}
    errors = [
        abs(costs.value_of(difference, family, SETTING | split | {"dim": 3 * 10**power}))
        for power in (1, 3, 5)
    ]
    assert errors[0] > 20 * errors[1] > 400 * errors[2]


def test_the_error_of_the_approximations_at_256_channels():
    """By hand, from m = 170 and c = 128: 1 - (m² + m)/(h² + h), and so on."""
    whole = 256**2 + 256

    def error(family: str, part: str = "channel mixing") -> Fraction:
        difference = costs.saving(family, part) - costs.paper_saving(family, part)
        return costs.value_of(difference, family, split_options(family))

    assert error("splitmixer_i") == Fraction(4, 9) - Fraction(170**2 + 170, whole)
    assert error("splitmixer_ii") == Fraction(1, 4) - Fraction(128**2 + 128, whole)
    assert error("splitmixer_iii") == error("splitmixer_ii")
    assert error("splitmixer_iv") == Fraction(1, 2) - Fraction(2 * (128**2 + 128), whole)
    # the biases: two a channel instead of one
    assert error("splitmixer_i", "spatial mixing") == Fraction(2, 5) - Fraction(12, 26)


def test_the_spatial_saving_is_exact_for_macs_and_neglects_the_biases_for_parameters():
    exact = costs.saving("splitmixer_i", "spatial mixing", "macs")
    assert sympy.simplify(exact - costs.paper_saving("splitmixer_i", "spatial mixing", "macs")) == 0
    kept = 1 - costs.saving("splitmixer_i", "spatial mixing", "params")
    stated = 1 - costs.paper_saving("splitmixer_i", "spatial mixing", "params")
    assert sympy.limit(kept / stated, sym.k, sympy.oo) == 1
    assert costs.value_of(kept - stated, "splitmixer_i", {"kernel_size": 5}) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mlp_mixer",), "`family`='mlp_mixer' must be"),
        (("splitmixer_i", "stem", "speed"), "`quantity`='speed' must be"),
        (("splitmixer_i", "neck"), "`part`='neck' must be"),
        (("splitmixer_i", "normalisation", "macs"), "`part`='normalisation' must be"),
    ],
)
def test_a_saving_that_makes_no_sense_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        costs.saving(*arguments)


# Passes over the activation


def passes(family: str, how: str = "eager", **options) -> int | Fraction:
    expression = getattr(costs.formulas(family), f"passes_{how}")
    options = SETTING if family == "convmixer" else split_options(family, **options)
    return costs.value_of(expression, family, options, 32)


def test_passes_counted_by_hand():
    # depthwise, GELU, BatchNorm: 6; sum: 3; pointwise, GELU, BatchNorm: 6
    assert passes("convmixer") == 15
    assert passes("convmixer", "fused") == 4
    # 1×k and k×1 with theirs: 12; sum: 3; slice copied and mixed: 4 over 170 channels of 256, and
    # all concatenated: 2; GELU, BatchNorm: 4
    assert passes("splitmixer_i") == 21 + 4 * Fraction(170, 256)
    assert passes("splitmixer_ii") == 21 + 4 * Fraction(1, 2)
    assert passes("splitmixer_iii") == 21
    assert passes("splitmixer_iii", shuffle=True) == passes("splitmixer_3d") == 23
    # every segment sliced and mixed, and all concatenated, whether s divides h or not
    assert passes("splitmixer_iv") == passes("splitmixer_iv", segments=3) == 25
    assert passes("splitmixer_iv", segments=1) == 23  # a slice of all channels is no copy
    # read, write; read, read the residual, write; read, write
    assert {passes(family, "fused") for family in SPLIT if family != "splitmixer_v"} == {7}
    # two mixings of 170 channels; where the segments leave a gap, every channel once
    assert passes("splitmixer_v", "fused") == 5 + 4 * Fraction(170, 256)
    assert passes("splitmixer_v", "fused", dim=3, ratio="6/11") == 7


def test_passes_of_mlp_mixer_counted_by_hand():
    """Mixer-S/4 at 32×32: 64 tokens of 512 channels, hidden widths 256 and 2048, 4 maps each."""
    formulas, options = costs.formulas("mlp_mixer"), dict(model_entry("mixer_s4").defaults)
    # norms: copied, read, written, 8 with both; token MLP: its input copied 2, then read 1; hidden
    # map written, bias added 2, GELU 2, read; written 1; sum 3; channel MLP: no copy, no bias apart
    eager = 8 + (2 + 1 + 4 * 6 + 1 + 3) + (1 + 4 * 4 + 1 + 3)
    assert costs.value_of(formulas.passes_eager, "mlp_mixer", options) == eager
    # norms: 4; an MLP: read, hidden map written and read, residual read, written
    fused = 4 + (1 + 4 * 2 + 2) + (1 + 4 * 2 + 2)
    assert costs.value_of(formulas.passes_fused, "mlp_mixer", options) == fused


@every_family
def test_the_passes_are_the_blocks_share_of_what_is_moved(family):
    """Of two models that differ in a block, the larger moves just the block's passes more."""
    formulas = costs.formulas(family)
    options = split_options(family) if family in SPLIT else dict(SETTING)
    if family == "mlp_mixer":
        options = dict(model_entry(family).defaults)
    step = 2  # II takes two turns
    for moved, per_block in (
        (sum(formulas.moved.values()), formulas.passes_eager),
        (sum(formulas.moved_fused.values()), formulas.passes_fused),
    ):
        fewer, more = (
            costs.value_of(moved, family, options | {"depth": depth}, 32) for depth in (2, 2 + step)
        )
        map_size = costs.value_of(sym.h * sym.T, family, options, 32)
        passes = costs.value_of(per_block, family, options | {"depth": step}, 32)
        assert Fraction(more - fewer, step * map_size) == passes


@every_family
def test_ideal_fusion_moves_less(family):
    formulas, options = costs.formulas(family), dict(model_entry(family).defaults)
    eager = formulas.counts(options, 32).moved
    for part, expression in formulas.moved_fused.items():
        assert costs.value_of(expression, family, options, 32) <= eager[part]


# Evaluating


@every_family
def test_derived_symbols_in_full_give_the_same(family):
    formulas, options = costs.formulas(family), dict(model_entry(family).defaults) | {"dim": 100}
    for quantity in costs.QUANTITIES:
        expression = formulas.total(quantity)
        full = costs.in_full(expression)
        assert not full.free_symbols & costs.DEFINITIONS.keys()
        values = [costs.value_of(each, family, options, 32) for each in (expression, full)]
        assert values[0] == values[1]


def test_definitions_list_what_an_expression_needs_in_reading_order():
    iv = costs.formulas("splitmixer_iv").macs["channel mixing"]
    assert list(costs.definitions(iv)) == [sym.c, sym.r, sym.T]
    assert list(costs.definitions(sym.r)) == [sym.c, sym.r]
    assert costs.definitions(sym.h * sym.k) == {}


def test_every_symbol_of_every_formula_is_in_the_table_of_symbols():
    used = set()
    for family in costs.FAMILIES:
        formulas = costs.formulas(family)
        for quantity in costs.QUANTITIES:
            used |= formulas.total(quantity).free_symbols
        used |= formulas.passes_eager.free_symbols
    assert used <= costs.SYMBOLS.keys()
    assert costs.SYMBOLS.keys() - used == {sym.alpha}  # which stands in m alone


def test_only_the_options_that_an_expression_needs_have_to_be_there():
    mixing = costs.formulas("splitmixer_i").params["channel mixing"]
    options = {"dim": 256, "depth": 8, "ratio": "2/3"}
    assert costs.value_of(mixing, "splitmixer_i", options) == 8 * (170**2 + 170)


def test_an_option_of_the_registry_is_an_option_of_the_formulas():
    for name in FORMULATED:
        assert set(costs.OPTIONS[family_of(name)]) == set(model_entry(name).defaults), name


FLOATS = (2 / 3, 6 / 11, 1.0, 0.66667, 0.6666667, 2**-0.5, 0.5000001, 0.5)


@pytest.mark.parametrize("ratio", ["2/3", "0.75", Fraction(6, 11), 1, *FLOATS])
def test_a_ratio_is_read_as_the_models_read_it(ratio):
    try:
        expected = checks.ratio(ratio)
    except ValueError:
        with pytest.raises(ValueError, match="`ratio`="):
            costs.value_of(sym.alpha, "splitmixer_i", {"ratio": ratio})
    else:
        assert costs.value_of(sym.alpha, "splitmixer_i", {"ratio": ratio}) == expected


def test_totals_are_exact_where_floats_are_not():
    h = 10**18 + 7
    options = {"dim": h, "depth": 3, "num_classes": 10, "in_channels": 3}
    options |= {"kernel_size": 5, "patch_size": 2, "segments": 3}
    params = costs.formulas("splitmixer_iv").total("params")
    c, r = h // 3, h - 2 * (h // 3)
    stem, spatial, mixing = 13 * h, 3 * 12 * h, 3 * (2 * (c**2 + c) + r**2 + r)
    total = stem + spatial + mixing + 20 * h + 10 * h + 10
    assert costs.value_of(params, "splitmixer_iv", options) == total


@pytest.mark.parametrize(
    ("family", "change", "image_size", "message"),
    [
        (
            "splitmixer_vi",
            {},
            32,
            "`family`='splitmixer_vi' must be one of 'convmixer', 'splitmixer_i'",
        ),
        ("convmixer_256_8", {}, 32, "`family`='convmixer_256_8' must be one of"),
        ("convmixer", {"ratio": "2/3"}, 32, "`ratio`='2/3' is not an option of 'convmixer'"),
        ("convmixer", {"dim": None}, 32, "`dim` must be given: the formula has the symbol h"),
        ("splitmixer_ii", {"segments": None}, 32, "`segments` must be given: .* symbol c"),
        ("splitmixer_i", {"ratio": None}, 32, "`ratio` must be given: .* symbol m"),
        ("convmixer", {}, None, "`image_size` must be given: .* symbol H"),
        ("convmixer", {}, 33, "`patch_size`=2 must divide .* 33×33"),
        ("convmixer", {}, (32, 31), "`patch_size`=2 must divide .* 32×31"),
        ("convmixer", {}, 0, "`image_size`=0 must be a positive whole number"),
        (
            "convmixer",
            {},
            (32, 32, 3),
            r"`image_size`=\(32, 32, 3\) must be one whole number or a pair",
        ),
        ("convmixer", {"depth": 0}, 32, "`depth`=0 must be a positive whole number"),
        ("convmixer", {"dim": 8.0}, 32, "`dim`=8.0 must be a positive whole number"),
        ("convmixer", {"depth": True}, 32, "`depth`=True must be a positive whole number"),
        ("convmixer", {"activation": "tanh"}, 32, "`activation`='tanh' must be one of"),
        ("splitmixer_i", {"ratio": "1/2"}, 32, "`ratio`='1/2' must be a fraction above 1/2"),
        ("splitmixer_i", {"ratio": "two thirds"}, 32, "`ratio`='two thirds' must be"),
        ("splitmixer_i", {"dim": 1}, 32, "`ratio`=2/3 of `dim`=1 must leave a channel"),
        ("splitmixer_ii", {"segments": 257}, 32, "`segments`=257 must be at most `dim`=256"),
        ("splitmixer_iii", {"segments": 5}, 32, "`segments`=5 must divide `dim`=256 for splitm"),
        ("splitmixer_3d", {"segments": 5}, 32, "`segments`=5 must divide `dim`=256 for splitm"),
        (
            "splitmixer_ii",
            {"segments": 5, "shuffle": True},
            32,
            "`segments`=5 must divide `dim`=256 for `shuffle`",
        ),
        ("splitmixer_ii", {"shuffle": 1}, 32, "`shuffle`=1 must be True or False"),
        ("mlp_mixer", {}, 64, "`image_size`=64 must be the model's"),
        ("mlp_mixer", {"kernel_size": 5}, 32, "`kernel_size`=5 is not an option of 'mlp_mixer'"),
    ],
)
def test_a_mistake_is_named(family, change, image_size, message):
    options = dict(model_entry(family).defaults) if family in costs.FAMILIES else {}
    options |= change
    options = {option: value for option, value in options.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        forms = costs.formulas(family)
        forms.counts(options, image_size)
    if family in costs.FAMILIES:
        with pytest.raises(ValueError, match=message):
            for quantity in costs.QUANTITIES:
                costs.value_of(forms.total(quantity), family, options, image_size)


def test_an_unknown_quantity_is_an_error():
    with pytest.raises(ValueError, match="`quantity`='flops' must be one of params"):
        costs.formulas("convmixer").total("flops")


# Typesetting


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (costs.formulas("splitmixer_i").params["channel mixing"], r"d \left(m^{2} + m\right)"),
        (costs.formulas("splitmixer_i").macs["channel mixing"], r"d m^{2} T"),
        (costs.formulas("convmixer").params["stem"], r"h \left(C_{\text{in}} p^{2} + 1\right)"),
        (costs.paper_saving("splitmixer_i"), r"1 - \alpha^{2}"),
        (costs.wide_saving("splitmixer_ii"), r"1 - \frac{1}{s^{2}}"),
        (sympy.Eq(sym.m, costs.DEFINITIONS[sym.m]), r"m = \left\lfloor{\alpha h}\right\rfloor"),
        (sympy.Eq(sym.r, costs.DEFINITIONS[sym.r]), r"r = h - c \left(s - 1\right)"),
        (sympy.Eq(sym.T, costs.DEFINITIONS[sym.T]), r"T = \frac{H W}{p^{2}}"),
    ],
)
def test_latex(expression, expected):
    assert costs.latex(expression) == expected


@every_family
def test_latex_of_every_formula_has_no_letter_that_is_not_on_the_notation_page(family):
    formulas = costs.formulas(family)
    for quantity in costs.QUANTITIES:
        text = costs.latex(formulas.total(quantity))
        for name in ("zT", "gelu", "C_in", "C_{in}", "begin{cases}", "Piecewise"):
            assert name not in text
        assert text.count("{") == text.count("}") and text.count("left") == text.count("right")


# Measuring


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_model_as_it_is(device, training):
    model = create_model("splitmixer_iv", dim=8, depth=2).train(training)
    before, attributes = copy.deepcopy(model.state_dict()), set(vars(model.blocks[0].mixing))
    costs.measure(model, 8, device=device)
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.device.type == "cpu" and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert set(vars(model.blocks[0].mixing)) == attributes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_dtype_has_the_same_counts(dtype):
    model = create_model("splitmixer_i", dim=12, depth=2)
    counts = costs.measure(model, 32)
    assert costs.measure(model.to(dtype), 32) == counts
    assert next(model.parameters()).dtype == dtype


def test_the_detail_of_a_measurement_adds_up():
    model = create_model("splitmixer_iv", dim=9, depth=2, segments=2)
    measured = costs.measure(model, (8, 4))
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    assert measured.params_by_tensor == sizes
    assert measured.buffers_by_tensor == {name: b.numel() for name, b in model.named_buffers()}
    assert sum(sizes.values()) == measured.total("params")
    assert sum(measured.macs_by_layer.values()) == measured.total("macs")
    assert sum(measured.activations_by_layer.values()) == measured.total("activations")
    assert sum(measured.moved_by_layer.values()) == measured.total("moved")
    # ragged: segments of 4 and 5 channels, 4 × 2 places
    assert measured.macs_by_layer["blocks.1.mixing.mixer.0"] == 4 * 4 * 8
    assert measured.macs_by_layer["blocks.1.mixing.mixer.1"] == 5 * 5 * 8


def test_the_saved_activations_are_what_the_backward_pass_needs():
    """Measured in another way: the tensors that the nodes hold, found by walking the graph."""
    model = create_model("convmixer", dim=8, depth=3)
    graph, held = [model(torch.zeros(1, 3, 8, 8)).grad_fn], {}
    mine = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    seen = set()
    while graph:
        node = graph.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        graph += [parent for parent, _ in node.next_functions]
        for name in dir(node):
            tensor = getattr(node, name) if name.startswith("_saved_") else None
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in mine:
                    held[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
    assert sum(held.values()) == costs.measure(model, 8).total("activations")


@pytest.mark.parametrize(
    ("name", "options", "image_size", "in_channels", "message"),
    [
        ("convmixer", {}, 33, 3, "`patch_size`=2 must divide"),
        ("convmixer", {}, 32, 4, "`in_channels`=3"),
        ("convmixer", {}, 2, 3, "`image_size`=2 must give at least two patches"),
        ("convmixer", {}, -2, 3, "`image_size`=-2 must be a positive whole number"),
        ("mlp_mixer", {}, 64, 3, "`image_size`="),
    ],
)
def test_an_image_that_does_not_fit_is_an_error(name, options, image_size, in_channels, message):
    model = create_model(name, dim=8, depth=1, **options)
    with pytest.raises(ValueError, match=message):
        costs.measure(model, image_size, in_channels)


class Holder(nn.Module):
    """A user's own module round a model, as trainers write it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.net = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def test_what_cannot_be_counted_is_refused_and_told_what_can():
    model = create_model("convmixer", dim=4, depth=1).eval()
    with pytest.raises(ValueError, match=r"`model` must be a torch\.nn\.Module, not a function"):
        costs.measure(lambda x: x, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated
        traced = torch.jit.trace(model, torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="is a TorchScript program: give what it was made from"):
        costs.measure(traced, 8)
    for holder, name in ((Holder(model), "net"), (nn.Sequential(Holder(model)), r"0\.net")):
        with pytest.raises(ValueError, match=f": is the model what it holds as `{name}`. Give"):
            costs.measure(holder, 8)
