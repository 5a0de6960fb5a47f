"""The architectures with what timm asks of a model beside: pooling, dropout, feature maps,
checkpointing, groups of parameters.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mixerlib import checks
from mixerlib.models import AblatedSplitMixer, ConvMixer, MLPMixer, SplitMixer
from mixerlib.models.heads import Classifier, new_head
from mixerlib.timm.importing import import_timm

timm = import_timm()

POOLS = ("avg", "max", "avgmax", "catavgmax", "")  # of maps; "" leaves them as they are
WITH_THE_LAST = 99999  # timm's sign for: of the same group as what comes before


class TokenMean(nn.Module):
    """Tokens (B, T, h) → their mean (B, h), or with `pool_type` "" the tokens themselves."""

    def __init__(self, pool_type: str):
        super().__init__()
        self.pool_type = checks.one_of("global_pool", pool_type, ("avg", ""))

    def feat_mult(self) -> int:
        return 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=1) if self.pool_type else x


class InTimm(Classifier):
    """What timm's convention adds to an architecture of mixerlib, which is inherited beside it.

    Attributes that are plain numbers are properties here, so that a file of weights says the same
    of such a model as of one from `mixerlib.models.create_model`.

    Args:
        global_pool: how the head pools: "avg", as published, "max", "avgmax", "catavgmax", which
            gives 2h features, or "" for none, which needs `num_classes` 0. MLP-Mixer has "avg" and
            "".
        drop_rate: dropout before the classifier.
        **options: the architecture's own.
    """

    stem: nn.Module
    blocks: nn.Sequential
    in_channels: int
    patch_size: int

    def __init__(self, *, global_pool: str = "avg", drop_rate: float = 0.0, **options: Any):
        super().__init__(**options)
        checks.follows("drop_rate", drop_rate, checks.SHARE)
        self._checkpointing = False
        self.head_drop = nn.Dropout(drop_rate)
        self.feature_info = [
            {"num_chs": self.num_features, "reduction": self.patch_size, "module": f"blocks.{i}"}
            for i in range(len(self.blocks))
        ]
        self._set_pool(global_pool, self.num_classes)
        self.head = self.head if self.head_hidden_size == self.num_features else self._new_head()

    def _new_head(self) -> nn.Module:
        weight = next(self.parameters())  # the stem's
        head = new_head(self.head_hidden_size, self.num_classes)
        return head.to(weight.device, weight.dtype).train(self.training)

    def _pool(self, pool_type: str) -> nn.Module:
        """(B, h, H/p, W/p) → (B, h), or as the pooling has it."""
        checks.one_of("global_pool", pool_type, POOLS)
        return timm.layers.SelectAdaptivePool2d(pool_type=pool_type, flatten=bool(pool_type))

    def _set_pool(self, pool_type: str, num_classes: int) -> None:
        pool = self._pool(pool_type)
        if not pool_type and num_classes:
            rule = f"needs `num_classes`=0, not {num_classes}: a classifier takes pooled features"
            raise ValueError(f"`global_pool`='' {rule}")
        self.global_pool = pool.train(self.training)

    def _final_norm(self, x: torch.Tensor) -> torch.Tensor:
        """What follows the blocks: nothing, but for MLP-Mixer."""
        return x

    def _as_maps(self, x: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Features as maps (B, h, H/p, W/p), which most are already."""
        return x

    @property
    def in_chans(self) -> int:
        return self.in_channels

    @property
    def head_hidden_size(self) -> int:
        """How many features of an image the classifier is given."""
        return self.num_features * self.global_pool.feat_mult()

    @property
    def grad_checkpointing(self) -> bool:
        return self._checkpointing

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute each block a second time in the backward pass, in place of keeping its maps.

        The gradients and BatchNorm's running statistics are those of a pass without.
        """
        self._checkpointing = bool(enable)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which layer a tensor belongs to, by its name, for a learning rate of each layer."""
        return {
            "stem": r"^stem",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (WITH_THE_LAST,))],
        }

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh head in place of the old one, and another pooling if one is given.

        Raises `ValueError` for no whole number of at least 0, an unknown pooling, or classes
        without pooling.
        """
        num_classes = checks.count("num_classes", num_classes)
        pool_type = self.global_pool.pool_type if global_pool is None else global_pool
        self._set_pool(pool_type, num_classes)
        self.num_classes = num_classes
        self.head = self._new_head()

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Features → logits (B, num_classes); with `pre_logits` what the classifier is given."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.head(x)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → the architecture's features before pooling."""
        if not self._checkpointing:
            return super().forward_features(x)
        return self.forward_intermediates(x, [])[0]

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Images (B, in_channels, H, W) → the features, and a list of what blocks gave.

        Args:
            x: the images.
            indices: of the blocks, from 0, negative ones from the end; a number: so many last ones;
                None: all.
            norm: whether MLP-Mixer's last norm is put after each of them.
            stop_early: leave out the blocks after the last index; the features are then those of
                the block where it stopped.
            output_fmt: "NCHW", maps (B, h, H/p, W/p), or "NLC", tokens (B, T, h).
            intermediates_only: give the list alone.

        Raises `ValueError` for an index beyond the blocks, or another form.
        """
        checks.one_of("output_fmt", output_fmt, ("NCHW", "NLC"))
        taken = self._taken(indices)
        checks.images(x, self.in_channels, self.patch_size)
        if (size := getattr(self, "image_size", None)) is not None:
            checks.sides(x, size, "the model has weights for this size")
        y, given = self.stem(x), {}
        for i, block in enumerate(self.blocks):
            if stop_early and i > max(taken, default=-1):
                break
            y = self._through(block, y)
            if i in taken:
                maps = self._as_maps(self._final_norm(y) if norm else y, x)
                given[i] = maps if output_fmt == "NCHW" else maps.flatten(2).transpose(1, 2)
        chosen = [given[i] for i in taken]
        return chosen if intermediates_only else (self._final_norm(y), chosen)

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Take out the blocks after the last index, and the head; return the indices from 0."""
        taken = self._taken(indices)
        self.blocks = self.blocks[: max(taken) + 1]
        if prune_norm and isinstance(self, MLPMixer):
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return taken

    def _taken(self, indices: int | Sequence[int] | None) -> list[int]:
        """The numbers of blocks that `indices` mean, from 0."""
        depth = len(self.blocks)
        if indices is None:
            return list(range(depth))
        if isinstance(indices, int):
            indices = range(depth - indices, depth) if 0 < indices <= depth else [depth]
        taken = [depth + i if i < 0 else i for i in indices]
        if not all(0 <= i < depth for i in taken):
            rule = f"must lie among the {depth} blocks"
            raise ValueError(f"`indices`={checks.shown(indices)} {rule}")
        return taken

    def _through(self, block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """A block's output; where checkpoints are set, nothing inside the block is kept."""
        if not (self._checkpointing and torch.is_grad_enabled()):
            return block(x)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), statistics_kept(block)

        return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def statistics_kept(block: nn.Module) -> Iterator[None]:
    """BatchNorm's running statistics stay as they are: it has counted this batch already."""
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


class ConvMixerInTimm(InTimm, ConvMixer):
    """ConvMixer with timm's additions."""


class SplitMixerInTimm(InTimm, SplitMixer):
    """SplitMixer with timm's additions."""


class AblatedSplitMixerInTimm(InTimm, AblatedSplitMixer):
    """SplitMixer-I with pieces taken out, with timm's additions."""


class MLPMixerInTimm(InTimm, MLPMixer):
    """MLP-Mixer with timm's additions. Its features are tokens (B, T, h)."""

    def _pool(self, pool_type: str) -> nn.Module:
        return TokenMean(pool_type)

    def _final_norm(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)

    def _as_maps(self, x: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        rows, columns = (side // self.patch_size for side in images.shape[2:])
        return x.transpose(1, 2).reshape(len(x), -1, rows, columns)


# Each architecture of mixerlib → its form for timm
FORMS: dict[type[nn.Module], type[InTimm]] = {
    ConvMixer: ConvMixerInTimm,
    SplitMixer: SplitMixerInTimm,
    AblatedSplitMixer: AblatedSplitMixerInTimm,
    MLPMixer: MLPMixerInTimm,
}
