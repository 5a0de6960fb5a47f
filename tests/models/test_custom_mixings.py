"""Mixings that anyone registers: the rules that they meet at once, and what breaks each of them."""

from collections.abc import Callable, Iterator

import pytest
import torch
from helpers import registrations_undone
from torch import nn

from mixerlib import costs
from mixerlib.models import (
    OVERLAPPING,
    SHUFFLING,
    STRATEGIES,
    SeparateSegments,
    SplitMixer,
    check_mixing,
    create_model,
    list_models,
    mixings,
    model_entry,
    register_mixing,
)
from mixerlib.speed import check, optimize_for_inference
from mixerlib.training import load_recipe, train
from mixerlib.weights import load_weights, save_weights


@pytest.fixture(autouse=True)
def _nothing_stays_registered() -> Iterator[None]:
    with registrations_undone():
        yield


def halves(block: int, dim: int, segments: int) -> nn.Module:
    return SeparateSegments(dim, segments)


# The book's own


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("value", [None, 3])
def test_the_strategies_of_the_book_meet_their_own_rules(strategy, value, shuffle):
    if shuffle and strategy not in SHUFFLING:
        with pytest.raises(ValueError, match="`shuffle`"):
            check_mixing(strategy, shuffle=True)
        return
    options: dict = {"shuffle": True} if shuffle else {}
    if value:
        options |= {"ratio": "3/5"} if strategy in OVERLAPPING else {"segments": value}
    forms = costs.formulas(f"splitmixer_{strategy.lower()}")
    formulas = {q: getattr(forms, q)["channel mixing"] for q in ("params", "macs")}
    measured = check_mixing(strategy, **formulas, **options)
    mixers = SplitMixer(strategy, 12, 4, **options).blocks
    weights = sum(w.numel() for block in mixers for w in block.mixing.parameters())
    assert measured.params["channel mixing"] == weights


def test_what_the_book_has_says_which_strategies_overlap_and_shuffle():
    table = mixings.strategies
    assert tuple(table) == STRATEGIES
    assert tuple(name for name in table if table[name].option == "ratio") == OVERLAPPING
    assert tuple(name for name in table if table[name].shuffles) == SHUFFLING


# A new one


def test_a_registered_mixing_is_a_model_like_the_others(tmp_path):
    assert register_mixing("Halves_2", halves, about="Two halves") == "splitmixer_halves_2"
    assert "splitmixer_halves_2" in list_models()
    entry = model_entry("splitmixer_halves_2")
    assert (entry.family, entry.about) == ("splitmixer_halves_2", "Two halves")
    torch.manual_seed(0)
    ours = create_model("splitmixer_halves_2", dim=12, depth=2, segments=3).eval()
    known = create_model("splitmixer_iv", dim=12, depth=2, segments=3).eval()
    known.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(ours(images), known(images))
    save_weights(ours, tmp_path / "w.safetensors")
    again = create_model("splitmixer_halves_2", dim=12, depth=2, segments=3).eval()
    assert load_weights(again, tmp_path / "w.safetensors") == "mixerlib"
    assert torch.equal(again(images), ours(images))
    with pytest.raises(ValueError, match="strategy"):  # the file says whose it is
        load_weights(known, tmp_path / "w.safetensors")
    fast = optimize_for_inference(ours, images, compile=False, remember=False)
    assert check(ours, fast, images) < 1e-5


def test_recipes_take_its_name():
    register_mixing("halves", halves)
    options = {"dim": 8, "depth": 1, "kernel_size": 3, "segments": 4}
    recipe = load_recipe(
        "digits", {"model": "splitmixer_halves", "model_options": options, "epochs": 1}
    )
    model, record = train(recipe, device="cpu", progress=False)
    assert model.strategy == "halves" and record.settings["model"] == "splitmixer_halves"


def test_the_option_and_the_shuffle_are_those_that_were_registered():
    name = register_mixing("both", lambda block, dim, ratio: halves(block, dim, 2), option="ratio")
    create_model(name, dim=12, depth=1, ratio="4/7")
    with pytest.raises(ValueError, match="`segments`=2 is not an option"):
        create_model(name, dim=12, depth=1, segments=2)
    name = register_mixing("dealt", halves, shuffles=True)
    assert check_mixing("dealt", segments=3, shuffle=True).params["channel mixing"] == 240
    assert create_model(name, dim=12, depth=1, shuffle=True).blocks[0].shuffle == 2


def test_it_may_be_registered_again_but_no_strategy_of_the_book():
    register_mixing("mine", halves)
    register_mixing("mine", lambda block, dim, s: halves(block, dim, 1))
    assert check_mixing("mine").params["channel mixing"] == 4 * (12**2 + 12)
    for name in ("I", "ii", "3d", "MINE"):
        with pytest.raises(ValueError, match="must be a new name"):
            register_mixing(name, halves)
    for name in ("", "a b", "a-b", "x" * 41, None, 3):
        with pytest.raises(ValueError, match=r"`strategy`=.* must be letters"):
            register_mixing(name, halves)
    with pytest.raises(ValueError, match="`option`='width' must be one of"):
        register_mixing("other", halves, option="width")
    with pytest.raises(ValueError, match="must be one of 'I', 'II'"):
        SplitMixer("nobody", 12, 1)
    with pytest.raises(ValueError, match="is no model of mixerlib"):
        check_mixing("nobody")


# What breaks the rules


class Base(nn.Module):
    """One h×h matrix: right, until a child spoils it."""

    def __init__(self, dim: int):
        super().__init__()
        self.mixed = [(0, dim)]
        self.mixer = nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.spoilt(x)

    def spoilt(self, x: torch.Tensor) -> torch.Tensor:
        return self.mixer(x)


class Narrow(Base):
    def spoilt(self, x):
        return self.mixer(x)[:, :-1]


class Single(Base):
    def spoilt(self, x):
        return self.mixer(x).float()


class Writing(Base):
    def spoilt(self, x):
        return self.mixer(x.add_(1))


class Dropping(Base):
    def spoilt(self, x):
        return nn.functional.dropout(self.mixer(x), 0.5, self.training)


class Random(Base):
    def spoilt(self, x):
        return self.mixer(x) * (1 + torch.rand(()))


class Neighbours(Base):
    def spoilt(self, x):
        return self.mixer(x).roll(1, dims=3)


class Mean(Base):
    def spoilt(self, x):
        return self.mixer(x) + x.mean(dim=(2, 3), keepdim=True)


class Batch(Base):
    def spoilt(self, x):
        return self.mixer(x - x.mean(dim=0, keepdim=True))


class Silent(Base):
    def __init__(self, dim):
        super().__init__(dim)
        del self.mixed


class Boasting(Base):
    def spoilt(self, x):
        half = x.shape[1] // 2
        return torch.cat((self.mixer(x)[:, :half], x[:, half:]), dim=1)


class Modest(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.mixed = [(0, dim // 2)]


class Idle(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.spare = nn.Parameter(torch.ones(3))


class Branching(Base):
    def spoilt(self, x):
        return self.mixer(x) if x.sum() > 0 else self.mixer(x) * 1


class Hidden(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.uses = 0

    def spoilt(self, x):
        return self.mixer(x)

    def __deepcopy__(self, memo):
        other = type(self)(self.mixed[0][1]).to(self.mixer.weight.dtype)
        other.scale = 2
        return other.eval()

    def forward(self, x):
        return self.spoilt(x) * getattr(self, "scale", 1)


BROKEN = {
    Narrow: r"must keep \(B, h, H, W\)",
    Single: "and the dtype: of .* of torch.float32",
    Writing: "must not write into its input",
    Dropping: "must give the same each time",
    Random: "must give the same each time",
    Neighbours: "every place by itself",
    Mean: "every place by itself",
    Batch: "every image and every place by itself",
    Silent: "must have `mixed`",
    Boasting: r"by that, channel 6 does hear channel 0",
    Modest: r"by that, channel 0 does not hear channel 6",
    Idle: "must use every parameter: blocks.0.mixing.spare",
    Branching: "must be traced by torch.fx",
    Hidden: "must be the same when it is copied",
}


def registered(kind: Callable[[int], nn.Module]) -> None:
    register_mixing("tried", lambda block, dim, segments: kind(dim))


def test_what_is_not_spoilt_keeps_every_rule():
    registered(Base)
    assert check_mixing("tried").macs["channel mixing"] == 4 * 12**2 * 8 * 8


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_rule_is_named(kind):
    registered(kind)
    with pytest.raises(ValueError, match=rf"(?s)`strategy`='tried': .*{BROKEN[kind]}"):
        check_mixing("tried")


def test_a_rule_broken_in_one_block_alone_is_found_there():
    register_mixing("late", lambda block, dim, s: (Writing if block == 2 else Base)(dim))
    with pytest.raises(ValueError, match="the mixing of block 2 must not write"):
        check_mixing("late")


def test_a_wrong_closed_form_is_refused_with_both_numbers():
    registered(Base)
    right = costs.d * (costs.h**2 + costs.h)
    check_mixing("tried", params=right, macs=costs.d * costs.h**2 * costs.T)
    with pytest.raises(ValueError, match=r"`params`=.* gives 576 .* measured to have 624"):
        check_mixing("tried", params=right - costs.d * costs.h)
    with pytest.raises(ValueError, match="`macs`"):
        check_mixing("tried", macs=costs.d * costs.h**2)


def test_the_caller_s_random_numbers_are_left_alone():
    registered(Base)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    check_mixing("tried")
    assert torch.equal(torch.rand(3), expected)
