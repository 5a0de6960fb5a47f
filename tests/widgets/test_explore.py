"""The explorer of one's own model: its views against what they show, turned by its traits."""

import base64
import copy
import io
import re

import numpy as np
import pytest
import torch
from helpers import registrations_undone
from PIL import Image
from torch import nn

from mixerlib import costs
from mixerlib.inside import feature_maps
from mixerlib.models import OneSegment, create_model, register_mixing
from mixerlib.widgets import Explore

pytest.importorskip("ipywidgets", reason="needs the extra `widgets`")


def small(name="splitmixer_iii", **options):
    torch.manual_seed(0)
    return create_model(name, **({"dim": 12, "depth": 3, "patch_size": 4} | options))


def drawn(html: str, number: int = 0) -> np.ndarray:
    """A picture of a view, decoded."""
    data = re.findall(r'src="data:image/png;base64,([^"]+)"', html)[number]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def turned(explorer: Explore, **values) -> str:
    """What is shown when the controls have been set, in this order."""
    for name, value in values.items():
        explorer.controls[name].value = value
    return explorer.box.children[-1].value


def test_the_costs_are_those_that_are_measured():
    model = small()
    shown = turned(Explore(model, image_size=16), view="costs")
    counts = costs.measure(model, 16)
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', shown)
    numbers = {part: re.findall(r">([\d,]+)<", cells) for part, cells in rows}
    assert list(numbers) == [*counts.params, "all"]
    assert numbers["all"][1] == f"{counts.total('macs'):,}"
    assert numbers["channel mixing"][0] == f"{counts.params['channel mixing']:,}"


def test_the_picture_of_who_hears_whom_is_the_table():
    model = small(segments=3)
    explorer = Explore(model)
    for blocks in (0, 1, 3):
        opacity = drawn(turned(explorer, view="reach", blocks=blocks))[..., 3]
        heard = costs.reach(12, costs.mixing_steps(model)[:blocks])
        assert np.array_equal(opacity == 255, heard) and set(np.unique(opacity)) <= {0, 255}


def test_a_home_made_mixing_is_explored():
    with registrations_undone():
        name = register_mixing("slide", lambda b, h, s: OneSegment(h, 3 * b, h // s))
        shown = turned(Explore(small(name, segments=2)), view="reach", blocks=1)
    assert drawn(shown)[..., 3].astype(bool).sum() == 36 + 6


class Home(nn.Module):
    """A home-made network: it says nothing of its mixing, and has no image size."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 4, 4)
        self.blocks = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 3, padding=1))
        self.head = nn.Linear(4, 2)
        self.in_channels = 1

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


def test_a_home_made_network_is_explored_by_its_derivative():
    explorer = Explore(Home(), image_size=(16, 32))
    shown = turned(explorer, view="reach", blocks=1)
    expected = np.kron(np.eye(2), np.ones((2, 2)))
    assert np.array_equal(drawn(shown)[..., 3] / 255, expected) and "derivative" in shown
    assert "stem" in turned(explorer, view="costs")
    footprint = drawn(turned(explorer, view="footprint", layer="blocks.1"))
    assert footprint.shape == (16, 32, 4) and (footprint[..., 3] > 0).sum() == 12 * 12


def test_maps_are_those_of_the_layer_and_the_image():
    model, images = small("convmixer").eval(), torch.randn(3, 3, 32, 32)
    explorer = Explore(model, images=images)
    shown = turned(explorer, view="maps", layer="blocks.0", image=2)
    maps = feature_maps(model, images[2:], ["blocks.0"])["blocks.0"][0].numpy()
    tiles = drawn(shown, 1)
    assert tiles.shape == (2 * 9 - 1, 8 * 9 - 1, 4)
    first, ninth = tiles[:8, :8, 0], tiles[9:, :8, 0]
    for tile, number in ((first, 0), (ninth, 8)):
        low, high = maps[number].min(), maps[number].max()
        assert np.abs(tile - 255 * (maps[number] - low) / (high - low)).max() <= 0.51
    assert "12 of 12 channels of blocks.0 for image 2" in shown


def test_tokens_are_laid_out_as_the_patches_lie():
    model = small("mlp_mixer", image_size=(16, 32))
    tiles = drawn(turned(Explore(model), view="maps", layer="stem"), 1)
    assert tiles.shape == (2 * 5 - 1, 8 * 9 - 1, 4)  # 12 tiles of 4 × 8 in rows of 8


def test_only_the_controls_of_the_view_are_seen():
    explorer = Explore(small())
    for view, names in {
        "costs": [],
        "reach": ["blocks"],
        "footprint": ["layer"],
        "maps": ["layer", "image"],
    }.items():
        turned(explorer, view=view)
        visible = [n for n, c in explorer.controls.items() if c.layout.display != "none"]
        assert visible == ["view", *names]


def test_a_network_of_other_parts_says_what_it_lacks_and_shows_the_rest():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    explorer = Explore(model, image_size=8)
    shown = turned(explorer, view="costs")
    assert "must be named as one of stem, blocks.N.LAYER and head" in shown
    rows = [re.findall(r">([^<]+)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", shown)]
    assert rows[1:3] == [["0", "112", f"{4 * 27 * 36:,}"], ["1", "0", "0"]]
    assert rows[-1] == ["all", "402", f"{4 * 27 * 36 + 2 * 144:,}"]
    assert "must have `blocks`" in turned(explorer, view="reach")
    assert "hears 14% of the pixels" in turned(explorer, view="footprint")
    assert "4 of 4 channels of 0" in turned(explorer, view="maps")
    assert "gives no maps: its output is (2,)" in turned(explorer, layer="2")


def test_the_model_is_left_as_it_was():
    model = small().train()
    before = copy.deepcopy(model.state_dict())
    explorer = Explore(model)
    for view in ("costs", "reach", "footprint", "maps"):
        turned(explorer, view=view)
    assert model.training and all(map(torch.equal, before.values(), model.state_dict().values()))
    model.stem[0].weight.data.zero_()
    assert explorer.subject.model.stem[0].weight.any()


def test_the_still_holds_every_view_and_no_widget():
    still = Explore(small()).still()
    assert len(re.findall("<img", still)) == 4 and "<table>" in still
    assert re.fullmatch(r'<figure class="mixer-figure">.*</figure>', still, re.S)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"model": "convmixer"}, "`model` must be a torch.nn.Module, not a str"),
        ({"image_size": 30}, r"sides that `patch_size`=4 divides"),
        ({"image_size": 8, "images": torch.zeros(1, 3, 8, 8)}, "`image_size`=8 has no effect"),
        ({"images": torch.zeros(1, 1, 8, 8)}, "must have `in_channels`=3"),
        ({"model": create_model("convmixer", dim=4, depth=1, in_channels=2)}, "not 2"),
        ({"model": nn.Flatten()}, "a Flatten, must have layers"),
    ],
)
def test_what_it_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Explore(**{"model": small(), **arguments})


class Breaks(nn.Module):
    """A home-made network of two blocks with a mistake in it."""

    def __init__(self, mistake):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 4, 4, 4), nn.Sequential(nn.Conv2d(4, 4, 1))
        self.mistake = mistake

    def forward(self, x):
        return self.mistake(self.blocks(self.stem(x)))


@pytest.mark.parametrize(
    "mistake, message",
    [
        (lambda x: x.weights, "raises AttributeError: 'Tensor' object has no attribute 'weights'"),
        (lambda x: {}["logits"], "raises KeyError: 'logits'"),
        (lambda x: 1 / 0, "raises ZeroDivisionError: division by zero"),
    ],
)
def test_a_mistake_in_a_home_made_network_is_a_line_of_every_view(mistake, message):
    """In a callback a traceback would be lost, and the last view would stand there as before."""
    explorer = Explore(Breaks(mistake), image_size=16)
    for view in ("costs", "footprint", "maps", "reach"):
        shown = turned(explorer, view=view).replace("&#x27;", "'")
        assert message in shown and 'role="alert"' in shown
        assert "\n" not in shown
    assert message in explorer.still().replace("&#x27;", "'") and explorer.offline()


def test_a_network_that_cannot_be_copied_is_refused():
    model = small()
    model.last = torch.ones(2, requires_grad=True) * 2  # as after a step
    with pytest.raises(ValueError, match="`model` cannot be copied: Only Tensors created"):
        Explore(model)
