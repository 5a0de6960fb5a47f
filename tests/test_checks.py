"""The rules for options: what each lets through, what it refuses, and in which words."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mixerlib import checks

NO_WHOLE_NUMBER = [0, -1, 1.0, 2.5, True, False, None, "3", [3], float("nan"), 1j, Fraction(3)]


@pytest.mark.parametrize("value", [1, 7, 2**20, np.int64(7), np.uint8(7)])
def test_positive_int_takes_whole_numbers_and_returns_an_int(value):
    actual = checks.positive_int("dim", value)
    assert actual == value
    assert type(actual) is int


@pytest.mark.parametrize("value", NO_WHOLE_NUMBER, ids=repr)
def test_positive_int_refuses_everything_else(value):
    with pytest.raises(ValueError) as caught:
        checks.positive_int("depth", value)
    assert str(caught.value) == f"`depth`={value!r} must be a positive whole number"


@pytest.mark.parametrize("name", checks.TOPS)
def test_numbers_have_a_top(name):
    top = checks.TOPS[name]
    assert checks.positive_int(name, top) == checks.count(name, top) == top
    for value in (top + 1, 2**31, 2**63, 10**5000):
        for check in (checks.positive_int, checks.count):
            with pytest.raises(ValueError) as caught:
                check(name, value)
            assert str(caught.value).startswith(f"`{name}`=")
            assert str(caught.value).endswith(f"must be at most {top:,}")
            assert len(str(caught.value)) < 200
    assert checks.positive_int("a name without a top", 2**63) == 2**63


def test_a_long_value_is_cut_short():
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    for value in ("x" * 10**6, list(range(10**5)), 10**5000, deep, np.zeros((9, 9))):
        text = checks.shown(value)
        assert len(text) <= checks.LONGEST and len(text.splitlines()) == 1
    assert checks.shown("a\nb") == r"'a\nb'" and checks.shown(10**5000) == "<int>"


@pytest.mark.parametrize(
    "value", [np.array(["I", "II"]), np.zeros(2), torch.zeros(2), {"I"}, object], ids=repr
)
def test_what_cannot_be_compared_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"`strategy`=.* must be one of 'I', 'II'"):
        checks.one_of("strategy", value, ("I", "II"))
    with pytest.raises(ValueError, match=r"`crop_pct`=.* must be above 0 and at most 1"):
        checks.follows("crop_pct", value, checks.POSITIVE_SHARE)


def test_one_of():
    assert checks.one_of("strategy", "II", ("I", "II")) == "II"
    for wrong in ("iii", "", None, 1, ["I"], {}):
        with pytest.raises(ValueError) as caught:
            checks.one_of("strategy", wrong, ("I", "II"))
        assert str(caught.value) == f"`strategy`={wrong!r} must be one of 'I', 'II'"


def test_switch():
    assert checks.switch("shuffle", True) is True
    assert checks.switch("shuffle", False) is False
    for wrong in (0, 1, None, "True", np.True_, []):
        with pytest.raises(ValueError) as caught:
            checks.switch("shuffle", wrong)
        assert str(caught.value) == f"`shuffle`={wrong!r} must be True or False"


def test_activation():
    assert checks.activation("relu") is nn.ReLU
    gelu = checks.activation("gelu")()
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)
    exact = x * (1 + torch.erf(x / 2**0.5)) / 2  # the definition, not the tanh approximation
    torch.testing.assert_close(gelu(x), exact)
    with pytest.raises(ValueError, match="`activation`='swish' must be one of 'gelu', 'relu'"):
        checks.activation("swish")


@given(st.integers(1, 500), st.data())
def test_ratio_means_the_same_as_text_fraction_and_float(denominator, data):
    numerator = data.draw(st.integers(denominator // 2 + 1, denominator))
    exact = Fraction(numerator, denominator)
    text = f"{numerator}/{denominator}"
    for value in (exact, text, numerator / denominator, np.float64(numerator / denominator)):
        actual = checks.ratio(value)
        assert actual == exact
        assert type(actual) is Fraction


@given(st.integers(5001, 10_000))
def test_ratio_of_a_short_decimal_is_that_decimal(ten_thousandths):
    exact = Fraction(ten_thousandths, 10_000)
    assert checks.ratio(f"{ten_thousandths / 10_000}") == exact
    assert checks.ratio(ten_thousandths / 10_000) == exact


def test_ratio_one_is_the_upper_end_and_a_half_is_outside():
    for one in (1, 1.0, "1", "3/3", Fraction(1)):
        assert checks.ratio(one) == 1
    for half in (0.5, "1/2", "0.5", Fraction(1, 2)):
        with pytest.raises(ValueError):
            checks.ratio(half)


@given(
    st.one_of(
        st.floats(max_value=0.5),
        st.floats(min_value=1, exclude_min=True),
        st.fractions(max_value=Fraction(1, 2)),
        st.fractions(min_value=Fraction(1000001, 1000000)),
        st.sampled_from(["", "two thirds", "2/0", "2/3/4", "nan", "inf", "-2/3", "1.01"]),
        st.sampled_from(["1e99999999", "1e-99999999", "7e-1_0_0_0_0_0_0_0"]),
        st.sampled_from([True, None, 2j, ("2", "3"), float("nan"), Fraction, 1.0004, 1 + 2**-52]),
    )
)
def test_ratio_refuses_what_lies_outside_or_is_no_number(value):
    with pytest.raises(ValueError) as caught:
        checks.ratio(value)
    assert f"`ratio`={value!r} must be a fraction above 1/2 and at most 1" in str(caught.value)


def test_a_ratio_of_many_digits_is_refused():
    many = 10**5000
    for value in (Fraction(2 * many, 3 * many + 1), many, f"{2 * 10**99}/{3 * 10**99}1"):
        with pytest.raises(ValueError, match=r"`ratio`=.* must be a fraction above 1/2"):
            checks.ratio(value)
    assert checks.ratio(" 7e-1 ") == checks.ratio("0.7") == Fraction(7, 10)


def test_image_pair():
    assert checks.image_pair("image_size", 32) == (32, 32)
    assert checks.image_pair("image_size", (32, 48)) == (32, 48)
    assert checks.image_pair("image_size", [32, 48]) == (32, 48)
    for wrong in ((), (32,), (32, 32, 3), [1]):
        with pytest.raises(ValueError) as caught:
            checks.image_pair("image_size", wrong)
        assert f"`image_size`={wrong!r} must be one whole number or a pair" in str(caught.value)
    for wrong, part in (((32, 0), 0), ((-1, 32), -1), ("32", "'32'"), (32.0, 32.0), (None, None)):
        with pytest.raises(ValueError, match=f"`image_size`={part} must be a positive whole"):
            checks.image_pair("image_size", wrong)


@given(st.integers(1, 12), st.integers(1, 60), st.integers(1, 60))
def test_patches(p, height, width):
    if height % p == 0 and width % p == 0:
        rows, columns = checks.patches(height, width, p)
        assert (rows * p, columns * p) == (height, width)
    else:
        with pytest.raises(ValueError) as caught:
            checks.patches(height, width, p)
        rule = "must divide the image's height and width"
        assert f"`patch_size`={p} {rule}, here {height}×{width}" in str(caught.value)


def test_images():
    checks.images(torch.zeros(2, 3, 8, 12), in_channels=3, patch_size=4)
    for shape in ((3, 8, 8), (2, 4, 8, 8), (2, 8, 8, 3), (8,), (2, 3, 1, 8, 8)):
        with pytest.raises(ValueError) as caught:
            checks.images(torch.zeros(shape), in_channels=3, patch_size=4)
        message = str(caught.value)
        assert f"`x` of shape {shape} must be a batch of images (B, 3, H, W)" in message
        assert "`in_channels`=3" in message
    with pytest.raises(ValueError, match=r"`patch_size`=4 must divide .*8×10"):
        checks.images(torch.zeros(2, 3, 8, 10), in_channels=3, patch_size=4)


@pytest.mark.parametrize("value", [0, 1, 2**20, np.int64(0), np.uint8(7)])
def test_a_count_may_be_zero(value):
    assert checks.count("num_classes", value) == value
    assert type(checks.count("num_classes", value)) is int


@pytest.mark.parametrize("value", NO_WHOLE_NUMBER[1:], ids=repr)
def test_a_count_is_a_whole_number(value):
    with pytest.raises(ValueError) as caught:
        checks.count("num_classes", value)
    assert str(caught.value) == f"`num_classes`={value!r} must be a whole number of at least 0"


def test_sides():
    checks.sides(torch.zeros(2, 3, 8, 12), (8, 12), "of a reason")
    for shape in ((2, 3, 12, 8), (2, 3, 8, 11), (2, 3, 8)):
        with pytest.raises(ValueError) as caught:
            checks.sides(torch.zeros(shape), (8, 12), "of a reason")
        message = f"`x` of height and width {shape[2:]} must have `image_size`=(8, 12): of a reason"
        assert str(caught.value) == message


def test_a_float_stands_for_a_fraction_of_up_to_a_million_parts():
    for exact in (Fraction(600_011, 1_000_003), Fraction(600_011, 999_983), Fraction(2_001, 3_001)):
        near = checks.ratio(exact.numerator / exact.denominator)
        assert (near == exact) is (exact.denominator <= 10**6)
