"""The network in the page against PyTorch: its script on digits of the test set, in Node and in a
Chromium."""

import copy
import re

import pytest
import torch
from helpers import trained_look
from interactive_numbers import (
    ASKED,
    DIGITS,
    digits,
    hundred_digits,
    logits_of,
    measured,
    returned,
)
from run_scripts import script_of
from torch import nn

from mixerlib.models import create_model
from mixerlib.pages import block_guess, live_mixer, shuffle_guess
from mixerlib.pages.interactives import in_six_bits, network_script
from mixerlib.training import kept_record, trained_model

SMALL = {"depth": 2, "in_channels": 1, "num_classes": 10}


def doubles(numbers: object) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def rounded(model: nn.Module) -> nn.Module:
    """A copy with the weights that the page has."""
    return copy.deepcopy(model).half().float().eval()


def test_every_family_is_kept():
    families = {kept_record(name).settings["model"] for name in DIGITS}
    strategies = {f"splitmixer_{name}" for name in ("i", "ii", "iii", "iv", "v", "3d")}
    assert families == {"convmixer", "mlp_mixer", *strategies} and len(DIGITS) == 8


@pytest.mark.parametrize("name", DIGITS)
def test_every_family_gives_pytorchs_logits_within_fifty_milliseconds_a_digit(run_script, name):
    it = measured(run_script, trained_model(name), hundred_digits())
    assert it.off < 1e-6
    assert it.off_float32 < max(1e-4, 1.1 * it.float32)
    assert it.milliseconds < 50


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
def test_other_shapes_give_pytorchs_logits(run_script, name, options):
    model, images = rounded(trained_look(create_model(name, **SMALL, **options))), hundred_digits()
    actual = returned(run_script, {"it": model}, images, "return logits(0, values[0], plain);")
    torch.testing.assert_close(doubles(actual), logits_of(model, images), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["digits/mlp_mixer_24_4", "digits/convmixer_64_4"])
def test_of_six_bits_it_is_the_rounded_network_which_reads_the_digits_alike(run_script, name):
    model, images = trained_model(name), hundred_digits()
    small = in_six_bits(model)
    program = "return logits(0, values[0], plain);"
    actual = returned(run_script, {"it": model}, images, program, bits=6)
    torch.testing.assert_close(doubles(actual), logits_of(small, images), atol=1e-6, rtol=0)
    answers = [logits_of(m, digits().test_images).argmax(1) for m in (model, small)]
    assert (answers[0] != answers[1]).sum() < 3  # of 360


def test_an_mlp_mixer_whose_weights_move_along_does_not_notice_a_shuffle(run_script):
    names = ("digits/mlp_mixer_24_4", "digits/convmixer_64_4")
    models, images = {name: trained_model(name) for name in names}, hundred_digits()
    program = """
    const order = api.data.order;
    const along = nets.map((n, i) => api.movedAlong(n.network, values[i], order));
    const ways = [[values[0], plain], [along[0], order], [values[0], order]];
    return [along[1], ...ways.map(([weights, way]) => logits(0, weights, way)), order];
    """
    none, plain, along, shuffled, order = returned(run_script, models, images, program)
    assert none is None
    torch.testing.assert_close(doubles(along), doubles(plain), atol=1e-9, rtol=0)
    moved = images.flatten(2)[..., order].view_as(images)
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


def test_switches_do_what_they_say(run_script):
    convmixer, mlp = trained_model("digits/convmixer_64_4"), trained_model("digits/mlp_mixer_24_4")
    switches = [[0, "residual 1"], [0, "space 1"], [0, "channels 1"], [1, "channels 2"]]
    program = f"return {switches}.map(([i, off]) => logits(i, values[i], plain, [off]));"
    images = hundred_digits()
    actual = returned(run_script, {"c": convmixer, "m": mlp}, images, program)
    changed = [copy.deepcopy(convmixer) for _ in range(3)]
    changed[0].blocks[1][0] = Bare(convmixer.blocks[1][0].fn)
    changed[1].blocks[1][0] = nn.Identity()
    changed[2].blocks[1][1] = nn.Identity()
    mlp.blocks[2].mlp_channels = Zero()
    for logits, model in zip(actual, [*changed, mlp], strict=True):
        torch.testing.assert_close(doubles(logits), logits_of(model, images), atol=1e-6, rtol=0)


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
    for bits, most in ((16, 80_000), (6, 45_000)):
        page = live_mixer({"it": trained_model("digits/convmixer_64_4")}, ASKED, bits)
        (weights,) = re.findall(r'"weights": "(.*?)"', script_of(page))
        assert len(weights) < most


def test_bad_input_is_refused():
    model = create_model("convmixer", dim=4, patch_size=1, **SMALL)
    with pytest.raises(ValueError, match=r"`model` must be in evaluation mode"):
        network_script(model, 8)
    with pytest.raises(ValueError, match=r"`models`=\{\} must hold a network"):
        live_mixer({}, ASKED)
    for refused in (lambda: live_mixer({"it": model}, ASKED, 4), lambda: shuffle_guess({}, 4)):
        with pytest.raises(ValueError, match="`bits`=4 must be one of 6, 16"):
            refused()
    colored = create_model("convmixer", dim=4, depth=1, patch_size=1).eval()
    with pytest.raises(ValueError, match=r"`models`\['it'\] must take images of one channel"):
        live_mixer({"it": colored}, ASKED)
    plain = nn.Sequential(nn.Conv2d(1, 3, 1), nn.PReLU())
    plain.in_channels = 1
    with pytest.raises(ValueError, match=r"cannot compute: PReLU"):
        network_script(plain.eval(), 8)
    with pytest.raises(ValueError, match="must have `blocks`"):
        network_script(nn.Sequential(nn.Conv2d(3, 3, 1)).eval(), 8)
