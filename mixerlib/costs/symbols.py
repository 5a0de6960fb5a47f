"""The symbols of the notation page, what some of them are made of, and how they are typeset."""

import sympy
from sympy.printing.latex import LatexPrinter


def _sizes(names: str) -> tuple[sympy.Symbol, ...]:
    return sympy.symbols(names, integer=True, positive=True)


h, d, k, p, s, n, C_in, H, W = _sizes("h d k p s n C_in H W")
m, c, r = _sizes("m c r")  # segment widths
T, D_S, D_C = _sizes("T D_S D_C")
alpha = sympy.Symbol("alpha", rational=True, positive=True)
e, gelu, shuffle = sympy.symbols("e gelu shuffle", integer=True, nonnegative=True)  # 0 or 1

# The symbols → the option that each is read from, and what it stands for; the notation page
# prints this table
SYMBOLS: dict[sympy.Symbol, tuple[str, str]] = {
    h: ("dim", "channels of every block"),
    d: ("depth", "blocks"),
    k: ("kernel_size", "side of the spatial kernel"),
    p: ("patch_size", "side of a patch, in pixels"),
    n: ("num_classes", "classes"),
    C_in: ("in_channels", "channels of the image"),
    H: ("image_size", "height of the image, in pixels"),
    W: ("image_size", "width of the image, in pixels"),
    T: ("patch_size", "patches of an image: the tokens, or the places of a map"),
    s: ("segments", "segments that the channels are split into"),
    alpha: ("ratio", "share of the channels in an overlapping segment"),
    m: ("ratio", "width of an overlapping segment"),
    c: ("segments", "width of a disjoint segment"),
    r: ("segments", "width of the last disjoint segment, which takes the remainder"),
    e: ("kernel_size", "1 for an even kernel, whose padding adds a row and a column; 0 for an odd"),
    gelu: ("activation", "1 for GELU, which keeps its input for the backward pass; 0 for ReLU"),
    shuffle: ("shuffle", "1 where the channels are shuffled after each mixing"),
    D_S: ("tokens_dim", "hidden width of the token mixing"),
    D_C: ("channels_dim", "hidden width of the channel mixing"),
}

# The derived symbols → what each stands for, in an order in which each needs only those before it
DEFINITIONS: dict[sympy.Symbol, sympy.Expr] = {
    m: sympy.floor(alpha * h),
    c: sympy.floor(h / s),
    r: h - (s - 1) * c,
    e: sympy.Mod(k + 1, 2),
    T: H * W / p**2,
}


def iverson(condition: sympy.Basic) -> sympy.Expr:
    """Iverson's bracket: 1 where the condition holds, 0 where it does not."""
    return sympy.Piecewise((1, condition), (0, True))


def in_full(expression: sympy.Expr) -> sympy.Expr:
    """The expression with m, c, r, e and T replaced by what they are made of.

    >>> from mixerlib.costs import formulas, in_full
    >>> in_full(formulas("splitmixer_i").macs["channel mixing"])
    H*W*d*floor(alpha*h)**2/p**2
    """
    for symbol, definition in reversed(DEFINITIONS.items()):
        expression = expression.subs(symbol, definition)
    return expression


def definitions(expression: sympy.Basic) -> dict[sympy.Symbol, sympy.Expr]:
    """What the derived symbols of an expression (m, c, r, e, T) are made of, in reading order.

    >>> from mixerlib.costs import definitions, formulas
    >>> definitions(formulas("splitmixer_iv").params["channel mixing"])
    {c: floor(h/s), r: -c*(s - 1) + h}
    """
    needed: dict[sympy.Symbol, sympy.Expr] = {}
    symbols = set(expression.free_symbols)
    for symbol, definition in reversed(DEFINITIONS.items()):  # r needs c, which comes after it
        if symbol in symbols:
            needed[symbol] = definition
            symbols |= definition.free_symbols
    return dict(reversed(needed.items()))


_LAST = sympy.Symbol("zT", positive=True)  # T, under a name that is printed last in a product
_NAMES = {
    _LAST: "T",
    C_in: r"C_{\text{in}}",
    gelu: r"\left[\text{GELU}\right]",
    shuffle: r"\left[\text{shuffle}\right]",
}


def _is_bracket(expression: sympy.Basic) -> bool:
    zero_otherwise = (sympy.S.Zero, sympy.true)
    return isinstance(expression, sympy.Piecewise) and expression.args[1:] == (zero_otherwise,)


class _Printer(LatexPrinter):
    """sympy's, with Iverson's brackets, and with no sum that begins with a minus."""

    def _print_Piecewise(self, expr: sympy.Piecewise) -> str:
        if _is_bracket(expr) and expr.args[0].expr == 1:
            return rf"\left[{self._print(expr.args[0].cond)}\right]"
        return super()._print_Piecewise(expr)

    def _needs_mul_brackets(self, expr: sympy.Basic, **position: bool) -> bool:
        return not _is_bracket(expr) and super()._needs_mul_brackets(expr, **position)

    def _as_ordered_terms(self, expr: sympy.Add, order: str | None = None) -> list[sympy.Expr]:
        terms = super()._as_ordered_terms(expr, order=order)
        return sorted(terms, key=lambda term: bool(term.as_coeff_Mul()[0] < 0))


def latex(expression: sympy.Basic) -> str:
    """LaTeX of an expression or an equation in the notation page's letters, without the dollars.

    A condition stands in Iverson's brackets: 1 where it holds, 0 where it does not.

    >>> from mixerlib.costs import formulas, latex
    >>> print(latex(formulas("splitmixer_i").params["channel mixing"]))
    d \\left(m^{2} + m\\right)
    """
    return _Printer({"symbol_names": _NAMES}).doprint(expression.xreplace({T: _LAST}))
