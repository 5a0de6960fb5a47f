"""A small MLP-Mixer on CIFAR-10 from scratch, fine-tuned and with its head alone, by the records.

>>> from assets import transfer_table
>>> transfer_table.rows([])[0]
['from scratch', 'cpu/mlp_mixer_32_4', '0', 'not yet']
"""

from collections.abc import Sequence

from mixerlib.pages import signed
from mixerlib.records import Record
from mixerlib.training import accuracies, load_recipe, runs_of, spread

HEAD = ["CIFAR-10", "recipe", "runs", "accuracy"]
BEFORE = "transfer/cifar100"
WAYS = {
    "from scratch": "cpu/mlp_mixer_32_4",
    "fine-tuned, every weight": "transfer/cifar10_finetune",
    "the head alone": "transfer/cifar10_frozen",
}


def rows(records: Sequence[Record]) -> list[list[str]]:
    """For each way its runs and their mean accuracy, with Student's interval for several."""
    return [[way, name, str(len(runs)), accuracy(runs)] for way, name, runs in _found(records)]


def accuracy(runs: Sequence[Record]) -> str:
    """The runs' mean in per cent, ± half of its 95 % interval where there are several."""
    if not runs:
        return "not yet"
    shares = accuracies(runs)
    if len(runs) == 1:
        return f"{shares.mean():.2f} %"
    return f"{shares.mean():.2f} ± {spread([shares]).half_width_of_mean(len(runs)):.2f} %"


def text(records: Sequence[Record]) -> str:
    """What the table says, in sentences, as far as the runs go."""
    before = runs_of(load_recipe(BEFORE), records)
    said = "No run on CIFAR-100 has a record yet, from which the other two ways start."
    if before:
        said = (
            f"On CIFAR-100, where the two other ways start from, the network has "
            f"{accuracy(before)} of the test images right."
        )
    scratch, *others = _found(records)
    for way, _, runs in others:
        if not runs or not scratch[2]:
            continue
        groups = accuracies(runs), accuracies(scratch[2])
        gain, pooled = float(groups[0].mean() - groups[1].mean()), spread(groups)
        half = pooled.half_width_of_difference(*map(len, groups)) if pooled.freedom else None
        said += (
            f" {way.capitalize()}: {signed(gain, half)} points beside the training from scratch."
        )
    return said


def _found(records: Sequence[Record]) -> list[tuple[str, str, list[Record]]]:
    return [(way, name, runs_of(load_recipe(name), records)) for way, name in WAYS.items()]
