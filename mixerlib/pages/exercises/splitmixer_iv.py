"""The exercises of chapter 09."""

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mixerlib.models import SeparateSegments, segment_widths
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties, gap
from mixerlib.pages.exercises.mixings import Puzzle
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import called


@exercise("four-1")
def recompute() -> Numbers:
    h, s, d = 100, 7, 5
    widths = segment_widths(h, s)
    fair = [(h + s - 1 - j) // s for j in range(s)]
    squares = sum(width * width for width in widths)
    saved = squares - sum(width * width for width in fair)
    params, penalty = d * (squares + h), squares - Fraction(h * h, s)
    return Numbers(
        {
            "segment": widths[0],
            "last segment": widths[-1],
            "parameters": params,
            "penalty": penalty,
            "saved": saved,
        },
        [
            Mistake("The last segment takes what is left.", {"last segment": widths[0]}),
            Mistake("Each block has a bias for each channel.", {"parameters": d * squares}),
            Mistake("That is one block; there are d of them.", {"parameters": params // d}),
            Mistake(
                "All segments are mixed in every block, not one in turn.",
                {"parameters": (d * (widths[0] ** 2 + widths[0]))},
            ),
            Mistake("The penalty is asked for one block.", {"penalty": d * penalty}),
            Mistake("The weights saved are asked for one block.", {"saved": d * saved}),
            Mistake(
                "Whole channels cannot be cut: the balanced split saves a little less than the "
                "penalty.",
                {"saved": int(penalty)},
            ),
        ],
    )


@exercise("four-2")
def no_split_is_cheaper() -> Function:
    def fewest(h: int, s: int) -> int:
        """By trying: the least sum of squares of s widths, from those of fewer segments."""
        least = {width: width * width for width in range(1, h + 1)}
        for segments in range(2, s + 1):
            least = {
                total: min(w * w + least[total - w] for w in range(1, total) if total - w in least)
                for total in range(segments, h + 1)
            }
        return least[h]

    def cases(draw: random.Random) -> Iterator[tuple]:
        yield from ((11, 4), (12, 4), (7, 7), (9, 1))
        for _ in range(8):
            s = draw.randint(2, 6)
            yield draw.randint(s, 30), s

    return Function(
        "Return the fewest weights of h channels cut into s segments, a whole number.",
        fewest,
        cases,
        [
            Mistake(
                "That is the ragged split, whose last segment has the whole remainder.",
                lambda h, s: sum(w * w for w in segment_widths(h, s)),
            ),
            Mistake("No split has it where s does not divide h.", lambda h, s: h * h / s),
            Mistake("The remainder is lost: the widths must add up to h.", _without_the_rest),
            Mistake("The biases are no weights here.", lambda h, s: fewest(h, s) + h),
        ],
    )


def _without_the_rest(h: int, s: int) -> int:
    return s * (h // s) ** 2


class _Convolutions(TorchDispatchMode):
    """Notes how many weights each convolution has that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[int] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if "convolution" in str(function):
            self.weights.append(args[1].numel())
        return function(*args, **(kwargs or {}))


def _two(layer: SeparateSegments, x: torch.Tensor, biases: bool = True) -> torch.Tensor:
    *equal, last = layer.mixer
    split = sum(layer.widths[:-1])
    weight = torch.cat([conv.weight for conv in equal])
    bias = torch.cat([conv.bias for conv in equal]) if biases else None
    return torch.cat(
        [F.conv2d(x[:, :split], weight, bias, 1, 0, 1, len(equal)), last(x[:, split:])], 1
    )


def _one(layer: SeparateSegments, x: torch.Tensor) -> torch.Tensor:
    """A single dense convolution, with zeros outside the segments."""
    weight = torch.block_diag(*(conv.weight[:, :, 0, 0] for conv in layer.mixer))
    bias = torch.cat([conv.bias for conv in layer.mixer])
    return F.conv2d(x, weight[:, :, None, None], bias)


@exercise("four-3")
def two_calls_for_a_ragged_split() -> Properties:
    calls = "Two convolutions are enough: all segments but the last are equally wide."
    work = "That multiplies by zeros: it has more weights than the segments have."
    other = "It does not compute what the layer does."
    biases = "Nearly: the biases of the equal segments are missing."

    def judge(answer: Any) -> Iterator[Row]:
        for h, s in ((24, 5), (31, 4), (17, 3), (8, 2)):
            torch.manual_seed(h)
            layer = SeparateSegments(h, s).double()
            x = torch.randn(2, h, 4, 3, dtype=torch.float64)
            label = f"h = {h}, s = {s}"
            with torch.no_grad(), _Convolutions() as convolutions:
                result = called(answer, layer, x)
            with torch.no_grad():
                expected, bare = layer(x), _two(layer, x, biases=False)
            away = gap(result, expected, 1e-9)
            message = other if away.startswith("off") else ""
            message = message if gap(result, bare, 1e-9) else biases
            yield Row(f"{label}: output", away or "equal", "equal", not away, message)
            count, total = len(convolutions.weights), sum(convolutions.weights)
            plain = sum(w * w for w in layer.widths)
            yield Row(f"{label}: convolutions", f"{count}", "2", count <= 2, calls)
            yield Row(f"{label}: weights", f"{total}", f"{plain}", total <= plain, work)

    return Properties(
        "Return what the layer returns, by two convolutions.",
        judge,
        lambda: _two,
        [
            Mistake(calls, lambda layer, x: layer(x)),
            Mistake(work, _one),
            Mistake(biases, lambda layer, x: _two(layer, x, biases=False)),
            Mistake(other, lambda layer, x: x),
        ],
    )


def groups(u: torch.Tensor, mix: Callable, width: int) -> torch.Tensor:
    """Groups of `width` neighbours, each mixed for itself."""
    return torch.cat([mix(part) for part in u.split(width)])


@exercise("four-4")
def bricks() -> Properties:
    h, s = 24, 4
    c = h // s
    params, macs = s * (c * c + c), s * c * c  # strategy IV's
    rules = Puzzle(h, s, params, macs, all_mixed=True, in_place=True)

    def shifted(shift: Callable[[int], int]) -> Callable:
        return lambda u, i, mix: groups(u.roll(-shift(i)), mix, c).roll(shift(i))

    def walled(u: torch.Tensor, i: int, mix: Callable) -> torch.Tensor:
        """Half bricks at both ends, and no ring."""
        widths = [c // 2, c, c, c, c // 2] if i % 2 else [c] * s
        return torch.cat([mix(part) for part in u.split(widths)])

    return Properties(
        f"Write `block(u, i, mix)`: it takes and returns the {h} channels at one place.",
        rules.judge,
        lambda: shifted(lambda i: c // 2 * (i % 2)),
        [
            Mistake(rules.BORDERS, shifted(lambda i: c * i)),
            Mistake(rules.FULL, lambda u, i, mix: mix(u)),
            Mistake(rules.OVER, lambda u, i, mix: groups(u, mix, h // 2)),
            Mistake(rules.WORK, lambda u, i, mix: mix(mix(u.view(s, c)).T).T.flatten()),
            Mistake(rules.MOVED, lambda u, i, mix: groups(u, mix, c).roll(c // 2)),
            Mistake(rules.UNMIXED, lambda u, i, mix: torch.cat([mix(u[:c]), u[c:]])),
            Mistake(rules.LATE, walled),
        ],
    )
