"""Weights for patches of another size: what is exact, what is lost, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from helpers import Later, trained_look
from torch import nn

from mixerlib.models import create_model
from mixerlib.weights import load_weights, save_weights
from mixerlib.weights.resampling import resampled, resizing, restated

timm_layers = Later("timm.layers")

SMALL = {"dim": 12, "depth": 2, "num_classes": 5}
TOKENS = {"tokens_dim": 6, "channels_dim": 10}
# Families whose stem cuts the image into patches side by side, and what makes them small
FAMILIES = {
    "convmixer": {"kernel_size": 3},
    "splitmixer_i": {"kernel_size": 3},
    "splitmixer_i_ablated": {"kernel_size": 3, "norm": "layer"},
    "mlp_mixer": TOKENS,
    "resmlp": {"channels_dim": 10},
    "gmlp": {"channels_dim": 10},
    "vit": {"channels_dim": 10, "heads": 2},
    "deit": {"channels_dim": 10, "heads": 2},
    "convnext": {"channels_dim": 10},
}
OF_ONE_SIZE = set(FAMILIES) - {"convmixer", "splitmixer_i", "convnext"}


def small(name: str, patch: int, rows: int = 3, columns: int = 2) -> nn.Module:
    """A model of float64 for images of `rows` × `columns` patches."""
    sides = {"image_size": (rows * patch, columns * patch)} if name in OF_ONE_SIZE else {}
    model = create_model(name, patch_size=patch, **(SMALL | FAMILIES[name] | sides))
    return trained_look(model).double().eval()


def resized_patches(images: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """The images with each patch resized by itself."""
    rows, columns = images.shape[2] // old, images.shape[3] // old
    patches = images.unfold(2, old, old).unfold(3, old, old)  # (B, C, rows, columns, old, old)
    flat = patches.reshape(-1, 1, old, old)
    flat = F.interpolate(flat, (new, new), mode="bilinear", antialias=True)
    patches = flat.reshape(*patches.shape[:4], new, new).transpose(3, 4)
    return patches.reshape(*images.shape[:2], rows * new, columns * new)


def drawn(patch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 3, 3 * patch, 2 * patch, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("old", "new"), [(4, 8), (4, 5)])
def test_larger_patches_give_exactly_what_the_small_ones_gave(name, old, new, tmp_path):
    model, other, images = small(name, old), small(name, new), drawn(old)
    save_weights(model, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors", resample_stem=True)
    actual = other(resized_patches(images, old, new))
    torch.testing.assert_close(actual, model(images), rtol=1e-9, atol=1e-9)


def test_smaller_patches_give_what_they_can_show(tmp_path):
    model, other, images = small("mlp_mixer", 6), small("mlp_mixer", 4), drawn(6)
    save_weights(model, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors", resample_stem=True)
    actual = other(resized_patches(images, 6, 4))
    assert (actual - model(images)).abs().max() > 1e-3  # something is lost
    one = resizing(6, 4)
    kept = torch.linalg.pinv(one) @ one  # of each row and column of a patch
    patches = images.unfold(2, 6, 6).unfold(3, 6, 6)
    shown = (kept @ patches @ kept.T).transpose(3, 4).reshape(images.shape)
    torch.testing.assert_close(actual, model(shown), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("old", [1, 2, 7, 16])
@pytest.mark.parametrize("more", [0, 1, 5, 16])
def test_no_enlargement_loses_anything(old, more):
    one = resizing(old, old + more)
    torch.testing.assert_close(one.sum(1), torch.ones(old + more, dtype=torch.float64))
    torch.testing.assert_close(
        torch.linalg.pinv(one) @ one, torch.eye(old, dtype=torch.float64), rtol=0, atol=1e-10
    )


def test_the_whole_matrix_is_the_product_of_its_sides():
    weight = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    one = resizing(3, 5)
    whole = torch.linalg.pinv(torch.kron(one, one))  # (9, 25)
    expected = (weight.flatten(2) @ whole).unflatten(2, (5, 5))
    torch.testing.assert_close(resampled(weight, (5, 5)), expected)


@pytest.mark.filterwarnings("ignore")  # timm's own
@pytest.mark.parametrize("new", [2, 5, 8])
def test_timm_resizes_a_patch_embedding_to_the_same(new):
    weight = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    theirs = timm_layers.resample_patch_embed(weight, [new, new], interpolation="bilinear")
    torch.testing.assert_close(resampled(weight, (new, new)).float(), theirs)


def test_the_same_patches_are_left_as_they_are(tmp_path):
    model, other = small("mlp_mixer", 4), small("mlp_mixer", 4)
    save_weights(model, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors", resample_stem=True)
    assert all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))


def test_half_precision_is_read_and_the_model_keeps_its_own(tmp_path):
    source = small("mlp_mixer", 4)
    torch.save(source.half().state_dict(), tmp_path / "half.pt")
    other = small("mlp_mixer", 8).float()
    assert load_weights(other, tmp_path / "half.pt", resample_stem=True) == "timm"
    expected = resampled(source.stem.proj.weight, (8, 8)).float()
    assert torch.equal(other.stem.proj.weight, expected)


# What is refused


def said(model: nn.Module, path, **options: bool) -> str:
    """The refusal; nothing in the model has changed by it."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"does not fit `model`|states") as error:
        load_weights(model, path, **options)
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    return str(error.value)


@pytest.mark.parametrize("name", ["mlp_mixer", "resmlp", "gmlp", "vit", "deit"])
@pytest.mark.parametrize("resample_stem", [False, True])
def test_another_number_of_patches_is_refused_in_words(name, resample_stem, tmp_path):
    save_weights(small(name, 4), tmp_path / "w.safetensors")
    message = said(small(name, 4, 6, 4), tmp_path / "w.safetensors", resample_stem=resample_stem)
    assert "token weights belong to one number of patches, 6 in the file and 24 in" in message
    assert "another image size needs as many patches as before, by another patch size" in message
    assert "`mixerlib import --resample-stem`" in message


def test_another_hidden_width_is_no_other_number_of_patches(tmp_path):
    save_weights(small("mlp_mixer", 4), tmp_path / "w.safetensors")
    options = SMALL | TOKENS | {"tokens_dim": 7, "image_size": (12, 8), "patch_size": 4}
    message = said(create_model("mlp_mixer", **options), tmp_path / "w.safetensors")
    assert "mlp_tokens.fc1.weight" in message and "token weights belong" not in message
    assert "resample" not in message


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (torch.ones(8, 3, 4, 4, dtype=torch.int64), r"is \(8, 3, 4, 4\) of torch.int64"),
        (torch.zeros(8, 3, 0, 0), r"is \(8, 3, 0, 0\), wanted"),
    ],
)
def test_what_is_no_patch_is_refused(weight, words, tmp_path):
    options = {"dim": 8, "depth": 1, "tokens_dim": 4, "channels_dim": 8}
    model = create_model("mlp_mixer", image_size=16, patch_size=8, **options)
    torch.save(model.state_dict() | {"stem.proj.weight": weight}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=words):
        load_weights(model, tmp_path / "w.pt", resample_stem=True)


@pytest.mark.parametrize("stated", ["0", "x"])
def test_a_patch_size_that_is_no_number_is_left_as_stated(stated):
    told = {"patch_size": stated, "image_size": "(16, 16)"}
    assert restated(told, small("mlp_mixer", 8)) == told


def test_as_many_patches_in_other_rows_are_refused(tmp_path):
    save_weights(small("mlp_mixer", 4, 3, 2), tmp_path / "w.safetensors")
    message = said(small("mlp_mixer", 8, 2, 3), tmp_path / "w.safetensors", resample_stem=True)
    assert "states image_size='(24, 16)', and `model` has image_size='(16, 24)'" in message


def test_another_patch_size_names_what_brings_it_over(tmp_path):
    for name in ("convmixer", "mlp_mixer"):
        save_weights(small(name, 4), tmp_path / "w.safetensors")
        message = said(small(name, 8), tmp_path / "w.safetensors")
        assert message.endswith("resamples the stem to another patch size")
        assert "resample_stem=True (`mixerlib import --resample-stem`)" in message


def test_other_images_and_patches_that_overlap_are_not_resampled(tmp_path):
    one = create_model("convmixer", patch_size=4, in_channels=1, kernel_size=3, **SMALL)
    save_weights(one, tmp_path / "w.safetensors")
    message = said(small("convmixer", 8), tmp_path / "w.safetensors", resample_stem=True)
    assert "`stem.0.weight` is (12, 1, 4, 4), wanted (12, 3, 8, 8)" in message
    options = {"stages": "1x8", "num_classes": 5}
    save_weights(create_model("cycle_mlp", patch_size=2, **options), tmp_path / "c.safetensors")
    other = create_model("cycle_mlp", patch_size=4, **options)
    message = said(other, tmp_path / "c.safetensors", resample_stem=True)
    assert "`stem.weight` is (8, 3, 3, 3), wanted (8, 3, 7, 7)" in message
