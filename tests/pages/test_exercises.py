"""Exercises that answer: each stub fails, each right answer passes, each wrong one has its message.

That the chapters' own solutions pass is shown where the chapters run (`tests/twice.py`), and by
`python tests/exercises.py`.
"""

import copy
import json
import random
import re
import shutil
import subprocess
import time
from fractions import Fraction
from types import SimpleNamespace

import exercises
import numpy as np
import pytest
import sympy
import torch
from exercises import NOTEBOOKS, written
from helpers import ROOT

from mixerlib import costs
from mixerlib.pages import check
from mixerlib.pages.exercises import entries, running
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Outcome, Row

WRITTEN = [exercise for path in NOTEBOOKS for exercise in written(path)]
NAMES = entries.names()


# The chapters


def test_every_exercise_of_every_chapter_has_a_check():
    assert [exercise.name for exercise in WRITTEN if exercise.name not in NAMES] == []


@pytest.mark.parametrize("exercise", WRITTEN, ids=lambda exercise: exercise.name)
def test_an_exercise_has_a_stub_and_a_solution_that_are_checked(exercise):
    asked = f'check("{exercise.name}", '
    (stub,) = exercise.stubs
    lines = [line for line in stub.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 8
    assert lines[-1].startswith(asked) and "..." in stub
    assert any(cell.strip().splitlines()[-1].startswith(asked) for cell in exercise.solution)


@pytest.mark.parametrize("exercise", WRITTEN, ids=lambda exercise: exercise.name)
def test_a_stub_is_no_answer(exercise):
    *before, last = exercise.stubs[0].strip().splitlines()
    given = {"sympy": sympy, "torch": torch, "np": np, "Fraction": Fraction, **vars(costs)}
    exec("\n".join(before), given)
    outcome = eval(last, {**given, "check": check})
    assert not outcome and outcome.message.startswith("No answer yet. ") and not outcome.rows
    assert outcome.correct and all(row.passed for row in outcome.correct)


def test_every_check_belongs_to_an_exercise():
    assert len({exercise.name for exercise in WRITTEN}) == len(WRITTEN)
    assert {*NAMES} <= {exercise.name for exercise in WRITTEN}


# What the checks know


@pytest.mark.parametrize("name", NAMES)
def test_a_right_answer_passes_without_a_message(name):
    judge = entries.judge_of(name)
    outcome = check(name, judge.right())
    assert outcome and outcome.message == "Right." and outcome.rows
    assert outcome.correct == () and outcome.fields is None


def test_a_convolutions_padding_may_be_one_number():
    def answer(model):
        model = copy.deepcopy(model)
        for layer in model.modules():
            if getattr(layer, "padding", 0) == "same":
                layer.padding = layer.kernel_size[0] // 2
        return model

    assert check("counting-3", answer)


@pytest.mark.parametrize("name", NAMES)
def test_each_wrong_answer_gets_its_message_and_nothing_else(name):
    judge = entries.judge_of(name)
    messages = [mistake.message for mistake in judge.mistakes]
    assert messages and len({*messages}) == len(messages)
    for mistake in judge.mistakes:
        assert mistake.message[0].isupper() and mistake.message.endswith(".")
        outcome = check(name, judge.wrong(mistake))
        assert not outcome and outcome.message == f"Not yet. {mistake.message}"
        if isinstance(judge, Numbers):  # and what is right about it is said to be so
            assert {row.label for row in outcome.rows if not row.passed} == {*mistake.answer}


@pytest.mark.parametrize("name", NAMES)
def test_another_wrong_answer_gets_no_message_of_a_known_one(name):
    judge = entries.judge_of(name)
    if isinstance(judge, Numbers):
        wrong = {  # of a truth there is but one wrong value, which is known
            label: value
            if isinstance(value, bool)
            else "xyz"
            if isinstance(value, str)
            else 1.37 * value + 91
            for label, value in judge.values.items()
        }
        if wrong == judge.values:
            pytest.skip("truths alone are asked")
        outcome = check(name, wrong)
        assert not outcome and outcome.message == "Not yet. Compare the lines with a ✗."
    else:
        outcome = check(name, lambda *arguments: torch.full((2, 3), 0.123))
        assert not outcome
        assert not any(mistake.message in outcome.message for mistake in judge.mistakes)


class Thing:
    """Nothing that an exercise asks for."""


def careless(judge):
    """Answers of a form that nobody asked for, by what they are."""
    yield from {
        "None": None,
        "a word": "forty-two",
        "a number": 3.7,
        "no number": float("nan"),
        "nothing": [],
        "an empty dict": {},
        "a list of None": [None] * 3,
        "a tensor": torch.zeros(2, 3),
        "a class": Thing,
    }.items()
    if isinstance(judge, Numbers):
        for value in (None, "many", torch.zeros(2, 3), [1, 2], float("nan"), 1j):
            yield f"{value!r} everywhere", dict.fromkeys(judge.values, value)
        return
    results = [None, "forty-two", [], {}, torch.zeros(1), torch.zeros(7, 1, 3), (None, None)]
    for value in [*results, float("nan"), Thing(), ["a", "b"], [torch.zeros(2)] * 2]:
        yield f"returns {value!r}", lambda *arguments, value=value: value
    yield "returns what it is given", lambda *arguments: arguments[0]
    yield "takes nothing", lambda: 0
    yield "raises", lambda *arguments: 1 / 0
    if isinstance(judge, Function):
        yield "off by a factor", lambda *arguments: scaled(judge.reference(*arguments))


def scaled(value):
    """Whatever a right answer returns, with all of its numbers a thousandth too large."""
    if isinstance(value, list | tuple):
        return type(value)(map(scaled, value))
    if isinstance(value, bool | str):
        return not value
    if isinstance(value, set | dict) or value is None:
        return [value]
    return value * 1.001 if isinstance(value, float | torch.Tensor) else value + 1


@pytest.mark.parametrize("name", NAMES)
def test_a_careless_answer_is_answered_in_a_line(name):
    """Whatever it is: no traceback, and no word from inside the check."""
    judge = entries.judge_of(name)
    for what, answer in careless(judge):
        outcome = check(name, answer)
        message = outcome.message
        assert not outcome, what
        assert message.startswith(("Not yet. ", "No answer yet. ")), what
        assert "It raises" not in message and "\n" not in message, (what, message)
        assert len(message) < 300, (what, message)


def test_the_page_has_what_it_checks_numbers_by():
    outcome = check("one-1", ...)
    judge = entries.judge_of("one-1")
    assert [field["label"] for field in outcome.fields["fields"]] == [*judge.values]
    assert len(outcome.fields["mistakes"]) == len(judge.mistakes)
    page = outcome._repr_html_()
    right = f"{judge.values['parameters']:,}"
    folded = page.index("<details")
    assert right not in page[:folded] and right in page[folded:]
    assert page.endswith("</details></div>")  # what solutions.py takes out ends there
    data = re.search(r'data-exercise="([^"]+)"', page)[1]
    assert right.replace(",", "") not in data  # not in clear text
    assert check("one-3", ...).fields is None


def test_the_page_has_the_picture_of_a_right_answer_too():
    judges = {name: entries.judge_of(name) for name in NAMES}
    drawn = {name for name, judge in judges.items() if judge.verdict(judge.right()).picture[1]}
    assert drawn >= {*(f"puzzle-{number}" for number in range(1, 6)), "space-4", "own-5"}
    for name in drawn:
        page = check(name, ...)._repr_html_()
        before, folded = page.split("<details")
        assert "<svg" not in before and "<svg" in folded and folded.endswith("</details></div>")


def test_a_word_of_the_wrong_kind_is_refused_without_the_answer():
    for name in NAMES:
        values = getattr(entries.judge_of(name), "values", {})
        for label in (label for label, value in values.items() if isinstance(value, str)):
            message = check(name, {**values, label: 7}).message
            assert message == f"Not yet. `{label}`=7 must be a word"


@pytest.mark.prose
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_promises_to_take_numbers_only_where_it_takes_them_all(path):
    """Numbers that many answers solve are checked by the notebook alone."""
    many = any(
        "answer = {" in exercise.stubs[0]
        and not isinstance(entries.judge_of(exercise.name), Numbers)
        for exercise in written(path)
    )
    promises = "where a number is asked for, you can also type it" in path.read_text()
    assert not (many and promises)


def as_expression(function, symbols):
    """What a function makes of symbols; None where it needs numbers, or makes no expression."""
    try:
        made = function(*(sympy.Symbol(name, positive=True) for name in symbols))
    except (TypeError, ValueError, AttributeError):  # math.sqrt(h), range(h)
        return None
    return made if isinstance(made, sympy.Expr) else None


def test_a_derivation_is_judged_as_a_sympy_expression():
    """In any form it is the same answer, and one that is a little off has a counterexample."""
    judges = {name: entries.judge_of(name) for name in NAMES}
    derivations = {name: judge for name, judge in judges.items() if getattr(judge, "symbols", ())}
    judged = set()
    for name, judge in derivations.items():
        for mistake in judge.mistakes:
            if (expression := as_expression(mistake.answer, judge.symbols)) is None:
                continue
            judged.add(name)
            for form in (expression, sympy.expand(expression), sympy.together(expression)):
                assert check(name, form).message == f"Not yet. {mistake.message}", name
            off = check(name, expression * sympy.Rational(1000, 997))
            row = off.rows[0]
            assert not off and not row.passed and row.yours != row.expected, name
            assert all(f"{symbol} = " in row.label for symbol in judge.symbols)
    assert len(derivations) - len(judged) <= 2  # those whose answer is several numbers


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js runs the page's script")
def test_the_page_says_what_check_says():
    """The script of the pages against Python: right answers, known mistakes, others."""
    asked, expected = [], []
    for name in NAMES:
        judge = entries.judge_of(name)
        if not isinstance(judge, Numbers):
            continue
        fields, right = judge.fields(), judge.right()
        answers = [right, *map(judge.wrong, judge.mistakes)]
        answers += [{**right, label: 0} for label in right if type(right[label]) in (int, float)]
        for answer in answers:
            texts = [
                ("no", "yes")[value] if isinstance(value, bool) else str(value)
                for value in answer.values()
            ]
            asked.append([fields, texts])
            verdict = judge.verdict(answer)
            said = "Right." if verdict.passed else f"Not yet. {verdict.message}".strip()
            expected.append({"message": said, "right": [row.passed for row in verdict.rows]})
    texts = ["1,024", "−3", "12.5 %", "2/3", "1e-3", "x", "", "1/2/3", "0x10"]
    numbers = [1024, -3, 0.125, 2 / 3, 0.001, None, None, None, None]
    code = (
        f"const {{ read, judge }} = require({json.dumps(str(ROOT / 'book/assets/exercises.js'))});"
        "const { asked, texts } = JSON.parse(require('fs').readFileSync(0));"
        "console.log(JSON.stringify([asked.map(one => judge(...one)), texts.map(read)]))"
    )
    done = subprocess.run(
        ["node", "-e", code],
        input=json.dumps({"asked": asked, "texts": texts}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [expected, numbers]


# The engine

DOUBLE = Function(
    "Return twice n.",
    lambda n: 2 * n,
    lambda draw: [(draw.randint(1, 9),) for _ in range(5)],
    [Mistake("That is the square.", lambda n: n * n)],
    symbols=("n",),
)
PAIR = Numbers({"width": 3, "share": 0.25}, [Mistake("Half of it.", {"share": 0.125})])


def entered(monkeypatch, judge, name="made-1"):
    monkeypatch.setitem(entries._entries, name, lambda: judge)
    return lambda answer: check(name, answer)


def test_an_unknown_name_is_refused_with_near_ones():
    with pytest.raises(ValueError, match=r"`name`='one-11' must be .* did you mean one-1"):
        check("one-11", 3)
    with pytest.raises(ValueError, match="the stub below its text"):
        check(3, 3)


def test_numbers_come_in_any_form_and_of_any_library(monkeypatch):
    ask = entered(monkeypatch, PAIR)
    for answer in (
        {"width": 3, "share": 0.25},
        [3.0, Fraction(1, 4)],
        (np.int64(3), torch.tensor(0.25)),
        {"share": sympy.Rational(1, 4), "width": sympy.Integer(3), "more": 1},
        [3, 0.2502],  # a share is within half a per cent
    ):
        assert ask(answer), answer
    for answer in ([3.01, 0.25], [3, 0.26], [float("nan"), 0.25], [3, float("inf")]):
        assert ask(answer).message == "Not yet. Compare the lines with a ✗."
    assert ask([3, 0.125]).message == "Not yet. Half of it."


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"width": 3}, "`share` is missing"),
        ([3], "1 values, where 2 are asked"),
        (3, "3 is one value of 2"),
        ({"width": "three", "share": 0.25}, "`width`='three' must be a number"),
        ([True, 0.25], "`width`=True must be a number"),
        ([3j, 0.25], "`width`=3j must be a number"),
        ([torch.zeros(2), 0.25], "`width` must be one number"),
        (None, "None is one value of 2"),
        ({"width": 3, "share": ...}, "No answer yet. Fill in `width`, `share`."),
    ],
)
def test_an_answer_of_another_form_is_answered(answer, message, monkeypatch):
    outcome = entered(monkeypatch, PAIR)(answer)
    assert not outcome and message in outcome.message


def test_words_and_truths(monkeypatch):
    ask = entered(monkeypatch, Numbers({"winner": "batch norm", "same": False}, []))
    assert ask(["Batch  norm", False])
    assert not ask(["layer norm", False]) and not ask(["batch norm", True])
    assert "must be a word" in ask([1, False]).message
    assert "must be True or False" in ask(["batch norm", 0]).message


def test_several_numbers_under_a_label(monkeypatch):
    judge = Numbers({"a: x": 1, "a: y": 2}, [], columns=("x", "y"))
    ask = entered(monkeypatch, judge)
    assert ask({"a": (1, 2)}) and not ask({"a": [2, 1]})
    assert "must have one number each for x, y" in ask({"a": (1, 2, 3)}).message


def test_a_formula_is_compared_and_a_counterexample_shown(monkeypatch):
    ask = entered(monkeypatch, DOUBLE)
    n = sympy.Symbol("n", positive=True)
    for right in (lambda n: n + n, 2 * n, sympy.expand((n + 1) ** 2 - n**2 - 1), 2 * costs.n):
        assert ask(right)
    wrong = ask(n + 2)
    row = wrong.rows[0]
    assert row.label.startswith("n = ") and row.yours != row.expected and not row.passed
    assert int(row.yours) == int(row.expected) // 2 + 2
    assert ask(n**2).message == "Not yet. That is the square."
    assert "`m` is not among the symbols n" in ask(sympy.Symbol("m") + n).message
    assert "no formula" in ask("2 * n").message


def test_a_function_that_raises_hangs_or_returns_nothing_is_answered(monkeypatch):
    monkeypatch.setattr(entries, "SECONDS", 0.3)
    ask = entered(monkeypatch, DOUBLE)

    def endless(n):
        while True:
            n = n

    def leaves(n):
        raise SystemExit(3)

    assert "raises ZeroDivisionError on (" in ask(lambda n: n / 0).message
    assert "returns nothing on (" in ask(lambda n: None).message
    assert ask(lambda n: ...).message == "No answer yet. Return twice n."
    assert "no result after 0.3 s" in ask(endless).message
    assert "raises SystemExit" in ask(leaves).message
    assert "raises TypeError" in ask(lambda: 3).message
    assert "must be a number" in ask(lambda n: "two").message


def test_a_reader_who_interrupts_a_check_is_heard(monkeypatch):
    def interrupted(seconds, work):
        raise KeyboardInterrupt

    monkeypatch.setattr(entries, "within", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check("one-1", [1])


def test_what_hangs_is_stopped():
    turns = []

    def endless():
        while True:
            turns.append(1)
            time.sleep(0.001)

    with pytest.raises(TimeoutError):
        running.within(0.1, endless)
    time.sleep(0.2)
    count = len(turns)
    time.sleep(0.1)
    assert len(turns) == count


def test_an_answer_cannot_change_what_the_reference_sees(monkeypatch):
    judge = Function(
        "Return x.", lambda x: x.clone(), lambda draw: [(torch.ones(2, 3),)], [], tolerance=1e-6
    )
    ask = entered(monkeypatch, judge)
    assert not ask(lambda x: x.mul_(2)) and ask(lambda x: x)
    assert ask(lambda x: x[:1]).rows[0].yours == "shape (1, 3)"
    assert ask(lambda x: x.tolist()).rows[0].yours == "list, no tensor"
    assert ask(lambda x: x + 0.5).rows[0].yours == "off by 0.5"


def test_what_differs_is_told_where_shapes_and_types_are_right(monkeypatch):
    judge = Function(
        "Return both.",
        lambda x: (x, 2 * x),
        lambda draw: [(torch.ones(2, 3),), (torch.zeros(2, 3),)],
        [Mistake("Twice the same.", lambda x: (x, x))],
    )
    ask = entered(monkeypatch, judge)
    assert ask(lambda x: (x, x + x)) and ask(lambda x: (x, x)).message.endswith("Twice the same.")
    assert [row.yours for row in ask(lambda x: (x, 2.5 * x)).rows] == ["part 2: off by 0.5"]
    assert ask(lambda x: x).rows[0].yours == "(2, 3)"
    levels = Function("Return levels.", lambda n: [n, 1], lambda draw: [(3,), (4,)], [])
    ask = entered(monkeypatch, levels)
    assert ask(lambda n: torch.tensor([n, 1]))
    assert ask(lambda n: torch.tensor([n, 2])).rows[0].yours == "[3, 2]"


def test_what_is_no_function_and_no_formula_is_told(monkeypatch):
    ask = entered(monkeypatch, DOUBLE)
    n = sympy.Symbol("n")
    for answer in (n > 2, sympy.Eq(n, 2), True, [2, 3]):
        assert "is no formula. Return twice n." in ask(answer).message
    with pytest.raises(running.Refused, match="is no function: give its name alone, without par"):
        running.called([1, 2], 3)


def test_properties_say_the_first_that_fails(monkeypatch):
    def judge(answer):
        yield Row("even", str(answer), "even", answer % 2 == 0, "It is odd.")
        yield Row("small", str(answer), "< 9", answer < 9, "It is large.")
        yield "picture", "<svg></svg>"

    ask = entered(monkeypatch, Properties("Give a number.", judge, lambda: 2, []))
    assert ask(4).picture == ("picture", "<svg></svg>") and "<svg>" in ask(4)._repr_html_()
    assert ask(11).message == "Not yet. It is odd." and ask(12).message == "Not yet. It is large."
    assert "raises TypeError" in ask("x").message


def test_an_outcome_shows_itself_aligned_and_escaped():
    rows = (Row("a", "1", "1", True), Row("b < c", "1,000", "2", False))
    outcome = Outcome("x-1", False, "Not yet. a < b", rows)
    assert repr(outcome).splitlines() == [
        "x-1: Not yet. a < b",
        "       yours  expected",
        "a          1         1  ✓",
        "b < c  1,000         2  ✗",
    ]
    page = outcome._repr_html_()
    assert "b &lt; c" in page and "exercise-wrong" in page and 'aria-label="wrong"' in page
    assert "exercise-passed" in Outcome("x-1", True, "Right.", rows[:1])._repr_html_()


def test_two_exercises_cannot_have_one_name():
    with pytest.raises(ValueError, match="`name`='one-1' must be new"):
        entries.exercise("one-1")(lambda: PAIR)


def test_the_cases_of_a_function_are_the_same_every_time():
    for name in NAMES:
        judge = entries.judge_of(name)
        if isinstance(judge, Function):
            first, second = ([*judge.cases(random.Random(0))] for _ in range(2))
            assert len(first) > 1
            assert repr(first) == repr(second)


def test_an_order_that_only_breaks_ties_does_not_please_the_judge():
    for seed in range(4):
        draw = torch.Generator().manual_seed(seed)
        ties = lambda x, *_, draw=draw: x.sum(1) + 1e-4 * torch.rand(x[:, 0].shape, generator=draw)  # noqa: E731
        assert "not shown to be faster" in check("attr-3", ties).message


def test_arrays_of_numpy_are_answers_too():
    i = np.arange(-2, 3)

    def pairs(theta, phi):
        even = np.cos(theta * i), np.cos(phi * i)
        return np.array([even, (-np.sin(theta * i), np.sin(phi * i))])

    assert check("filters-2", pairs)
    levels = lambda x, s, z: np.clip(np.round(np.array(x) / s) + z, 0, 255).astype(int)  # noqa: E731
    assert check("deploy-2", levels)
    assert not check("deploy-2", lambda x, s, z: levels(x, s, z)[:2])


def test_arguments_are_told_in_few_words():
    """Long lists by their first numbers, objects by what they have: rows are there to be read."""
    assert running.described([754.7726417641815, 552.342948498507]) == "[754.8, 552.3]"
    assert running.described([0.5, 1.0, 2.0, 4.0]) == "[0.5, 1, 2, … 4 numbers]"
    assert running.described(SimpleNamespace(curve=[1, 2], seed=0)) == "an object with curve, seed"


def test_the_wrong_answers_of_an_exercise_can_be_seen_as_a_reader_sees_them(monkeypatch, capsys):
    assert exercises.main(["--wrong", "one-1", "puzzle-2"]) == 0
    seen = capsys.readouterr().out
    for name in ("one-1", "puzzle-2"):
        for mistake in entries.judge_of(name).mistakes:
            assert f"{name}: Not yet. {mistake.message}\n" in seen
    assert "expected" in seen and "█" in seen and "NO" not in seen
    entered(monkeypatch, Numbers({"width": 3}, [Mistake("It is right.", {"width": 3})]))
    assert exercises.main(["--wrong", "made-1"]) == 1
    assert "NO: the message should be: It is right." in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["none", "stub", "solution", "message"])
def test_a_proof_that_fails_is_told_to_the_shell(fault, tmp_path, monkeypatch, capsys):
    (tmp_path / "01-made.md").write_text(":::{exercise} Made\n:label: ex-made-1\n:::\n")
    monkeypatch.setattr(exercises, "NOTEBOOKS", [tmp_path / "01-made.md"])
    passed = {"made-1": [fault == "stub", fault != "solution"]}
    monkeypatch.setattr(exercises, "outcomes", lambda path: passed)
    mistake = Mistake("It is four.", {"width": 3 if fault == "message" else 4})
    entered(monkeypatch, Numbers({"width": 3}, [mistake]))
    monkeypatch.chdir(tmp_path)
    assert exercises.main(["01-made"]) == (0 if fault == "none" else 1)
    assert (" NO" in capsys.readouterr().out) == (fault != "none")
