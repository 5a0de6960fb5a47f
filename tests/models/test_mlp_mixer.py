"""MLP-Mixer: against its equations, its convolutional forms, a permutation, published counts."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mixerlib.models import create_model


def small(**options) -> nn.Module:
    """Seven channels, two layers, two by three tokens: every width is another number."""
    torch.manual_seed(0)
    sizes = {"dim": 7, "depth": 2, "tokens_dim": 5, "channels_dim": 11, "patch_size": 4}
    model = create_model("mlp_mixer", **(sizes | {"image_size": (8, 12)} | options)).double().eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.LayerNorm)):
        for tensor in (norm.weight, norm.bias):
            tensor.data = torch.rand_like(tensor) + 0.5
    return model


def images(height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.randn(2, 3, height, width, dtype=torch.float64)


def cut(x: torch.Tensor, p: int) -> torch.Tensor:
    """Images (B, C, H, W) → patches (B, n, C·p·p), row by row."""
    b, c, height, width = x.shape
    grid = x.reshape(b, c, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
    return grid.reshape(b, -1, c * p * p)


def norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """LayerNorm over the channels of each token, ε = 1e-6."""
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * weight + bias


def by_the_equations(w: dict, x: torch.Tensor, depth: int, p: int) -> torch.Tensor:
    """Equation 1 of the paper with stem and head, from nothing but the tensors."""
    z = cut(x, p) @ w["stem.proj.weight"].flatten(1).T + w["stem.proj.bias"]  # (B, n, C)
    for b in range(depth):
        t, c, n = (f"blocks.{b}.{part}" for part in ("mlp_tokens", "mlp_channels", "norm"))
        y = norm(z, w[f"{n}1.weight"], w[f"{n}1.bias"])
        y = torch.einsum("dn,bnc->bdc", w[f"{t}.fc1.weight"], y) + w[f"{t}.fc1.bias"][:, None]
        y = torch.einsum("nd,bdc->bnc", w[f"{t}.fc2.weight"], F.gelu(y))
        z = z + y + w[f"{t}.fc2.bias"][:, None]
        y = norm(z, w[f"{n}2.weight"], w[f"{n}2.bias"])
        y = F.gelu(y @ w[f"{c}.fc1.weight"].T + w[f"{c}.fc1.bias"])
        z = z + y @ w[f"{c}.fc2.weight"].T + w[f"{c}.fc2.bias"]
    z = norm(z, w["norm.weight"], w["norm.bias"]).mean(dim=1)
    return z @ w["head.weight"].T + w["head.bias"]


@pytest.mark.parametrize("height, width", [(8, 12), (12, 8), (4, 20), (8, 8), (4, 4)])
def test_equals_the_equations_for_any_image_size(height: int, width: int):
    model, x = small(image_size=(height, width)), images(height, width)
    torch.testing.assert_close(model(x), by_the_equations(model.state_dict(), x, 2, 4))


def test_the_two_widths_are_not_swapped():
    for block in small().blocks:
        assert block.mlp_tokens.fc1.weight.shape == (5, 6)  # tokens → D_S
        assert block.mlp_tokens.fc2.weight.shape == (6, 5)
        assert block.mlp_channels.fc1.weight.shape == (11, 7)  # C → D_C
        assert block.mlp_channels.fc2.weight.shape == (7, 11)


def test_a_height_is_not_a_width():
    one, other = small(image_size=(8, 12)), small(image_size=(12, 8))
    other.load_state_dict(one.state_dict())  # as many tokens, in another order
    x = images(8, 12)
    assert one(x).shape == other(x.transpose(2, 3)).shape
    for model, wrong in ((one, x.transpose(2, 3)), (other, x), (one, images(8, 8))):
        with pytest.raises(ValueError) as caught:
            model(wrong)
        assert f"`image_size`={model.image_size}" in str(caught.value)
        assert f"{tuple(wrong.shape[2:])}" in str(caught.value)
    square = small(image_size=12)
    assert square.image_size == (12, 12)
    assert square(images(12, 12)).shape == (2, 10)


def test_an_image_that_the_patch_does_not_divide_is_refused():
    for size in (30, (32, 30), (30, 32)):
        with pytest.raises(ValueError) as caught:
            create_model("mlp_mixer", image_size=size)
        message = str(caught.value)
        assert "`patch_size`=4 must divide the image's height and width" in message
        assert "30" in message


def test_the_token_mlp_is_one_depthwise_kernel_over_the_whole_field():
    """Every channel has the same D_S kernels, each as large as the grid of patches (2 by 3)."""
    block, channels = small().blocks[0], 7
    grid = torch.randn(2, channels, 2, 3, dtype=torch.float64)
    tokens = grid.flatten(2).transpose(1, 2)
    mlp = block.mlp_tokens
    kernels = mlp.fc1.weight.reshape(5, 1, 2, 3).repeat(channels, 1, 1, 1)
    hidden = F.conv2d(grid, kernels, mlp.fc1.bias.repeat(channels), groups=channels)
    assert hidden.shape == (2, channels * 5, 1, 1)
    back = mlp.fc2.weight[:, :, None, None].repeat(channels, 1, 1, 1)  # 1×1, one group a channel
    out = F.conv2d(F.gelu(hidden), back, mlp.fc2.bias.repeat(channels), groups=channels)
    torch.testing.assert_close(
        out.reshape(2, channels, 6), mlp(tokens.transpose(1, 2)), rtol=1e-10, atol=1e-12
    )


def test_the_channel_mlp_is_two_1x1_convolutions():
    mlp = small().blocks[0].mlp_channels
    grid = torch.randn(2, 7, 2, 3, dtype=torch.float64)
    hidden = F.gelu(F.conv2d(grid, mlp.fc1.weight[:, :, None, None], mlp.fc1.bias))
    out = F.conv2d(hidden, mlp.fc2.weight[:, :, None, None], mlp.fc2.bias)
    tokens = mlp(grid.flatten(2).transpose(1, 2))
    torch.testing.assert_close(out.flatten(2).transpose(1, 2), tokens, rtol=1e-10, atol=1e-12)


@given(st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_permuting_tokens_together_with_the_token_weights_changes_nothing(order: list[int]):
    model, x = small(), images()
    moved = small()
    for block in moved.blocks:
        mlp = block.mlp_tokens
        mlp.fc1.weight.data = mlp.fc1.weight.data[:, order]
        mlp.fc2.weight.data = mlp.fc2.weight.data[order]
        mlp.fc2.bias.data = mlp.fc2.bias.data[order]
    patches = cut(x, 4)[:, order].reshape(2, 2, 3, 3, 4, 4)  # (B, rows, columns, C, p, p)
    shuffled = patches.permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 8, 12)
    same = model.forward_features(x)[:, order]
    torch.testing.assert_close(moved.forward_features(shuffled), same, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(moved(shuffled), model(x), rtol=1e-9, atol=1e-12)
    if order != sorted(order):  # without the weights the order of the patches does matter
        assert (model(shuffled) - model(x)).abs().max() > 1e-6


def test_without_token_mixing_a_token_knows_nothing_of_the_others():
    model, x = small(), images().requires_grad_()
    (seen,) = torch.autograd.grad(model.forward_features(x)[0, 0].square().sum(), x)
    assert cut(seen, 4)[0].abs().sum(dim=1).count_nonzero() == 6
    for block in model.blocks:
        nn.init.zeros_(block.mlp_tokens.fc2.weight)
    (seen,) = torch.autograd.grad(model.forward_features(x)[0, 0].square().sum(), x)
    assert cut(seen, 4)[0].abs().sum(dim=1).nonzero().flatten().tolist() == [0]


def test_the_output_bias_of_the_token_mlp_has_no_effect():
    """It adds one number to all channels of a token, which every LayerNorm after it takes away."""
    model, x = small(), images()
    before = model(x)
    for block in model.blocks:
        block.mlp_tokens.fc2.bias.data += torch.randn(6, dtype=torch.float64)
    torch.testing.assert_close(model(x), before, rtol=1e-9, atol=1e-12)
    model.blocks[0].mlp_channels.fc2.bias.data += torch.randn(7, dtype=torch.float64)
    assert (model(x) - before).abs().max() > 1e-3


def parameters(name: str, **options) -> int:
    with torch.device("meta"):
        return sum(t.numel() for t in create_model(name, **options).parameters())


@pytest.mark.parametrize(
    "name, published",
    [
        ("mixer_s32", 19.10),
        ("mixer_s16", 18.53),
        ("mixer_b32", 60.29),
        ("mixer_b16", 59.88),
        ("mixer_l16", 208.20),
    ],
)
def test_published_parameter_counts_in_millions(name: str, published: float):
    assert round(parameters(name) / 1e6, 2) == published


def test_the_mlp_mixer_rows_that_the_splitmixer_paper_borrows():
    """Its 17.1 M is Mixer-S/4 at 32×32 with 10 classes; its 18.2 M is Mixer-S/14 at 224×224."""
    assert round(parameters("mixer_s4") / 1e6, 1) == 17.1
    fourteen = parameters("mixer_s16", patch_size=14, num_classes=10)
    assert round(fourteen / 1e6, 1) == 18.2


@given(*[st.integers(1, 9)] * 8)
@settings(max_examples=50, deadline=None)
def test_parameters_by_part(c, depth, d_s, d_c, rows, columns, p, classes):
    n = rows * columns
    token_mlp = n * d_s + d_s + d_s * n + n
    channel_mlp = c * d_c + d_c + d_c * c + c
    stem, head = 3 * p * p * c + c, c * classes + classes
    sizes = {"dim": c, "depth": depth, "tokens_dim": d_s, "channels_dim": d_c, "patch_size": p}
    options = sizes | {"num_classes": classes, "image_size": (rows * p, columns * p)}
    expected = stem + depth * (token_mlp + channel_mlp + 4 * c) + 2 * c + head
    assert parameters("mlp_mixer", **options) == expected


def test_the_tensors_have_timms_names():
    keys = set(small(depth=1).state_dict())
    parts = ["stem.proj", "norm", "head", "blocks.0.norm1", "blocks.0.norm2"]
    parts += [f"blocks.0.mlp_{of}.fc{i}" for of in ("tokens", "channels") for i in (1, 2)]
    assert keys == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
