"""What several relatives are made of: the way from tokens to logits, scales and shifts."""

import torch
from torch import nn

from mixerlib import checks
from mixerlib.models.heads import Classifier


class TokenClassifier(Classifier):
    """A model of T tokens for images of one size: `stem`, `blocks`, `norm`, their mean, `head`."""

    in_channels: int
    patch_size: int
    image_size: tuple[int, int]
    one_size = "token mixing has one weight a pair of patches"  # why no other size will do

    def _keep(
        self,
        dim: int,
        image_size: int | tuple[int, int],
        patch_size: int,
        num_classes: int,
        in_channels: int,
    ) -> int:
        """Check and keep what every such model is told; return T, how many patches there are."""
        self.patch_size = checks.positive_int("patch_size", patch_size)
        self.in_channels = checks.positive_int("in_channels", in_channels)
        self.image_size = checks.image_pair("image_size", image_size)
        self.num_features, self.num_classes = dim, checks.count("num_classes", num_classes)
        rows, columns = checks.patches(*self.image_size, self.patch_size)
        return rows * columns

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → tokens (B, T, h), after the last norm."""
        checks.images(x, self.in_channels, self.patch_size)
        checks.sides(x, self.image_size, self.one_size)
        return self.norm(self.blocks(self.stem(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Tokens (B, T, h) → logits (B, num_classes); with `pre_logits` their mean (B, h)."""
        x = x.mean(dim=1)
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


class Affine(nn.Module):
    """x ↦ α·x + β, a scale and a shift for each channel: (…, h) → (…, h)."""

    def __init__(self, dim: int):
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.empty(dim)), nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The first values: α = 1, β = 0."""
        nn.init.ones_(self.alpha)
        nn.init.zeros_(self.beta)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.alpha * x + self.beta


class Scale(nn.Module):
    """x ↦ γ·x, a scale for each channel, which starts small ("LayerScale"): (…, h) → (…, h)."""

    def __init__(self, dim: int, start: float):
        super().__init__()
        self.start = start
        self.gamma = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The first value: γ = `start`."""
        nn.init.constant_(self.gamma, self.start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gamma * x
