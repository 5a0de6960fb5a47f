"""The equal forms of a model: what differs between two is the time, not the result."""

from dataclasses import dataclass, field

import torch

from mixerlib import checks

MIXINGS = ("own", "convolution", "in place", "linear", "one matrix")


@dataclass(frozen=True)
class Form:
    """One of the ways to compute a model, in training and in inference alike. Chapter 19.

    Args:
        mixing: how the channels of a block are mixed: by the model's "own" code, by one grouped
            "convolution", by one that writes a segment over itself, "in place", by one "linear"
            product, or by "one matrix" of h×h numbers. In an MLP-Mixer and its relatives a
            "convolution" is what linear layers compute by.
        folded: whether BatchNorm's constants lie in the layers around it; for inference.
        channels_last: the layout of maps in memory, the channels of a place side by side.
        compile: whether the compiler writes the code.
        at_once: how many images go through the network together; None for all of a batch.
        shifted: whether depthwise convolutions are sums of shifted maps, for the compiler to fuse.
        by_block: whether the compiler sees each block alone: it then takes a fraction of the time,
            and what follows one another in two blocks is not fused.

    Raises `ValueError` for a mixing that does not exist, or an `at_once` below 1.
    """

    mixing: str = "own"
    folded: bool = False
    channels_last: bool = False
    compile: bool = False
    at_once: int | None = None
    # Records of older versions lack these two: what has a factory may be missing
    shifted: bool = field(default_factory=bool)
    by_block: bool = field(default_factory=bool)

    def __post_init__(self):
        checks.one_of("mixing", self.mixing, MIXINGS)
        if self.at_once is not None:
            checks.positive_int("at_once", self.at_once)

    @property
    def convolved(self) -> bool:
        """Whether linear layers compute as convolutions."""
        return self.mixing == "convolution" and not self.folded

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and weights in memory, as torch names it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format
