"""The symbols of the notation page, what some of them are made of, and how they are typeset."""

import sympy
from sympy.printing.latex import LatexPrinter


def _sizes(names: str) -> tuple[sympy.Symbol, ...]:
    return sympy.symbols(names, integer=True, positive=True)


h, d, k, p, s, n, C_in, H, W = _sizes("h d k p s n C_in H W")
m, c, r = _sizes("m c r")  # segment widths
C, S, D_S, D_C = _sizes("C S D_S D_C")  # MLP-Mixer's letters
alpha = sympy.Symbol("alpha", rational=True, positive=True)
e, gelu = sympy.symbols("e gelu", integer=True, nonnegative=True)  # each 0 or 1

# symbol: (the option it is read from, what it stands for); the notation page prints this table
SYMBOLS: dict[sympy.Symbol, tuple[str, str]] = {
    h: ("dim", "channels of every block, ConvMixer and SplitMixer"),
    C: ("dim", "channels of every block, MLP-Mixer"),
    d: ("depth", "blocks"),
    k: ("kernel_size", "side of the spatial kernel"),
    p: ("patch_size", "side of a patch, in pixels"),
    n: ("num_classes", "classes"),
    C_in: ("in_channels", "channels of the image"),
    H: ("image_size", "height of the image, in pixels"),
    W: ("image_size", "width of the image, in pixels"),
    s: ("segments", "segments that the channels are split into"),
    alpha: ("ratio", "share of the channels in an overlapping segment"),
    m: ("ratio", "width of an overlapping segment"),
    c: ("segments", "width of a disjoint segment"),
    r: ("segments", "width of the last disjoint segment, which takes the remainder"),
    e: ("kernel_size", "1 for an even kernel, whose padding adds a row and a column; 0 for an odd"),
    gelu: ("activation", "1 for GELU, which keeps its input for the backward pass; 0 for ReLU"),
    S: ("patch_size", "tokens, which are the patches of an image"),
    D_S: ("tokens_dim", "hidden width of the token mixing"),
    D_C: ("channels_dim", "hidden width of the channel mixing"),
}

# derived symbols, in an order in which each needs only those before it
DEFINITIONS: dict[sympy.Symbol, sympy.Expr] = {
    m: sympy.floor(alpha * h),
    c: sympy.floor(h / s),
    r: h - (s - 1) * c,
    e: sympy.Mod(k + 1, 2),
    S: H * W / p**2,
}


def iverson(condition: sympy.Basic) -> sympy.Expr:
    """Iverson's bracket: 1 where the condition holds, 0 where it does not."""
    return sympy.Piecewise((1, condition), (0, True))


def in_full(expression: sympy.Expr) -> sympy.Expr:
    """The expression with m, c, r, e and S replaced by what they are made of."""
    for symbol, definition in reversed(DEFINITIONS.items()):
        expression = expression.subs(symbol, definition)
    return expression


def definitions(expression: sympy.Basic) -> dict[sympy.Symbol, sympy.Expr]:
    """What the derived symbols of an expression (m, c, r, e, S) are made of, in reading order."""
    found: dict[sympy.Symbol, sympy.Expr] = {}
    symbols = set(expression.free_symbols)
    for symbol, definition in reversed(DEFINITIONS.items()):  # r needs c, so c is looked at after it
        if symbol in symbols:
            found[symbol] = definition
            symbols |= definition.free_symbols
    return dict(reversed(found.items()))


_PLACES = sympy.Symbol("zzz_places", positive=True)  # named so that it is printed last in a product
_NAMES = {_PLACES: r"\frac{HW}{p^{2}}", C_in: r"C_{\mathrm{in}}", gelu: r"[\mathrm{GELU}]"}


class _Printer(LatexPrinter):
    def _print_Piecewise(self, expr: sympy.Piecewise) -> str:
        (value, condition), *rest = expr.args
        if value == 1 and rest == [(0, sympy.true)]:
            return rf"\left[{self._print(condition)}\right]"
        return super()._print_Piecewise(expr)


def latex(expression: sympy.Basic) -> str:
    """LaTeX of an expression (or equation), without the dollars: HW/p², the number of places, is kept
    together, conditions stand in Iverson's brackets."""
    places = H * W / p**2

    def has_places(term: sympy.Basic) -> bool:
        powers = term.as_powers_dict() if term.is_Mul else {}
        return powers.get(H, 0) >= 1 and powers.get(W, 0) >= 1 and powers.get(p, 0) <= -2

    expression = expression.replace(has_places, lambda term: term / places * _PLACES)
    return _Printer({"symbol_names": _NAMES}).doprint(expression)
