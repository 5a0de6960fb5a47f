"""The pictures of the relatives: branches, attention, gates, shifts and axes as the modules have
them."""

import re
from collections import Counter

import pytest
import torch
from helpers import Later, check_letters
from torch import nn

from mixerlib.models import create_model
from mixerlib.pages import Step, steps
from mixerlib.pages.rails import lanes, rails_of, rows_of

networks, plots = Later("mixerlib.pages.networks"), Later("mixerlib.pages.plots")

TOKENS = {"depth": 3, "patch_size": 4}
STAGES = "1x24, 2x48"
# Small networks of every family, one with stages among those that have them
SMALL: dict[str, tuple[str, dict]] = {
    "resnet_cifar": ("resnet_cifar", {"dim": 6, "depth": 6}),
    "vit": ("vit", TOKENS | {"dim": 24, "heads": 4, "channels_dim": 48}),
    "deit": ("deit", TOKENS | {"dim": 24, "heads": 4, "channels_dim": 48}),
    "resmlp": ("resmlp", TOKENS | {"dim": 24, "channels_dim": 48}),
    "gmlp": ("gmlp", TOKENS | {"dim": 24, "channels_dim": 96}),
    "convnext": ("convnext", TOKENS | {"dim": 24, "channels_dim": 48, "kernel_size": 5}),
    "as_mlp": ("as_mlp", {"stages": STAGES, "patch_size": 4}),
    "cycle_mlp": ("cycle_mlp", {"stages": STAGES, "patch_size": 4}),
    "vip": ("vip", {"stages": STAGES, "patch_size": 4}),
    "mdmlp": ("mdmlp", TOKENS | {"dim": 24, "stride": 4}),
    "s_fc": ("s_fc", {"dim": 1}),
}
LARGE = ["resnet110", "vit_b16", "gmlp_b16", "as_mlp_b", "cycle_mlp_b5", "vip_l7", "mdmlp_64_8_224"]


def new(name: str) -> nn.Module:
    family, options = SMALL[name]
    return create_model(family, **options).eval()


def of_block(name: str, block: int = 0) -> tuple[list[Step], int]:
    """The steps of a block, and the place of the first."""
    walked = steps(new(name), 32)
    places = [i for i, s in enumerate(walked) if s.path.startswith(f"blocks.{block}")]
    return [walked[i] for i in places], places[0]


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_every_family_is_here():
    from mixerlib.models.relatives import FAMILIES

    assert list(SMALL) == list(FAMILIES.values())


@pytest.mark.parametrize("name", SMALL)
def test_the_parameters_of_the_steps_are_those_of_the_modules(name):
    model = new(name)
    owned: Counter[str] = Counter()
    for parameter, value in model.named_parameters():
        owned[re.match(r"blocks\.\d+|[^.]+", parameter)[0]] += value.numel()
    told: Counter[str] = Counter()
    for step in steps(model, 32):
        if step.params:
            told[re.match(r"blocks\.\d+|[^.]+", step.path)[0]] += step.params
    assert told == owned


@pytest.mark.parametrize("name", SMALL)
def test_the_shapes_are_those_of_the_running_modules(name):
    model, shapes = new(name), {}
    for path, module in model.named_modules():

        def keep(module, args, result, path=path) -> None:
            shapes[path] = tuple(result.shape[1:])

        module.register_forward_hook(keep)
    model(torch.zeros(1, 3, 32, 32))
    walked = steps(model, 32)
    for step in walked:
        layer = step.path in shapes and not list(model.get_submodule(step.path).children())
        turned = step.path.endswith(("fc1", "fc2", "act1", "act2", "mix"))  # along an axis
        if layer and not turned and name != "mdmlp":
            assert step.shape == shapes[step.path], step.path
    for number, block in enumerate(model.blocks):
        last = [s for s in walked if s.path.startswith(f"blocks.{number}")][-1]
        assert last.shape == shapes[f"blocks.{number}"], type(block).__name__


@pytest.mark.parametrize("name", SMALL)
def test_a_step_takes_what_steps_before_it_have_made(name):
    walked = steps(new(name), 32)
    assert walked[0].sources == (-1,)
    used = {source for place, s in enumerate(walked) for source in s.sources}
    assert all(max(s.sources) < place for place, s in enumerate(walked) if s.sources)
    assert used == set(range(-1, len(walked) - 1))  # nothing that is made is left unused


@pytest.mark.parametrize("name", SMALL)
def test_the_drawing_names_shapes_and_parameters(name):
    model = new(name)
    walked = steps(model, 32)
    named = texts(networks.draw_network(model, 32, len(model.blocks) - 1))
    last = f"blocks.{len(model.blocks) - 1}"
    mine = [s for s in walked if s.path.startswith(last)]
    shapes = {" × ".join(map(str, s.shape)) for s in (mine[-1], walked[-1])}
    shapes |= {" × ".join(map(str, s.before)) for s in (walked[0], mine[0])}
    assert shapes | {"3 × 32 × 32", "10"} <= set(named)
    whole = sum(p.numel() for p in model.parameters())
    block = sum(p.numel() for p in model.blocks[-1].parameters())
    assert {f"{whole:,}", f"{block:,}"} <= set(named)
    said = ", ".join(named)
    assert all(step.label in said for step in mine)


# --- what is their own ----------------------------------------------------------------------------


def of_kind(walked: list[Step], kind: str) -> list[Step]:
    return [step for step in walked if step.kind == kind]


@pytest.mark.parametrize(("name", "tokens"), [("vit", 65), ("deit", 66)])
def test_attention_is_a_product_of_two_thirds_that_weighs_the_third(name, tokens):
    walked, first = of_block(name)
    (split,), (product,) = of_kind(walked, "split"), of_kind(walked, "product")
    assert [width for width, _ in split.cells] == [24] * 3 and split.entering == 72
    assert product.shape == (4, tokens, tokens) and "4 heads" in product.label
    (means,) = of_kind(walked, "space")
    assert means.sources == (first + walked.index(split), first + walked.index(product) + 1)


def test_a_gate_multiplies_one_half_by_the_other_half_mixed():
    walked, first = of_block("gmlp")
    (split,), (product,) = of_kind(walked, "split"), of_kind(walked, "product")
    assert split.cells == ((48, "0–47"), (48, "48–95"))
    mixed = walked.index(of_kind(walked, "space")[0])
    assert product.sources == (first + walked.index(split), first + mixed)


@pytest.mark.parametrize("name", ["cycle_mlp", "vip"])
def test_three_branches_are_added_to_weigh_them_and_again_weighed(name):
    walked, first = of_block(name)
    summed, weighed = (s for s in of_kind(walked, "sum") if len(s.sources) > 2)
    assert weighed.sources[:-1] == summed.sources and len(summed.sources) == 3
    assert walked[weighed.sources[-1] - first].label.startswith("softmax")
    branches = [walked[place - first] for place in summed.sources]
    assert [branch.shape for branch in branches] == [(24, 8, 8)] * 3


def moves(module: nn.Module, step: Step) -> list[int]:
    """By how many places each channel of an image with one dot moves: across, then down."""
    wide, places = sum(width for width, _ in step.groups), []
    image = torch.zeros(1, wide, 9, 9)
    image[:, :, 4, 4] = 1
    for channel in module(image)[0]:
        ((row, column),) = channel.nonzero().tolist()
        places.append(column - 4 if "rows" in step.label else row - 4)
    return places


def test_a_shift_moves_as_the_running_module_does():
    told = [s for s in of_block("as_mlp")[0] if s.kind == "shift"]
    spatial = new("as_mlp").blocks[0].spatial
    for step, module in zip(told, (spatial.steps_across, spatial.steps_down), strict=True):
        groups = [places for width, places in step.groups for _ in range(width)]
        assert groups == moves(module, step)
        assert {-2, 2} <= set(groups) and "−2 … +2" in step.label
    told = [s for s in of_block("cycle_mlp")[0] if s.kind == "shift"]
    spatial = new("cycle_mlp").blocks[0].spatial
    for step, module in zip(told, (spatial.across, spatial.down), strict=True):
        nn.init.dirac_(module.mix.weight), nn.init.zeros_(module.mix.bias)
        assert [places for _, places in step.groups] == moves(module, step)


def test_a_line_is_one_matrix_for_all_segments():
    told = of_kind(of_block("vip")[0], "both")
    assert ["columns" in s.label for s in told] == [True, False]
    for step in told:
        assert step.mixed == tuple((start, 3) for start in range(0, 24, 3)) and step.shared


def test_the_axes_of_a_table_come_in_turn():
    linear = [s for s in of_block("mdmlp")[0] if s.label.startswith("linear")]
    assert [s.shape for s in linear[::2]] == [
        *((32, 8, 3, 24), (8, 32, 3, 24), (8, 8, 12, 24), (8, 8, 3, 96))
    ]
    assert [s.kind for s in linear[::2]] == ["space", "space", "space", "channels"]


def test_the_skip_of_a_shrinking_block_has_steps_of_its_own():
    walked, first = of_block("resnet_cifar", 2)
    labels = [s.label for s in walked]
    skip = labels.index("every other place")
    assert walked[skip].sources == (first - 1,) and walked[skip].shape == (6, 16, 16)
    assert labels[skip + 1] == "zeros for 6 new channels"
    (total,) = of_kind(walked, "sum")
    assert total.sources == (first + skip - 1, first + skip + 1)


def test_two_heads_hear_a_token_each():
    walked = steps(new("deit"), 32)[-6:]
    assert [s.label for s in walked][1:] == [
        *("token 0", "linear", "token 1", "linear", "mean of two")
    ]
    assert walked[1].sources == walked[3].sources


# --- the rails ------------------------------------------------------------------------------------


def test_a_rail_waits_on_the_right_and_goes_round_on_the_left():
    walked, first = of_block("as_mlp")
    rows = rows_of(walked, first)
    rails, flows = rails_of(rows, first)
    labels = [row[0].label for row in rows]
    assert flows.count(False) == 1 and not flows[labels.index("down the columns by −2 … +2")]
    (waiting,) = [rail for rail in rails if rail.right]
    assert rows[waiting.taps[0]][0].kind == "sum"
    assert lanes(rails, right=True) == 1 and lanes(rails, right=False) == 2
    (fork,) = [r for r in rails if not r.right and not flows[r.taps[0]]]
    assert "GELU" in rows[fork.source][-1].label


@pytest.mark.parametrize("name", ["convnext", "resmlp"])
def test_without_branches_the_rails_are_the_residuals(name):
    walked, first = of_block(name)
    rails, flows = rails_of(rows_of(walked, first), first)
    assert all(flows) and not any(rail.right or rail.lane for rail in rails)
    assert len(rails) == len(of_kind(walked, "sum"))


# --- how it is drawn ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_nothing_overlaps_nothing_is_cut_and_letters_are_large_enough(name):
    if name in SMALL:
        model, size = new(name), 32
    else:
        with torch.device("meta"):
            model = create_model(name)
        size = 32 if name.startswith("resnet") else 224
    figure = networks.draw_network(model, size, min(2, len(model.blocks) - 1))
    points = min(float(text.get_fontsize()) for text in figure.axes[0].texts)
    drawn = plots.svg(figure, "a network and its block")
    least = float(re.search(r"min-width: ([\d.]+)px", drawn)[1])
    assert points * least / (72 * figure.get_figwidth()) >= 9
    check_letters(figure)
