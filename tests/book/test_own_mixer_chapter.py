"""What chapter 26 says of the carousel of four blocks, where a count of weights is too high."""

from itertools import chain, combinations

import numpy as np
import pytest
from helpers import ROOT


def unions(parts):
    """Every union of some of the groups of channels, as a list."""
    some = chain.from_iterable(combinations(parts, n) for n in range(1, len(parts) + 1))
    return [[channel for part in group for channel in part] for group in some]


@pytest.mark.parametrize(("h", "m", "exact"), [(9, 5, 77), (12, 7, 140)])
def test_four_blocks_of_the_carousel_have_four_narrow_places(h, m, exact):
    """A narrow place is a corner of the product, with the channels that the same blocks mix in its
    rows and in its columns, that has not full rank."""
    random, product = np.random.default_rng(0), np.eye(h)
    segments = [[(i % 3 * h // 3 + place) % h for place in range(m)] for i in range(4)]
    for segment in segments:
        factor = np.eye(h)
        factor[np.ix_(segment, segment)] = random.standard_normal((m, m))
        product = factor @ product
    parts: dict[tuple, list[int]] = {}
    for channel in range(h):
        parts.setdefault(tuple(channel in segment for segment in segments), []).append(channel)
    sides = unions(list(parts.values()))
    corners = [product[np.ix_(rows, columns)] for rows in sides for columns in sides]
    narrow = [c for c in corners if np.linalg.matrix_rank(c, tol=1e-9) < min(c.shape)]
    lost = []
    for corner in narrow:
        rank = np.linalg.matrix_rank(corner, tol=1e-9)
        lost.append((corner.shape[0] - rank) * (corner.shape[1] - rank))
    assert lost == [1, 1, 1, 1] and h * h - sum(lost) == exact
    assert [corner.shape for corner in narrow].count((1, 1)) == 1  # who has not heard whom
    text = (ROOT / "notebooks/26-a-mixer-of-your-own.md").read_text()
    assert "a channel that has not heard another, and three corners" in text


def rank_and_count(h, m):
    """Of four blocks of the carousel: the rank of the product's Jacobian, and the chapter's count
    without its bound of h²."""
    random = np.random.default_rng(0)
    segments = [[(i % 3 * h // 3 + place) % h for place in range(m)] for i in range(4)]
    factors = []
    for segment in segments:
        factors.append(np.eye(h))
        factors[-1][np.ix_(segment, segment)] = np.linalg.qr(random.standard_normal((m, m)))[0]
    rows, lost = [], 0
    for i, segment in enumerate(segments):
        after = np.linalg.multi_dot([np.eye(h), np.eye(h), *factors[:i:-1]])
        before = np.linalg.multi_dot([np.eye(h), np.eye(h), *factors[:i][::-1]])
        rows.append(np.kron(after[:, segment].T, before[segment]))
        left = {*segment}
        for later in segments[i + 1 :]:
            lost += len(left & {*later}) ** 2
            left -= {*later}
    return np.linalg.matrix_rank(np.concatenate(rows), tol=1e-9), 4 * m * m - lost


@pytest.mark.parametrize(("h", "m"), [(9, 5), (15, 8), (15, 9), (18, 10), (18, 11), (21, 12)])
def test_between_its_ends_the_carousel_of_four_blocks_lacks_more_than_the_count_says(h, m):
    rank, count = rank_and_count(h, m)
    assert rank < min(h * h, count)


@pytest.mark.parametrize(("h", "m"), [(12, 6), (12, 8), (18, 9)])
def test_at_its_ends_the_count_is_exact(h, m):
    rank, count = rank_and_count(h, m)
    assert rank == min(h * h, count)
