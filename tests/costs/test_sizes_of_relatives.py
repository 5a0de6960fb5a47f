"""The closed forms of the relatives against the running modules, and against PyTorch's counter.

MIXERLIB_EXAMPLES sets how many random configurations of each family are tried.
"""

import math
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixerlib import costs
from mixerlib.models import create_model, list_relatives, model_entry

EXAMPLES = int(os.environ.get("MIXERLIB_EXAMPLES", "250")) // 10
TOKENS = ("vit", "deit", "resmlp", "gmlp")  # the families that know their images' size
every_family = pytest.mark.parametrize("family", costs.SIZED)


@st.composite
def configurations(draw, family: str) -> tuple[dict, tuple[int, int]]:
    """Any small options of a family, and any image that fits them: height and width in pixels."""
    known = model_entry(family).defaults
    drawn = {
        "dim": draw(st.integers(1, 12)),
        "depth": draw(st.integers(1, 3)),
        "patch_size": draw(st.integers(1, 4)),
        "num_classes": draw(st.integers(1, 12)),
        "in_channels": draw(st.integers(1, 4)),
        "activation": draw(st.sampled_from(("gelu", "relu"))),
        "channels_dim": draw(st.integers(1, 16)),
        "heads": draw(st.integers(1, 3)),
        "qkv_bias": draw(st.booleans()),
        "kernel_size": draw(st.integers(1, 6)),
    }
    options = {name: value for name, value in drawn.items() if name in known}
    if "heads" in options:
        options["dim"] *= options["heads"]
    if family == "gmlp":
        options["channels_dim"] *= 2
    if family == "resnet_cifar":
        options["depth"] *= 3
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    p = options.get("patch_size", 3)
    if "stages" in known:
        return draw(staged(family, options, (rows, columns)))
    if family == "mdmlp":
        options |= {"stride": draw(st.integers(1, 4)), "channels_ratio": draw(st.integers(1, 3))}
        size = tuple(p + (places - 1) * options["stride"] for places in (rows, columns))
    else:
        size = (2 * rows, 2 * columns) if family == "s_fc" else (rows * p, columns * p)
    if "image_size" in known:
        options["image_size"] = size
    return options, size


@st.composite
def staged(draw, family: str, options: dict, last: tuple[int, int]) -> tuple[dict, tuple[int, int]]:
    """One to three stages, the last with a map of so many rows and columns."""
    number = draw(st.integers(1, 3))
    maps = [(last[0] * 2**i, last[1] * 2**i) for i in reversed(range(number))]
    widths: list[int] = []
    for rows, columns in maps:
        unit = math.lcm(rows, columns) if family == "vip" else 1
        width = unit * draw(st.integers(-(-4 // unit), 3 + 12 // unit))
        widths.append(width + unit * (width in widths[-1:]))
    ratios = [draw(st.sampled_from(["", "x1", "x2"])) for _ in widths]  # of a stage's own
    options["stages"] = ", ".join(
        f"{draw(st.integers(1, 2))}x{width}{ratio}"
        for width, ratio in zip(widths, ratios, strict=True)
    )
    options["channels_ratio"] = draw(st.integers(1, 3))
    size = (maps[0][0] * options["patch_size"], maps[0][1] * options["patch_size"])
    return options | ({"image_size": size} if family == "vip" else {}), size


def assert_equal(size: costs.Size, measured: costs.Measured) -> None:
    """Both quantities, part by part, and the two independent counts of MACs."""
    assert dict(size.params) == {part: x for part, x in measured.params.items() if x}
    assert dict(size.macs) == {part: x for part, x in measured.macs.items() if x}
    assert all(type(x) is int for x in (*size.params.values(), *size.macs.values()))
    assert size.total("macs") == measured.flop_counter
    for layer, count in measured.flop_counter_by_layer.items():  # with all that lies inside it
        inside = (x for n, x in measured.macs_by_layer.items() if f"{n}.".startswith(f"{layer}."))
        assert count == sum(inside)


@every_family
def test_the_formulas_are_what_is_measured(family: str):
    formulas = costs.size_formulas(family)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(configurations(family))
    def check(configuration):
        options, image_size = configuration
        model = create_model(family, **options)
        try:
            measured = costs.measure(model, image_size, options["in_channels"])
        except ValueError as error:  # a map that shrinks to one place
            assert "BatchNorm cannot train on one image of one patch" in str(error)
            return
        assert_equal(formulas.counts(options, image_size), measured)

    check()


@pytest.mark.parametrize("name", list_relatives())
def test_the_formulas_hold_for_every_preset_at_its_image_size(name: str):
    entry = model_entry(name)
    with torch.device("meta"):
        model = create_model(name)
    size = costs.size_formulas(entry.family).counts(entry.defaults, entry.image_size)
    assert_equal(size, costs.measure(model, entry.image_size))


def test_every_relative_has_formulas_and_no_mixer_has_these():
    assert {model_entry(name).family for name in list_relatives()} == set(costs.SIZED)
    assert not set(costs.SIZED) & {*costs.FAMILIES, *costs.MEASURED_ONLY}
    with pytest.raises(
        ValueError, match="`family`='convmixer' must be one of 'resnet_cifar', 'vit'"
    ):
        costs.size_formulas("convmixer")
    with pytest.raises(ValueError, match="`quantity`='moved' must be one of 'params', 'macs'"):
        costs.size_formulas("vit").total("moved")


@pytest.mark.parametrize("family", TOKENS)
def test_what_grows_with_the_square_of_the_tokens_is_token_mixing(family: str):
    """Four times the patches: the channel mixing of the patches costs four times, and the mixing of
    tokens alone more than that."""
    options = dict(model_entry(family).defaults)
    small, large = (
        costs.size_formulas(family).counts(options | {"image_size": side}) for side in (32, 64)
    )
    ratio = {part: large.macs[part] / small.macs[part] for part in small.macs}
    assert ratio["stem"] == 4 and 3.8 < ratio["channel mixing"] <= 4
    assert ratio["token mixing"] > 5 and ratio["head"] == 1


def test_an_option_or_an_image_that_is_missing_is_named():
    forms, options = costs.size_formulas("vit"), dict(model_entry("vit").defaults)
    without = {name: value for name, value in options.items() if name != "channels_dim"}
    with pytest.raises(ValueError, match="`channels_dim` must be given"):
        forms.counts(without)
    with pytest.raises(ValueError, match="`image_size` must be given"):
        costs.size_formulas("resnet_cifar").counts(model_entry("resnet_cifar").defaults)
