"""The mixings that readers write: their matrices, their budgets, and which channels they join."""

import numpy as np
import pytest
import torch

from mixerlib import create_model
from mixerlib.costs import mixing_steps, reach
from mixerlib.pages import check
from mixerlib.pages.exercises.mixings import LIMIT, Puzzle, block_of, blocks_to_meet, heard


def segments_in_turn(u, i, mix):
    """Strategy II with three segments."""
    parts = [*u.chunk(3)]
    parts[i % 3] = mix(parts[i % 3])
    return torch.cat(parts)


def shared_and_dealt(u, i, mix):
    """The 3-D form with three segments."""
    return mix(u.view(3, 4)).T.flatten()


def overlapping(u, i, mix):
    """Strategy V, α = 2/3."""
    first = torch.cat([mix(u[:8]), u[8:]])
    return torch.cat([first[:4], mix(first[4:])])


@pytest.mark.parametrize(
    ("mixing", "family", "options"),
    [
        (segments_in_turn, "splitmixer_ii", {"segments": 3}),
        (shared_and_dealt, "splitmixer_3d", {"segments": 3}),
        (overlapping, "splitmixer_v", {"ratio": "2/3"}),
    ],
)
def test_strategies_written_in_lines_cost_and_join_what_the_models_do(mixing, family, options):
    model = create_model(family, dim=12, depth=4, **options)
    blocks = [block_of(mixing, i, 12) for i in range(4)]
    for number, (table, block) in enumerate(zip(heard(blocks), model.blocks, strict=True)):
        assert np.array_equal(table, reach(12, mixing_steps(model)[: number + 1]))
        expected = sum(weights.numel() for weights in block.mixing.parameters())
        assert blocks[number].parameters == expected and not blocks[number].fault
    whole = create_model(family, dim=12, depth=LIMIT, **options)
    needed = [b for b in range(1, 9) if reach(12, mixing_steps(whole)[:b]).all()]
    assert blocks_to_meet(mixing, 12) == (needed[0] if needed else None)


def test_the_matrix_is_what_the_lines_compute():
    block = block_of(lambda u, i, mix: torch.cat([u[8:], mix(u[:8])]), 0, 12)
    assert np.array_equal(block.matrix[:4, 8:], np.eye(4)) and not block.matrix[:4, :8].any()
    assert block.matrix[4:, :8].all() and not block.matrix[4:, 8:].any()
    assert block.order == [8, 9, 10, 11, *range(8)] and not block.in_place
    assert block.mixed.tolist() == [True] * 8 + [False] * 4 and block.parameters == 8 * 8 + 8


COMPUTED = [
    lambda u, i, mix: u + u.mean(),
    lambda u, i, mix: u + mix(u[:4]).sum(),
    lambda u, i, mix: torch.relu(torch.cat([mix(part) for part in u.chunk(3)])),
    lambda u, i, mix: 2 * u,
    lambda u, i, mix: u + torch.cat([mix(part) for part in u.chunk(3)]),
    lambda u, i, mix: torch.linspace(0, 1, 12),
]


@pytest.mark.parametrize("number", range(len(COMPUTED)))
@pytest.mark.parametrize("name", ["puzzle-1", "puzzle-2", "puzzle-4"])
def test_nothing_but_mix_may_compute(number, name):
    assert "Only `mix` may compute" in check(name, COMPUTED[number]).message


GROUPS = lambda u, mix: torch.cat([mix(part) for part in u.chunk(3)])  # noqa: E731
OTHERS = [
    ("puzzle-1", lambda u, i, mix: mix(u.view(4, 3)).flatten(), ""),
    ("puzzle-1", lambda u, i, mix: GROUPS(u.flip(0), mix), ""),
    ("puzzle-2", lambda u, i, mix: mix(u.view(3, 4)).T.flatten(), ""),
    ("puzzle-2", lambda u, i, mix: GROUPS(u, mix).view(3, 2, 2).transpose(0, 1).flatten(), "LATE"),
    ("puzzle-2", lambda u, i, mix: GROUPS(u, mix).flip(0), "TOGETHER"),
    ("puzzle-3", lambda u, i, mix: torch.cat([u[:3], mix(u[3:11]), u[11:]]), "NEVER_MIXED"),
    ("puzzle-4", lambda u, i, mix: torch.cat([mix(u[:4]), u[4:]]).roll(-1), "LATE"),
    ("puzzle-4", lambda u, i, mix: torch.cat([u[:8], mix(u[8:])]).roll(3), ""),
    ("puzzle-5", lambda u, i, mix: GROUPS(u.roll(2), mix).roll(-2), "BORDERS"),
    ("puzzle-5", lambda u, i, mix: GROUPS(u.roll(4 * i), mix).roll(-4 * i), "BORDERS"),
    ("puzzle-5", lambda u, i, mix: GROUPS(u.roll(i), mix).roll(-i), ""),
]


@pytest.mark.parametrize(("name", "mixing", "message"), OTHERS)
def test_other_answers_to_the_puzzles(name, mixing, message):
    outcome = check(name, mixing)
    expected = f"Not yet. {getattr(Puzzle, message)}" if message else "Right."
    assert outcome.message == expected and bool(outcome) == (not message)


def in_turn(u, i, mix):
    """Strategy I, α = 2/3."""
    return torch.cat([mix(u[:8]), u[8:]] if i % 2 == 0 else [u[:4], mix(u[4:])])


def test_the_picture_shows_by_which_block_a_pair_has_met():
    text, svg = check("puzzle-3", in_turn).picture
    assert svg.count("<svg") == svg.count("</svg>") == 2
    ages = [line.split() for line in text.partition("heard by block\n")[2].splitlines()]
    expected = np.full((12, 12), 1)
    expected[:4, 8:] = 3  # the ends hear each other last
    expected[4:, 8:] = expected[8:] = 2
    np.fill_diagonal(expected, 1)
    assert np.array_equal(np.array(ages, dtype=int), expected)


def test_a_block_of_another_shape_is_answered():
    for answer, words in (
        (lambda u, i, mix: u.view(3, 4), "returns shape (3, 4)"),
        (lambda u, i, mix: u[:0], "takes and returns 12 channels"),
        (lambda u, i, mix: list(u), "returns list, no tensor"),
        (lambda u, i, mix: mix(u[:0]), "got no channels"),
        (lambda u, i, mix: mix(u[5]), "returns shape ()"),
    ):
        assert words in check("puzzle-2", answer).message
