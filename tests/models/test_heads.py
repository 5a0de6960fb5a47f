"""The head that every model has, with timm's names: read, replaced, left out."""

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

from mixerlib import costs
from mixerlib.models import (
    AblatedSplitMixer,
    ConvMixer,
    MLPMixer,
    SplitMixer,
    create_model,
    list_models,
    model_entry,
)
from mixerlib.weights import load_weights, save_weights

every_model = pytest.mark.parametrize("name", list_models())


def small(name: str, **options) -> nn.Module:
    """Twelve channels, two blocks, two by three patches."""
    torch.manual_seed(0)
    p = model_entry(name).defaults["patch_size"]
    if model_entry(name).family == "mlp_mixer":
        options = {"tokens_dim": 5, "channels_dim": 20, "image_size": (2 * p, 3 * p)} | options
    return create_model(name, **({"dim": 12, "depth": 2} | options)).eval()


def images(name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    p = model_entry(name).defaults["patch_size"]
    return torch.randn(4, 3, 2 * p, 3 * p, dtype=dtype)


def mean_feature(features: torch.Tensor) -> torch.Tensor:
    """(B, h), from a map (B, h, H, W) or from tokens (B, T, h)."""
    return features.mean(dim=1) if features.ndim == 3 else features.mean(dim=(2, 3))


@every_model
def test_the_parts_of_forward(name: str):
    model, x = small(name, num_classes=5), images(name)
    assert (model.num_features, model.num_classes) == (12, 5)
    assert model.get_classifier() is model.head and type(model.head) is nn.Linear
    features = model.forward_features(x)
    pooled = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(pooled, mean_feature(features))
    logits = model.forward_head(features)
    torch.testing.assert_close(logits, F.linear(pooled, model.head.weight, model.head.bias))
    assert torch.equal(model(x), logits) and logits.shape == (4, 5)


@every_model
def test_without_classes_the_features_come_out(name: str):
    model, x = small(name, num_classes=0), images(name)
    assert type(model.get_classifier()) is nn.Identity and model.num_classes == 0
    torch.testing.assert_close(model(x), mean_feature(model.forward_features(x)))
    assert not any(key.startswith("head") for key in model.state_dict())
    whole = small(name).state_dict()  # of the same seed: only the head is missing
    assert all(torch.equal(whole[key], value) for key, value in model.state_dict().items())


@every_model
def test_a_head_is_replaced_and_the_rest_stays(name: str):
    model, x = small(name).double(), images(name, torch.float64)
    before = {key: t.clone() for key, t in model.state_dict().items() if key[:4] != "head"}
    for classes in (7, 0, 2):
        model.reset_classifier(classes)
        assert model.num_classes == classes
        assert model(x).shape == (4, classes or 12) and model(x).dtype == torch.float64
        assert not model.head.training
        assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert all(p.requires_grad for p in model.head.parameters())
    fresh = small(name, num_classes=2).head.weight.shape
    assert model.head.weight.shape == fresh
    first = model.head.weight.clone()
    model.reset_classifier(2)
    assert not torch.equal(model.head.weight, first)  # fresh random weights


@every_model
@pytest.mark.parametrize("wrong", [-1, 1.0, True, None, "10"])
def test_other_than_a_number_of_classes_is_refused(name: str, wrong):
    message = f"`num_classes`={wrong!r} must be a whole number of at least 0"
    with pytest.raises(ValueError) as caught:
        small(name, num_classes=wrong)
    assert str(caught.value) == message
    model = small(name)
    head, classes = model.head, model.num_classes
    with pytest.raises(ValueError) as caught:
        model.reset_classifier(wrong)
    assert str(caught.value) == message
    assert model.head is head and model.num_classes == classes


def test_no_architecture_inherits_from_another():
    classes = {model_entry(name).model for name in list_models()}
    assert classes == {ConvMixer, SplitMixer, AblatedSplitMixer, MLPMixer}
    for one in classes:
        assert not any(other is not one and issubclass(one, other) for other in classes)


def test_files_do_not_state_what_the_head_shows(tmp_path):
    """So a model with other classes, or none, takes the file's features."""
    save_weights(small("splitmixer_i"), tmp_path / "ten.safetensors")
    with safe_open(tmp_path / "ten.safetensors", "pt") as file:
        assert not {"num_classes", "num_features"} & file.metadata().keys()
    for classes in (3, 0):
        model = small("splitmixer_i", num_classes=classes)
        assert load_weights(model, tmp_path / "ten.safetensors", head=False) == "mixerlib"
    with pytest.raises(ValueError, match=r"`head.weight` is \(10, 12\), wanted none"):
        load_weights(model, tmp_path / "ten.safetensors")


def test_costs_without_classes_are_measured_and_no_formula_pretends():
    whole, features = (costs.measure(small("splitmixer_iv", num_classes=n), 8) for n in (10, 0))
    assert whole.total("params") - features.total("params") == 12 * 10 + 10
    assert costs.macs(whole) - costs.macs(features) == 12 * 10
    options = dict(model_entry("splitmixer_iv").defaults) | {"num_classes": 0}
    with pytest.raises(ValueError, match="`num_classes`=0 must be a positive whole number"):
        costs.formulas("splitmixer_iv").counts(options, 32)


def test_a_replaced_head_lies_where_the_model_does():
    with torch.device("meta"):
        model = create_model("splitmixer_iv")
    model.reset_classifier(3)
    assert model.head.weight.is_meta and model.head.weight.shape == (3, 256)
    assert model.train().head.training
    model.reset_classifier(4)
    assert model.head.training
