"""The training loop: images augmented on the device, AdamW, a schedule, and a run that survives.

mixerlib train cifar10/splitmixer_i_256_8 --download    # on the command line
model, record = train(load_recipe("digits"))            # in a notebook

Chapter 13 takes it piece by piece. Nothing random is carried from step to step: the order of an
epoch is drawn from (seed, epoch), the augmentation of a batch from (seed, epoch, step). So a run
that is stopped anywhere and continued sees the same numbers as one that was not, and so does one
that several processes share.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from mixerlib.records import Epoch, Record, peak_memory, provenance
from mixerlib.speed.training_step import form_of_settings, settings_of_form
from mixerlib.training import checkpoint
from mixerlib.training.distributed import ALONE, Processes
from mixerlib.training.evaluation import evaluate_on
from mixerlib.training.metrics import MetricsLog
from mixerlib.training.recipe import Recipe
from mixerlib.training.run import (
    PRECISIONS,
    Images,
    Run,
    augmentation_for,
    begin,
    choose_device,
    collect,
    continue_from,
    dataset_for,
    learning_rate,
    read_back,
    state_of,
    stream,
    update_average,
)

ASK_EVERY = 20  # steps after which several processes agree on whether to stop


class Diverged(ArithmeticError):
    """The loss of a run is not a finite number any more; the message says since when."""


class Stopped(Exception):
    """A run was told to stop, and did so between two steps; the message says where."""


def train(
    recipe: Recipe,
    dataset: Images | None = None,
    device: str | None = None,
    progress: bool = True,
    *,
    folder: Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    tensorboard: bool = False,
    stop: Callable[[], str | None] = lambda: None,
    processes: Processes = ALONE,
) -> tuple[nn.Module, Record]:
    """A model trained by the recipe, in evaluation mode, and the record of the run.

    `dataset` is the recipe's, already loaded, or a part of it. `device` is one that
    `choose_device` knows. With `progress` a bar is drawn on stderr where that is a terminal.

    With a `folder`, which must exist, the run writes `metrics.jsonl` there (with `tensorboard` also
    its files) and, after every epoch and every `checkpoint_every` steps, `checkpoint.pt`. With
    `resume` it goes on from that file where there is one. `stop` is asked between steps; when it
    returns a reason, a checkpoint is written and `Stopped` raised.

    Each of `processes` works on its share of every batch, and the gradients are averaged: the batch
    is the recipe's whatever their number. BatchNorm sees a process's own share.

    The recipe's seed is given to torch's global generator. On a CPU, the same recipe, data, number
    of threads and of processes give the same weights to the last bit, however often the run was
    stopped and continued. On a GPU some kernels add in changing order.

    Raises `ValueError` for a recipe that does not fit its data or its model, or a checkpoint of
    another run, `OSError` for a file that cannot be written, `Stopped`, and `Diverged`.
    """
    device = choose_device(device)
    dataset = (dataset_for(recipe) if dataset is None else dataset).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # of runs before this one in the process
    path = folder / "checkpoint.pt" if folder else None
    processes.wait_for_all()  # the first may still be writing what all of them go on from
    state = checkpoint.load(path, recipe) if resume and path and path.exists() else {}
    form = form_of_settings(state["form"]) if "form" in state else None  # not measured again
    run = begin(recipe, dataset, device, processes, form)
    if state:
        continue_from(run, state)
    log = MetricsLog(folder, len(run.curve), tensorboard) if folder and processes.is_first else None
    before, start = run.total_seconds, time.perf_counter()

    def save() -> None:
        checked(run)  # a checkpoint of a run that has diverged would be of no use
        run.total_seconds = before + time.perf_counter() - start
        if path and processes.is_first:
            checkpoint.save(path, recipe, state_of(run))

    with (
        closing(log) if log else nullcontext(),
        torch.backends.cudnn.flags(enabled=True, benchmark=True),  # cuDNN, and the best it finds
        tqdm(
            total=recipe.epochs * run.images,
            initial=run.images_seen,
            unit=" images",
            unit_scale=True,
            mininterval=0.5,
            disable=None if progress and processes.is_first else True,
        ) as bar,
    ):
        while run.epoch <= recipe.epochs:
            bar.set_description(f"epoch {run.epoch}/{recipe.epochs}", refresh=False)
            for count in training_steps(run, dataset):
                if bar.update(count):  # true when the bar was redrawn, twice a second
                    sums = read_back(run, run.sums[:, run.step - 1]) * processes.count
                    loss, accuracy = (sums / count).tolist()
                    bar.set_postfix_str(f"loss {loss:.3f}, accuracy {accuracy:.1%}", refresh=False)
                if reason := agreed(stop, run):
                    save()
                    raise Stopped(f"{reason} after step {run.steps_done} of {run.all_steps}")
                if checkpoint_every and run.steps_done % checkpoint_every == 0:
                    save()
            losses, rates = finish_epoch(run, dataset)
            if log:
                log.add(run.curve[-1], losses, rates)
            save()
    return run.judged.eval(), record_of(run, dataset, device)


def training_steps(run: Run, dataset: Images) -> Iterator[int]:
    """Do the steps of the epoch that are still to do; after each, tell its number of images."""
    recipe, processes = run.recipe, run.processes
    augment = augmentation_for(recipe, dataset)
    run.model.train(not recipe.frozen)
    run.model.head.train()
    order = torch.randperm(run.images, generator=stream(recipe.seed, "order", run.epoch))
    batches = order.split(recipe.batch_size)[run.step :]  # of all processes together
    own = [batch[processes.part(len(batch))] for batch in batches]
    loaded = dataset.training_batches(own, seed=recipe.seed, epoch=run.epoch)

    start = time.perf_counter()
    for batch, (images, labels) in zip(batches, loaded, strict=True):
        draws = augment.draw(
            len(batch),
            dataset.image_size,
            stream(recipe.seed, "augmentation", run.epoch, run.step),
            indices=batch,
            epoch=run.epoch,
            seed=recipe.seed,
        )
        draws = {name: draw[processes.part(len(batch))] for name, draw in draws.items()}
        images, targets = augment(images, labels, draws, dataset.normalise, dataset.num_classes)
        images = images.contiguous(memory_format=run.form.memory_format)
        run.sums[:, run.step] = train_step(run, images, labels, targets, len(batch))
        run.step += 1
        run.training_seconds += time.perf_counter() - start
        yield len(batch)
        start = time.perf_counter()  # what is done between two steps is not training


def train_step(
    run: Run, images: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, batch_size: int
) -> torch.Tensor:
    """One step of AdamW: the sum of its images' losses, and the number of its hits, as (2,).

    `images` (B, C, H, W) are normalised, `labels` (B,) their classes, and `targets` what the loss
    asks for: the labels again, or shares (B, K). `batch_size` counts the images of all processes. A
    hit is an image whose highest logit is its label, as the model stood before the step.
    """
    recipe = run.recipe
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, (run.steps_done + 1) / run.all_steps)
    run.optimizer.zero_grad()
    sums = torch.zeros(2, device=images.device)
    parts = list(zip(*(t.chunk(recipe.accumulate) for t in (images, labels, targets)), strict=True))
    for i, (x, y, target) in enumerate(parts):
        # several processes exchange their gradients once, in the backward pass of the last part
        alone = run.processes.count == 1 or i == len(parts) - 1
        with nullcontext() if alone else run.net.no_sync():
            with autocast(x.device, recipe):
                logits = run.net(x)
            loss = F.cross_entropy(
                logits.float(), target, label_smoothing=recipe.label_smoothing, reduction="sum"
            )
            # the mean over the whole batch; DDP divides the summed gradients by the processes
            run.scaler.scale(loss * (run.processes.count / batch_size)).backward()
        sums += torch.stack((loss.detach(), (logits.detach().argmax(dim=1) == y).sum()))
    if recipe.clip_norm is not None:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), recipe.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average is not None:
        update_average(run)
    return sums


def finish_epoch(run: Run, dataset: Images) -> tuple[list[float], list[float]]:
    """Judge the model if it is time, add the epoch to the curve, and turn to the next one.

    Returns the mean loss and the learning rate of each of the epoch's steps.
    """
    recipe, steps = run.recipe, run.sums.shape[1]
    sums = checked(run)
    tested = run.epoch == recipe.epochs or run.epoch % recipe.evaluate_every == 0
    if tested:
        run.test = judge(run, dataset)
        if not math.isfinite(run.test[0]):
            where = f"the loss is not finite on the test set after epoch {run.epoch}"
            raise diverged(run, where, run.steps_done)
    first = run.steps_done - steps + 1
    rates = [learning_rate(recipe, (first + i) / run.all_steps) for i in range(steps)]
    sizes = torch.full((steps,), recipe.batch_size)
    sizes[-1] = run.images - recipe.batch_size * (steps - 1)
    run.curve.append(
        Epoch(
            epoch=run.epoch,
            learning_rate=rates[-1],
            train_loss=sums[0].sum().item() / run.images,
            train_accuracy=sums[1].sum().item() / run.images,
            test_loss=run.test[0] if tested else None,
            test_accuracy=run.test[1] if tested else None,
            training_seconds=run.training_seconds,
        )
    )
    run.epoch, run.step, run.training_seconds = run.epoch + 1, 0, 0.0
    run.sums.zero_()
    return (sums[0] / sizes).tolist(), rates


def judge(run: Run, dataset: Images) -> tuple[float, float, float]:
    """Loss, top-1 and top-5 on the test set, in float32; every process looks at its part of it."""
    processes = run.processes
    processes.make_equal(run.judged.buffers())  # BatchNorm's statistics are each process's own
    found = evaluate_on(run.judged, dataset, part=(processes.rank, processes.count))
    if processes.count == 1:
        return found.loss, found.top1, found.top5
    sums = torch.tensor((found.loss, found.top1, found.top5), dtype=torch.float64)
    sums = processes.sum(sums.to(run.sums.device) * len(found.predictions))
    loss, top1, top5 = (sums / len(dataset.test_labels)).tolist()
    return loss, top1, top5


def checked(run: Run) -> torch.Tensor:
    """The epoch's sums so far, by `collect`; `Diverged` when a loss or a weight is no number."""
    sums = collect(run)
    bad = (~sums[0].isfinite()).nonzero()
    if len(bad):
        step = run.steps_done - run.step + bad[0].item() + 1
        where = f"the loss is not finite at step {step}, in epoch {run.epoch}"
        raise diverged(run, where, step)
    if not nn.utils.get_total_norm(run.model.parameters()).isfinite():  # no loss has seen it yet
        where = f"the weights are not finite after step {run.steps_done}, in epoch {run.epoch}"
        raise diverged(run, where, run.steps_done)
    return sums


def agreed(stop: Callable[[], str | None], run: Run) -> str | None:
    """Why the run shall stop now, if it shall. Several processes ask each other now and then."""
    if run.processes.count == 1:
        return stop()
    if run.step % ASK_EVERY and run.step < run.sums.shape[1]:
        return None
    reason = stop()
    asked = torch.tensor(float(reason is not None), device=run.sums.device)
    return (reason or "stopped by another process") if run.processes.sum(asked) else None


def record_of(run: Run, dataset: Images, device: torch.device) -> Record:
    """The record of a run that has done all its epochs."""
    settings = asdict(run.recipe) | settings_of_form(run.form) | {"fastest": False}  # as it was
    seconds = sum(row.training_seconds for row in run.curve)
    loss, top1, top5 = run.test
    return Record(
        recipe=settings.pop("name"),
        settings=settings,
        seed=run.recipe.seed,
        parameters=sum(p.numel() for p in run.model.parameters()),
        train_images=run.images,
        test_images=len(dataset.test_labels),
        curve=run.curve,
        test_loss=loss,
        test_accuracy=top1,
        test_top5=top5,
        training_seconds=seconds,
        total_seconds=run.total_seconds,
        images_per_second=run.recipe.epochs * run.images / seconds,
        peak_memory_bytes=peak_memory(device),
        processes=run.processes.count,
        continued=run.continued,
        provenance=provenance(device),
    )


def autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    """Convolutions and matrix products in the recipe's precision, the rest as torch sees fit."""
    dtype = PRECISIONS[recipe.precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def diverged(run: Run, where: str, steps_done: int) -> Diverged:
    """The error for what is no longer finite."""
    recipe = run.recipe
    rate = learning_rate(recipe, steps_done / run.all_steps)
    clip = "some clip_norm" if recipe.clip_norm is None else "a smaller clip_norm"
    return Diverged(
        f"{where}, at learning rate {rate:.3g}; "
        f"try a smaller max_learning_rate (now {recipe.max_learning_rate:g}), {clip} "
        f"(now {recipe.clip_norm}) or a larger batch_size (now {recipe.batch_size})"
    )
