"""The network for colour pictures in the page against PyTorch, every family on 100 pictures."""

import copy
import functools

import pytest
import torch
from in_node import needs_node, run_script
from torch import nn

from mixerlib.data import DataNotFound, load_dataset
from mixerlib.models import create_model
from mixerlib.pages import Guess, live_pictures
from mixerlib.pages.interactives import pictures
from mixerlib.training import kept_record, list_trained, trained_model

KEPT = [name for name in list_trained("cpu/*") if "ablation" not in name]
ASKED = Guess("Which?", ("this", "that"), "that", "Look.")


@functools.cache
def hundred() -> torch.Tensor:
    """Pieces of scikit-learn's photographs, as sharp as they are: uint8 (100, 3, 32, 32)."""
    from sklearn.datasets import load_sample_image

    pieces = []
    for name in ("china.jpg", "flower.jpg"):
        whole = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)
        places = [(40 * row, 60 * column) for row in range(5) for column in range(10)]
        pieces += [whole[:, y : y + 32, x : x + 32] for y, x in places]
    return torch.stack(pieces)


def returned(models: dict[str, nn.Module], images: torch.Tensor, program: str) -> object:
    """What a program returns that is run after the script of the page, with its networks."""
    pixels = images.permute(0, 2, 3, 1).flatten(1).tolist()
    code = (
        f"const pixels = {pixels}, nets = api.data.networks, plain = Array.from({{length: 1024}}, "
        "(_, p) => p);\nconst values = nets.map(n => api.weightsOf(n.weights));\n"
        "const logits = (i, order, off = []) => pixels.map(x => [...api.run(nets[i].network, "
        "values[i], api.input(x, order), new Set(off)).at(-1)]);\n"
        f"console.log(JSON.stringify((() => {{ {program} }})()));"
    )
    return run_script(live_pictures(models, ASKED), code)


def exact(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).double().view(3, 1, 1) for v in (pictures.MEAN, pictures.STD))
    with torch.no_grad():
        return copy.deepcopy(model).double()((images.double() / 255 - mean) / std)


def test_every_family_is_kept():
    families = {kept_record(name).settings["model"] for name in KEPT}
    assert len(families) == 8 and {"convmixer", "mlp_mixer", "splitmixer_3d"} < families


@needs_node
@pytest.mark.parametrize("name", KEPT)
def test_every_family_gives_pytorchs_logits(name):
    model, images = trained_model(name), hundred()
    actual = torch.tensor(
        returned({name: model}, images, "return logits(0, plain);"), dtype=torch.float64
    )
    expected = exact(model, images)
    assert (actual - expected).abs().max() < 1e-6
    with torch.no_grad():
        in_float32 = model(pictures.normalized(images))
    error = (in_float32 - expected).abs().max()  # float32's own, where a norm enlarges a channel
    assert (actual - in_float32).abs().max() < max(1e-4, 1.1 * error)


@needs_node
def test_a_picture_takes_under_fifty_milliseconds_and_its_switches_and_shuffle_are_real():
    name, few = "cpu/convmixer_64_4", hundred()[::10]
    model = trained_model(name)
    time, shuffled, off, order = returned(
        {name: model},
        few,
        "logits(0, plain); const before = process.cpuUsage().user; logits(0, plain);"
        "const time = (process.cpuUsage().user - before) / 1000 / pixels.length;"
        "return [time, logits(0, api.data.order), logits(0, plain, ['space 1', 'residual 2']), "
        "api.data.order];",
    )
    assert time < 50
    moved = few.flatten(2)[..., order].view_as(few)
    assert (torch.tensor(shuffled).double() - exact(model, moved)).abs().max() < 1e-6
    changed = copy.deepcopy(model)
    changed.blocks[1][0] = nn.Identity()
    changed.blocks[2][0] = changed.blocks[2][0].fn
    assert (torch.tensor(off).double() - exact(changed, few)).abs().max() < 1e-6


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
