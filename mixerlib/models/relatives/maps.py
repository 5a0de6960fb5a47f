"""What works on maps (B, h, rows, columns) in several relatives: norms, branches, a block."""

import torch
from torch import nn


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each place of a map: (B, h, H, W) → the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class WholeNorm(nn.GroupNorm):
    """One mean and one variance of a whole map, of all its places and channels: (B, h, H, W) → the
    same, each channel with a scale and a shift of its own."""

    def __init__(self, dim: int):
        super().__init__(1, dim)


class PlaceMLP(nn.Sequential):
    """Matrix, activation, matrix, on the channels of each place: (B, h, H, W) → the same."""

    def __init__(self, dim: int, hidden: int, act: type[nn.Module]):
        super().__init__(nn.Conv2d(dim, hidden, 1), act(), nn.Conv2d(hidden, dim, 1))


class WeighedBranches(nn.Module):
    """W · Σ_b a_b ⊙ X_b: three maps (B, h, H, W) → one.

    The weights a = softmax over b of MLP(mean over the places of Σ_b X_b) are one number for each
    branch and channel. So a place hears the whole map, but nothing of it except its mean. ViP calls
    it weighted (arXiv 2106.12368, section 3.2); CycleMLP takes it over.
    """

    def __init__(self, dim: int, act: type[nn.Module]):
        super().__init__()
        if dim < 4:
            raise ValueError(
                f"`stages`: a width of {dim} must be at least 4, for a hidden width of 1"
            )
        self.weigh = nn.Sequential(nn.Linear(dim, dim // 4), act(), nn.Linear(dim // 4, 3 * dim))
        self.after = nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        mean = (x + y + z).mean(dim=(2, 3))
        a = self.weigh(mean).unflatten(1, (-1, 3)).softmax(dim=2)[:, :, :, None, None]
        return self.after(x * a[:, :, 0] + y * a[:, :, 1] + z * a[:, :, 2])


class MixingBlock(nn.Module):
    """`spatial`, then an MLP of each place, each after a norm, in a residual: (B, h, H, W) → the
    same. `ratio` is the MLP's hidden width in widths."""

    def __init__(
        self, norm: type[nn.Module], spatial: nn.Module, dim: int, ratio: int, act: type[nn.Module]
    ):
        super().__init__()
        self.norm1, self.spatial = norm(dim), spatial
        self.norm2, self.mlp_channels = norm(dim), PlaceMLP(dim, ratio * dim, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.spatial(self.norm1(x))
        return x + self.mlp_channels(self.norm2(x))


class Halving(nn.Module):
    """A convolution that takes every other place: (B, before, H, W) → (B, after, H/2, W/2)."""

    def __init__(self, before: int, after: int, kernel_size: int):
        super().__init__()
        padding = (kernel_size - 1) // 2
        self.conv1 = nn.Conv2d(before, after, kernel_size, stride=2, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1(x)


class ColourPatches(nn.Module):
    """Patches of p×p, `stride` apart, one matrix for every patch of every colour: images
    (B, in_channels, H, W) → (B, rows, columns, in_channels, h)."""

    def __init__(self, dim: int, patch_size: int, stride: int):
        super().__init__()
        self.proj = nn.Conv2d(1, dim, patch_size, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        colours = self.proj(x.flatten(0, 1).unsqueeze(1))  # (B·in_channels, h, rows, columns)
        return colours.unflatten(0, (-1, x.shape[1])).permute(0, 3, 4, 1, 2)
