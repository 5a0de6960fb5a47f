"""What the pages say of layouts, choices and training steps."""

from helpers import ROOT

from mixerlib.records import provenance
from mixerlib.speed.cases import Benchmark, Case, Result
from mixerlib.speed.form import Form
from mixerlib.speed.form_text import (
    against_say,
    choices_table,
    compiling_say,
    gains_over_plain,
    kernel_sizes_table,
    layout_say,
    layout_table,
    steps_table,
    stock_and_fast_table,
    where,
)
from mixerlib.speed.race_text import in_order
from mixerlib.speed.reports import model_races
from mixerlib.speed.timing import Timing

CONV, SPLIT = "convmixer_256_8", "splitmixer_i_256_8"
LAST, COMPILED = Form(channels_last=True), Form(compile=True)
CHOSEN = "mixing=linear, folded=True, channels_last=True, compile=True, at_once=2"
STAMP = provenance("cpu")


def result(model: str, seconds: float, detail: str | None = None, **case) -> Result:
    timing = Timing.of([seconds * (1 + r) for r in range(6)])
    return Result(Case(model, batch=4, **case), detail, timing, 4 / timing.median, None)


def together(*results: Result) -> dict[str, Benchmark]:
    report = Benchmark("made up", list(results), [], {}, STAMP)
    return dict.fromkeys(report.models, report)


def rows(text: str) -> list[list[str]]:
    lines = text.split("\n\n")[0].replace("\u00a0", " ").splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


def test_the_gain_of_a_layout_is_the_models_own():
    races = together(
        result(CONV, 4.0),
        result(CONV, 2.0, form=LAST),
        result(SPLIT, 1.0),
        result(SPLIT, 2.0, form=LAST),
        result(SPLIT, 1.0, dtype="bfloat16"),
    )
    assert rows(layout_table(races)) == [
        ["ConvMixer", "2.00 (2.00–2.00)", "·", "·", "·"],
        ["I", "0.50 (0.50–0.50)", "·", "·", "·"],
    ]


def test_the_gain_of_a_layout_by_kernel_size():
    matrix = {}
    for size, seconds in ((3, 1.0), (5, 4.0)):
        options = {"dim": 8, "depth": 1, "kernel_size": size}
        pair = (
            result("convmixer", 2.0, options=options),
            result("convmixer", seconds, options=options, form=LAST),
        )
        matrix[f"convmixer-k{size}-float32"] = together(*pair)["convmixer"]
    ((label, dtype, *gains),) = rows(kernel_sizes_table(matrix))
    assert (label, dtype) == ("ConvMixer", "float32")
    assert [gain[:4] for gain in gains] == ["2.00", "0.50"]


def test_what_was_chosen():
    plain = "mixing=own, folded=False, channels_last=False, compile=False, at_once=None"
    races = together(
        result(CONV, 1.0, CHOSEN, implementation="fast"),
        result(SPLIT, 1.0, plain + "; 1 ways failed: no compiler", implementation="fast"),
        result(SPLIT, 1.0),
    )
    text = choices_table(races)
    assert rows(text) == [
        ["ConvMixer", "float32", "linear", "NHWC", "2", "yes"],
        ["I", "float32", "as it is", "NCHW", "all", "no"],
    ]
    assert "Of these 2 choices 1 are compiled, 1 cut the batch into pieces, and 1 fold" in text
    assert "Some ways could not be run there: I, float32." in text
    assert choices_table(together(result(CONV, 1.0))) == ""
    convolved = plain.replace("own", "convolution")
    races = together(result("mixer_s4", 1.0, convolved, implementation="fast"))
    text = choices_table(races)
    assert rows(text)[0][2] == "linear layers as convolutions"
    assert "1 convolve linear layers, and 0 fold the norms away; 0 leave the model as" in text
    assert "rewritten form" not in text


def test_the_steps_of_training():
    step = {"task": "training"}
    races = together(
        result(CONV, 0.4, **step),
        result(CONV, 0.1, form=COMPILED, **step),
        result(CONV, 0.01),  # inference is none
        result(SPLIT, 0.2, **step),
        result(SPLIT, 0.3, form=Form("one matrix"), **step),
    )
    text = steps_table(races, "float32")
    head = text.splitlines()[0]
    assert [name.strip() for name in head.strip("| ").split("|")] == [
        *("256/8", "plain NCHW", "one matrix NCHW", "plain compiled NCHW", "gain")
    ]
    assert rows(text) == [
        ["ConvMixer", "1,400", "·", "**350**", "4.00 (4.00–4.00)"],
        ["I", "**700**", "1,050", "·", "1.00 (1.00–1.00)"],
    ]
    assert "The fastest is “plain compiled NCHW” for 1 and “plain NCHW” for 1 of 2 models" in text
    assert steps_table(races, "bfloat16") == ""


def test_what_was_chosen_is_told_in_one_order():
    """A GPU's record has bfloat16 first; the model's name once stood on its second row."""
    fast = {"implementation": "fast"}
    races = together(
        result(CONV, 1.0, CHOSEN, dtype="bfloat16", **fast), result(CONV, 1.0, CHOSEN, **fast)
    )
    assert [row[:2] for row in rows(choices_table(races))] == [
        ["ConvMixer", "float32"],
        ["bfloat16", "linear"],  # under the same name, whose cell is empty
    ]


def raced() -> dict[str, Benchmark]:
    """ConvMixer gains by all there is, SplitMixer-I by the fast form alone."""
    return together(
        result(CONV, 4.0),
        result(CONV, 2.0, form=LAST),
        result(CONV, 1.0, form=COMPILED),
        result(CONV, 0.5, CHOSEN, implementation="fast"),
        result(SPLIT, 4.0),
        result(SPLIT, 8.0, form=LAST),
        result(SPLIT, 5.0, form=COMPILED),
        result(SPLIT, 2.0, CHOSEN, implementation="fast"),
    )


def test_what_stock_and_fast_forms_gain():
    text = stock_and_fast_table(raced())
    assert [[cell.partition(" (")[0] for cell in row] for row in rows(text)] == [
        ["ConvMixer", "float32", "14,000", "2.00", "4.00", "·", "**8.00"],
        ["I", "float32", "14,000", "0.50", "0.80", "·", "**2.00"],
    ]
    assert "ConvMixer 2.00 to 4.00 times as fast (surely faster in 2 of 2 cases" in text
    assert "SplitMixer-I 0.50 to 0.80 times as fast (surely faster in 0 of 2 cases" in text
    assert "So none of that is a rule" in text
    assert "The fast form is the fastest in 2 of 2 rows" in text
    chosen = "folded, `linear`, NHWC, 2 images at once, compiled"
    assert f"{chosen} (ConvMixer in float32 and SplitMixer-I in float32)" in text
    assert "a rule" not in stock_and_fast_table(
        together(result(CONV, 2.0), result(CONV, 1.0, form=LAST))
    )


def test_what_is_slower_than_plain_is_not_in_bold():
    races = together(result(SPLIT, 1.0), result(SPLIT, 2.0, form=LAST))
    assert "**" not in stock_and_fast_table(races)


def test_what_compiling_alone_did():
    races = raced()
    assert where(races).endswith(" at 32×32")
    said = compiling_say(races).replace("\u00a0", " ")
    assert said == (
        f"On {where(races)}, compiling alone made ConvMixer 4.00 (4.00–4.00) times as fast in "
        "float32; SplitMixer-I 0.80 (0.80–0.80) times as fast in float32."
    )


def test_gains_over_plain_and_against_another():
    races = raced()
    assert gains_over_plain(races)["best"] == {CONV: 4.0, SPLIT: 1.0}
    assert gains_over_plain(races)["fast"] == {CONV: 8.0, SPLIT: 2.0}
    said = against_say(races, CONV)
    assert said.startswith("SplitMixer-I, with 2.2") and "runs 0.25 to 1.00 times" in said
    assert against_say({SPLIT: races[SPLIT]}, CONV) == ""


def test_what_the_pages_say_of_the_race_on_a_gpu():
    """Chapter 19b's words beside the record rest on these."""
    by_device = model_races(ROOT / "book/records/bench", "forms-224")
    assert by_device
    for races in (in_order(found, "256_8_224") for found in by_device.values()):
        assert [*races] == [f"{CONV}_224", f"{SPLIT}_224"]
        text = stock_and_fast_table(races)
        assert "So none of that is a rule" in text and len(rows(text)) == 4
        assert all(races[name].provenance.device == "cuda" for name in races)


def test_what_a_layout_does_in_a_sentence():
    races = together(
        result(CONV, 4.0),
        result(CONV, 2.0, form=LAST),
        result(SPLIT, 1.0),
        result(SPLIT, 2.0, form=LAST),
    )
    assert layout_say(races) == (
        f"On {where(races)}, it makes them 0.50 to 2.00 times as fast in float32, where nothing is "
        "compiled."
    )
