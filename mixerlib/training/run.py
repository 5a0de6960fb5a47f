"""A training run between two steps: what a recipe makes, what a step changes, what a checkpoint
holds.

>>> from mixerlib.training import ALONE, begin, choose_device, dataset_for, load_recipe
>>> recipe = load_recipe("digits")
>>> run = begin(recipe, dataset_for(recipe), choose_device("cpu"), ALONE)
>>> run.steps, run.all_steps  # of 64 images each, in an epoch and in all
(23, 460)

The loop itself is in `mixerlib.training.loop`.
"""

import hashlib
import math
import time
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mixerlib.data import FILE_DATASETS, ImageSource, load_dataset
from mixerlib.models import create_model, model_entry
from mixerlib.records import Epoch, Part, provenance
from mixerlib.speed.compiling import WholeBatches, compiled
from mixerlib.speed.form import Form
from mixerlib.speed.training_step import fastest_form, form_of_settings, in_form
from mixerlib.training.distributed import Processes
from mixerlib.training.first_weights import load_first_weights
from mixerlib.training.fitting import check_early_size, check_parts_of_one, images_of
from mixerlib.training.optimizers import optimizer_for
from mixerlib.training.recipe import Recipe

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class RunWarning(UserWarning):
    """What a run says on a line, and goes on: how it is continued, what of its log was mended."""


@dataclass
class Run:
    """All that a training step needs and changes, and how far the run has come.

    Args:
        recipe: what is trained, and how.
        processes: those that share the run.
        images: in the training set.
        model: whose weights are trained.
        net: the same model as a step calls it: in a form, or shared among processes.
        form: of the step: the recipe's, or the one that was measured to be the fastest.
        average: of the weights so far, where the recipe has an `ema`.
        optimizer: of `optimizer_for`, with its moments.
        scaler: keeps float16's small gradients from vanishing; else idle.
        loss_and_correct: (2, steps) of the epoch: summed losses, images correct.
        epoch: the one that is under way.
        step: how many of its steps are done.
        test: loss, top-1 and top-5 when last looked at.
        curve: the epochs that are done.
        training_seconds: of the epoch that is under way.
        total_seconds: of the run so far, with its evaluations.
        continued: how often the run was taken up from a checkpoint.
        parts: of the run, by what computed them.
        clock_start: when `total_seconds` was 0.
    """

    recipe: Recipe
    processes: Processes
    images: int
    model: nn.Module
    net: nn.Module
    form: Form
    average: nn.Module | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    loss_and_correct: torch.Tensor
    epoch: int = 1
    step: int = 0
    test: tuple[float, float, float] | None = None
    curve: list[Epoch] = field(default_factory=list)
    training_seconds: float = 0.0
    total_seconds: float = 0.0
    continued: int = 0
    parts: list[Part] = field(default_factory=list)
    clock_start: float = field(default_factory=time.perf_counter)

    @property
    def evaluated_model(self) -> nn.Module:
        """The model whose accuracy counts, the moving average where there is one."""
        return self.model if self.average is None else self.average

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.loss_and_correct.shape[1]

    @property
    def steps_done(self) -> int:
        """Steps of the whole run that are done."""
        return (self.epoch - 1) * self.steps + self.step

    @property
    def all_steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.epochs * self.steps

    @property
    def images_seen(self) -> int:
        """Images of all steps that are done, counted each time they were seen."""
        of_this_epoch = min(self.step * self.recipe.batch_size, self.images)
        return (self.epoch - 1) * self.images + of_this_epoch

    def resume_clock(self) -> None:
        """Let `total_seconds` go on from where it stands; the time until now does not count."""
        self.clock_start = time.perf_counter() - self.total_seconds

    def stop_clock(self) -> None:
        """Set `total_seconds` to what has passed, the parts before an interruption included."""
        self.total_seconds = time.perf_counter() - self.clock_start


def begin(
    recipe: Recipe,
    dataset: ImageSource,
    device: torch.device,
    processes: Processes,
    form: Form | None = None,
    *,
    goes_on: bool = False,
) -> Run:
    """A run before its first step; the recipe's seed decides the weights it begins with.

    Args:
        recipe: what is trained, and how.
        dataset: the recipe's, on the device.
        device: where the model goes.
        processes: those that share the run.
        form: that of the steps, for a run that goes on as it began. None: the recipe's, or if it
            asks for the fastest one, what a measurement says.
        goes_on: whether a checkpoint's weights will replace those that it begins with; the file
            that the recipe's `weights` name need not be there then.

    Raises `ValueError` for a recipe that does not fit the data, the model or the processes.
    """
    images = images_of(recipe, dataset, processes)
    check_early_size(recipe, dataset)
    torch.manual_seed(recipe.seed)
    model = model_for(recipe, dataset)
    check_parts_of_one(model, recipe, dataset, processes)
    if not goes_on:
        load_first_weights(model, recipe)
    if recipe.frozen:
        model.requires_grad_(False)
        model.head.requires_grad_(True)
    model = model.to(device, torch.float32)  # whatever torch's default is
    form = form or form_for(recipe, model, dataset, processes)
    to_training(model, recipe)
    net = in_form(model, replace(form, compile=False, by_block=False))
    if processes.count > 1:
        net = DistributedDataParallel(net)
    if form.compile:
        torch.compiler.reset()  # of eight models in a process, the ninth would be left as it is
        mode = "reduce-overhead" if recipe.graphs else None  # as CUDA graphs
        whole = math.ceil(recipe.batch_size / recipe.accumulate)
        fast = compiled(net, form, mode)
        net = fast if processes.count > 1 else WholeBatches(fast, net, whole)
    return Run(
        recipe=recipe,
        processes=processes,
        images=images,
        model=model,
        net=net,
        form=form,
        average=deepcopy(model) if recipe.ema else None,
        optimizer=optimizer_for(recipe, model),
        scaler=torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16"),
        loss_and_correct=torch.zeros(2, math.ceil(images / recipe.batch_size), device=device),
        parts=[part_here(device, processes)],
    )


def to_training(model: nn.Module, recipe: Recipe) -> None:
    """Put a model in the mode that a step of the recipe has it in: of a frozen one, the head alone
    trains."""
    model.train(not recipe.frozen)
    model.head.train()


def part_here(device: torch.device, processes: Processes) -> Part:
    """The part of a run that begins here, as if with its first step."""
    here = provenance(device)
    return Part(1, processes.count, here.threads, here.torch, here.device, here.device_name)


def dataset_for(
    recipe: Recipe,
    root: str | Path | None = None,
    download: bool = False,
    workers: int | None = None,
    *,
    test_only: bool = False,
) -> ImageSource:
    """The recipe's data set, with its images in the form that the recipe asks for.

    Args:
        recipe: whose data set.
        root: the folder of data sets, as `load_dataset` takes it, and so the next ones.
        download: whether what is missing is fetched.
        workers: processes that read files; they change no image.
        test_only: whether imagenet may lack its training images.
    """
    reads_files = recipe.dataset in FILE_DATASETS  # these are cropped while they are read
    dataset = load_dataset(
        recipe.dataset,
        root,
        download,
        image_size=recipe.image_size,
        interpolation=recipe.interpolation,
        crop_pct=recipe.crop_pct,
        normalization=recipe.normalization,
        crop_area=recipe.crop_area if reads_files else None,
        workers=workers,
        test_only=test_only,
    )
    return dataset.hold_out(recipe.held_out) if recipe.held_out else dataset


def model_for(recipe: Recipe, dataset: ImageSource) -> nn.Module:
    """The recipe's model, fresh, with the channels, classes and image size of the data set."""
    options = {
        "in_channels": dataset.in_channels,
        "num_classes": dataset.num_classes,
        "image_size": dataset.image_size,
    }
    for option in options.keys() & recipe.model_options:
        raise ValueError(
            f"`{option}`={recipe.model_options[option]!r} is not for a recipe to set: "
            f"the data set {dataset.name!r} decides it"
        )
    known = model_entry(recipe.model).defaults  # few ask for the image's size
    options = {option: value for option, value in options.items() if option in known}
    return create_model(recipe.model, **options, **recipe.model_options)


@torch.enable_grad()
def form_for(recipe: Recipe, model: nn.Module, dataset: ImageSource, processes: Processes) -> Form:
    """The form of the recipe's training step; where it asks for the fastest, that is measured.

    On a batch of noise, as none of the forms depends on what the images show.
    """
    if not recipe.fastest:
        return form_of_settings(vars(recipe))
    if processes.count > 1:
        raise ValueError(
            f"`fastest`=True is for one process, not {processes.count}: each would choose for "
            f"itself. Run it once in one, and set what its record says"
        )
    device, noise = next(model.parameters()).device, stream(recipe.seed, "fastest")
    count = math.ceil(recipe.batch_size / recipe.accumulate)
    shape = (count, dataset.in_channels, *dataset.image_size)
    images = torch.randn(shape, generator=noise).to(device)
    labels = torch.randint(dataset.num_classes, (count,), generator=noise).to(device)
    return fastest_form(model, images, labels, PRECISIONS[recipe.precision])


def autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    """Convolutions and matrix products in the recipe's precision, the rest as torch sees fit."""
    dtype = PRECISIONS[recipe.precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def stream(seed: int, purpose: str, *place: int) -> torch.Generator:
    """A CPU generator for one purpose at one place of a run, such as the order of epoch 3.

    It depends on nothing that came before, so a run that is continued there draws the same.
    """
    name = "/".join(map(str, (seed, purpose, *place)))
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def update_average(run: Run) -> None:
    """Move the average towards the model, after a step; after the first it is the model.

    BatchNorm's statistics are averaged like the weights. torch's AveragedModel does the same, but
    makes the CPU wait for the GPU at every step.
    """
    assert run.average is not None  # as the recipe has an `ema`
    decay = run.recipe.ema if run.steps_done else 0.0
    both = ([*model.parameters(), *model.buffers()] for model in (run.average, run.model))
    kept, new = ([t.detach() for t in tensors if t.is_floating_point()] for tensors in both)
    get_ema_multi_avg_fn(decay)(kept, new, None)


def read_back(run: Run, values: torch.Tensor) -> torch.Tensor:
    """The values on the CPU. It waits for the device's queued steps, so the time is training's."""
    start = time.perf_counter()
    values = values.cpu()
    run.training_seconds += time.perf_counter() - start
    return values


def collect(run: Run) -> torch.Tensor:
    """`loss_and_correct` of the epoch so far, summed over all processes: (2, steps), on the CPU.

    From then on the first process holds them, and the others count from 0 again.
    """
    together = run.processes.sum(run.loss_and_correct)
    run.loss_and_correct = together if run.processes.is_first else torch.zeros_like(together)
    return read_back(run, together).double()
