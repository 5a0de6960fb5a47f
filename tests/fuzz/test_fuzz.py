"""A few of each attack, the same ones every time; `make fuzz` runs as many as one likes."""

import pytest

from tests.fuzz.attack import Fault, refusals, run
from tests.fuzz.attacks import ATTACKS

COUNTS = {
    "options": 150,
    "recipe_files": 60,
    "recipes": 25,
    "checkpoints": 40,
    "command_lines": 40,
}  # else 80


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_gets_more_than_a_line(name: str):
    for seed in range(COUNTS.get(name, 80)):
        try:
            run(ATTACKS[name], seed)
        except Exception as error:
            raise AssertionError(f"python -m tests.fuzz {name} --seed {seed}") from error


def test_the_rule_can_fail():
    with refusals("x.yaml"):
        raise ValueError("x.yaml: `dim`=0 must be at least 1")
    for error in (ValueError("two\nlines"), ValueError("x" * 2000), ValueError("another file")):
        with pytest.raises(Fault), refusals("x.yaml"):
            raise error
    with pytest.raises(RuntimeError), refusals():
        raise RuntimeError("escaped")


def test_a_hang_is_a_fault(monkeypatch):
    monkeypatch.setattr("tests.fuzz.attack.SECONDS", 1)

    def hang(random, folder):
        while True:
            pass

    with pytest.raises(Fault, match="no answer"):
        run(hang, 0)
