"""The tweet under glass: what each piece of the shortest ConvMixer does, in code, drawing and
numbers."""

import inspect
import json

from mixerlib.models import tweet
from mixerlib.pages.colors import ACCENT, WARM
from mixerlib.pages.interactives.base import (
    SAID,
    Interactive,
    choice,
    controls,
    formulas_script,
    guess,
    part,
    script,
    slider,
)

LETTERS = {"h": "width", "d": "depth", "k": "kernel", "p": "patch", "n": "classes"}
# Boxes of the drawing: the three layers of each A, what adds, what repeats, and the head.
STEM, SPATIAL, CHANNEL = (
    [f"{where} {what}" for what in ("conv", "gelu", "norm")]
    for where in ("stem", "spatial", "channel")
)
CONVS, GELUS, NORMS = (list(kinds) for kinds in zip(STEM, SPATIAL, CHANNEL, strict=True))
BLOCK = [*SPATIAL, "add", *CHANNEL, "block"]
HEAD = ["pool", "flatten", "linear"]
ALL = [*STEM, *BLOCK, *HEAD]
MIX_SPACE, MIX_CHANNELS = "u = z + BN(σ(Dₖ(z)))", "z′ = BN(σ(P(u)))"

# The pieces in the order of the tweet: text; boxes that light up; the layer whose parameters are
# told; its equation; what it does, where {h} … stand for numbers.
PIECES: tuple[tuple[str, list[str], str, str, str], ...] = (
    ("from torch.nn import *\n", [], "", "", "All layers come from PyTorch, by their short names."),
    ("def ConvMixer(", ALL, "", "", "A function that returns the whole network."),
    ("h,", ALL, "", "", "The width: every map inside has {h} channels."),
    ("d,", ["block"], "", "", "The depth: how many equal blocks follow one another, {d}."),
    ("k,", ["spatial conv"], "", "", "The side of the spatial kernels: {k} × {k} places."),
    ("p,", ["stem conv"], "", "", "The patch: {p} × {p} pixels become one place of the map."),
    ("n):\n", ["linear"], "", "", "The number of classes, {n}: one score for each."),
    (" S=Sequential;", [], "", "", "A shorthand. It only saves characters."),
    ("A=lambda*c:S(", CONVS + GELUS + NORMS, "", "A = BN ∘ σ ∘ Conv", "A shorthand for three "
     "layers in a row. The star hands all arguments on to the convolution."),
    ("Conv2d(*c),", CONVS, "", "", "First a convolution: the only layer that mixes anything."),
    ("GELU(),", GELUS, "", "σ", "Then the activation, for each number alone. No parameters."),
    ("BatchNorm2d(h))\n", NORMS, "normalisation", "BN", "Then the norm: a scale and a shift for "
     "each of {h} channels. It comes after the activation, not before."),
    (" class R(S):", ["add"], "", "", "A Sequential with another way to run."),
    ("forward=lambda s,x:", ["add"], "", "", "What it does with its input x, in one line."),
    ("x+", ["add"], "", "x + f(x)", "The residual: what came in is added to what comes out."),
    ("s[0](x)\n", SPATIAL, "", "", "It runs its first entry, the spatial mixing."),
    (" return S(", ALL, "", "", "All layers in a row are the network."),
    ("A(3,h,p,p),", STEM, "stem", "z⁰ = BN(σ(Convₚ(x)))", "The stem: 3 colours become {h} channels "
     "through a kernel of {p} × {p} pixels that moves by {p} pixels. Out come {t} × {t} places."),
    ("*(", ["block"], "", "", "The blocks, unpacked into the row."),
    ("S(", BLOCK, "", "", "One block: two mixings."),
    ("R(", ["add"], "", MIX_SPACE, "The residual stands around the spatial mixing, and nowhere "
     "else."),
    ("A(h,h,", SPATIAL, "spatial mixing", MIX_SPACE, "Spatial mixing, from {h} channels to {h}: "
     "it combines neighbouring places."),
    ("k,", ["spatial conv"], "spatial mixing", MIX_SPACE, "Its kernel, {k} × {k}: after {d} blocks "
     "a place has seen a square of {r} × {r} places, as far as the map reaches."),
    ("1,", ["spatial conv"], "", "", "Its stride: it moves by one place, so no place is lost."),
    ('"same",', ["spatial conv"], "", "", "Its padding: the map stays {t} × {t}."),
    ("1,", ["spatial conv"], "", "", "Its dilation: the kernel has no holes."),
    ("h)),", ["spatial conv"], "spatial mixing", MIX_SPACE, "Its groups. With as many groups as "
     "channels, each channel is mixed by itself: the convolution is depthwise."),
    ("A(h,h,1))", CHANNEL, "channel mixing", MIX_CHANNELS, "Channel mixing: a kernel of 1 × 1 "
     "combines all {h} channels of one place. There is no residual around it."),
    ("for _ in range(d)),", ["block"], "", "", "The block is made {d} times, with weights of its "
     "own each time."),
    ("AdaptiveAvgPool2d(1),", ["pool"], "", "mean over t", "The mean over all {t} × {t} places."),
    ("Flatten(),", ["flatten"], "", "", "A map of one place becomes a row of {h} numbers."),
    ("Linear(h,n))", ["linear"], "head", "y = A z̄ + b", "The head: {n} scores from {h} means."),
)  # fmt: skip


def tweet_text() -> str:
    """The tweet as it is typed."""
    source = inspect.getsource(tweet)
    return source[source.index("from torch.nn") :].rstrip()


def _still() -> str:
    """The tweet in the page's ink, its mixings in the chapter's two colours."""
    marks = {"A(h,h,": WARM, "k,": WARM, "h)),": WARM, "A(h,h,1))": ACCENT}
    lines, row, column = [], 0, 0
    for text, boxes, *_ in PIECES:
        color = marks.get(text, "") if boxes and row == 4 else ""
        for word in text.splitlines(keepends=True):
            shown = word.replace("\n", "").replace("&", "&amp;").replace("<", "&lt;")
            if column + len(shown) > 62:  # it breaks where a piece ends
                row, column = row + 1, 4
            x, y = 5.4 * column, 16 * row + 12
            if color:
                lines.append(
                    f'<path d="M{x:.1f} {y + 3}h{5.4 * len(shown):.1f}" stroke="{color}"/>'
                )
            lines.append(f'<text x="{x:.1f}" y="{y}" xml:space="preserve">{shown}</text>')
            row, column = (row + 1, 0) if word.endswith("\n") else (row, column + len(shown))
    words = (
        f"A whole ConvMixer in {len(tweet_text())} characters: five letters say how large it is."
    )
    return (
        f'<svg viewBox="0 0 345 {16 * row + 24}" role="img" aria-label="{words}" '
        'fill="currentColor" font-family="monospace" font-size="9" stroke-width="2">'
        f"{''.join(lines)}</svg><p>{words}</p>"
    )


def tweet_under_glass() -> Interactive:
    """The tweet of chapter 03, piece by piece, beside a drawing of the network that it makes.

    The reader guesses which of its five letters counts most, goes through the pieces and turns the
    letters: layers, equation, shapes and parameters follow.

    >>> from mixerlib.pages import tweet_under_glass
    >>> tweet_under_glass().name
    'tweet'
    """
    keys = ("text", "boxes", "layer", "equation", "words")
    pieces = [dict(zip(keys, piece, strict=True)) for piece in PIECES]
    body = (
        guess(
            "Which of the five letters, doubled, gives the network the most parameters?",
            {letter: f"{letter}, the {word}" for letter, word in LETTERS.items()},
        )
        + '<pre class="code"></pre>'
        + controls(slider("piece", "Piece of the tweet", 1, len(PIECES), 22))
        + SAID
        + '<svg class="drawing" viewBox="0 0 340 330" role="img" aria-label=""></svg>'
        + controls(
            slider("h", "Width h", 8, 512, 256),
            slider("d", "Depth d", 1, 32, 8),
            slider("k", "Kernel k", 1, 11, 5),
            choice("p", "Patch p", {p: p for p in ("1", "2", "4", "8", "16")}, "2"),
            slider("n", "Classes n", 2, 100, 10),
        )
    )
    return Interactive(
        "tweet",
        "The tweet under glass: what each piece of it does",
        body,
        script(
            f"const pieces = {json.dumps(pieces)};",
            formulas_script(("convmixer",), ("params",), by_layer=True),
            part("glass.js"),
        ),
        still=_still(),
        style=part("glass.css"),
    )
