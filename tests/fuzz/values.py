"""Values that people, programs and enemies put where something else is wanted."""

import math
import random
from fractions import Fraction
from typing import Any

import numpy as np

NUMBERS: list[Any] = [
    *(-1, 0, 1, 2, 3, 5, 7, 8, 16, 255, 256, 1000),
    *(2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 10**30, -(2**63), 10**5000),
    *(0.0, -0.0, 0.5, 1.0, 2.0, 1e-320, 1e308, math.inf, -math.inf, math.nan),
]
TEXTS = [
    *("", " ", "none", "null", "true", "False", "gelu", "RELU", "2/3", "3/0", "-1/2", "1e3"),
    *("1e99999999", "9" * 5000, "0x10", "010", "1:30", "1_000", "٣", "½", "nan", "inf", "--", "-"),
    *("../x", "/dev/null", "a\nb", "a\x00b", "\ud800", "ü" * 300, "I", "iii", "3D", "convmixer"),
]


def odd(random: random.Random, depth: int = 0) -> Any:
    """A value of any kind."""
    kind = random.randrange(12 if depth < 3 else 6)
    if kind < 3:
        return random.choice(NUMBERS)
    if kind < 5:
        return random.choice(TEXTS)
    if kind == 5:
        return random.choice([None, True, False])
    if kind == 6:
        return random.randint(-20, 300)
    if kind == 7:
        return random.choice([[], [odd(random, depth + 1)], [1, 2, 3]])
    if kind == 8:
        return random.choice([{}, {"a": odd(random, depth + 1)}, {1: 2}])
    if kind == 9:
        return random.choice([np.int64(8), np.float32(0.5), np.array([1, 2]), np.array(4)])
    if kind == 10:
        return random.choice([Fraction(2, 3), Fraction(7, 5), 3 + 4j, b"bytes", {1, 2}])
    return random.choice([object(), len, ..., range(3), (1, 2)])


def plain(random: random.Random, depth: int = 0) -> Any:
    """A value that a JSON or YAML file can hold."""
    value = odd(random, depth)
    if isinstance(value, int) and abs(value) > 10**4000:
        return str(value % 10**4000)  # json does not write it; `long` puts it in as text
    return value if isinstance(value, str | int | float | list | dict | None) else 2**63


def long(random: random.Random, content: bytes) -> bytes:
    """Text with a number of more digits than Python reads in place of some digit."""
    places = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    place = random.choice(places or [0])
    return content[:place] + b"9" * 5000 + content[place + 1 :]


def spoiled(random: random.Random, tree: Any) -> Any:
    """A copy of lists, tables and values in which one place is other, missing or there twice."""
    if isinstance(tree, dict) and tree and random.random() < 0.85:
        key = random.choice(list(tree))
        rest = {k: v for k, v in tree.items() if k != key}
        chance = random.random()
        if chance < 0.1:
            return rest
        if chance < 0.2:
            return rest | {str(odd(random, 3))[:50]: tree[key]}
        return tree | {key: spoiled(random, tree[key])}
    if isinstance(tree, list) and tree and random.random() < 0.85:
        place = random.randrange(len(tree))
        chance = random.random()
        if chance < 0.1:
            return tree[:place] + tree[place + 1 :]
        if chance < 0.2:
            return [*tree, tree[place]]
        return [*tree[:place], spoiled(random, tree[place]), *tree[place + 1 :]]
    return plain(random)


def damaged(random: random.Random, content: bytes) -> bytes:
    """Bytes with a few flipped, cut off, left out, repeated or put in."""
    for _ in range(random.choice([1, 1, 1, 2, 5, 30])):
        place = random.randrange(len(content) + 1)
        other = random.randrange(len(content) + 1)
        first, last = sorted((place, other))
        kind = random.randrange(6)
        if kind < 3 and content:
            place %= len(content)
            bit = bytes([content[place] ^ 1 << random.randrange(8)])
            content = content[:place] + bit + content[place + 1 :]
        elif kind == 3:
            content = content[: max(place, 1)]
        elif kind == 4:
            content = content[:first] + content[min(last, first + 40) :]
        else:
            content = content[:place] + random.randbytes(random.randrange(9)) + content[place:]
    return content
