"""The kinds of exercises: numbers, functions and formulas, and whatever has certain properties.

Each kind has `verdict`, which says of an answer what is right and wrong about it; `right`, a right
answer; and `mistakes`, the wrong answers that it knows, each with its own message.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import sympy
import torch

from mixerlib.checks import shown
from mixerlib.pages.exercises.outcome import Row, Verdict
from mixerlib.pages.exercises.running import Refused, called, described

Number = int | float | Fraction


class Mistake(NamedTuple):
    """A plausible wrong answer, and what to say to it.

    `answer` is of the exercise's kind: for numbers, those alone that are wrong.
    """

    message: str
    answer: Any


def as_number(name: str, value: Any) -> Number:
    """A number of any library as Python's; `Refused` for what is none."""
    if hasattr(value, "item") and getattr(value, "size", 1) != 0:
        try:
            value = value.item()
        except (RuntimeError, ValueError):
            raise Refused(f"`{name}` must be one number, not {shown(value)}") from None
    if isinstance(value, sympy.Expr) and value.is_number and value.is_real:
        value = Fraction(int(value.p), int(value.q)) if value.is_Rational else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        raise Refused(f"`{name}`={shown(value)} must be a number")
    return value


def close(yours: Any, expected: Any, tolerance: float) -> bool:
    """Whether two values agree: words and truths exactly, numbers within a relative tolerance."""
    if isinstance(expected, str | bool):
        return bool(yours == expected)
    return abs(yours - expected) <= tolerance * abs(expected)


def printed(value: Any) -> str:
    """A value as a row shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Numbers:
    """Numbers, each with a label; also words and truths.

    An answer is a dict of the labels, a list in their order, or the value itself where there is one
    alone. In `values`, whole numbers must be met exactly; other numbers within `tolerance`, which
    is relative. A mistake's answer holds those values alone that show it. With `columns`, an answer
    gives several numbers under each label, and `values` has the labels "row: column".
    """

    values: Mapping[str, Number | str | bool]
    mistakes: Sequence[Mistake]
    tolerance: float = 0.005
    columns: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        rows = dict.fromkeys(label.partition(": ")[0] for label in self.values)
        each = f", each with {len(self.columns)} numbers" if self.columns else ""
        return f"Fill in {', '.join(f'`{label}`' for label in rows)}{each}."

    def right(self) -> dict[str, Any]:
        return dict(self.values)

    def wrong(self, mistake: Mistake) -> dict[str, Any]:
        return {**self.values, **mistake.answer}

    def tolerance_of(self, label: str) -> float:
        return 0.0 if isinstance(self.values[label], int) else self.tolerance

    def read(self, answer: Any) -> dict[str, Any]:
        """The answer as a dict of all labels; `Refused` where it is of another form."""
        labels = [*self.values]
        if isinstance(answer, Mapping):
            answer = self._flat(answer)
            if missing := [label for label in labels if label not in answer]:
                raise Refused(f"`{missing[0]}` is missing. {self.form}")
            given = {label: answer[label] for label in labels}
        elif isinstance(answer, list | tuple):
            if len(answer) != len(labels):
                raise Refused(f"{len(answer)} values, where {len(labels)} are asked. {self.form}")
            given = dict(zip(labels, answer, strict=True))
        elif len(labels) == 1:
            given = {labels[0]: answer}
        else:
            raise Refused(f"{shown(answer)} is one value of {len(labels)}. {self.form}")
        return {label: self._value(label, value) for label, value in given.items()}

    def _flat(self, answer: Mapping) -> Mapping:
        """An answer with several numbers under a label, with a label for each."""
        flat: dict[str, Any] = {}
        for label, value in answer.items():
            if self.columns and isinstance(value, list | tuple):
                if len(value) != len(self.columns):
                    rule = ", ".join(self.columns)
                    raise Refused(f"`{label}`={shown(value)} must have one number each for {rule}")
                pairs = zip(self.columns, value, strict=True)
                flat |= {f"{label}: {column}": number for column, number in pairs}
            else:
                flat[label] = value
        return flat

    def _value(self, label: str, value: Any) -> Any:
        expected = self.values[label]
        if isinstance(expected, bool):
            if not isinstance(value, bool):
                raise Refused(f"`{label}`={shown(value)} must be True or False")
            return value
        if isinstance(expected, str):
            if not isinstance(value, str):
                raise Refused(f"`{label}`={shown(value)} must be a word")
            return " ".join(value.lower().split())
        return as_number(label, value)

    def verdict(self, answer: Any) -> Verdict:
        given = self.read(answer)
        rows = tuple(
            Row(
                label,
                printed(given[label]),
                printed(expected),
                close(given[label], expected, self.tolerance_of(label)),
            )
            for label, expected in self.values.items()
        )
        wrong = {row.label for row in rows if not row.passed}
        known = [
            mistake.message
            for mistake in self.mistakes
            if wrong & {*mistake.answer}
            and all(
                close(given[label], value, self.tolerance_of(label))
                for label, value in mistake.answer.items()
            )
        ]
        return Verdict(rows, " ".join(known))

    def fields(self) -> dict[str, Any]:
        """What a page needs to check the numbers by itself, for JSON."""
        return {
            "fields": [
                {"label": label, "value": _plain(value), "tolerance": self.tolerance_of(label)}
                for label, value in self.values.items()
            ],
            "mistakes": [
                {"message": m.message, "values": {k: _plain(v) for k, v in m.answer.items()}}
                for m in self.mistakes
            ],
        }


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value


def gap(yours: Any, expected: Any, tolerance: float) -> str:
    """How a result differs from the expected one, in words; empty where it does not."""
    if isinstance(expected, torch.Tensor):
        if not isinstance(yours, torch.Tensor):
            return f"{type(yours).__name__}, no tensor"
        if yours.shape != expected.shape:
            return f"shape {tuple(yours.shape)}"
        if not yours.numel():
            return ""
        distance = float((yours.detach().double() - expected.double()).abs().max())
        scale = max(1.0, float(expected.double().abs().max()))
        return "" if distance <= tolerance * scale else f"off by {distance:.2g}"
    if isinstance(expected, list | tuple):
        numbers = all(isinstance(x, int | float) for x in expected)
        if numbers and isinstance(yours, torch.Tensor | np.ndarray):
            yours = yours.tolist()
        if not isinstance(yours, list | tuple) or len(yours) != len(expected):
            return described(yours)
        gaps = [gap(one, other, tolerance) for one, other in zip(yours, expected, strict=True)]
        if not any(gaps):
            return ""
        if not any(isinstance(other, torch.Tensor) for other in expected):
            return described(yours)
        place, what = next((place, what) for place, what in enumerate(gaps, 1) if what)
        return f"part {place}: {what}"  # the shapes alone may be those that are expected
    if isinstance(expected, str | bool | set | dict):
        try:
            return "" if bool(yours == expected) else described(yours)
        except (RuntimeError, TypeError, ValueError):  # of a tensor there are many truths
            return described(yours)
    number = as_number("your result", yours)
    return "" if close(number, expected, tolerance) else printed(number)


@dataclass(frozen=True)
class Function:
    """A function, compared with `reference` on the arguments that `cases` draws from a seed.

    With `symbols`, the names of its arguments in their order, a sympy expression in these is an
    answer too. A mistake's answer is a function: an answer that does the same in all cases gets its
    message. Other wrong answers get the first case in which they differ, a counterexample.
    """

    form: str
    reference: Callable
    cases: Callable[[random.Random], Iterable[tuple]]
    mistakes: Sequence[Mistake]
    symbols: tuple[str, ...] = ()
    tolerance: float = 1e-6
    shown: int = 3  # rows of a right answer

    def right(self) -> Callable:
        return self.reference

    def wrong(self, mistake: Mistake) -> Callable:
        return mistake.answer

    def read(self, answer: Any) -> Callable:
        """The answer as a function; `Refused` where it is none."""
        if isinstance(answer, sympy.Basic | int | Fraction) and self.symbols and not _truth(answer):
            expression = sympy.sympify(answer)
            names = {symbol.name: symbol for symbol in expression.free_symbols}
            if others := sorted({*names} - {*self.symbols}):
                allowed = ", ".join(self.symbols)
                raise Refused(f"`{others[0]}` is not among the symbols {allowed}. {self.form}")
            order = [names.get(name, sympy.Symbol(name)) for name in self.symbols]
            return lambda *values: expression.subs(
                dict(zip(order, map(_exact, values), strict=True))
            )
        if not callable(answer) or isinstance(answer, sympy.Basic):
            raise Refused(
                f"{shown(answer)} is no {'formula' if self.symbols else 'function'}. {self.form}"
            )
        return answer

    def verdict(self, answer: Any) -> Verdict:
        function, rows, results = self.read(answer), [], []
        cases = [*self.cases(random.Random(0))]
        for case in cases:
            yours, expected = called(function, *case), self.reference(*case)
            results.append(yours)
            different = gap(yours, expected, self.tolerance)
            rows.append(
                Row(self._label(case), different or _short(yours), _short(expected), not different)
            )
        if all(row.passed for row in rows):
            return Verdict(tuple(rows[: self.shown]))
        known = [m.message for m in self.mistakes if self._same(m.answer, cases, results)]
        worst = [row for row in rows if not row.passed][: self.shown]
        return Verdict(tuple(worst), " ".join(known))

    def _same(self, other: Callable, cases: list[tuple], results: list) -> bool:
        pairs = zip(cases, results, strict=True)
        try:
            return all(not gap(yours, other(*case), self.tolerance) for case, yours in pairs)
        except Refused:
            return False

    def _label(self, case: tuple) -> str:
        if self.symbols:
            return ", ".join(
                f"{n} = {described(v)}" for n, v in zip(self.symbols, case, strict=True)
            )
        return f"({', '.join(map(described, case))})"


def _truth(value: Any) -> bool:
    """Whether it is true or false, as h > d is; a symbol of sympy's might be either."""
    truths = bool | sympy.logic.boolalg.Boolean
    return isinstance(value, truths) and not isinstance(value, sympy.Expr)


def _exact(value: Any) -> Any:
    return (
        sympy.Rational(value.numerator, value.denominator)
        if isinstance(value, Fraction)
        else sympy.sympify(value)
    )


def _short(value: Any) -> str:
    """A result as a row shows it."""
    if isinstance(value, torch.Tensor) and value.ndim:
        return f"shape {tuple(value.shape)}"
    try:
        return printed(as_number("", value))
    except Refused:
        return described(value)


@dataclass(frozen=True)
class Properties:
    """Anything that has the properties that `judge` finds in it, for what many answers can solve.

    `judge` takes an answer and yields rows; the message of the first that fails is the answer's. It
    may yield a picture, a pair of text and SVG. `example` makes a right answer, and a mistake's
    answer is what `judge` would get.
    """

    form: str
    judge: Callable[[Any], Iterator[Row | tuple[str, str]]]
    example: Callable[[], Any]
    mistakes: Sequence[Mistake]

    def right(self) -> Any:
        return self.example()

    def wrong(self, mistake: Mistake) -> Any:
        return mistake.answer

    def verdict(self, answer: Any) -> Verdict:
        rows, picture = [], ("", "")
        for part in self.judge(answer):
            if isinstance(part, Row):
                rows.append(part)
            else:
                picture = part
        failed = [row.message for row in rows if not row.passed]
        return Verdict(tuple(rows), failed[0] if failed else "", picture)


Judge = Numbers | Function | Properties
