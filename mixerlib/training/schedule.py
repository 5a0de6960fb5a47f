"""Learning rates over a run: the share of the steps that is done → share of the largest rate.

>>> from mixerlib.training import cosine, piecewise_linear
>>> piecewise_linear(0.4)  # the top, at 40 % of the run
1.0
>>> round(cosine(0.5, warmup=0.05), 3)  # on the way down
0.541

Pure functions, so a run that is continued needs to know no more than its step. Chapter 13 draws
them.
"""

import math

import numpy as np

from mixerlib.training.recipe import Recipe

# The schedule of the ConvMixer authors' CIFAR-10 script, which SplitMixer's took over: share of
# the run that is done → share of the largest learning rate, with straight lines between.
KNOTS = ((0.0, 0.0), (0.4, 1.0), (0.8, 0.05), (1.0, 0.0))

# The defaults of torch.optim.lr_scheduler.OneCycleLR.
ONE_CYCLE_TOP = 0.3  # the share of the run at which it is highest
ONE_CYCLE_START = 1 / 25  # the share of the largest rate that it begins with
ONE_CYCLE_END = ONE_CYCLE_START / 1e4  # … and ends with


def piecewise_linear(progress: float) -> float:
    """Up from 0 to 1 over the first 40 % of the run, down to 1/20 at 80 %, and to 0 at the end.

    The ConvMixer and SplitMixer authors call it OneCycle, which in torch is another curve
    (`one_cycle`). Raises `ValueError` unless `progress` lies between 0 and 1. Chapter 13.

    >>> from mixerlib.training import piecewise_linear
    >>> [round(piecewise_linear(share), 3) for share in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    [0.0, 0.5, 1.0, 0.525, 0.05, 0.0]
    """
    _check(progress)
    shares, heights = zip(*KNOTS, strict=True)
    return float(np.interp(progress, shares, heights))


def one_cycle(progress: float) -> float:
    """torch's OneCycleLR with its defaults, in the learning rate alone (momentum stays).

    Half a cosine from 1/25 to 1 over 30 % of the run, another one down to 1/250,000.
    Smith & Topin, arXiv 1708.07120; chapter 13. Raises `ValueError` unless `progress` lies between
    0 and 1.
    """
    _check(progress)
    if progress <= ONE_CYCLE_TOP:
        return _half_cosine(ONE_CYCLE_START, 1.0, progress / ONE_CYCLE_TOP)
    return _half_cosine(1.0, ONE_CYCLE_END, (progress - ONE_CYCLE_TOP) / (1 - ONE_CYCLE_TOP))


def cosine(progress: float, warmup: float = 0.0) -> float:
    """A straight line from 0 to 1 over the share `warmup` of the run, then half a cosine to 0.

    Loshchilov & Hutter, arXiv 1608.03983; chapter 13. Raises `ValueError` unless `progress` lies
    between 0 and 1, and `warmup` at least 0 and below 1.
    """
    _check(progress)
    if not 0 <= warmup < 1:
        raise ValueError(f"`warmup`={warmup!r} must be at least 0 and below 1: a share of the run")
    if progress < warmup:
        return progress / warmup
    return _half_cosine(1.0, 0.0, (progress - warmup) / (1 - warmup))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _check(progress: float) -> None:
    if not 0 <= progress <= 1:
        raise ValueError(f"`progress`={progress!r} must lie between 0 and 1")


def learning_rate(recipe: Recipe, progress: float) -> float:
    """The learning rate when this share of the run's steps is done; chapter 13 draws them."""
    if recipe.schedule == "cosine":
        share = cosine(progress, (recipe.warmup_epochs or 0) / recipe.epochs)
    elif recipe.schedule == "onecycle":
        share = one_cycle(progress)
    else:
        share = piecewise_linear(progress)
    return recipe.max_learning_rate * share
