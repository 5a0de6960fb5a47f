"""Numbers, names and tables as the pages print them."""

import math
from dataclasses import replace

import pytest

from mixerlib.costs import FAMILIES
from mixerlib.pages import tables
from mixerlib.pages.colors import COLORS
from mixerlib.records import provenance


def test_a_table_of_text_and_numbers():
    text = tables.table(["model", "top-1"], [["SplitMixer-I", "93.9 ± 0.1"], ["CIFAR-10", 1]])
    assert text.split("\n") == [
        "| model | top-1 |",
        "| :-- | --: |",
        "| SplitMixer\u2011I | 93.9\u00a0±\u00a00.1 |",
        "| CIFAR\u201110 | 1 |",
    ]
    assert "| :-- | :-- | --: |" in tables.table(["a", "b", "c"], [], text_columns=2)
    assert "| :-- | --: | :-- |" in tables.table(["a", "b", "c"], [], text_columns=(0, -1))


def test_a_column_that_decides_is_marked_in_its_head_alone():
    plain, marked = (tables.table(["a", "b"], [["c", 1]], decides=yes) for yes in (False, True))
    assert marked.replace('<span class="decides"></span>', "") == plain != marked
    assert marked.split("\n")[0].endswith('| b<span class="decides"></span> |')


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"row \['1'\] must have the 2 cells"):
        tables.table(["a", "b"], [[1]])


@pytest.mark.parametrize(
    ("words", "text"), [("", ""), ("a", "a"), ("ab", "a and b"), ("abc", "a, b and c")]
)
def test_a_list_of_words(words, text):
    assert tables.listed(words) == text
    assert tables.listed(iter(words)) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (999.6, "1,000"),
        (148.1, "148"),
        (9.996, "10.0"),
        (9.994, "9.99"),
        (0.05671, "0.0567"),
        (0.99999, "1.00"),
        (-2.5, "-2.50"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_three_digits(number, text):
    assert tables.digits(number) == text


def test_differences_have_a_sign():
    assert tables.signed(1.236) == "+1.24"
    assert tables.signed(-0.5, 0.714) == "−0.50 ± 0.71"
    assert tables.signed(-0.5, 0.714, decimals=1) == "−0.5 ± 0.7"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0991, "9.9%"), (0.0996, "10%"), (0.42, "42%"), (0, "0.0%"), (1.5, "150%")],
)
def test_small_shares_have_a_decimal(share, text):
    assert tables.percent(share) == text


def test_the_least_and_the_greatest():
    assert tables.span([2.0, 0.5, 1.0]) == "0.50 to 2.00"
    assert tables.span({1.001: 0, 0.999: 0}) == "1.00"
    assert tables.span(iter([7, 9]), "{}") == "7 to 9"
    with pytest.raises(ValueError, match="`numbers` must hold at least one"):
        tables.span([])


def test_words_in_one_line():
    assert tables.unbroken("SplitMixer-I 256/8") == "SplitMixer\u2011I\u00a0256/8"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("convmixer", "ConvMixer"),
        ("convmixer_768_32", "ConvMixer 768/32"),
        ("splitmixer_iii_256_8", "SplitMixer-III 256/8"),
        ("splitmixer_i_256_8_224", "SplitMixer-I 256/8 at 224×224"),
        ("splitmixer_3d_256_8", "SplitMixer, 3-D form 256/8"),
        ("mixer_s16", "Mixer-S/16"),
        ("mlp_mixer", "mlp_mixer"),
        ("splitmixer_i_ablated_256_8", "splitmixer_i_ablated_256_8"),
    ],
)
def test_presets_as_people_write_them(name, label):
    assert tables.preset_label(name) == label


def test_a_preset_that_does_not_exist():
    with pytest.raises(ValueError, match="did you mean"):
        tables.preset_label("splitmixer_vi")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (2, "2.00 s"), (0.012, "12.0 ms"), (3e-6, "3.00 µs"), (4e-8, "0.0400 µs")],
)
def test_durations_in_the_unit_that_suits(seconds, text):
    assert tables.duration(seconds) == text


def test_a_machine_in_a_few_words():
    stamp = replace(provenance("cpu"), device_name="CPU 9", threads=1, torch="2.13.0")
    assert tables.machine(stamp) == "CPU 9, 1 thread, PyTorch 2.13.0"
    settings = {"instructions": "AVX2", "OMP_WAIT_POLICY": "passive", "rounds": 3}
    text = tables.machine(replace(stamp, threads=2), settings)
    assert text == "CPU 9 with AVX2, 2 threads, PyTorch 2.13.0, `OMP_WAIT_POLICY=passive`"
    gpu = replace(stamp, device="cuda", device_name="GPU 9")
    said = {"convolutions in TF32": True, "matrix products in TF32": False, "cudnn": 91900}
    assert tables.machine(gpu, said) == "GPU 9, PyTorch 2.13.0, convolutions in TF32"
    assert tables.machine(gpu, {"convolutions in TF32": False}) == "GPU 9, PyTorch 2.13.0"


def test_a_device_in_fewer_words():
    stamp = replace(provenance("cpu"), device_name="CPU 9", threads=1)
    assert tables.device_label(stamp) == "CPU 9, 1 thread"
    assert tables.device_label(replace(stamp, threads=12)) == "CPU 9, 12 threads"
    assert tables.device_label(replace(stamp, device="cuda")) == "CPU 9"


def test_every_strategy_has_its_names_and_its_colour():
    assert list(tables.LABELS) == list(tables.SHORT_LABELS)
    assert set(tables.LABELS) == set(FAMILIES) - {"mlp_mixer"}
    assert set(tables.LABELS) <= set(COLORS)


def test_printed_counts_stand_beside_ours():
    prints = {"convmixer_256_8": (".60", "152.6"), "splitmixer_i_256_8": (".28", "71.8")}
    head, _, *rows = tables.prints_and_counts(prints).splitlines()
    assert head.count("|") == 7 and "printed FLOPS" in head
    assert rows == [
        "| `convmixer_256_8` | .60 | 0.594 | 152.6 | 148.1 | 152.6 |",
        "| `splitmixer_i_256_8` | .28 | 0.276 | 71.8 | 65.2 | 71.8 |",
    ]
