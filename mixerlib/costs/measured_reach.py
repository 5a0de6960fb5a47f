"""Who hears whom in any model with blocks, asked of the running model by its derivative.

`reach` asks the mixings what they say they mix. This asks nothing of the blocks but that they run.
"""

import numpy as np
import torch
from torch import nn

from mixerlib import checks
from mixerlib.costs.unwrapping import copied, unwrapped

AT_ONCE = 32  # output channels whose derivatives are taken together


def measured_reach(model: nn.Module, images: torch.Tensor, depth: int) -> np.ndarray:
    """Booleans (channels out, channels in): whether a channel, after so many blocks, hears another.

    A channel hears another where the derivative by it is not exactly 0 at some place. It is the
    derivative at these images and with these weights: a weight of 0 hears nothing. Chapter 11.

    Args:
        model: with `blocks`, a list of modules whose maps are images (B, h, H, W) or tokens
            (B, T, h). It stays as it is.
        images: a batch that it takes, (B, C, H, W).
        depth: how many blocks, from the first on; 0: each channel hears itself.

    Raises `ValueError` for a model without `blocks`, more blocks than it has, and other maps.

    >>> import torch
    >>> from mixerlib.costs import measured_reach
    >>> from mixerlib.models import create_model
    >>> model = create_model("splitmixer_iv", dim=12, depth=2, segments=3, patch_size=2)
    >>> heard = measured_reach(model, torch.randn(1, 3, 4, 4), depth=2)
    >>> heard.shape, heard[:4, :4].all(), heard[:4, 4:].any()
    ((12, 12), np.True_, np.False_)
    """
    model = unwrapped(model)
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or not len(blocks):
        raise ValueError(
            f"`model`, a {type(model).__name__}, must have `blocks`, a list of modules"
        )
    rule = checks.Rule(lambda d: 0 <= d <= len(blocks), f"0 … {len(blocks)}, its blocks")
    checks.follows("depth", depth, rule)
    model = copied(model).eval()
    before: list[torch.Tensor] = []
    after: list[torch.Tensor] = []

    def begin(_module: nn.Module, inputs: tuple) -> tuple:
        before.append(inputs[0].detach().requires_grad_(True))
        return (before[0], *inputs[1:])

    def end(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        after.append(output.clone())  # a copy, as the next block may work in place

    model.blocks[0].register_forward_pre_hook(begin)
    model.blocks[max(depth, 1) - 1].register_forward_hook(end)
    with torch.inference_mode(False), torch.enable_grad():
        model(images)
        if not before or not after or not isinstance(after[0], torch.Tensor):
            raise ValueError(f"`model`, a {type(model).__name__}, must run its `blocks` in order")
        given, made = before[0], after[0]
        if {given.ndim, made.ndim} - {3, 4}:
            raise ValueError(
                f"the blocks of `model` make {tuple(made.shape)}; maps are images (B, h, H, W) or "
                "tokens (B, T, h)"
            )
        if depth == 0:
            return np.eye(given.shape[_channels(given)], dtype=bool)
        return _nonzero(given, made)


def _channels(maps: torch.Tensor) -> int:
    """The axis of the channels."""
    return 1 if maps.ndim == 4 else 2


def _nonzero(given: torch.Tensor, made: torch.Tensor) -> np.ndarray:
    """Where the derivative of an output channel by an input channel is not 0 at every place."""
    # random weights of the places: where a block takes away a mean, their plain sum moves nothing
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(made.shape, generator=generator, device="cpu").to(made)
    rows = []
    for some in torch.arange(made.shape[_channels(made)], device="cpu").split(AT_ONCE):
        chosen = torch.zeros(len(some), *made.shape, dtype=made.dtype, device=made.device)
        for row, channel in enumerate(some):
            place = (slice(None),) * _channels(made) + (channel,)
            chosen[row][place] = weights[place]
        (slopes,) = torch.autograd.grad(
            made, given, chosen, retain_graph=True, is_grads_batched=True
        )
        rows.append((slopes != 0).movedim(_channels(given) + 1, 1).flatten(2).any(dim=2))
    return torch.cat(rows).cpu().numpy()
