"""The network in the page against PyTorch: its script, run by Node, on digits of the test set."""

import copy
import functools
import re

import pytest
import torch
from helpers import trained_look
from in_node import needs_node, run_script, script_of
from torch import nn

from mixerlib.data import Dataset, load_dataset
from mixerlib.models import create_model
from mixerlib.pages import Guess, block_guess, live_mixer, shuffle_guess
from mixerlib.pages.interactives import network_script
from mixerlib.training import list_trained, trained_model

KEPT = list_trained("digits/*")
ASKED = Guess("Which?", ("this", "that"), "that", "Look.")
SMALL = {"depth": 2, "in_channels": 1, "num_classes": 10}


@functools.cache
def digits() -> Dataset:
    return load_dataset("digits")


def hundred() -> torch.Tensor:
    """The first of the test images: uint8 (100, 1, 8, 8)."""
    return digits().test_images[:100]


def returned(models: dict[str, nn.Module], program: str) -> object:
    """What a program returns that is run after the script of the page, with its networks."""
    pixels = (hundred().flatten(1) * (16 / 255)).round().int().tolist()
    code = (
        f"const pixels = {pixels}, nets = api.data.networks;\n"
        "const plain = Array.from(pixels[0].keys());\n"
        "const values = nets.map(n => api.weightsOf(n.weights));\n"
        "const logits = (i, w, order, off) => pixels.map(x =>\n"
        "  [...api.run(nets[i].network, w, api.input(x, order), new Set(off)).at(-1)]);\n"
        f"console.log(JSON.stringify((() => {{ {program} }})()));"
    )
    return run_script(live_mixer(models, ASKED), code)


def logits_of(model: nn.Module, images: torch.Tensor | None = None) -> torch.Tensor:
    """PyTorch's logits in float64. Its float32 has errors of up to 3e-4 where BatchNorm enlarges a
    channel that hardly varies, as some do in the kept SplitMixer-III; the page computes in float64.
    """
    images = hundred() if images is None else images
    inputs = (images.double() / 255 - digits().mean) / digits().std
    with torch.no_grad():
        return copy.deepcopy(model).double()(inputs)


def doubles(numbers: object) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def rounded(model: nn.Module) -> nn.Module:
    """A copy with the weights that the page has."""
    return copy.deepcopy(model).half().float().eval()


@needs_node
def test_every_family_gives_pytorchs_logits():
    models = {name: trained_model(name) for name in KEPT}
    actual = returned(models, "return nets.map((_, i) => logits(i, values[i], plain));")
    for (name, model), logits in zip(models.items(), actual, strict=True):
        exact, actual = logits_of(model), doubles(logits)
        assert (actual - exact).abs().max() < 1e-6, name
        with torch.no_grad():
            in_float32 = model(digits().normalize(hundred()))
        error = (in_float32 - exact).abs().max()
        assert (actual - in_float32).abs().max() < max(1e-4, 1.1 * error), name


@needs_node
@pytest.mark.parametrize(
    "name, options",
    [
        (
            "convmixer",
            {"dim": 12, "kernel_size": 4, "patch_size": 2},
        ),  # an even kernel pads unevenly
        ("convmixer", {"dim": 12, "kernel_size": 3, "patch_size": 4, "activation": "relu"}),
        ("splitmixer_i", {"dim": 13, "ratio": "4/7", "patch_size": 1}),
        ("splitmixer_ii", {"dim": 12, "segments": 3, "shuffle": True}),
        ("splitmixer_iii", {"dim": 12, "segments": 4, "shuffle": True}),
        ("splitmixer_iv", {"dim": 13, "segments": 3}),  # one segment is wider
        ("splitmixer_v", {"dim": 11, "ratio": "6/11"}),
        ("splitmixer_3d", {"dim": 12, "segments": 3}),
        (
            "mlp_mixer",
            {"dim": 8, "tokens_dim": 5, "channels_dim": 7, "patch_size": 2, "image_size": 8},
        ),
    ],
)
def test_other_shapes_give_pytorchs_logits(name, options):
    model = rounded(trained_look(create_model(name, **SMALL, **options)))
    actual = returned({"it": model}, "return logits(0, values[0], plain);")
    torch.testing.assert_close(doubles(actual), logits_of(model), atol=1e-6, rtol=0)


@needs_node
def test_a_digit_takes_under_fifty_milliseconds():
    program = """
    logits(0, values[0], plain);
    const before = process.cpuUsage().user;
    logits(0, values[0], plain);
    return (process.cpuUsage().user - before) / 1000 / pixels.length;
    """
    assert returned({"it": trained_model("digits/convmixer_64_4")}, program) < 50


@needs_node
def test_an_mlp_mixer_whose_weights_are_dealt_along_does_not_notice_a_shuffle():
    names = ("digits/mlp_mixer_24_4", "digits/convmixer_64_4")
    models = {name: trained_model(name) for name in names}
    program = """
    const order = api.data.order;
    const dealt = nets.map((n, i) => api.dealt(n.network, values[i], order));
    const ways = [[values[0], plain], [dealt[0], order], [values[0], order]];
    return [dealt[1], ...ways.map(([weights, way]) => logits(0, weights, way)), order];
    """
    none, plain, along, shuffled, order = returned(models, program)
    assert none is None
    torch.testing.assert_close(doubles(along), doubles(plain), atol=1e-9, rtol=0)
    moved = hundred().flatten(2)[..., order].view_as(hundred())
    expected = logits_of(models[names[0]], moved)
    torch.testing.assert_close(doubles(shuffled), expected, atol=1e-6, rtol=0)
    assert (expected.argmax(1) != digits().test_labels[:100]).sum() > 50


class Zero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0


class Bare(nn.Module):
    """f(x) of a residual x + f(x)."""

    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fn(x)


@needs_node
def test_switches_do_what_they_say():
    convmixer, mlp = trained_model("digits/convmixer_64_4"), trained_model("digits/mlp_mixer_24_4")
    switches = [[0, "residual 1"], [0, "space 1"], [0, "channels 1"], [1, "channels 2"]]
    program = f"return {switches}.map(([i, off]) => logits(i, values[i], plain, [off]));"
    actual = returned({"c": convmixer, "m": mlp}, program)
    changed = [copy.deepcopy(convmixer) for _ in range(3)]
    changed[0].blocks[1][0] = Bare(convmixer.blocks[1][0].fn)
    changed[1].blocks[1][0] = nn.Identity()
    changed[2].blocks[1][1] = nn.Identity()
    mlp.blocks[2].mlp_channels = Zero()
    for logits, model in zip(actual, [*changed, mlp], strict=True):
        torch.testing.assert_close(doubles(logits), logits_of(model), atol=1e-6, rtol=0)


def test_what_is_asked_is_answered_by_measurement():
    models = {n: trained_model(f"digits/{n}") for n in ("mlp_mixer_24_4", "convmixer_64_4")}
    asked = shuffle_guess(models)
    assert asked.right == "none of them" and asked.right in asked.answers
    convmixer = models["convmixer_64_4"]
    asked = block_guess(convmixer)
    right = []
    for block in range(4):
        changed = copy.deepcopy(convmixer)
        changed.blocks[block][0] = nn.Identity()
        logits = logits_of(changed, digits().test_images)
        right.append(int((logits.argmax(1) == digits().test_labels).sum()))
    assert asked.right == f"block {right.index(min(right)) + 1}"
    assert f"{right[0] / 360:.0%} without block 1's" in asked.text


def test_the_weights_in_the_page_are_small():
    page = live_mixer({"it": trained_model("digits/convmixer_64_4")}, ASKED)
    (weights,) = re.findall(r'"weights": "(.*?)"', script_of(page))
    assert len(weights) < 80_000


def test_bad_input_is_refused():
    model = create_model("convmixer", dim=4, patch_size=1, **SMALL)
    with pytest.raises(ValueError, match=r"`model` must be in evaluation mode"):
        network_script(model, 8)
    with pytest.raises(ValueError, match=r"`models`=\{\} must hold a network"):
        live_mixer({}, ASKED)
    colored = create_model("convmixer", dim=4, depth=1, patch_size=1).eval()
    with pytest.raises(ValueError, match=r"`models`\['it'\] must take images of one channel"):
        live_mixer({"it": colored}, ASKED)
    plain = nn.Sequential(nn.Conv2d(1, 3, 1), nn.PReLU())
    plain.in_channels = 1
    with pytest.raises(ValueError, match=r"cannot compute: PReLU"):
        network_script(plain.eval(), 8)
    with pytest.raises(ValueError, match="must have `blocks`"):
        network_script(nn.Sequential(nn.Conv2d(3, 3, 1)).eval(), 8)
