"""What `check` answers, as text and as HTML: yours beside what is expected, and one message."""

import base64
import html
import json
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Row:
    """One line of what `check` answers.

    Args:
        label: what the line is about.
        yours: the reader's value, as text.
        expected: the right one, as text.
        passed: whether they agree.
        message: what to say where they do not; empty where the line itself says enough.
    """

    label: str
    yours: str
    expected: str
    passed: bool
    message: str = ""


class Verdict(NamedTuple):
    """What a judge says of an answer: its rows, a message where it is wrong, a picture or none.

    The picture is a pair of text and SVG.
    """

    rows: tuple[Row, ...]
    message: str = ""
    picture: tuple[str, str] = ("", "")

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows) and not self.message


@dataclass(frozen=True)
class Outcome:
    """What `check` answers: true where the exercise is solved, and shown at the end of a cell.

    Args:
        name: of the exercise.
        passed: whether the answer is right.
        message: what is right or wrong about it, in a sentence or two.
        rows: yours beside the expected, line by line.
        picture: of the answer, as text and as SVG; both empty where there is none.
        correct: where there is no answer yet, the rows that a right one prints.
        correct_picture: where there is no answer yet, the picture of a right one, or none.
        fields: where there is no answer yet, and only numbers are asked, what the page checks them
            by: the values, and the messages of wrong ones.
    """

    name: str
    passed: bool
    message: str
    rows: tuple[Row, ...] = ()
    picture: tuple[str, str] = ("", "")
    correct: tuple[Row, ...] = ()
    correct_picture: tuple[str, str] = ("", "")
    fields: dict[str, Any] | None = None

    def __bool__(self) -> bool:
        return self.passed

    @property
    def headline(self) -> str:
        """The exercise, and the message."""
        return f"{self.name}: {self.message}"

    def __repr__(self) -> str:
        lines = [self.headline]
        if self.rows:
            head = ("", "yours", "expected", "")
            table = [head, *((r.label, r.yours, r.expected, _sign(r)) for r in self.rows)]
            widths = [max(len(line[column]) for line in table) for column in range(4)]
            lines += [
                f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip()
                for a, b, c, d in table
            ]
        if self.picture[0]:
            lines += ["", self.picture[0]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        state = "passed" if self.passed else "wrong" if self.rows else "open"
        parts = [f'<p class="exercise-message" role="status">{html.escape(self.headline)}</p>']
        parts += [_table(self.rows)] if self.rows else []
        parts += [self.picture[1]]
        if self.fields:
            packed = base64.b64encode(json.dumps(self.fields).encode()).decode()
            parts += [f'<form class="exercise-fields" data-exercise="{packed}" hidden></form>']
        if self.correct:  # a site's style sheet shows these two, a notebook hides them
            parts += [
                '<details class="exercise-correct" hidden>'
                "<summary>What a correct answer prints</summary>",
                f"<p>{html.escape(self.name)}: Right.</p>{_table(self.correct)}",
                f"{self.correct_picture[1]}</details>",
            ]
        return f'<div class="exercise-outcome exercise-{state}">{"".join(parts)}</div>'


def _sign(row: Row) -> str:
    return "✓" if row.passed else "✗"


def _table(rows: tuple[Row, ...]) -> str:
    """The rows as an HTML table, numbers below one another."""
    right = ' style="text-align: right; font-variant-numeric: tabular-nums"'
    lines = [
        f'<tr><th scope="row" style="text-align: left">{html.escape(row.label)}</th>'
        f"<td{right}>{html.escape(row.yours)}</td><td{right}>{html.escape(row.expected)}</td>"
        f'<td><span role="img" aria-label="{"right" if row.passed else "wrong"}">'
        f"{_sign(row)}</span></td></tr>"
        for row in rows
    ]
    head = f'<tr><td></td><th scope="col"{right}>yours</th><th scope="col"{right}>expected</th>'
    return f"<table><thead>{head}<td></td></tr></thead><tbody>{''.join(lines)}</tbody></table>"
