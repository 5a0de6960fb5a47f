"""Mixings that a reader writes in a few tensor lines: what they cost, and which channels they join.

Such a mixing is a function of a map's channels at one place, (h,), of the block's number, and of
`mix`, which mixes the channels that it is given, all with all, by weights of its own. Beside it the
lines only cut, move and join.
"""

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mixerlib.pages.exercises.drawing import CELL, draw_matrices, path_of
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called

Mixing = Callable[[torch.Tensor, int, Callable], torch.Tensor]
LIMIT = 40  # blocks: channels that have not met by then never do
LOST = "A channel is lost, or comes out twice: join every part once."
EMPTY = "Your `mix` got no channels: go on at 0 after the last."
COMPUTES = "Only `mix` may compute. Beside it, channels are cut, moved and joined."


class Mixer:
    """The `mix` of one block: each call has a matrix and biases of its own, drawn by a seed.

    `parameters` counts c² + c for each call with c channels, `macs` its c² for each row. A tensor
    of several rows is mixed row by row with the same weights, which count once. Where `identity`,
    nothing is mixed, and `given` notes what went in; where not `biased`, the biases are left out.
    """

    def __init__(self, block: int, identity: bool = False, biased: bool = True):
        self.block, self.identity, self.biased = block, identity, biased
        self.parameters = self.macs = self.calls = 0
        self.empty = False  # whether it was once given nothing
        self.given: list[torch.Tensor] = []

    def __call__(self, channels: torch.Tensor) -> torch.Tensor:
        if not isinstance(channels, torch.Tensor) or not channels.ndim or not channels.numel():
            self.empty = True
            return channels
        c = channels.shape[-1]
        self.parameters += c * c + c
        self.macs += c * channels.numel()
        self.calls += 1
        if self.identity:
            self.given.append(channels.flatten())
            return channels
        random = torch.Generator().manual_seed(1000 * self.block + self.calls)
        matrix = torch.randn(c, c, generator=random, dtype=torch.float64) / c**0.5
        bias = torch.randn(c, generator=random, dtype=torch.float64)
        return channels @ matrix.T + self.biased * bias


@dataclass(frozen=True)
class Block:
    """What one block does: its matrix (h, h), what it costs, and where it moves channels.

    `macs` are those at one place of the map. `times` is how often the channel is mixed that is
    mixed most often. `order` lists the channels as they come out where `mix` does nothing; `mixed`
    says of each channel that goes in whether it meets others.
    """

    matrix: np.ndarray
    parameters: int
    macs: int
    calls: int
    times: int
    order: list[int]
    fault: str = ""

    @property
    def mixed(self) -> np.ndarray:
        return (self.matrix != 0).sum(axis=0) > 1

    @property
    def in_place(self) -> bool:
        return self.order == sorted(self.order)


def block_of(mixing: Mixing, i: int, channels: int) -> Block:
    """Block i of a mixing; with a fault in words where it is none. Raises what `called` raises."""

    def run(u: torch.Tensor, **how: bool) -> tuple[torch.Tensor, Mixer]:
        mix = Mixer(i, **how)
        out = called(lambda x: mixing(x, i, mix), u)
        if not isinstance(out, torch.Tensor):
            raise Refused(
                f"Block {i} returns {type(out).__name__}, no tensor of {channels} channels"
            )
        return out.to(u.dtype), mix

    u = torch.arange(1, channels + 1, dtype=torch.float64)
    out, mix = run(u, identity=True)
    if out.ndim != 1:
        raise Refused(f"Block {i} returns shape {tuple(out.shape)}, and not a row of channels")
    given = torch.cat(mix.given).unique(return_counts=True)[1] if mix.given else torch.zeros(1)
    costs = mix.parameters, mix.macs, mix.calls, int(given.max())
    if mix.empty or out.shape != u.shape:
        fault = f"A block takes and returns {channels} channels: join those too that pass."
        return Block(np.zeros((0, 0)), *costs, [], EMPTY if mix.empty else fault)
    zeros = torch.zeros_like(u)
    constant = run(zeros, biased=False)[0]  # 0, where nothing but `mix` computes
    units = torch.eye(channels, dtype=torch.float64)
    # without the biases, what a channel does not hear is exactly 0, and what it hears is not
    matrix = torch.stack([run(unit, biased=False)[0] - constant for unit in units], dim=1)
    order = (out - 1).round().long().tolist()
    inside = torch.isin(out, u).all()
    linear = torch.allclose(matrix @ u + run(zeros)[0], run(u)[0])
    fault = ""
    if not linear or not inside:
        fault = COMPUTES
    elif sorted(order) != list(range(channels)):
        fault = LOST
    return Block(matrix.numpy(), *costs, order, fault)


def heard(blocks: list[Block]) -> list[np.ndarray]:
    """Who hears whom after each block: yes and no, (h, h)."""
    tables = [np.eye(len(blocks[0].matrix), dtype=bool)]
    for block in blocks:
        tables.append((block.matrix != 0).astype(int) @ tables[-1].astype(int) > 0)
    return tables[1:]


def blocks_to_meet(mixing: Mixing, channels: int) -> int | None:
    """After how many blocks all channels hear all; None where they never do."""
    table = np.eye(channels, dtype=bool)
    for i in range(LIMIT):
        try:
            block = block_of(mixing, i, channels)
        except Refused:
            return None
        if block.fault:
            return None
        table = (block.matrix != 0).astype(int) @ table.astype(int) > 0
        if table.all():
            return i + 1
    return None


def draw_mixing(blocks: list[Block]) -> tuple[str, str]:
    """A block's matrix, the product of all, and when each pair met, as text and as SVG."""
    product = np.eye(len(blocks[0].matrix))
    for block in blocks:
        product = block.matrix @ product
    matrices = [("block 0", blocks[0].matrix)]
    if len(blocks) > 1:
        matrices += [("block 1", blocks[1].matrix), (f"product of {len(blocks)}", product)]
    text, svg = draw_matrices(matrices)
    ages = np.zeros(product.shape, dtype=int)
    for number, table in reversed([*enumerate(heard(blocks), start=1)]):
        ages[table] = number
    more_text, more_svg = _draw_ages(ages)
    return f"{text}\n\n{more_text}", f"{svg}{more_svg}"


def _draw_ages(ages: np.ndarray) -> tuple[str, str]:
    """In row o and column i the block by which channel o has heard channel i; 0 is not at all."""
    title = "heard by block"
    lines = ["".join(f"{age:>2}" if age else " ·" for age in row) for row in ages]
    side, most = len(ages), max(1, ages.max())
    cells = "".join(
        f'<path d="{path_of(ages == age)}" fill="currentColor" '
        f'opacity="{1 - 0.8 * (age - 1) / most:.2f}"/>'
        for age in range(1, most + 1)
    )
    width, height = max(CELL * side, 96) + 2, 22 + CELL * side
    label = f"{title}: {(ages > 0).mean():.0%} of the pairs, the last ones by block {ages.max()}"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(label)}" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'style="max-width: 100%; height: auto">'
        f'<text x="0" y="12" font-size="12" fill="currentColor">{title}</text>{cells}'
        f'<rect x="0.5" y="20.5" fill="none" stroke="currentColor" width="{CELL * side}" '
        f'height="{CELL * side}"/></svg>'
    )
    return "\n".join([title, *lines]), svg


@dataclass(frozen=True)
class Puzzle:
    """What a mixing must do: a budget, and which channels it must join in how many blocks.

    Args:
        channels: h.
        blocks: d.
        parameters: the most that one block may have.
        macs: the most that one block may take at a place of the map; None for any number.
        all_mixed: every channel must meet others in every block.
        once: no channel may go through two mixes of one block.
        in_place: the channels must come out where they went in.
        calls: the most calls of `mix` in a block; None for any number.
        meet: all channels must hear all after the last block.
    """

    channels: int
    blocks: int
    parameters: int
    macs: int | None = None
    all_mixed: bool = False
    once: bool = False
    in_place: bool = False
    calls: int | None = None
    meet: bool = True

    OVER = "That is over the budget: a mix of c channels has c² + c parameters."
    FULL = "That is a full mixing: every channel with every other, over the budget."
    WORK = "Too many MACs: a mix of c channels takes c², and again for each further row."
    CALLS = "Too many mixes in a block."
    UNMIXED = "Every channel must go through a mix, in every block."
    TWICE = "A channel goes through more than one mix of a block: mix it once."
    MOVED = "The channels come out in other places: move them back."
    NEVER_MIXED = "Some channels are in no mix, in any block."
    BORDERS = "The same channels meet in every block, and no others: these groups never hear more."
    TOGETHER = "Channels move, but whole groups together: those meet again that have met."
    LATE = "All of them meet, but not within the blocks that there are."

    def judge(self, mixing: Mixing) -> Iterator[Row | tuple[str, str]]:
        """The rows of a reader's mixing, its picture, and its score."""
        blocks: list[Block] = []
        for i in range(self.blocks):
            block = block_of(mixing, i, self.channels)
            if block.fault:
                yield Row(f"block {i}", "is no mixing", "cuts, moves, mixes", False, block.fault)
                return
            blocks.append(block)
        yield draw_mixing(blocks)
        yield from self._costs(blocks)
        if self.all_mixed:
            fewest = min(int(block.mixed.sum()) for block in blocks)
            every = fewest == self.channels
            yield Row(
                "channels mixed a block", f"{fewest}", f"{self.channels}", every, self.UNMIXED
            )
        if self.once:
            times = max(block.times for block in blocks)
            yield Row("mixes of a channel a block", f"{times}", "≤ 1", times <= 1, self.TWICE)
        if self.in_place:
            stay = all(block.in_place for block in blocks)
            yield Row("channels stay in place", "yes" if stay else "no", "yes", stay, self.MOVED)
        yield from self._joined(mixing, blocks)

    def _costs(self, blocks: list[Block]) -> Iterator[Row]:
        most = max(block.parameters for block in blocks)
        full = most == self.channels**2 + self.channels
        limits = [
            ("parameters a block", most, self.parameters, self.FULL if full else self.OVER),
            ("MACs a block at a place", max(b.macs for b in blocks), self.macs, self.WORK),
            ("mixes a block", max(b.calls for b in blocks), self.calls, self.CALLS),
        ]
        for label, spent, limit, message in limits:
            if limit is not None:
                yield Row(label, f"{spent:,}", f"≤ {limit:,}", spent <= limit, message)

    def _joined(self, mixing: Mixing, blocks: list[Block]) -> Iterator[Row]:
        share = heard(blocks)[-1].mean()
        needed = blocks_to_meet(mixing, self.channels)
        message = self.LATE
        if needed is None:
            moves = not all(block.in_place for block in blocks)
            message = self.TOGETHER if moves else self.BORDERS
            if not _entering(blocks).all():
                message = self.NEVER_MIXED
        expected = "100 %" if self.meet else "any"
        passed = bool(share == 1) or not self.meet
        yield Row(
            f"pairs after {self.blocks} blocks", f"{100 * share:.0f} %", expected, passed, message
        )
        if passed and self.meet:
            yield Row("blocks until all met", f"{needed}", f"≤ {self.blocks}", True)
        if passed:
            spent = "never" if needed is None else f"{sum(b.parameters for b in blocks[:needed]):,}"
            full = self.channels**2 + self.channels
            yield Row("score: parameters until all met", spent, f"full mixing: {full:,}", True)


def _entering(blocks: list[Block]) -> np.ndarray:
    """Of each channel of the first map, whether it goes through a mix in any of the blocks."""
    places = np.arange(len(blocks[0].matrix))
    mixed = np.zeros(len(places), dtype=bool)
    for block in blocks:
        mixed[places[block.mixed]] = True
        places = places[block.order]
    return mixed
