"""Bad input, of every public function of the room that takes it: a new one is tested as it comes.

Each error is a `ValueError` that names the argument, and says what it must be.
"""

import inspect

import pytest
import torch
from torch import nn

from mixerlib import inside
from mixerlib.models import create_model

FUNCTIONS = {name: getattr(inside, name) for name in inside.__all__}


def taking(*arguments: str) -> list[str]:
    """The functions that have all of these arguments."""
    return [
        name
        for name, function in FUNCTIONS.items()
        if {*arguments} <= {*inspect.signature(function).parameters}
    ]


def model_of() -> nn.Module:
    torch.manual_seed(0)
    return create_model("convmixer", dim=6, depth=2, patch_size=2, kernel_size=3).eval()


def arguments_of(name: str, **changed: object) -> dict[str, object]:
    """What a function needs, in good order but for what is changed."""
    torch.manual_seed(1)
    images, maps = torch.randn(3, 3, 8, 8), torch.randn(3, 6, 4, 4)
    labels, kernels = torch.tensor([0, 1, 1]), torch.randn(6, 3, 3)
    good = {"model": model_of(), "images": images, "scores": images[:, 0], "kernels": kernels}
    good |= {"features": maps, "x": maps, "y": maps, "labels": labels, "layer": "blocks.0"}
    good |= {"test_features": maps, "test_labels": labels, "maps": maps[:, 0]}
    needed = inspect.signature(FUNCTIONS[name]).parameters.values()
    return {p.name: good[p.name] for p in needed if p.default is p.empty} | changed


def refused(name: str, words: str, **changed: object) -> None:
    with pytest.raises(ValueError, match=words):
        FUNCTIONS[name](**arguments_of(name, **changed))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_good_input_is_taken(name):
    """Without this, the refusals below could be of something else."""
    FUNCTIONS[name](**arguments_of(name))


def test_nothing_is_left_out():
    """Every function takes a model or maps; those that run a model take images."""
    assert len(taking("model", "images")) >= 13
    assert {*taking("model")} - {*taking("model", "images")} == {
        *("layer_names", "layers_from_the_head", "spatial_kernels"),
    }
    assert {*taking("layers"), *taking("layer")} >= {"feature_maps", "grad_cam"}
    assert len(taking("classes")) >= 10


@pytest.mark.parametrize("name", taking("model", "images"))
def test_a_model_in_training_mode_is_refused(name):
    refused(name, r"^`model`.* in training mode; call `model\.eval\(\)`", model=model_of().train())
    half = model_of()
    half.blocks[1].train()
    refused(name, r"^`model`.* its part `blocks\.1` is in training mode", model=half)


@pytest.mark.parametrize("wrong", [None, "convmixer", lambda x: x, {}])
@pytest.mark.parametrize("name", taking("model"))
def test_what_is_no_model_is_refused(name, wrong):
    refused(name, r"^`model` must be a torch\.nn\.Module, not a ", model=wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (torch.zeros(3, 3, 9, 8), "sides that `patch_size`=2 divides"),
        (torch.zeros(3, 1, 8, 8), "`in_channels`=3"),
        (torch.zeros(3, 8, 8), "must be a batch of images"),
        (torch.zeros(0, 3, 8, 8), "must be a batch of images"),
        (torch.full((3, 3, 8, 8), 255.0), "normalized, within ±32"),
        (torch.full((3, 3, 8, 8), torch.nan), "must be finite"),
        (torch.zeros(3, 3, 8, 8, dtype=torch.uint8), "normalized floating-point numbers"),
        (torch.zeros(3, 3, 8, 8, dtype=torch.float64), "do not go through the model"),
        ([[0.0]], "must be a torch.Tensor, not a list"),
        (None, "must be a torch.Tensor, not a NoneType"),
    ],
)
@pytest.mark.parametrize("name", taking("model", "images"))
def test_images_of_a_wrong_size_or_range_are_refused(name, wrong, words):
    refused(name, f"^`images`.*{words}", images=wrong)


@pytest.mark.parametrize("wrong", [10, -1, 2.0, True, "four", [0, 1, 2]])
@pytest.mark.parametrize("name", taking("classes"))
def test_a_class_that_is_not_there_is_refused(name, wrong):
    refused(name, r"^`classes`=.* must be a class", classes=wrong)
    refused(name, r"^`classes`=10 must be .* from 0 to 9", classes=torch.tensor([0, 10, 1]))
    refused(name, r"^`classes` of shape \(2,\) must", classes=torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [("blocks.2", "did you mean blocks.1 or blocks.0"), ("nothing", "there are stem, "), ("", "")],
)
@pytest.mark.parametrize("name", [*taking("layers"), *taking("layer")])
def test_an_unknown_layer_is_refused(name, wrong, words):
    changed = {"layers": [wrong]} if name in taking("layers") else {"layer": wrong}
    refused(name, f"^`layers?` has '{wrong}', which is no layer of the model; .*{words}", **changed)


@pytest.mark.parametrize("name", [*taking("layers"), *taking("layer")])
def test_what_names_no_layer_is_refused(name):
    key = "layers" if name in taking("layers") else "layer"
    refused(name, f"^`{key}`=3 must be", **{key: 3})


MAPS = ("features", "test_features", "x", "y", "maps", "kernels", "labels", "test_labels", "scores")


@pytest.mark.parametrize("wrong", [None, 3, "maps", [[1.0]], torch.tensor(1.0)])
@pytest.mark.parametrize(("name", "key"), [(n, k) for k in MAPS for n in taking(k)])
def test_what_is_no_map_is_refused(name, key, wrong):
    refused(name, f"^`{key}`", **{key: wrong})


@pytest.mark.parametrize("wrong", [None, [[1.0]], torch.zeros(3, 8)])
def test_images_that_only_lend_their_size(wrong):
    refused("enlarged", "^`images`", images=wrong)


NUMBERS = {"features", "test_features", "x", "y", "kernels", "scores"}


@pytest.mark.parametrize(
    ("name", "key"),
    # `pooled` takes a mean, and a mean of NaN says so itself
    [(n, k) for k in sorted(NUMBERS) for n in taking(k) if n != "pooled"],
)
def test_maps_that_are_not_finite_are_refused(name, key):
    refused(name, f"^`{key}` must be finite", **{key: arguments_of(name)[key] * torch.nan})
