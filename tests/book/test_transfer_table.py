"""The table of what fine-tuning brings: by the records, with an interval where there are seeds."""

import math

from helpers import ROOT, load_file, made_runs

from mixerlib.pages import signed
from mixerlib.training import load_recipe

page = load_file(ROOT / "book" / "assets" / "transfer_table.py")


def runs(name: str, *percents: float) -> list:
    return made_runs(load_recipe(name), percents)


def test_without_records_nothing_is_claimed():
    assert {row[3] for row in page.rows([])} == {"not yet"}
    assert page.text([]).startswith("No run on CIFAR-100 has a record yet")


def test_runs_are_counted_and_seeds_give_an_interval():
    records = [
        *runs("cpu/mlp_mixer_32_4", 50, 51, 52),
        *runs("transfer/cifar10_finetune", 55),
        *runs("transfer/cifar100", 31),
    ]
    scratch, fine, head = page.rows(records)
    # Student's quantile for 2 degrees of freedom is 4.3027; the deviation is one point
    assert scratch[2:] == ["3", f"51.00 ± {4.3027 / math.sqrt(3):.2f} %"]
    assert fine[2:] == ["1", "55.00 %"] and head[2:] == ["0", "not yet"]
    text = page.text(records)
    assert "31.00 % of the test images right" in text
    half = 4.3027 * math.sqrt(1 / 3 + 1)
    assert f"every weight: {signed(4.0, half)} points beside the training from scratch" in text


def test_one_run_each_has_no_interval():
    records = [*runs("cpu/mlp_mixer_32_4", 50), *runs("transfer/cifar10_frozen", 40)]
    said = f"The head alone: {signed(-10.0)} points beside the training from scratch."
    assert page.text(records).endswith(said)
