"""Training: recipes, the loop, checkpoints, evaluation, and what a few runs can say.

model, record = train(load_recipe("digits"))

Chapter 13 derives it, chapter 14 compares its runs.
"""

from mixerlib.training import checkpoint, schedule, statistics
from mixerlib.training.comparison import (
    SHUFFLED,
    STRATEGIES,
    Difference,
    Scale,
    accuracies,
    machines,
    mean_of,
    on_one_machine,
    quickest,
    slowest_to_fastest,
    yardstick,
)
from mixerlib.training.distributed import ALONE, Processes
from mixerlib.training.evaluation import Evaluation, evaluate, evaluate_on
from mixerlib.training.finished import load_trained, recipe_of
from mixerlib.training.loop import (
    Diverged,
    Stopped,
    finish_epoch,
    train,
    train_step,
    training_steps,
)
from mixerlib.training.metrics import MetricsLog, read_metrics
from mixerlib.training.recipe import Recipe, list_recipes, load_recipe
from mixerlib.training.run import (
    Run,
    augmentation_for,
    begin,
    choose_device,
    dataset_for,
    learning_rate,
    model_for,
    optimizer_for,
    stream,
)
from mixerlib.training.schedule import cosine, one_cycle, piecewise_linear
from mixerlib.training.statistics import (
    Spread,
    power,
    runs_of,
    seeds_needed,
    smallest_difference,
    spread,
    spread_beside_seeds,
)
from mixerlib.training.sweep import read_sweep

__all__ = [
    "ALONE",
    "SHUFFLED",
    "STRATEGIES",
    "Difference",
    "Diverged",
    "Evaluation",
    "MetricsLog",
    "Processes",
    "Recipe",
    "Run",
    "Scale",
    "Spread",
    "Stopped",
    "accuracies",
    "augmentation_for",
    "begin",
    "checkpoint",
    "choose_device",
    "cosine",
    "dataset_for",
    "evaluate",
    "evaluate_on",
    "finish_epoch",
    "learning_rate",
    "list_recipes",
    "load_recipe",
    "load_trained",
    "machines",
    "mean_of",
    "model_for",
    "on_one_machine",
    "one_cycle",
    "optimizer_for",
    "piecewise_linear",
    "power",
    "quickest",
    "read_metrics",
    "read_sweep",
    "recipe_of",
    "runs_of",
    "schedule",
    "seeds_needed",
    "slowest_to_fastest",
    "smallest_difference",
    "spread",
    "spread_beside_seeds",
    "statistics",
    "stream",
    "train",
    "train_step",
    "training_steps",
    "yardstick",
]
