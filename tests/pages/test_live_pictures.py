"""The network for colour pictures in the page against PyTorch, every family on 100 pictures, in
Node and in a Chromium."""

import copy

import pytest
import torch
from interactive_numbers import (
    ASKED,
    PICTURES,
    hundred_pictures,
    logits_of,
    measured,
    normalized,
    returned,
)
from torch import nn

from mixerlib.data import DataNotFound, load_dataset
from mixerlib.models import create_model
from mixerlib.pages import live_pictures
from mixerlib.pages.interactives import pictures
from mixerlib.training import kept_record, trained_model


def test_every_family_is_kept():
    families = {kept_record(name).settings["model"] for name in PICTURES}
    assert len(families) == 8 and {"convmixer", "mlp_mixer", "splitmixer_3d"} < families


@pytest.mark.parametrize("name", PICTURES)
def test_every_family_gives_pytorchs_logits_within_fifty_milliseconds(run_script, name):
    it = measured(run_script, trained_model(name), hundred_pictures())
    assert it.off < 1e-6
    assert it.off_float32 < max(1e-4, 1.1 * it.float32)  # float32's own, where a norm enlarges
    assert it.milliseconds < 50


def test_the_switches_and_the_shuffle_are_real(run_script):
    model, few = trained_model("cpu/convmixer_64_4"), hundred_pictures()[::10]
    shuffled, off, order = returned(
        run_script,
        {"it": model},
        few,
        "return [logits(0, values[0], api.data.order), "
        "logits(0, values[0], plain, ['space 1', 'residual 2']), api.data.order];",
    )
    moved = few.flatten(2)[..., order].view_as(few)
    assert (torch.tensor(shuffled).double() - logits_of(model, moved)).abs().max() < 1e-6
    changed = copy.deepcopy(model)
    changed.blocks[1][0] = nn.Identity()
    changed.blocks[2][0] = changed.blocks[2][0].fn
    assert (torch.tensor(off).double() - logits_of(changed, few)).abs().max() < 1e-6


def test_the_page_sees_what_a_network_sees():
    images = hundred_pictures()
    assert (pictures.normalized(images) - normalized(images)).abs().max() < 1e-6


def test_the_constants_and_the_accuracy_are_those_of_the_data():
    try:
        data = load_dataset("cifar10")
    except DataNotFound:
        pytest.skip("CIFAR-10 is not here")
    assert data.classes == pictures.CLASSES
    for ours, theirs in ((pictures.MEAN, data.mean), (pictures.STD, data.std)):
        assert torch.tensor(ours).sub(theirs).abs().max() < 5.1e-5
    name = "cpu/convmixer_64_4"
    images, labels = data.test_images[:1000], data.test_labels[:1000]
    with torch.no_grad():
        share = (trained_model(name)(pictures.normalized(images)).argmax(1) == labels).double()
    assert float(share.mean()) == pytest.approx(kept_record(name).rounded_accuracy, abs=0.04)


def test_the_drawn_pictures_are_of_three_kinds():
    drawn = pictures.drawn_pictures()
    assert len(drawn) == 3
    for picture in drawn.values():
        assert picture.dtype == torch.uint8 and picture.shape == (3, 32, 32)
        assert len(picture.flatten(1).unique(dim=1).T) > 4


def test_bad_input_is_refused():
    model = create_model("convmixer", dim=4, depth=1, patch_size=4).eval()
    with pytest.raises(ValueError, match=r"`models`=\{\} must hold a network"):
        live_pictures({}, ASKED)
    grey = create_model("convmixer", dim=4, depth=1, patch_size=4, in_channels=1).eval()
    with pytest.raises(ValueError, match=r"`models`\['it'\] must take images of three channels"):
        live_pictures({"it": grey}, ASKED)
    for picture in (torch.zeros(3, 32, 32), torch.zeros(3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"`pictures`\['it'\], .* must be uint8"):
            live_pictures({"it": model}, ASKED, {"it": picture})
    with pytest.raises(ValueError, match="evaluation mode"):
        live_pictures({"it": model.train()}, ASKED)
