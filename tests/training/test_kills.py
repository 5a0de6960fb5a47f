"""Each attack of tests/kills.py once: runs killed at random moments end as if nothing had been."""

import os
from pathlib import Path
from random import Random

import kills
import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    kills.prepare(folder)
    return folder


@pytest.mark.parametrize("attack", kills.ATTACKS)
def test_killed_runs_end_as_if_nothing_had_been(calm, tmp_path, attack):
    for path in calm.iterdir():
        (tmp_path / path.name).symlink_to(path)
    attack(tmp_path, Random(os.getpid()), mercy=0.3)
