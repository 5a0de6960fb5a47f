"""The pictures of networks: what they draw is what the modules are, for every model and for the
reader's own."""

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from helpers import ROOT, Later, check_letters
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mixerlib.models import OneSegment, create_model, list_models, model_entry
from mixerlib.pages import LABELS, SHORT_LABELS, steps, tracing

networks, plots = Later("mixerlib.pages.networks"), Later("mixerlib.pages.plots")
patches = Later("matplotlib.patches")
FAMILIES = [*LABELS, "mlp_mixer", "splitmixer_i_ablated"]
SHUFFLED = ["splitmixer_ii", "splitmixer_iii", "splitmixer_iv"]


def small(family: str, **options) -> nn.Module:
    return create_model(family, **({"dim": 24, "depth": 2} | options))


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


class Home(nn.Module):
    """A home-made network round whatever blocks."""

    def __init__(self, *blocks: nn.Module):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


# --- what a network does --------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_every_registered_model_draws_with_all_of_its_parameters(name):
    with torch.device("meta"):
        model = create_model(name)
    figure = networks.draw_network(model, model_entry(name).image_size)
    whole = sum(p.numel() for p in model.parameters())
    block = sum(p.numel() for p in model.blocks[0].parameters())
    assert {f"{whole:,}", f"{block:,}"} <= set(texts(figure))


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_and_counts_are_those_of_the_running_module(family):
    model = small(family).eval()
    shapes, owned = {}, Counter()
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda module, args, result, name=name: shapes.update({name: tuple(result.shape[1:])})
        )
    for name, parameter in model.named_parameters():
        owned[name.rpartition(".")[0]] += parameter.numel()
    model(torch.zeros(1, 3, 32, 32))
    walked = steps(model, 32)
    for step in walked:
        inside = {n: c for n, c in owned.items() if n == step.path or n.startswith(f"{step.path}.")}
        if step.kind in ("sum", "shuffle", "mean"):
            assert step.params == 0
            continue
        assert step.params == sum(inside.values())
        if "mixing.mixer" in step.path:  # of a slice: the step has all channels, the module these
            assert step.shape[1:] == shapes[step.path][1:]
            assert sum(width for _, width in step.mixed) == shapes[step.path][0]
        else:
            assert step.shape == shapes[step.path]
    called = {step.path for step in walked}
    assert [n for n in owned if not any(n == c or n.startswith(f"{c}.") for c in called if c)] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_begins_with_what_the_one_before_has_left(family):
    walked = steps(small(family), 32)
    assert walked[0].before == (3, 32, 32) and walked[0].entering == 3
    for one, other in pairwise(walked):
        turned = other.kind in ("sum", "channels", "norm")  # a mean or a transpose lies between
        assert one.shape == other.before or turned or sorted(one.shape) == sorted(other.before)
        assert one.leaving == other.entering
    assert walked[-1].shape == (10,)


@pytest.mark.parametrize("family", list(LABELS)[1:])
def test_the_segments_are_those_that_the_mixing_mixes(family):
    model = small(family, depth=4)
    walked = [step for step in steps(model, 32) if step.kind == "channels"][:-1]
    assert [list(step.mixed) for step in walked] == [b.mixing.mixed for b in model.blocks]
    convolutions = [m for m in model.blocks[0].mixing.modules() if isinstance(m, nn.Conv2d)]
    assert walked[0].shared == (len(convolutions) < len(walked[0].mixed))


@pytest.mark.parametrize("family", ["splitmixer_i_ablated"])
def test_a_slice_of_the_channels_is_seen_without_being_told(family):
    told = [s.mixed for s in steps(small("splitmixer_i", depth=4), 32) if s.kind == "channels"]
    seen = [s.mixed for s in steps(small(family, depth=4), 32) if s.kind == "channels"]
    assert seen == told


def test_a_shuffle_is_a_step_inside_a_mixing_and_after_it():
    models = [small("splitmixer_3d", segments=3)]
    models += [small(family, segments=3, shuffle=True) for family in SHUFFLED]
    for model in models:
        walked = [s for s in steps(model, 32) if s.path.startswith("blocks.0")]
        kinds = [step.kind for step in walked]
        assert kinds.index("shuffle") == kinds.index("channels") + 1
        assert "3 segments" in walked[kinds.index("shuffle")].label
    kinds = [step.kind for step in steps(small("splitmixer_iii", segments=3), 32)]
    assert "shuffle" not in kinds


@pytest.mark.parametrize(
    ("family", "sums"),
    [("convmixer", 1), ("splitmixer_i", 1), ("mlp_mixer", 2)],
)
def test_a_residual_begins_where_its_block_or_the_last_sum_ended(family, sums):
    walked = steps(small(family, depth=3), 32)
    places = [i for i, step in enumerate(walked) if step.kind == "sum"]
    assert len(places) == 3 * sums
    for number, place in enumerate(places):
        source = walked[walked[place].added]
        first = next(
            i for i, s in enumerate(walked) if s.path.startswith(f"blocks.{number // sums}")
        )
        assert walked[place].added == (places[number - 1] if number % sums else first - 1)
        assert source.kind in ("norm", "sum", "both")


def test_the_model_is_left_as_it_is():
    model = small("splitmixer_iv").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    networks.draw_network(model, 32)
    assert model.training and all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert {p.device.type for p in model.parameters()} == {"cpu"}


# --- the reader's own -----------------------------------------------------------------------------


class Scaled(nn.Module):
    """A parameter used by its name, and one that is never trained."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(8, 1, 1))
        self.fixed = nn.Parameter(torch.ones(8, 1, 1), requires_grad=False)
        self.mixer = nn.Conv2d(8, 8, 1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gamma * self.fixed * self.mixer(x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_dtype_has_the_same_steps(dtype):
    model = create_model("splitmixer_i", dim=12, depth=2)
    assert steps(model.to(dtype), 32) == steps(model.float(), 32)


def test_the_steps_of_a_wrapped_model_are_its_own():
    model = create_model("splitmixer_i", dim=12, depth=2)
    for wrapped in (nn.DataParallel(model), AveragedModel(model)):
        assert steps(wrapped, 32) == steps(model, 32)


def test_home_made_networks_draw():
    twice = nn.Conv2d(8, 8, 1)
    model = Home(twice, twice, Scaled(), OneSegment(8, 4, 4), nn.PixelShuffle(1))
    walked = steps(model, (32, 16))
    assert sum(s.params for s in walked) == sum(p.numel() for p in model.parameters()) - 8
    assert [s.params for s in walked if s.kind == "channels"][:2] == [72, 0]  # shared: once
    grouped = next(s for s in walked if s.path == "blocks.2.mixer")
    assert grouped.mixed == ((0, 4), (4, 4)) and not grouped.shared
    assert next(s for s in walked if s.label == "gamma").params == 8
    assert next(s for s in walked if s.path == "blocks.4").kind == "other"
    for block in (0, 2, 3, 4):  # the second is the first once more
        assert "gamma" in texts(networks.draw_network(model, 32, block)) or block != 2
        networks.draw_block(model, 32, block, color="#123456")
    assert walked[0].shape == (8, 8, 4)


class Pooled(Home):
    """Pooled by a function of somebody's."""

    def __init__(self, pool: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__(nn.Conv2d(8, 8, 1))
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.blocks(self.stem(x))))


POOLS = {
    "permute": lambda x: x.permute(0, 2, 3, 1).mean(dim=(1, 2)),
    "permute by keyword": lambda x: x.permute(dims=(0, 2, 3, 1)).mean((1, 2)),
    "transpose": lambda x: x.flatten(2).transpose(1, 2).mean(1),
    "transpose by keyword": lambda x: x.flatten(2).transpose(dim0=1, dim1=2).mean(1),
    "all by keyword": lambda x: torch.transpose(input=x.flatten(2), dim0=1, dim1=2).mean(1),
    "swapaxes": lambda x: x.flatten(2).swapaxes(-1, 1).mean(1),
    "sides of length 1": lambda x: x.mean((2, 3), True).flatten(1),
    "and the channels last": lambda x: x.permute(0, 2, 3, 1).mean((1, 2), keepdim=True).flatten(1),
}


@pytest.mark.parametrize("how", POOLS)
def test_the_channels_are_followed_however_they_are_pooled(how):
    mixing, mean, head = steps(Pooled(POOLS[how]), 32)[-3:]
    assert (mixing.kind, mean.kind, head.kind) == ("channels", "mean", "channels")
    assert (mean.entering, mean.leaving, mean.shape) == (8, 8, (8,))
    assert (head.entering, head.leaving, head.mixed) == (8, 5, ((0, 8),))


def test_one_place_of_all_channels_is_no_slice_of_them():
    head = steps(Pooled(lambda x: x[:, :, 0, 0]), 32)[-1]
    assert (head.label, head.entering, head.leaving, head.shape) == ("linear", 8, 5, (5,))


def test_a_fault_of_the_walk_is_not_said_to_be_the_model_s(monkeypatch):
    def fails(*_):
        raise LookupError("here")

    monkeypatch.setattr(tracing, "_described", fails)
    with pytest.raises(LookupError):
        steps(Home(), 32)


def test_a_shuffle_is_drawn_with_its_segments():
    def dealt(segments: int) -> list[list[float]]:
        model = small("splitmixer_iii", depth=1, segments=segments, shuffle=True)
        lines = networks.draw_block(model, 32).axes[0].lines
        wires = [
            line.get_xdata() for line in lines if line.get_color() == plots.COLORS["splitmixer_iii"]
        ]
        first = min(x for x, _ in wires)
        scale = max(x for x, _ in wires) - first
        return [[round((x - first) / scale * 11) for x in wire] for wire in wires]

    for s in (2, 3, 4):
        runs = 12 // s
        expected = [[j * runs + o, o * s + j] for j in range(s) for o in range(runs)]
        assert dealt(s) == expected


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_what_cannot_be_drawn_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"`model`, a Home, cannot be traced by torch.fx: "):
        steps(Home(Branching()), 32)
    with pytest.raises(ValueError, match=r"has 449 trainable parameters, and its steps 437: every"):
        steps(Home(Idle()), 32)
    with pytest.raises(ValueError, match="`model`, a Home, does not take images of `image_size`=2"):
        steps(Home(), 2)
    with pytest.raises(ValueError, match="`image_size`=0"):
        steps(small("convmixer"), 0)
    with pytest.raises(ValueError, match=r"`model` must be a torch.nn.Module, not a str"):
        steps("convmixer", 32)
    with pytest.raises(ValueError, match="`model`, a Sequential, must have `blocks`"):
        networks.draw_network(nn.Sequential(nn.Conv2d(3, 4, 1)), 32)
    for block in (2, -1, "0"):
        with pytest.raises(ValueError, match=rf"`block`={block!r} must be the number of a"):
            networks.draw_block(small("convmixer"), 32, block)


# --- how it is drawn ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", list(LABELS)[1:])
def test_filled_is_what_is_mixed_in_the_familys_colour(family):
    model = small(family, dim=48, depth=1)
    figure = networks.draw_block(model, 32)
    boxes = [p for p in figure.axes[0].patches if isinstance(p, patches.Rectangle)]
    combs = 2 * networks.TEETH
    assert len(boxes) == combs + len(model.blocks[0].mixing.mixed)
    color = {plots.COLORS[family].lower()}
    to_hex = Later("matplotlib.colors").to_hex
    assert {to_hex(box.get_facecolor()) for box in boxes} == color
    frame = next(p for p in figure.axes[0].patches if isinstance(p, patches.Polygon))
    left, right = (f(frame.get_xy()[:, 0]) for f in (min, max))
    unit = (right - left) / 48
    drawn = [((b.get_x() - left) / unit, b.get_width() / unit) for b in boxes[combs:]]
    for (start, width), (x, wide) in zip(model.blocks[0].mixing.mixed, drawn, strict=True):
        assert x == pytest.approx(start, abs=0.3) and wide == pytest.approx(width, abs=0.5)


def test_segments_with_weights_of_their_own_have_two_tones_and_shared_ones_one():
    def tones(family: str) -> list[float]:
        axes = networks.draw_block(small(family, depth=1, segments=2), 32).axes[0]
        boxes = [p for p in axes.patches if isinstance(p, patches.Rectangle)]
        return [box.get_alpha() for box in boxes[2 * networks.TEETH :]]

    assert tones("splitmixer_iii") == [1.0, 1.0]
    assert tones("splitmixer_iv") == [1.0, 0.6]


def test_each_family_has_the_colour_that_it_has_everywhere():
    colors = {family: networks.family_color(small(family)) for family in SHORT_LABELS}
    assert colors == {family: plots.COLORS[family] for family in SHORT_LABELS}
    assert networks.family_color(small("mlp_mixer")) == plots.COLORS["mlp_mixer"]
    assert networks.family_color(Home()) == plots.INK


def test_a_deep_network_names_how_many_blocks_it_leaves_out():
    with torch.device("meta"):
        model = create_model("splitmixer_i_768_32")
    names = texts(networks.draw_network(model, 224))
    assert {"0", "1", "2", "31", "… 28 more"} <= set(names)
    assert not {"3", "30"} & set(names)


DRAWN = [*FAMILIES, "splitmixer_i_768_32", "mixer_b16", "convmixer_1536_20"]


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_overlaps_and_nothing_leaves_the_picture(name):
    with torch.device("meta"):
        model = create_model(name)
    figure = networks.draw_network(model, model_entry(name).image_size)
    check_letters(figure)


@pytest.mark.parametrize("draw", ["draw_network", "draw_block"])
def test_letters_are_nine_pixels_high_on_a_phone(draw):
    figure = getattr(networks, draw)(small("splitmixer_v"), 32)
    text = plots.svg(figure, "a network and its block")
    (rule,) = re.findall(r"min-width: ([^;]+)", text[: text.index(">")])
    at_least = max(float(pixels) for pixels in re.findall(r"([\d.]+)px", rule.replace("420px", "")))
    points = min(float(t.get_fontsize()) for t in figure.axes[0].texts)
    assert points * at_least / (72 * figure.get_figwidth()) >= 9


# --- where they stand -----------------------------------------------------------------------------


@pytest.mark.prose
@pytest.mark.parametrize("page", ["02", "03", *(f"{n:02}" for n in range(5, 11)), "index"])
def test_the_pages_on_a_network_show_it(page):
    (path,) = [*ROOT.glob(f"notebooks/{page}-*.md"), *ROOT.glob(f"book/{page}.md")]
    text = path.read_text(encoding="utf-8")
    assert re.search(r"plots\.show\(\s*networks\.draw_(network|block)\(", text)
