"""The fast form takes what the plain form takes, and refuses what it refuses, when it is called."""

import pytest
import torch
from torch import nn

from mixerlib.models import create_model
from mixerlib.speed.form import MIXINGS, Form
from mixerlib.speed.inference import FastModel, export_onnx, fold, optimize_for_inference

MODELS = ("convmixer", "splitmixer_i", "splitmixer_iii")
IMAGES = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def new(name: str = "splitmixer_i") -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, dim=12, depth=2, kernel_size=3).eval()


def fast_forms(model: nn.Module) -> list[FastModel]:
    """The model in every uncompiled form, three images at once."""
    forms = [
        Form(mixing, mixing != "own", last, at_once=3)
        for mixing in MIXINGS
        for last in (False, True)
    ]
    return [
        FastModel(
            fold(model, IMAGES, form.mixing) if form.folded else new(), form, IMAGES, torch.float32
        )
        for form in forms
    ]


TAKEN = {
    "none": IMAGES[:0],
    "one": IMAGES[:1],
    "as many as at once": IMAGES[:3],
    "more": torch.cat([IMAGES, IMAGES]),
    "channels last": IMAGES.to(memory_format=torch.channels_last),
    "turned": IMAGES.transpose(2, 3),
    "every second": torch.cat([IMAGES, IMAGES])[::2],
    "mirrored": IMAGES.flip(3),
    "expanded": IMAGES[:1].expand(4, -1, -1, -1),
    "with a gradient": IMAGES.clone().requires_grad_(),
    "NaN in one": torch.where(torch.arange(5).view(5, 1, 1, 1) == 2, torch.nan, IMAGES),
    "NaN in a pixel": IMAGES.clone().index_fill(3, torch.tensor([0]), torch.nan),
}


@pytest.mark.parametrize("images", TAKEN.values(), ids=TAKEN.keys())
def test_images_that_the_plain_form_takes(images):
    expected = new()(images).detach()
    before = images.detach().clone()
    for fast in fast_forms(new()):
        actual = fast(images)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
        assert not actual.requires_grad and torch.equal(images.nan_to_num(), before.nan_to_num())


REFUSED = {
    "uint8": IMAGES.to(torch.uint8),
    "int64": IMAGES.to(torch.int64),
    "bool": IMAGES > 0,
    "complex": IMAGES.to(torch.complex64),
    "one channel": IMAGES[:, :1],
    "four channels": torch.cat([IMAGES, IMAGES[:, :1]], 1),
    "no batch": IMAGES[0],
    "five axes": IMAGES[None],
    "sparse": IMAGES.to_sparse(),
    "on meta": IMAGES.to("meta"),
    "a list": IMAGES.tolist(),
    "an array": IMAGES.numpy(),
    "nothing": None,
}


@pytest.mark.parametrize("images", REFUSED.values(), ids=REFUSED.keys())
def test_images_that_the_plain_form_refuses(images):
    if not isinstance(images, torch.Tensor) or not images.is_meta:
        with pytest.raises((ValueError, TypeError, RuntimeError, AttributeError)):
            new()(images)
    for fast in fast_forms(new()):
        with pytest.raises(ValueError, match="`x`"):
            fast(images)


EXAMPLES = {name: value for name, value in REFUSED.items() if name != "on meta"} | {
    "no images": IMAGES[:0],
    "NaN": IMAGES * torch.nan,
    "infinite": IMAGES * torch.inf,
    "on meta": IMAGES.to("meta"),
    "too small": IMAGES[:, :, :1, :1],
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_bad_example_is_refused_by_name(example, tmp_path):
    with pytest.raises(ValueError, match="`example`") as told:
        optimize_for_inference(new(), example, compile=False, remember=False)
    assert "\n" not in str(told.value)
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match="`example`"):
        export_onnx(new(), example, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_example_with_a_gradient_or_of_another_dtype():
    for example in (IMAGES.clone().requires_grad_(), IMAGES.double(), IMAGES.half()):
        fast = optimize_for_inference(new(), example, compile=False, remember=False)
        torch.testing.assert_close(fast(IMAGES), new()(IMAGES).detach(), rtol=1e-4, atol=1e-5)
