"""The mixings that readers write: their matrices, their budgets, and which channels they join."""

import numpy as np
import pytest
import torch

from mixerlib import create_model
from mixerlib.costs import mixing_steps, reach
from mixerlib.pages import check
from mixerlib.pages.exercises import entries
from mixerlib.pages.exercises.drawing import draw_matrices, path_of, who_hears
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
        assert blocks[number].macs == sum(width**2 for _, width in block.mixing.mixed)
    whole = create_model(family, dim=12, depth=LIMIT, **options)
    needed = [b for b in range(1, 9) if reach(12, mixing_steps(whole)[:b]).all()]
    assert blocks_to_meet(mixing, 12) == (needed[0] if needed else None)


def test_the_matrix_is_what_the_lines_compute():
    block = block_of(lambda u, i, mix: torch.cat([u[8:], mix(u[:8])]), 0, 12)
    assert np.array_equal(block.matrix[:4, 8:], np.eye(4)) and not block.matrix[:4, :8].any()
    assert block.matrix[4:, :8].all() and not block.matrix[4:, 8:].any()
    assert block.order == [8, 9, 10, 11, *range(8)] and not block.in_place
    assert block.mixed.tolist() == [True] * 8 + [False] * 4 and block.parameters == 8 * 8 + 8


def test_the_price_of_a_mix_is_that_of_each_row_and_a_channel_is_followed_through_all_mixes():
    twice = block_of(lambda u, i, mix: mix(mix(u.view(4, 3)).T).T.flatten(), 0, 12)
    assert (twice.parameters, twice.macs) == (3 * 4 + 4 * 5, 4 * 3**2 + 3 * 4**2)
    assert twice.times == twice.calls == 2 and twice.matrix.all() and twice.in_place
    groups = block_of(lambda u, i, mix: mix(u.roll(1).view(4, 3)).flatten(), 0, 12)
    assert (groups.macs, groups.times) == (4 * 3**2, 1)
    assert block_of(lambda u, i, mix: u, 0, 12).times == 0


def through_one(u, i, mix):
    """All news goes through channel 0: in pairs with each other channel, and back again."""
    u = u.clone()
    for other in (*range(1, len(u)), *range(len(u) - 2, 0, -1)):
        u[[0, other]] = mix(u[[0, other]])
    return u


def test_one_block_joins_all_in_pairs_and_what_is_heard_faintly_is_heard():
    """However small an entry is, of a product of 46 and more random numbers."""
    block = block_of(through_one, 0, 48)
    assert block.matrix.all() and np.abs(block.matrix).min() < 1e-12
    pairs = 2 * 48 - 3
    assert (block.calls, block.macs, block.times) == (pairs, 4 * pairs, pairs)


def test_an_answer_over_its_macs_or_mixed_twice_is_told_so():
    fine = check("space-4", entries.judge_of("space-4").right())
    rows = {row.label: row for row in fine.rows}
    assert fine and rows["MACs a block at a place"].yours == "576"
    for name, side in (("space-4", (4, 12)), ("four-4", (4, 6))):
        dear = check(name, lambda u, i, mix, side=side: mix(mix(u.view(side)).T).T.flatten())
        (row,) = [row for row in dear.rows if row.label == "MACs a block at a place"]
        assert dear.message == f"Not yet. {Puzzle.WORK}" and not row.passed
        assert dear.rows[0].label == "parameters a block" and dear.rows[0].passed
    hub = check("space-4", through_one)
    assert [row.label for row in hub.rows if not row.passed] == ["mixes of a channel a block"]
    assert hub.message == f"Not yet. {Puzzle.TWICE}"


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


def test_a_picture_is_of_boxes_as_wide_as_what_is_filled():
    filled = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=bool)
    assert path_of(filled) == (
        "M0 20h16v8h-16zM24 20h8v8h-8zM0 36h32v8h-32z"  # cells of 8 pixels, 20 below the title
    )
    text, svg = draw_matrices([("all", np.ones((64, 64)))])
    assert text.count("█") == 64**2 and len(svg) < 5000
    assert len(check("space-4", entries.judge_of("space-4").right()).picture[1]) < 40_000


def test_who_hears_whom_is_what_the_models_tell():
    model = create_model("splitmixer_v", dim=12, depth=2, ratio="2/3")
    segments = [range(a, a + width) for mixed, _ in mixing_steps(model) for a, width in mixed]
    assert np.array_equal(who_hears(12, segments), reach(12, mixing_steps(model)))
    assert np.array_equal(who_hears(3, [[]]), np.eye(3))


@pytest.mark.parametrize("name", ["one-4", "two-4", "five-5", "flow-2", "relatives-4", "own-4"])
def test_a_readers_own_mixing_is_drawn_as_matrix_and_as_reach(name):
    text, svg = check(name, entries.judge_of(name).right()).picture
    assert "hear" in text and svg.count('fill="currentColor"/>') >= 2


def test_the_picture_of_a_home_made_mixer_is_what_its_network_hears():
    """Strategy I is no answer, and is drawn all the same."""
    (mistake,) = [m for m in entries.judge_of("own-5").mistakes if "gains nothing" in m.message]
    text, svg = check("own-5", mistake.answer).picture
    model = create_model("splitmixer_i", dim=12, depth=8, ratio="7/12")
    titles = dict(part.split("\n", 1) for part in text.split("\n\n"))
    for title, steps in (("block 1", slice(1, 2)), ("heard after 8", slice(8))):
        heard = [[cell == "█" for cell in line] for line in titles[title].splitlines()]
        assert np.array_equal(heard, reach(12, mixing_steps(model)[steps]))
    assert "<svg" in svg
