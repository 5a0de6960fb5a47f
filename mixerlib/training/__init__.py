"""Training: recipes, the loop, checkpoints, evaluation, and what a few runs can say.

>>> from mixerlib.training import load_recipe, train
>>> model, record = train(load_recipe("digits", {"epochs": 1}), progress=False)
>>> record.train_images, record.test_images
(1437, 360)

Chapters 13 and 13b derive it, chapter 14 compares its runs.
"""

from mixerlib.training import checkpoint, loop, schedule, statistics
from mixerlib.training.ablations import Ablations, ablation
from mixerlib.training.batches import Batch, augmentation_for, batches_left
from mixerlib.training.claims import FolderInUse, claimed
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
from mixerlib.training.cuts import CUT, Cuts
from mixerlib.training.depths import Depths
from mixerlib.training.device_check import Answer, self_test
from mixerlib.training.distributed import ALONE, Processes, choose_device, joined, local_device
from mixerlib.training.evaluation import Evaluation, evaluate, evaluate_on
from mixerlib.training.finished import load_trained, recipe_of, weights_in
from mixerlib.training.folders import (
    finished_record,
    new_folder,
    result_line,
    run_folder,
    save_results,
    settings_differences,
    train_in_folder,
)
from mixerlib.training.kept_outcomes import evaluate_in_folder
from mixerlib.training.kept_weights import (
    KeptWeights,
    keep_weights,
    kept_record,
    largest_trained,
    list_trained,
    trained_model,
)
from mixerlib.training.loop import (
    begin_or_resume,
    finish_epoch,
    fit,
    train,
    train_step,
    training_steps,
)
from mixerlib.training.metrics import MetricsLog, read_metrics
from mixerlib.training.optimizers import QUINTIC, MuonWithAdamW, optimizer_for, orthogonal
from mixerlib.training.recipe import Recipe
from mixerlib.training.recipe_files import list_recipes, load_recipe
from mixerlib.training.relatives import MIXERS, Relatives
from mixerlib.training.result import record_of
from mixerlib.training.run import (
    Run,
    RunWarning,
    begin,
    dataset_for,
    model_for,
    stream,
)
from mixerlib.training.schedule import cosine, learning_rate, one_cycle, piecewise_linear
from mixerlib.training.session import (
    Diverged,
    Session,
    Stopped,
    StopRequest,
    errors_explained,
    stop_on_signals,
)
from mixerlib.training.statistics import (
    Spread,
    power,
    runs_of,
    seeds_needed,
    smallest_difference,
    spread,
    spread_beside_seeds,
)
from mixerlib.training.sweep import Sweep, read_sweep
from mixerlib.training.sweep_progress import Remaining, remaining, remaining_table

__all__ = [
    "ALONE",
    "CUT",
    "MIXERS",
    "QUINTIC",
    "SHUFFLED",
    "STRATEGIES",
    "Ablations",
    "Answer",
    "Batch",
    "Cuts",
    "Depths",
    "Difference",
    "Diverged",
    "Evaluation",
    "FolderInUse",
    "KeptWeights",
    "MetricsLog",
    "MuonWithAdamW",
    "Processes",
    "Recipe",
    "Relatives",
    "Remaining",
    "Run",
    "RunWarning",
    "Scale",
    "Session",
    "Spread",
    "StopRequest",
    "Stopped",
    "Sweep",
    "ablation",
    "accuracies",
    "augmentation_for",
    "batches_left",
    "begin",
    "begin_or_resume",
    "checkpoint",
    "choose_device",
    "claimed",
    "cosine",
    "dataset_for",
    "errors_explained",
    "evaluate",
    "evaluate_in_folder",
    "evaluate_on",
    "finish_epoch",
    "finished_record",
    "fit",
    "joined",
    "keep_weights",
    "kept_record",
    "largest_trained",
    "learning_rate",
    "list_recipes",
    "list_trained",
    "load_recipe",
    "load_trained",
    "local_device",
    "loop",
    "machines",
    "mean_of",
    "model_for",
    "new_folder",
    "on_one_machine",
    "one_cycle",
    "optimizer_for",
    "orthogonal",
    "piecewise_linear",
    "power",
    "quickest",
    "read_metrics",
    "read_sweep",
    "recipe_of",
    "record_of",
    "remaining",
    "remaining_table",
    "result_line",
    "run_folder",
    "runs_of",
    "save_results",
    "schedule",
    "seeds_needed",
    "self_test",
    "settings_differences",
    "slowest_to_fastest",
    "smallest_difference",
    "spread",
    "spread_beside_seeds",
    "statistics",
    "stop_on_signals",
    "stream",
    "train",
    "train_in_folder",
    "train_step",
    "trained_model",
    "training_steps",
    "weights_in",
    "yardstick",
]
