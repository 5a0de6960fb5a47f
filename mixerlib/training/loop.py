"""The training loop: images augmented on the device, steps, a schedule, a run that survives.

Chapter 13 takes it piece by piece. Nothing random is carried from step to step: the order of an
epoch is drawn from (seed, epoch), the augmentation of a batch from (seed, epoch, step). So a run
that is stopped anywhere and continued sees the same numbers as one that was not, and so does one
that several processes share.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from mixerlib.data import ImageSource
from mixerlib.data.progress import progress_bar
from mixerlib.data.source import made_on_cpu
from mixerlib.records import Epoch, Record
from mixerlib.speed.training_step import form_of_settings
from mixerlib.training import checkpoint
from mixerlib.training.batches import Batch, batches_left
from mixerlib.training.claims import check_claim, claimed
from mixerlib.training.distributed import ALONE, Processes, choose_device
from mixerlib.training.evaluation import BATCH_SIZE, evaluate_on
from mixerlib.training.metrics import MetricsLog
from mixerlib.training.recipe import Recipe
from mixerlib.training.result import record_of
from mixerlib.training.run import (
    Run,
    autocast,
    begin,
    collect,
    dataset_for,
    read_back,
    to_training,
    update_average,
)
from mixerlib.training.schedule import learning_rate
from mixerlib.training.session import Session, Stopped, diverged, never

ASK_EVERY = 20  # steps after which several processes agree on whether to stop


def train(
    recipe: Recipe,
    dataset: ImageSource | None = None,
    device: str | None = None,
    progress: bool = True,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    tensorboard: bool = False,
    stop: Callable[[], str | None] = never,
    processes: Processes = ALONE,
) -> tuple[nn.Module, Record]:
    """A model trained by the recipe, in evaluation mode, and the record of the run.

    Args:
        recipe: what is trained, and how.
        dataset: the recipe's, already loaded, or a part of it. None: it is loaded.
        device: one that `choose_device` knows. None: the GPU if there is one.
        progress: whether a bar is drawn on stderr where that is a terminal.
        folder: a folder that exists, for `metrics.jsonl` and, after every epoch, `checkpoint.pt`.
        resume: whether to go on from the checkpoint in `folder`, where there is one.
        checkpoint_every: steps after which a checkpoint is written, too.
        tensorboard: whether the metrics are also written for TensorBoard.
        stop: asked between steps. When it returns a reason, a checkpoint is written and `Stopped`
            raised.
        processes: those that share the run, and every batch; their gradients are averaged.
            BatchNorm sees a process's own share; after an epoch its statistics are averaged.

    The recipe's seed is given to torch's global generator. On a CPU, the same recipe, data, number
    of threads and of processes give the same weights to the last bit, however often the run was
    stopped and continued. On a GPU some kernels add in changing order.

    Raises `ValueError` for a recipe that does not fit its data or its model, or a checkpoint of
    another run, `OSError` where a file cannot be written, `Stopped`, and `Diverged`. Chapter 13b.

    >>> from mixerlib.training import load_recipe, train
    >>> model, record = train(load_recipe("digits", {"epochs": 2}), progress=False)
    >>> record.parameters, record.curve[1].train_loss < record.curve[0].train_loss
    (21322, True)
    """
    place = None if folder is None else Path(folder)
    session = Session(place, resume, checkpoint_every, tensorboard, progress, stop, processes)
    with claimed(session.folder) if session.folder and session.writes else nullcontext():
        computes = choose_device(device)
        images = (dataset_for(recipe) if dataset is None else dataset).to(computes)
        if computes.type == "cuda":
            torch.cuda.reset_peak_memory_stats(computes)  # of runs before this one in the process
        run = begin_or_resume(recipe, images, computes, session)
        fit(run, images, session)
        return run.evaluated_model.eval(), record_of(run, images, computes)


@made_on_cpu()
@torch.inference_mode(False)
def begin_or_resume(
    recipe: Recipe, dataset: ImageSource, device: torch.device, session: Session
) -> Run:
    """A run before its first step, or where the session's checkpoint left it.

    Args:
        recipe: what is trained, and how.
        dataset: the recipe's, on the device.
        device: where the model goes.
        session: its folder, whether it is to be resumed, and who shares the run.

    It seeds torch's global generator. What `train` does is this, then `fit`, then `record_of`; who
    holds the run between them can watch it. Raises `ValueError` as `train` does.

    >>> from mixerlib.training import Session, begin_or_resume, choose_device, dataset_for, fit
    >>> from mixerlib.training import load_recipe, record_of
    >>> recipe = load_recipe("digits", {"epochs": 1})
    >>> images, device = dataset_for(recipe), choose_device("cpu")
    >>> run = begin_or_resume(recipe, images, device, Session(progress=False))
    >>> fit(run, images, Session(progress=False))
    >>> run.steps_done, record_of(run, images, device).train_images
    (23, 1437)
    """
    path = session.checkpoint
    session.processes.barrier()  # the first may still be writing what all of them go on from
    state = checkpoint.load(path, recipe) if session.resume and path and path.exists() else {}
    form = form_of_settings(state["form"]) if "form" in state else None  # not measured again
    run = begin(recipe, dataset, device, session.processes, form, goes_on=bool(state))
    if state:
        checkpoint.continue_from(run, state, path)
    return run


@made_on_cpu()
@torch.inference_mode(False)
@torch.enable_grad()
def fit(run: Run, dataset: ImageSource, session: Session) -> None:
    """Do the epochs that a run has left, with checkpoints and metrics as the session asks.

    Raises `Stopped` and `Diverged`.
    """
    recipe = run.recipe
    log = None
    if session.folder and session.writes:
        log = MetricsLog(
            session.folder,
            len(run.curve),
            session.tensorboard,
            curve=run.curve,
            steps=run.steps,
        )
    run.resume_clock()
    with (
        closing(log) if log else nullcontext(),
        torch.backends.cudnn.flags(enabled=True, benchmark=True),  # cuDNN, and the best it finds
        progress_bar(
            session.progress and session.writes,
            total=recipe.epochs * run.images,
            initial=run.images_seen,
            unit=" images",
            unit_scale=True,
            mininterval=0.5,
        ) as bar,
    ):
        while run.epoch <= recipe.epochs:
            fit_epoch(run, dataset, session, bar)
            try:
                losses, rates = finish_epoch(run, dataset, session.stop)
            except Stopped:
                save(run, session)
                raise
            if log:
                log.add(run.curve[-1], losses, rates)
            save(run, session)


def fit_epoch(run: Run, dataset: ImageSource, session: Session, bar: tqdm) -> None:
    """Do the steps that the run's epoch has left. Raises `Stopped` when the session says so."""
    bar.set_description(f"epoch {run.epoch}/{run.recipe.epochs}", refresh=False)
    for count in training_steps(run, dataset):
        if bar.update(count):  # true when the bar was redrawn, twice a second
            latest = read_back(run, run.loss_and_correct[:, run.step - 1]) * run.processes.count
            loss, accuracy = (latest / count).tolist()
            bar.set_postfix_str(f"loss {loss:.3f}, accuracy {accuracy:.1%}", refresh=False)
        if reason := agreed(session.stop, run):
            save(run, session)
            raise Stopped(f"{reason} after step {run.steps_done} of {run.all_steps}")
        if session.checkpoint_every and run.steps_done % session.checkpoint_every == 0:
            save(run, session)


def save(run: Run, session: Session) -> None:
    """Write a checkpoint where the session has a folder. `Diverged` if it would be of no use."""
    checked(run)
    run.stop_clock()
    if session.folder and session.checkpoint and session.writes:
        check_claim(session.folder)
        checkpoint.save(session.checkpoint, run.recipe, checkpoint.state_of(run))


def training_steps(run: Run, dataset: ImageSource) -> Iterator[int]:
    """Do the steps that the epoch has left; after each, yield its number of images."""
    to_training(run.model, run.recipe)
    start = time.perf_counter()
    for batch in batches_left(run, dataset):
        run.loss_and_correct[:, run.step] = train_step(run, batch)
        run.step += 1
        if run.step == run.steps:  # each process has normalised by statistics of its own
            run.processes.average(run.model.buffers())
        run.training_seconds += time.perf_counter() - start
        yield batch.size
        start = time.perf_counter()  # what is done between two steps is not training


def train_step(run: Run, batch: Batch) -> torch.Tensor:
    """One step of the optimizer: the sum of its images' losses, and how many are correct, as (2,).

    Correct is an image whose highest logit is its label, as the model stood before the step.
    Chapter 13.
    """
    recipe = run.recipe
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, (run.steps_done + 1) / run.all_steps)
    run.optimizer.zero_grad()
    loss_and_correct = torch.zeros(2, device=batch.images.device)
    tensors = (batch.images, batch.labels, batch.targets)
    parts = list(zip(*(t.chunk(recipe.accumulate) for t in tensors), strict=True))
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
            run.scaler.scale(loss * (run.processes.count / batch.size)).backward()
        correct = (logits.detach().argmax(dim=1) == y).sum()
        loss_and_correct += torch.stack((loss.detach(), correct))
    if recipe.clip_norm is not None:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), recipe.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average is not None:
        update_average(run)
    return loss_and_correct


def finish_epoch(
    run: Run, dataset: ImageSource, stop: Callable[[], str | None] = never
) -> tuple[list[float], list[float]]:
    """Validate the model if it is time, add the epoch to the curve, and turn to the next one.

    Returns the mean loss and the learning rate of each of the epoch's steps. Raises `Stopped` when
    `stop`, asked between the batches of the test set, gives a reason; the epoch is then not ended.
    """
    recipe, steps = run.recipe, run.steps
    sums = checked(run)
    tested = run.epoch == recipe.epochs or run.epoch % recipe.evaluate_every == 0
    if tested:
        run.test = validate(run, dataset, stop)
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
            test_loss=run.test[0] if run.test and tested else None,
            test_accuracy=run.test[1] if run.test and tested else None,
            training_seconds=run.training_seconds,
        )
    )
    run.epoch, run.step, run.training_seconds = run.epoch + 1, 0, 0.0
    run.loss_and_correct.zero_()
    return (sums[0] / sizes).tolist(), rates


def validate(
    run: Run, dataset: ImageSource, stop: Callable[[], str | None] = never
) -> tuple[float, float, float]:
    """Loss, top-1 and top-5 on the test set, in float32; every process looks at its part of it.

    `stop` is asked between batches, in several processes as often as all of them have batches: the
    parts are not equally large.
    """
    processes, model = run.processes, run.evaluated_model
    processes.broadcast(model.buffers())  # of a moving average they are each process's own
    part, most = (processes.rank, processes.count), BATCH_SIZE
    if dataset.crops_itself:  # photographs: as many as a step holds, which needs more memory
        most = min(most, max(1, run.recipe.batch_size // run.recipe.accumulate // processes.count))
    batches = math.ceil(len(dataset.test_labels) // processes.count / most)  # of the smallest part
    moments = iter(range(1, batches))

    def ask() -> None:
        if next(moments, None) and (reason := reason_of_any(stop, run)):
            done = f"after step {run.steps_done} of {run.all_steps}"
            raise Stopped(f"{reason} {done}, during the test set")

    result = evaluate_on(model, dataset, part=part, batch_size=most, between=ask)
    if processes.count == 1:
        return result.loss, result.top1, result.top5
    means = torch.tensor((result.loss, result.top1, result.top5), dtype=torch.float64)
    sums = processes.sum(means.to(run.loss_and_correct.device) * len(result.predictions))
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
    """The reason to stop now, if any process has one.

    Several processes compare their answers every `ASK_EVERY` steps and at the end of an epoch, so
    that all of them stop after the same step.
    """
    alone, last = run.processes.count == 1, run.step == run.steps
    return reason_of_any(stop, run) if alone or last or run.step % ASK_EVERY == 0 else None


def reason_of_any(stop: Callable[[], str | None], run: Run) -> str | None:
    """The reason to stop now, if any process has one. All of them must ask this together."""
    reason = stop()
    if run.processes.count == 1:
        return reason
    reasons = torch.tensor(float(reason is not None), device=run.loss_and_correct.device)
    return (reason or "stopped by another process") if run.processes.sum(reasons) else None
