"""Runs killed at random moments: one alone, two in one folder, two sweeps at once. They must end
as if nothing had happened: same bits, no row twice, nothing left over.

    make kills MINUTES=60                          from the checkout, for as long as that
    python -m tests.kills --minutes 10 --seed 7    another sequence of moments

`tests/training/test_kills.py` does each of the attacks once.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from signal import SIGINT, SIGKILL, SIGTERM

sys.path.insert(0, str(Path(__file__).parent))

import torch
from commands import Command
from safetensors.torch import load_file

from mixerlib.records import read_record
from mixerlib.training import load_recipe, read_metrics, read_sweep, train_in_folder

RECIPE = """base: digits
epochs: 3
flip: random
ema: 0.9
model_options: {dim: 8, depth: 1, kernel_size: 3, patch_size: 2}
"""
SWEEP = "runs: [{recipes: [a.yaml, b.yaml], seeds: [0, 1]}]\n"
STEPS = 3 * 23
LEFT = ["metrics.jsonl", "model.safetensors", "record.json"]
ENDS = {0, 130, 143, -SIGKILL, -SIGTERM, -SIGINT}
BUSY = "mixerlib: another process is training in run\n"


def prepare(folder: Path) -> None:
    """A folder to attack runs in, with recipes, a sweep, and undisturbed runs to compare with."""
    (folder / "a.yaml").write_text(RECIPE)
    (folder / "b.yaml").write_text(RECIPE.replace("ema: 0.9\n", "mixup: 0.4\n"))
    (folder / "sweep.yaml").write_text(SWEEP)
    for recipe in read_sweep(folder / "sweep.yaml"):
        train_in_folder(recipe, folder / "calm" / recipe.name / f"seed{recipe.seed}")


def disturb(commands: list[Command], rng: Random, mercy: float) -> list[tuple[int, str]]:
    """Send each process a signal at a random moment, or, as often as `mercy` says, let it end.

    Returns the status and the stderr of each.
    """
    time.sleep(rng.random() * 0.2)
    for command in commands:
        if rng.random() > mercy:
            time.sleep(rng.random() * 0.3)
            command.send(rng.choice([SIGKILL, SIGKILL, SIGTERM, SIGINT]))
    return [(status, err) for status, _, err in (command.end() for command in commands)]


def check_run(out: Path, calm: Path) -> None:
    """A finished run is an undisturbed one, but for its times and its count of parts."""
    assert sorted(path.name for path in out.iterdir()) == LEFT, sorted(out.iterdir())
    actual, expected = (load_file(place / "model.safetensors") for place in (out, calm))
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())
    record, undisturbed = (read_record(place / "record.json") for place in (out, calm))
    assert record.test_loss == undisturbed.test_loss
    steps, epochs = read_metrics(out)
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    assert epochs == record.curve


def one_alone(folder: Path, rng: Random, mercy: float = 0.1) -> int:
    """A run, taken up again and again, by its recipe or by its checkpoint alone: how often."""
    out = folder / "run"
    for attempt in range(1000):
        known = (out / "checkpoint.pt").exists() and rng.random() < 0.5
        words = ["train", *([] if known else ["a.yaml"]), "--resume", "--out", "run"]
        every = rng.choice([1, 1, 3, 20])
        with Command(*words, "--checkpoint-every", every, folder=folder) as command:
            ((status, err),) = disturb([command], rng, mercy)
        assert status in ENDS, (status, err)
        mercy += 0.02
        if status == 0:
            check_run(out, folder / "calm" / "a" / "seed0")
            return attempt
    raise AssertionError("it never ended")


def two_in_one_folder(folder: Path, rng: Random, mercy: float = 0.2) -> int:
    """Two processes that want the same run: one has it, the other is told so."""
    out = folder / "run"
    words = ("train", "a.yaml", "--resume", "--out", "run", "--checkpoint-every", 2)
    for attempt in range(1000):
        one, two = (Command(*words, folder=folder, log=log) for log in "12")
        with one, two:
            ends = disturb([one, two], rng, mercy)
        assert all(status in ENDS or (status, err) == (2, BUSY) for status, err in ends), ends
        mercy += 0.05
        if (out / "record.json").exists() and any(status == 0 for status, _ in ends):
            check_run(out, folder / "calm" / "a" / "seed0")
            return attempt
    raise AssertionError("it never ended")


def two_sweeps(folder: Path, rng: Random, mercy: float = 0.2) -> int:
    """Two sweeps over the same folders, each killed now and then, share four runs."""
    recipes = read_sweep(folder / "sweep.yaml")
    places = [Path(recipe.name) / f"seed{recipe.seed}" for recipe in recipes]
    attempt = 0
    while not all((folder / "records" / f"{place}.json").exists() for place in places):
        attempt += 1
        one, two = (Command("sweep", "sweep.yaml", folder=folder, log=log) for log in "12")
        with one, two:
            ends = disturb([one, two], rng, mercy)
        assert all(status in ENDS for status, _ in ends), ends
        mercy += 0.1
    for place in places:
        check_run(folder / "runs" / place, folder / "calm" / place)
        record = read_record(folder / "runs" / place / "record.json")
        assert read_record(folder / "records" / f"{place}.json") == record
    left = [path for path in (folder / "records").rglob("*") if path.is_file()]
    assert len(left) == len(places), left
    return attempt


ATTACKS = (one_alone, two_in_one_folder, two_sweeps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    options = parser.parse_args()
    until, round_ = time.monotonic() + 60 * options.minutes, 0
    torch.set_num_threads(1)
    assert load_recipe("digits")  # mixerlib is found before any time is spent
    while time.monotonic() < until:
        attack, seed = ATTACKS[round_ % len(ATTACKS)], options.seed * 1_000_000 + round_
        round_ += 1
        print(f"{attack.__name__}, moments {seed}: ", end="", flush=True)
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name))
            interrupted = attack(Path(name), Random(seed))
        print(f"right after {interrupted} tries", flush=True)
    print(f"{round_} attacks, all right")


if __name__ == "__main__":
    main()
