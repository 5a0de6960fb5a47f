"""Whole training logs as printed: read, refused, and what of them needs no run to be checked."""

import math

import pytest
from helpers import ROOT

from mixerlib.pages import audit
from mixerlib.training import learning_rate, load_recipe


@pytest.fixture(scope="module")
def log() -> audit.PublishedLog:
    return audit.load(ROOT / "book" / "published.yaml").logs["convmixer-cifar10"]


def test_a_log_has_one_row_for_each_epoch_of_its_recipe(log):
    assert len(log.train_accuracy) == load_recipe(log.recipe).epochs


def test_our_schedule_has_the_printed_rate_at_the_end_of_every_epoch(log):
    recipe = load_recipe(log.recipe)
    for epoch, printed in enumerate(log.learning_rate, start=1):
        assert f"{learning_rate(recipe, epoch / recipe.epochs):.6f}" == f"{printed:.6f}"


def test_a_log_ends_with_the_accuracy_that_the_audit_holds():
    published = audit.load(ROOT / "book" / "published.yaml")
    last = published.logs["convmixer-cifar10"].test_accuracy[-1]
    assert f"{last:.4f}" == published.entries["convmixer-cifar10-log"].printed


SMALL = """
documents:
  script: {title: A script, url: https://example.org/script}
tables: {}
numbers: {}
logs:
  short:
    document: script
    where: its page
    recipe: digits
    train_accuracy: [0.5, 0.75]
    test_accuracy: [0.5, 0.625]
    learning_rate: [0.01, 0.0]
    seconds: [2.5, 2.0]
"""


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("document: script", "document: paper", "`document`='paper' of short must be one of"),
        ("    where: its page\n", "", "the log short must have the keys"),
        ("where: its page", "were: its page", "the log short must have the keys"),
        ("[0.5, 0.75]", "[0.5]", "the columns of the log short must be equally long"),
        ("[0.5, 0.625]", "[0.5, 62.5]", "`test_accuracy`=62.5 of short, epoch 2, must be a number"),
        ("[2.5, 2.0]", "[2.5, -2.0]", "`seconds`=-2.0 of short, epoch 2, must be a number"),
        ("[2.5, 2.0]", '[2.5, "2"]', "`seconds`='2' of short, epoch 2, must be a number"),
        ("[2.5, 2.0]", "2.5", "what follows its beginning is not of its form"),
    ],
)
def test_a_wrong_log_is_an_error_that_names_it(tmp_path, old, new, message):
    path = tmp_path / "published.yaml"
    path.write_text(SMALL)
    assert math.isclose(audit.load(path).logs["short"].test_accuracy[1], 0.625)
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(ValueError, match=message):
        audit.load(path)
