"""What all interactives share: their frame, their controls, and formulas in JavaScript."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from importlib import resources

import sympy
from sympy.printing.jscode import JavascriptCodePrinter

from mixerlib import costs
from mixerlib.costs import symbols as sym

SAID = '<p class="said" aria-live="polite"></p>'  # where the state is said
NUMERATOR, DENOMINATOR = sympy.symbols("alpha_num alpha_den", integer=True, positive=True)


@dataclass(frozen=True)
class Interactive:
    """A piece of a page that the reader turns, as the last value of a notebook's cell.

    Raises `ValueError` for a name that is no lower-case word and for an empty `still`.

    Args:
        name: what its script starts it by.
        label: what a screen reader calls it.
        body: HTML, for the reader's hands; where it has no `SAID`, that comes at its end.
        script: JavaScript, which runs after the body.
        still: the figure that stands for the body where no script runs, and on paper.
        style: CSS of its own.
        options: data attributes of the root.
        folded: where given, the body is folded away under these words.

    >>> from mixerlib.pages import Interactive
    >>> thing = Interactive("thing", "A thing", "<p>Turn me.</p>", "", still="<svg></svg>")
    >>> 'data-interactive="thing"' in thing._repr_html_()
    True
    """

    name: str
    label: str
    body: str
    script: str
    still: str
    style: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    folded: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]+", self.name):
            raise ValueError(f"`name`={self.name!r} must be a word of lower-case letters")
        if not self.still.strip():
            raise ValueError(f"`still`={self.still!r} must be a figure: {self.name} needs one")

    def _repr_html_(self) -> str:
        data = "".join(f' data-{key}="{escape(value)}"' for key, value in self.options.items())
        # a drawing has the label for its name until the script says what it shows
        body = self.body.replace('aria-label=""', f'aria-label="{escape(self.label)}"')
        still = f'<div class="still">{self.still}</div>\n'  # never folded: paper cannot be opened
        inside = f'<div class="live">\n{body}\n{"" if SAID in self.body else SAID}\n</div>\n'
        if self.folded:
            summary = f"<summary>{escape(self.folded)}</summary>"
            inside = f'<details class="fold">{summary}\n{inside}</details>\n'
        return (
            f'<div class="mixer-interactive" data-interactive="{self.name}"{data} role="group" '
            f'aria-label="{escape(self.label)}">\n<style>\n{part("kit.css")}{self.style}</style>\n'
            f"{still}{inside}<script>\n{_bare(part('kit.js') + self.script)}</script>\n</div>\n"
        )


def part(name: str) -> str:
    """The text of a file beside this one."""
    return (resources.files("mixerlib.pages.interactives") / name).read_text(encoding="utf-8")


def script(*parts: str) -> str:
    """Parts of JavaScript as one script that leaves no names in the page."""
    return "(() => {\nconst kit = globalThis.mixerKit;\n" + "\n".join(parts) + "\n})();\n"


def _bare(code: str) -> str:
    """JavaScript without the lines that only comment: whoever reads them reads the file."""
    return re.sub(r"^ *//.*\n", "", code, flags=re.M)


# --- controls: each has a label, and its name in data-name ----------------------------------------


def controls(*those: str) -> str:
    """Controls in columns, as many as there is room for."""
    return f'<div class="controls">{"".join(those)}</div>'


def slider(name: str, label: str, least: int, most: int, value: int) -> str:
    """A slider of whole numbers; the kit writes its value beside the label."""
    return (
        f'<label>{escape(label)} <span class="value" aria-hidden="true"></span>'
        f'<input type="range" data-name="{name}" min="{least}" max="{most}" step="1" '
        f'value="{value}"></label>'
    )


def choice(name: str, label: str, options: Mapping[str, str], chosen: str) -> str:
    """A list to choose from: value → what the reader sees.

    Raises `ValueError` if `chosen` is none of the options.
    """
    if chosen not in options:
        raise ValueError(f"`chosen`={chosen!r} must be one of {list(options)}")
    inside = "".join(
        f'<option value="{escape(value)}"{" selected" * (value == chosen)}>{escape(seen)}</option>'
        for value, seen in options.items()
    )
    return f'<label>{escape(label)} <select data-name="{name}">{inside}</select></label>'


def tick(name: str, label: str) -> str:
    """A box to tick, empty at first; its value is 0 or 1."""
    return f'<label><input type="checkbox" data-name="{name}"> {escape(label)}</label>'


def buttons(**named: str) -> str:
    """Buttons in a row: name → what stands on it."""
    row = "".join(
        f'<button type="button" data-name="{name}">{escape(words)}</button>'
        for name, words in named.items()
    )
    return f'<div class="buttons">{row}</div>'


def guess(question: str, answers: Mapping[str, str] | Iterable[str]) -> str:
    """The question an interactive opens with, and the answers to choose from (value → words).

    The script says which is right: `kit.guess`.
    """
    if not isinstance(answers, Mapping):
        answers = {answer: answer for answer in answers}
    row = "".join(
        f'<button type="button" value="{escape(value)}" aria-pressed="false">{escape(words)}'
        "</button>"
        for value, words in answers.items()
    )
    return (
        f'<fieldset class="guess"><legend>Your guess first</legend><p class="question">{question}'
        f'</p><div class="buttons">{row}</div><p class="verdict" aria-live="polite"></p></fieldset>'
    )


# --- formulas -------------------------------------------------------------------------------------


class _Printer(JavascriptCodePrinter):
    """sympy's, for whole numbers: powers stay exact, and the remainder is never negative."""

    def _print_Pow(self, expr: sympy.Pow) -> str:
        if expr.exp.is_Integer and expr.exp > 0:
            return "(" + " * ".join([self.parenthesize(expr.base, 1000)] * int(expr.exp)) + ")"
        return super()._print_Pow(expr)


def javascript(expression: sympy.Expr) -> str:
    """The expression as JavaScript, exact as long as every number in it stays below 2**53."""
    exact = expression.subs(sym.alpha, NUMERATOR / DENOMINATOR)
    return _Printer().doprint(exact)


def formulas_script(
    families: Iterable[str],
    quantities: Iterable[str],
    layer: str | None = None,
    by_layer: bool = False,
) -> str:
    """JavaScript: an object `formulas`, family → a function of the options to the totals.

    The functions take one object with the fields h, d, k, p, n, C_in, H, W, s, shuffle, gelu,
    alpha_num and alpha_den, all whole numbers, and return the quantities: those of the whole model,
    of one kind of `layer`, as "channel mixing", or, `by_layer`, an object with all kinds.
    """
    inputs = [s for s in sym.SYMBOLS if s not in sym.DEFINITIONS and s != sym.alpha]
    inputs = [s for s in inputs if s not in (sym.D_S, sym.D_C)] + [NUMERATOR, DENOMINATOR]
    names = ", ".join(symbol.name for symbol in inputs)
    quantities = list(quantities)
    functions = []
    for family in families:
        forms = costs.formulas(family)
        used, fields = set(), []
        for quantity in quantities:
            every = {kind: sympy.sympify(c) for kind, c in getattr(forms, quantity).items()}
            used |= set().union(*(count.free_symbols for count in every.values()))
            if by_layer:
                inside = (f"{json.dumps(kind)}: {javascript(c)}" for kind, c in every.items())
                fields.append(f"{quantity}: {{{', '.join(inside)}}}")
            else:
                total = every[layer] if layer else sympy.Add(*every.values())
                fields.append(f"{quantity}: {javascript(total)}")
        for symbol, definition in reversed(list(sym.DEFINITIONS.items())):
            used |= definition.free_symbols if symbol in used else set()
        derived = "\n".join(
            f"    const {symbol.name} = {javascript(definition)};"
            for symbol, definition in sym.DEFINITIONS.items()
            if symbol in used
        )
        functions.append(
            f"  {family}: ({{{names}}}) => {{\n{derived}\n    return {{{', '.join(fields)}}};\n  }}"
        )
    return "const formulas = {\n" + ",\n".join(functions) + "\n};"
