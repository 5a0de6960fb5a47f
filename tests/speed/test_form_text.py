"""What the pages say of layouts, choices and training steps."""

from mixerlib.records import provenance
from mixerlib.speed.cases import Benchmark, Case, Result
from mixerlib.speed.form import Form
from mixerlib.speed.form_text import choices_table, kernel_sizes_table, layout_table, steps_table
from mixerlib.speed.timing import Timing

CONV, SPLIT = "convmixer_256_8", "splitmixer_i_256_8"
LAST, COMPILED = Form(channels_last=True), Form(compile=True)
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
    said = "mixing=linear, folded=True, channels_last=True, compile=True, at_once=2"
    plain = "mixing=own, folded=False, channels_last=False, compile=False, at_once=None"
    races = together(
        result(CONV, 1.0, said, implementation="fast"),
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
