"""Maps, kernels, channels, likeness and probes, against forms written anew and other libraries."""

import numpy as np
import pytest
import torch
from helpers import FAMILIES, Later
from torch import nn

from mixerlib.inside import (
    dead_channels,
    duplicate_channels,
    feature_maps,
    layer_names,
    linear_cka,
    linear_probe,
    pooled,
    pooled_features,
    probe_answers,
    separable_share,
    spatial_kernels,
)
from mixerlib.inside.choosing import check_classes
from mixerlib.models import create_model

linear_model, preprocessing = Later("sklearn.linear_model"), Later("sklearn.preprocessing")


def model_of(name: str = "convmixer", **options) -> nn.Module:
    """A small fresh model, in evaluation mode."""
    torch.manual_seed(0)
    sizes = {"image_size": 8} if name == "mlp_mixer" else {"kernel_size": 3}
    return create_model(name, **{"dim": 12, "depth": 2, "patch_size": 2, **sizes, **options}).eval()


def images_of(count: int = 3, channels: int = 3, side: int = 8) -> torch.Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(1))


# Maps


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_are_what_the_parts_give_one_after_another(name):
    model, images = model_of(name), images_of()
    maps = feature_maps(model, images)
    assert list(maps) == ["stem", "blocks.0", "blocks.1"] == layer_names(model)
    with torch.no_grad():
        z = model.stem(images)
        assert torch.equal(maps["stem"], z)
        for i, block in enumerate(model.blocks):
            z = block(z)
            assert torch.equal(maps[f"blocks.{i}"], z)
        features = model.forward_features(images)
        last = maps["blocks.1"] if name != "mlp_mixer" else model.norm(maps["blocks.1"])
        assert torch.equal(last, features)
        assert torch.equal(pooled(features), model.forward_head(features, pre_logits=True))


def test_a_home_made_model_and_work_in_place():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(5))
    images = images_of()
    model(images)
    maps = feature_maps(model.eval(), images)
    assert list(maps) == ["0", "1", "2", "3"]
    assert torch.equal(maps["0"], model[0](images)) and maps["0"].min() < 0
    assert not maps["3"].requires_grad
    assert list(feature_maps(model, images, ["3", "0"])) == ["3", "0"]


def test_nothing_is_left_behind_also_after_an_error():
    model = model_of()

    class Failing(nn.Module):
        def forward(self, x):
            raise KeyError("inside")

    model.head = Failing().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyError):
        feature_maps(model, images_of())
    assert all(not module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training


def test_pooling_in_parts_is_pooling_at_once():
    model, images = model_of("splitmixer_i"), images_of(7)
    maps, parts = feature_maps(model, images), pooled_features(model, images, batch_size=3)
    for name, features in maps.items():
        torch.testing.assert_close(parts[name], features.mean(dim=(2, 3)))
    assert list(pooled_features(model, images, iter(["blocks.1"]), batch_size=3)) == ["blocks.1"]


class Twice(nn.Module):
    """Runs one part twice, another never, and a third that gives a pair."""

    def __init__(self):
        super().__init__()
        self.shared, self.idle, self.pair = nn.Conv2d(3, 3, 1), nn.Identity(), nn.LSTM(8, 2)

    def forward(self, x):
        self.pair(x[0])
        return self.shared(self.shared(x))


@pytest.mark.parametrize(
    ("layer", "words"),
    [("shared", "runs 2 times"), ("idle", "does not run"), ("pair", "is a tuple")],
)
def test_a_layer_that_gives_no_map_is_refused(layer, words):
    model = Twice().eval()
    with pytest.raises(ValueError, match=rf"^`layers` has '{layer}', .*{words}"):
        feature_maps(model, images_of(), [layer])
    assert all(not module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["blocks.2"], "did you mean blocks.1 or blocks.0"),
        (["nothing_like_it"], "there are stem, "),
        ([""], "no layer"),
        ([3], "has 3, which is no layer"),
        ([], "at least"),
        ("stem", r"such as \['stem'\]"),
    ],
)
@pytest.mark.parametrize("function", [feature_maps, pooled_features])
def test_an_unknown_layer_is_refused_with_near_ones(function, layers, words):
    with pytest.raises(ValueError, match=f"^`layers`.*{words}"):
        function(model_of(), images_of(), layers)


def test_a_model_in_training_mode_is_refused_and_so_is_a_part_of_one():
    model = model_of()
    model.blocks[1].train()
    with pytest.raises(ValueError, match=r"^`model`.* its part `blocks.1` is in training mode"):
        feature_maps(model, images_of())
    with pytest.raises(ValueError, match=r"^`model`, a ConvMixer, is in training mode"):
        feature_maps(model.train(), images_of())
    assert model.training
    with pytest.raises(ValueError, match=r"^`model` must be a torch.nn.Module, not a function"):
        feature_maps(lambda x: x, images_of())


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (images_of(channels=1), "`in_channels`=3"),
        (images_of(side=9), "`patch_size`=2 divides"),
        (images_of()[0], "must be a batch"),
        (images_of(0), "must be a batch"),
        (images_of() * 255, "normalized, within ±32"),
        (images_of().fill_(torch.nan), "finite"),
        (images_of().fill_(torch.inf), "finite"),
        ((images_of() * 50).to(torch.uint8), "torch.uint8 must be normalized"),
        (images_of().double(), "do not go through the model"),
        (images_of().numpy(), "must be a torch.Tensor, not a ndarray"),
    ],
)
@pytest.mark.parametrize("function", [feature_maps, pooled_features])
def test_images_that_do_not_fit_are_refused(function, images, words):
    with pytest.raises(ValueError, match=f"^`images`.*{words}"):
        function(model_of(), images)


def test_images_of_another_size_are_refused_by_an_mlp_mixer_and_by_a_home_made_model():
    with pytest.raises(ValueError, match=r"^`images` of shape .* `image_size`=\(8, 8\)"):
        feature_maps(model_of("mlp_mixer"), images_of(side=10))
    with pytest.raises(ValueError, match=r"^`images` of shape \(3, 3, 8, 8\) .*do not go through"):
        feature_maps(nn.Sequential(nn.Flatten(), nn.Linear(5, 5)).eval(), images_of())
    assert feature_maps(model_of(), images_of(side=10))["stem"].shape == (3, 12, 5, 5)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (10, "`target`=10 must be a class of the model, from 0 to 9"),
        (-1, "`target`=-1 must be a class"),
        (torch.tensor([0, 10, 3]), "`target`=10 must be a class"),
        (torch.tensor([0, 1]), r"shape \(2,\)"),
        (torch.tensor([0.0, 1.0, 2.0]), "must be a class or"),
        (torch.tensor([True, False, True]), "must be a class or"),
        (True, "must be a class or"),
        ("seven", "must be a class or"),
        (None, "must be a class or"),
    ],
)
def test_a_class_that_is_not_there_is_refused(value, words):
    with pytest.raises(ValueError, match=words):
        check_classes("target", value, num_classes=10, batch=3)
    assert check_classes("target", torch.tensor([9, 0, 3]), 10, 3).tolist() == [9, 0, 3]
    assert check_classes("target", np.int64(9), 10, 2).tolist() == [9, 9]


# Kernels


def test_the_kernels_are_those_of_the_depthwise_convolutions():
    model = model_of("convmixer", kernel_size=5)
    kernels = spatial_kernels(model)
    assert list(kernels) == ["blocks.0.0.fn.0", "blocks.1.0.fn.0"]
    assert torch.equal(kernels["blocks.1.0.fn.0"], model.blocks[1][0].fn[0].weight[:, 0])
    shapes = [tuple(k.shape) for k in spatial_kernels(model_of("splitmixer_iv")).values()]
    assert shapes == [(12, 1, 3), (12, 3, 1)] * 2
    assert spatial_kernels(model_of("mlp_mixer")) == {}
    kernels["blocks.0.0.fn.0"].zero_()
    assert model.blocks[0][0].fn[0].weight.abs().min() > 0  # a copy


def test_the_separable_share_is_that_of_the_nearest_product():
    torch.manual_seed(0)
    kernels = torch.randn(2, 6, 5, 3)
    share = separable_share(kernels)
    assert share.shape == (2, 6)
    for kernel, value in zip(kernels.flatten(0, 1).numpy(), share.flatten(), strict=True):
        column, row = np.ones(5), np.ones(3)
        for _ in range(500):  # each in turn the best for the other
            column = kernel @ row / (row @ row)
            row = column @ kernel / (column @ column)
        lost = np.square(kernel - np.outer(column, row)).sum() / np.square(kernel).sum()
        assert float(value) == pytest.approx(1 - lost, abs=1e-5)
    assert separable_share(torch.randn(4, 1, 7)).tolist() == pytest.approx([1] * 4)
    assert separable_share(torch.zeros(1, 3, 3)).tolist() == [1]
    for wrong in (torch.ones(3), torch.full((3, 3), torch.nan), [[1.0]], torch.ones(2, 0, 3)):
        with pytest.raises(ValueError, match=r"^`kernels`"):
            separable_share(wrong)


# Channels


@pytest.mark.parametrize("shape", [(6, 5, 4, 4), (6, 16, 5), (40, 5)])
def test_dead_and_repeated_channels_in_every_shape_of_map(shape):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    channels = features.movedim(1, -1) if len(shape) == 4 else features
    channels[..., 1] = 0.1  # constant, at a number that binary fractions do not hold
    channels[..., 3] = 5 - 3 * channels[..., 0]
    channels[..., 4] = channels[..., 2] + 0.1 * channels[..., 4]
    assert dead_channels(features).tolist() == [False, True, False, False, False]
    assert duplicate_channels(features).tolist() == [False, False, False, True, True]
    assert duplicate_channels(features, 0.9999).tolist() == [False, False, False, True, False]
    assert duplicate_channels(features, 1.0)[:3].tolist() == [False] * 3
    channels[..., 2] *= 1e-3
    assert dead_channels(features)[2] and not dead_channels(features, 1e-4)[2]
    assert dead_channels(torch.ones(shape)).all()


@pytest.mark.parametrize("function", [dead_channels, duplicate_channels])
@pytest.mark.parametrize(
    "wrong",
    [torch.ones(5), torch.ones(1, 5), torch.full((2, 5), torch.nan), "maps", torch.ones(4, 0)],
)
def test_channels_of_no_map_are_refused(function, wrong):
    with pytest.raises(ValueError, match=r"^`features`"):
        function(wrong)


def test_the_limits_of_channels_keep_their_rules():
    features = torch.randn(4, 5)
    for wrong in (-0.1, 1, "much", torch.nan):
        with pytest.raises(ValueError, match=f"^`tolerance`={wrong!r} must be"):
            dead_channels(features, wrong)
    for wrong in (0, 1.1, None):
        with pytest.raises(ValueError, match=f"^`threshold`={wrong!r} must be"):
            duplicate_channels(features, wrong)


# Likeness


def test_cka_is_its_definition_by_kernel_matrices():
    generator = torch.Generator().manual_seed(0)
    for width in (3, 40):  # fewer and more features than images
        x = torch.randn(12, 2, width, generator=generator)
        y = torch.randn(12, 5, generator=generator) + x[:, 0, :1]
        a, b = x.flatten(1).double().numpy(), y.double().numpy()
        centre = np.eye(12) - np.ones((12, 12)) / 12
        k, m = centre @ a @ a.T @ centre, centre @ b @ b.T @ centre
        expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
        assert linear_cka(x, y) == pytest.approx(expected) == linear_cka(y, x)
        rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
        assert linear_cka(x, 7 * y @ rotation - 3) == pytest.approx(expected, rel=1e-4)
        assert linear_cka(x, x) == pytest.approx(1)


def test_layers_that_cannot_be_compared_are_refused():
    x = torch.randn(4, 3)
    for wrong, words in [
        (torch.randn(5, 3), "`x` has 4 images and `y` 5"),
        (torch.full((4, 3), 0.1), "`y` is the same for all images"),
        (torch.full((4, 3), torch.nan), "`y` must be finite"),
        (torch.randn(4), r"`y` of shape \(4,\)"),
        ([1, 2], "`y` of shape list"),
    ]:
        with pytest.raises(ValueError, match=f"^{words}"):
            linear_cka(x, wrong)
    with pytest.raises(ValueError, match=r"^`x` of shape"):
        linear_cka(x[:1], x[:1])


# Probes


def test_the_probe_is_scikit_learns_ridge_classifier(digits):
    x, z = (digits.normalize(i).flatten(1) for i in (digits.train_images, digits.test_images))
    labels, expected = digits.train_labels, digits.test_labels
    scaler = preprocessing.StandardScaler().fit(x.numpy())
    for penalty in (0.01, 1.0):
        other = linear_model.RidgeClassifier(alpha=penalty * len(x))
        other.fit(scaler.transform(x.numpy()), labels.numpy())
        answers = torch.from_numpy(other.predict(scaler.transform(z.numpy())))
        assert torch.equal(probe_answers(x, labels, z, penalty), answers)
        score = float((answers == expected).double().mean())
        assert linear_probe(x, labels, z, expected, penalty) == pytest.approx(score)
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    assert linear_probe(x, shuffled, z, expected) < 0.5 < linear_probe(x, labels, z, expected)


def test_the_probe_takes_any_names_of_classes_and_constant_features():
    x = torch.tensor([[0.0, 0.1], [1, 0.1], [4, 0.1], [5, 0.1]])
    labels = torch.tensor([-7, -7, 900, 900])
    assert linear_probe(x, labels, x, labels) == 1
    assert torch.equal(probe_answers(x, labels, x[[3, 0]]), labels[[3, 0]])
    assert linear_probe(torch.full((4, 1), 0.1), labels, x[:, :1], labels) == 0.5


def test_a_probe_that_cannot_be_is_refused():
    x, labels = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
    for arguments, words in [
        ((x, labels, x, torch.tensor([0, 0, 1, 2])), "`test_labels` has the class 2"),
        ((x, labels, x[:, :2], labels), "`test_features` has 2 features"),
        ((x, labels[:3], x, labels), r"`labels` of shape \(3,\)"),
        ((x, labels.float(), x, labels), "`labels` of shape"),
        ((x, labels, x / 0, labels), "`test_features` must be finite"),
        ((x[0], labels, x, labels), r"`features` of shape \(3,\)"),
        ((x, labels.tolist(), x, labels), "`labels` must be a torch.Tensor"),
        ((x, labels, x, labels, 0), "`penalty`=0 must be above 0"),
    ]:
        with pytest.raises(ValueError, match=f"^{words}"):
            linear_probe(*arguments)
    with pytest.raises(ValueError, match=r"^`test_features` has 2 features"):
        probe_answers(x, labels, x[:, :2])
