"""A custom channel mixing: entered under a name, and held against the rules of the others.

>>> from mixerlib.models import SeparateSegments, check_mixing, create_model, register_mixing
>>> def grouped(block, dim, segments):  # strategy IV once more, under another name
...     return SeparateSegments(dim, segments)
>>> register_mixing("grouped", grouped, option="segments")
'splitmixer_grouped'
>>> check_mixing("grouped", segments=3).params["channel mixing"]
240
>>> create_model("splitmixer_grouped", dim=64, depth=4, segments=4).strategy
'grouped'
"""

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sympy
import torch
from torch import nn

from mixerlib import checks, costs
from mixerlib.models.mixings import Strategy, strategies
from mixerlib.models.registry import add_family, create_model, model_entry, remove_family

PLACES = (3, 5)  # rows and columns of the map that a mixing is tried on, so that they differ
NOISE = 1e-9  # of float64: what rounding may change


def register_mixing(
    strategy: str,
    build: Callable[[int, int, Any], nn.Module],
    *,
    option: str = "segments",
    shuffles: bool = False,
    about: str = "",
) -> str:
    """Make a channel mixing a strategy of SplitMixer; return the name of its model.

    Args:
        strategy: its name: letters, digits and underscores. `SplitMixer(strategy, …)` takes it, and
            `create_model` and recipes know it as "splitmixer", an underscore and the name in small
            letters.
        build: the mixing of one block: of the block's number from 0, the width h, and the option's
            value. A module that keeps (B, h, H, W), and whose `mixed` lists the segments that it
            mixes as (start, width), in order. One that passes the last channel goes on at channel
            0.
        option: which of SplitMixer's options it has: "segments" or "ratio".
        shuffles: whether the option `shuffle` may follow it.
        about: a line for a list of models.

    It is known in this process, so the module that registers it must be imported first, or belong
    to an installed package that names it under the entry points "mixerlib.mixings". Registered
    again, under the same name, it replaces the earlier one: a cell may run twice. Raises
    `ValueError` for a name that is no such word or belongs to a strategy of the book.
    """
    if not isinstance(strategy, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,40}", strategy):
        rule = "must be letters, digits and underscores, 40 at most"
        raise ValueError(f"`strategy`={checks.shown(strategy)} {rule}")
    known = {name.lower(): name for name in strategies}
    taken = known.get(strategy.lower(), strategy)
    if taken in BUILT_IN or taken != strategy:
        raise ValueError(f"`strategy`={strategy!r} must be a new name: there is {taken!r}")
    checks.one_of("option", option, ("ratio", "segments"))
    checks.switch("shuffles", shuffles)
    strategies[strategy] = Strategy(build, option, shuffles)
    return add_family(strategy, option, shuffles, about or f"SplitMixer with {strategy} mixing")


@contextmanager
def on_trial(build: Callable[[int, int, Any], nn.Module], option: str) -> Iterator[str]:
    """The name of a model with such a mixing, which is registered only as long as this lasts."""
    strategy = "on_trial"
    name = register_mixing(strategy, build, option=option)
    try:
        yield name
    finally:
        strategies.pop(strategy, None)
        remove_family(strategy)


BUILT_IN = frozenset(strategies)


def check_mixing(
    strategy: str,
    *,
    dim: int = 12,
    depth: int = 4,
    image_size: int = 16,
    params: sympy.Expr | None = None,
    macs: sympy.Expr | None = None,
    **options: Any,
) -> costs.Measured:
    """Hold a strategy against what every mixing of the book keeps; return what it was measured to
    cost, in a SplitMixer-`dim`/`depth`.

    Args:
        strategy: a registered one, or one of the book's.
        dim: the width h to try it with; a small one will do.
        depth: how many blocks; take enough for each turn that it has.
        image_size: of the images, in pixels, for the costs.
        params: what it should cost, if you have derived that: the parameters of the mixing of all
            d blocks, in the symbols of `mixerlib.costs`.
        macs: the same of its multiply-accumulates, for one image.
        **options: of the model: `segments` or `ratio`, `shuffle`, `patch_size`, …

    Of each block: it keeps the shape and the dtype; does not write into its input; treats every
    image and every place by itself; gives the same in training and evaluation mode; an output
    channel hears those channels that `mixed` says, no other one, and all of them. Of the whole
    model: every parameter gets a gradient; `torch.fx` can trace it; a copy with its state dict
    gives the same logits; closed forms, if given, are what is measured.

    Raises `ValueError` that names the block and the rule.
    """
    entry = model_entry(f"splitmixer_{strategy.lower()}", "strategy")
    options = {"dim": dim, "depth": depth, "kernel_size": 3} | options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(entry.name, **options).double()
        for number, block in enumerate(model.blocks):
            for rule in _broken_rules(block.mixing, dim, block.shuffle):
                raise ValueError(f"`strategy`={strategy!r}: the mixing of block {number} {rule}")
        side = 2 * model.patch_size
        images = torch.randn(3, model.in_channels, side, side, dtype=torch.float64)
        for rule in _broken_rules_of_a_model(model, images):
            raise ValueError(f"`strategy`={strategy!r}: its model {rule}")
    measured = costs.measure(model.float(), image_size, model.in_channels)
    values = dict(entry.defaults) | options
    for quantity, formula in (("params", params), ("macs", macs)):
        if formula is not None:
            actual = getattr(measured, quantity)["channel mixing"]
            stated = costs.value_of(formula, _like(values), values, image_size)
            if stated != actual:
                raise ValueError(
                    f"`{quantity}`={formula} gives {stated} for strategy {strategy!r}, and its "
                    f"channel mixing is measured to have {actual}"
                )
    return measured


def _like(options: dict[str, Any]) -> str:
    """A family of `mixerlib.costs` that has these options, so that formulas have their values."""
    return "splitmixer_i" if "ratio" in options else "splitmixer_ii"


@torch.no_grad()
def _broken_rules(mixing: nn.Module, dim: int, shuffle: int) -> Iterator[str]:
    """What a mixing does that none of the book's does, beginning with the worst."""
    x = torch.randn(2, dim, *PLACES, dtype=torch.float64)
    before, y = x.clone(), mixing.train()(x)
    if not isinstance(y, torch.Tensor) or y.shape != x.shape or y.dtype != x.dtype:
        is_tensor = isinstance(y, torch.Tensor)
        made = f"a {tuple(y.shape)} of {y.dtype}" if is_tensor else checks.shown(y)
        yield f"must keep (B, h, H, W) and the dtype: of {tuple(x.shape)} it makes {made}"
        return
    if not torch.equal(x, before):
        yield "must not write into its input"
    y = y.clone()
    if not torch.equal(mixing.eval()(x), mixing.train()(x)) or not torch.equal(y, mixing(x)):
        yield "must give the same each time, in training and in evaluation mode"
    turned = x.flip(0, 2, 3)
    if not torch.allclose(mixing(turned).flip(0, 2, 3), y, rtol=NOISE, atol=NOISE):
        yield "must treat every image and every place by itself"
    for place in ((0, 0), (1, 3)):
        row, column = place
        alone = mixing(x[1:, :, row : row + 1, column : column + 1])
        if not torch.allclose(alone[0, :, 0, 0], y[1, :, row, column], rtol=NOISE, atol=NOISE):
            yield "must treat every image and every place by itself"
    if not hasattr(mixing, "mixed"):
        yield "must have `mixed`: a list of the segments (start, width) that it mixes, in order"
        return
    heard = costs.reach(dim, [(mixing.mixed, getattr(mixing, "segments", 1))])
    actual = _hears(mixing, dim)
    if (actual != torch.from_numpy(heard)).any():
        to, source = (actual != torch.from_numpy(heard)).nonzero()[0].tolist()
        says = "does" if heard[to, source] else "does not"
        yield (
            f"must hear what `mixed`={checks.shown(mixing.mixed)} says: by that, channel {to} "
            f"{says} hear channel {source}"
        )


def _hears(mixing: nn.Module, dim: int) -> torch.Tensor:
    """Booleans (to, from): which input channels an output channel depends on, by nudging each."""
    x = torch.randn(1, dim, 1, 1, dtype=torch.float64)
    nudged = x.repeat(dim, 1, 1, 1) + torch.eye(dim, dtype=torch.float64)[:, :, None, None]
    return ((mixing(nudged) - mixing(x)).flatten(1).abs() > NOISE).T


def _broken_rules_of_a_model(model: nn.Module, images: torch.Tensor) -> Iterator[str]:
    model.train()(images).square().sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is None or not parameter.grad.any():
            yield f"must use every parameter: {name} gets no gradient"
    model.eval()
    with torch.no_grad():
        logits = model(images)
        again = copy.deepcopy(model)
        again.load_state_dict(model.state_dict())
        if not torch.equal(again(images), logits):
            yield "must be the same when it is copied: what it computes with is in its state dict"
        try:
            traced = torch.fx.symbolic_trace(model)(images)
        except Exception as error:  # whatever a module of somebody's does
            yield f"must be traced by torch.fx: {checks.shown(str(error))}"
            return
        if not torch.allclose(traced, logits, rtol=NOISE, atol=NOISE):
            yield "must compute the same when it is traced: do not branch on the numbers"
