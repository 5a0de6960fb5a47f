"""The exercises of chapters 19 and 19b."""

import copy
import random
import statistics
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mixerlib.costs import mixing_jacobian
from mixerlib.models.convmixer import Residual
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called


@exercise("fast-1")
def recompute() -> Numbers:
    gamma, beta, mean, variance = 0.5, 3.0, 1.0, 4.0  # as the exercise gives them
    a = gamma / variance**0.5
    b = beta - a * mean
    shifted = F.conv2d(torch.full((1, 1, 4, 5), b), torch.ones(1, 1, 3, 3), padding=1)[0, 0]
    places = {"corner": shifted[0, 0], "edge": shifted[0, 2], "inside": shifted[1, 2]}
    numbers = {name: float(value) for name, value in places.items()}
    return Numbers(
        {"a": a, "b": b, **numbers},
        [
            Mistake("Divide by the root of the variance.", {"a": gamma / variance}),
            Mistake("The mean and the variance play a part too: a = γ/√v.", {"a": gamma}),
            Mistake("The mean is taken away before the scale: b = β − aμ.", {"b": beta + a * mean}),
            Mistake("The mean is scaled by a before it is taken away.", {"b": beta - mean}),
            Mistake(
                "In a corner five of the nine weights lie outside the map.",
                {"corner": numbers["inside"]},
            ),
            Mistake(
                "On an edge three of the nine weights lie outside the map.",
                {"edge": numbers["inside"]},
            ),
            Mistake("All nine weights lie on the map, each times b.", {"inside": b}),
        ],
    )


@exercise("fast-2")
def another_padding() -> Function:
    def padding(a: float, b: float) -> float:
        """The root of a·x + b, by one step of Newton from anywhere."""
        x = 7.0
        return x - (a * x + b) / a

    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(6):
            yield draw.choice([-1, 1]) * draw.uniform(0.2, 3), draw.uniform(-2, 2)

    return Function(
        "Give the number that stands around z, as a formula of a and b.",
        padding,
        cases,
        [
            Mistake("The norm makes 2b of that. It must come to 0.", lambda a, b: b / a),
            Mistake("The norm scales the padding too.", lambda a, b: -b),
            Mistake("Upside down: solve a·x + b = 0 for x.", lambda a, b: -a / b),
            Mistake(
                "Zeros become b behind the norm, and the convolution has to see zeros.",
                lambda a, b: 0.0,
            ),
        ],
        symbols=("a", "b"),
    )


Pair = tuple[torch.Tensor, torch.Tensor]


@exercise("fast-3")
def two_passes_fewer() -> Function:
    def merged(W: torch.Tensor, w: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> Pair:
        """Asked of the map itself: its constant, and what each channel adds to it."""

        def whole(z: torch.Tensor) -> torch.Tensor:
            return W @ (scale * z + shift) + w

        constant = whole(torch.zeros_like(scale))
        columns = [whole(unit) - constant for unit in torch.eye(len(scale), dtype=W.dtype)]
        return torch.stack(columns, dim=1), constant

    def cases(draw: random.Random) -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(draw.randrange(100))
        for h in (3, 5, 8):
            yield tuple(
                torch.randn(shape, generator=generator, dtype=torch.float64)
                for shape in ((h, h), (h,), (h,), (h,))
            )

    return Function(
        "Return the matrix and the bias that do all of W(scale ⊙ z + shift) + w.",
        merged,
        cases,
        [
            Mistake(
                "The scale is on the input side: it scales the columns of W, not its rows.",
                lambda W, w, scale, shift: (scale[:, None] * W, W @ shift + w),
            ),
            Mistake(
                "The shift goes through W as well.",
                lambda W, w, scale, shift: (W * scale, shift + w),
            ),
            Mistake(
                "The shift is added after the scale, so it is not scaled.",
                lambda W, w, scale, shift: (W * scale, W @ (scale * shift) + w),
            ),
            Mistake(
                "The bias that was there is lost.",
                lambda W, w, scale, shift: (W * scale, W @ shift),
            ),
            Mistake(
                "W has its scale still to come.", lambda W, w, scale, shift: (W, W @ shift + w)
            ),
        ],
    )


def _part(conv: nn.Conv2d, kinds: str) -> nn.Sequential:
    """A convolution, its norm and its activation in the order of the letters c, n and a."""
    parts = {"c": conv, "n": nn.BatchNorm2d(conv.out_channels), "a": nn.GELU()}
    return nn.Sequential(*(parts[kind] for kind in kinds))


def _block(
    h: int, k: int, kinds: str = "cna", dense: bool = False, deaf: bool = False
) -> nn.Module:
    spatial = nn.Conv2d(h, h, k, padding="same", groups=1 if dense else h)
    channels = nn.Conv2d(h, h, 1, groups=h if deaf else 1)
    return nn.Sequential(Residual(_part(spatial, kinds)), _part(channels, kinds))


class _Passes(TorchDispatchMode):
    """Counts the maps that operations read and write; a view of a map is none."""

    def __init__(self, numbers: int):
        super().__init__()
        self.numbers, self.count = numbers, 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            maps = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
            self.count += sum(x.numel() == self.numbers for x in maps)
        return result


def _passes(block: nn.Module, x: torch.Tensor) -> int:
    with torch.no_grad(), _Passes(x.numel()) as passes:
        block(x)
    return passes.count


def _folded(block: nn.Module, x: torch.Tensor) -> tuple[nn.Module, int, int]:
    """A block with each norm folded into the convolution that it stands right behind, how many
    those norms are, and how many norms there were."""
    block = copy.deepcopy(block)
    made: list[tuple[torch.Tensor, nn.Conv2d]] = []
    before: dict[nn.BatchNorm2d, nn.Conv2d | None] = {}

    def note(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made.append((output, module))
        elif isinstance(module, nn.BatchNorm2d):
            before[module] = next((conv for out, conv in made if out is inputs[0]), None)

    hooks = [module.register_forward_hook(note) for module in block.modules()]
    with torch.no_grad():
        block(x)
    for hook in hooks:
        hook.remove()
    for parent in [*block.modules()]:
        for name, norm in [*parent.named_children()]:
            if isinstance(norm, nn.BatchNorm2d) and (conv := before.get(norm)):
                one = fuse_conv_bn_eval(conv, norm)
                conv.weight, conv.bias = one.weight, one.bias
                setattr(parent, name, nn.Identity())
    return block, sum(conv is not None for conv in before.values()), len(before)


OVER = "It has more parameters than ConvMixer's block."
DEAF = "It must hear k × k places of all channels, as ConvMixer's block does."
BARE = "ConvMixer's block has two norms: without them nothing is left to fold."
BEHIND = "A norm is given something else than what a convolution gives: it cannot go back into one."
TWICE = "What a convolution gives goes elsewhere too, and there the norm is missing."
LINEAR = "Without an activation the block is one linear map."


def _folds(answer: Any) -> Iterator[Row]:
    """The rows of a block like ConvMixer's: its parameters, what it hears, how its norms fold."""
    form = "Return a block, a module that takes and returns (B, h, H, W)."
    for h, k in ((6, 3), (8, 5)):
        torch.manual_seed(0)
        block, label = called(answer, h, k), f"h = {h}, k = {k}"
        x = torch.randn(2, h, 9, 7, dtype=torch.float64)
        if not isinstance(block, nn.Module):
            raise Refused(form)
        made = called(block.double().eval(), x)
        if not isinstance(made, torch.Tensor) or made.shape != x.shape:
            raise Refused(form)
        for norm in (part for part in block.modules() if isinstance(part, nn.BatchNorm2d)):
            for numbers in (*norm.parameters(), *norm.buffers()):
                if numbers.is_floating_point():
                    nn.init.uniform_(numbers, 0.5, 2)
        theirs = _block(h, k, "can").double().eval()
        params, most = (sum(w.numel() for w in one.parameters()) for one in (block, theirs))
        yield Row(f"{label}: parameters", f"{params}", f"≤ {most}", params <= most, OVER)
        maps = torch.randn(1, h, k, k, dtype=torch.float64)
        heard = int((mixing_jacobian(block, maps)[k * k // 2] != 0).sum(axis=(1, 2)).min())
        yield Row(f"{label}: hears", f"{heard}", f"{k * k * h}", heard == k * k * h, DEAF)
        folded, right, norms = _folded(block, x)
        yield Row(f"{label}: norms", f"{norms}", "2", norms == 2, BARE)
        yield Row(f"{label}: that fold", f"{right}", f"{norms}", right == norms, BEHIND)
        with torch.no_grad():
            plain, zero = block(x), block(torch.zeros_like(x))
            away = float((folded(x) - plain).abs().max())
            bent = float((block(2 * x) + zero - 2 * plain).abs().max())
        yield Row(f"{label}: off by, folded", f"{away:.1g}", "0", away < 1e-9, TWICE)
        yield Row(f"{label}: linear", "no" if bent > 1e-9 else "yes", "no", bent > 1e-9, LINEAR)
    spent = f"ConvMixer {_passes(theirs, x)}"
    yield Row("score: passes, folded", f"{_passes(folded, x)}", spent, True)


@exercise("fast-4")
def an_order_that_folds() -> Properties:
    return Properties(
        "Return a block for h channels and kernels of k × k, a module.",
        _folds,
        lambda: _block,
        [
            Mistake(OVER, lambda h, k: _block(h, k, dense=True)),
            Mistake(DEAF, lambda h, k: _block(h, k, deaf=True)),
            Mistake(BARE, lambda h, k: _block(h, k, "ca")),
            Mistake(BEHIND, lambda h, k: _block(h, k, "can")),
            Mistake(LINEAR, lambda h, k: _block(h, k, "cn")),
        ],
    )


@exercise("clock-1")
def what_is_the_compilers() -> Function:
    def gains(plain: list, best: list, fast: list) -> tuple[float, ...]:
        pairs = (plain, best), (best, fast), (plain, fast)
        ratios = (sorted(a / b for a, b in zip(*pair, strict=True)) for pair in pairs)
        return tuple(statistics.median(ratio) for ratio in ratios)

    def cases(draw: random.Random) -> Iterator[tuple]:
        for rounds in (5, 7, 9, 5):
            noise = [draw.uniform(0.8, 1.6) for _ in range(rounds)]
            yield tuple(
                [level * shared * draw.uniform(0.9, 1.1) for shared in noise]
                for level in (6.0, 3.5, 2.5)
            )

    def of_medians(plain: list, best: list, fast: list) -> tuple[float, ...]:
        a, b, c = map(statistics.median, (plain, best, fast))
        return a / b, b / c, a / c

    def multiplied(plain: list, best: list, fast: list) -> tuple[float, ...]:
        stock, beyond, _ = gains(plain, best, fast)
        return stock, beyond, stock * beyond

    return Function(
        "Return the gain of stock PyTorch, the gain beyond it, and both together as measured.",
        gains,
        cases,
        [
            Mistake(
                "Divide round by round, and then take the median: a round shares its noise.",
                of_medians,
            ),
            Mistake("The whole is measured too; a product of medians need not be it.", multiplied),
            Mistake(
                "Upside down: the longer time is above.",
                lambda *times: tuple(1 / gain for gain in gains(*times)),
            ),
            Mistake(
                "Beyond stock PyTorch: compare fast with best, not with plain.",
                lambda *times: tuple(gains(*times)[place] for place in (0, 2, 2)),
            ),
        ],
    )
