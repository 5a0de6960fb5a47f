"""The explorer of chapter 11: turn the options of a model and see what it costs and who hears whom.

It is one piece of HTML with its own script, so it works in a page without a kernel or a network,
and in a live notebook, where `Explorer()` shows the same piece. The script's formulas are written
by sympy from the expressions of `mixerlib.costs`; nothing is computed twice by hand.
"""

import json
from importlib import resources

import sympy
from sympy.printing.jscode import JavascriptCodePrinter

from mixerlib import costs
from mixerlib.costs import symbols as sym
from mixerlib.pages.colors import COLORS, INK
from mixerlib.pages.tables import LABELS

QUANTITIES = ("params", "macs", "activations", "moved", "moved_fused")
NUMERATOR, DENOMINATOR = sympy.symbols("alpha_num alpha_den", integer=True, positive=True)


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


def formulas_script() -> str:
    """JavaScript: an object `formulas`, family → a function of the options to the totals.

    The functions take one object with the fields h, d, k, p, n, C_in, H, W, s, shuffle, gelu,
    alpha_num and alpha_den, all whole numbers, and return QUANTITIES.
    """
    inputs = [s for s in sym.SYMBOLS if s not in sym.DEFINITIONS and s != sym.alpha]
    inputs = [s for s in inputs if s not in (sym.D_S, sym.D_C)] + [NUMERATOR, DENOMINATOR]
    names = ", ".join(symbol.name for symbol in inputs)
    derived = "\n".join(
        f"    const {symbol.name} = {javascript(definition)};"
        for symbol, definition in sym.DEFINITIONS.items()
    )
    functions = []
    for family in LABELS:
        forms = costs.formulas(family)
        totals = ",\n".join(
            f"      {quantity}: {javascript(sympy.Add(*getattr(forms, quantity).values()))}"
            for quantity in QUANTITIES
        )
        functions.append(
            f"  {family}: ({{{names}}}) => {{\n{derived}\n    return {{\n{totals}\n    }};\n  }}"
        )
    return "const formulas = {\n" + ",\n".join(functions) + "\n};"


def page() -> str:
    """The explorer as HTML."""
    parts = resources.files("mixerlib.pages") / "explorer_page"
    script = (parts / "explorer.js").read_text(encoding="utf-8")
    script = script.replace("/* FORMULAS */", formulas_script())
    script = script.replace("/* TITLES */", f"const titles = {json.dumps(LABELS)};")
    colors = {family: "currentColor" if color == INK else color for family, color in COLORS.items()}
    script = script.replace("/* COLORS */", f"const colors = {json.dumps(colors)};")
    body = (parts / "explorer.html").read_text(encoding="utf-8")
    options = "".join(
        f'<option value="{family}"{" selected" * (family == "splitmixer_i")}>{title}</option>'
        for family, title in LABELS.items()
    )
    return body.replace("<!-- FAMILIES -->", options).replace("/* SCRIPT */", script)


class Explorer:
    """The explorer of chapter 11, as the last value of a notebook's cell.

    >>> from mixerlib.pages import Explorer
    >>> explorer = Explorer()
    """

    def _repr_html_(self) -> str:
        return page()
