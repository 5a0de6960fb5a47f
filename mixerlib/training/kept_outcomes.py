"""What a model makes of a large test set, image by image: kept as it grows, and shared.

The test set is cut into the same batches whatever happens, and a batch is the unit of work. So two
processes, or an evaluation that was stopped and gone on with, give the same numbers as one look at
all of it, to the last bit on the same machine.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

from mixerlib.checks import one_of, positive_int, shown
from mixerlib.data import ImageFiles, ImageSource
from mixerlib.data.progress import progress_bar
from mixerlib.data.source import made_on_cpu
from mixerlib.files import clear_parts, write_atomic
from mixerlib.training.distributed import ALONE, Processes
from mixerlib.training.evaluation import BATCH_SIZE, Evaluation, evaluating, outcomes, summary
from mixerlib.training.run import PRECISIONS
from mixerlib.training.session import Stopped, never
from mixerlib.weights.digests import check_digest, digest_of, to_bytes

SCHEMA = "mixerlib outcomes 1"
WHOLE, PART = "outcomes.safetensors", "outcomes-{}.safetensors"  # in the folder
SECONDS = 10  # between two writings of what is done
RANKED = 5


@dataclass(eq=False)
class Outcomes:
    """The outcomes of N test images in batches, as far as they are known; all on the CPU.

    Args:
        done: bool, whether a batch's are known.
        losses: float32 (V, N), cross-entropies, for each of V views of an image: itself, and the
            mean with its mirror image.
        ranked: int64 (V, N, 5), the classes with the highest logits.
        identity: what they are the outcomes of.
    """

    done: torch.Tensor
    losses: torch.Tensor
    ranked: torch.Tensor
    identity: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def none_yet(cls, batches: int, shape: tuple[int, int, int], identity: Mapping) -> "Outcomes":
        views, images, classes = shape
        return cls(
            torch.zeros(batches, dtype=torch.bool),
            torch.zeros(views, images),
            torch.zeros(views, images, min(RANKED, classes), dtype=torch.int64),
            identity,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"done": self.done, "losses": self.losses, "ranked": self.ranked}

    def write(self, file: Path) -> None:
        """Write all of it, in one file that is whole or not there."""
        write_atomic(file, to_bytes(self.tensors(), {"identity": json.dumps(self.identity)}))

    def take(self, other: "Outcomes", images_of: list[slice]) -> None:
        """Take over the batches that another has."""
        for batch in other.done.nonzero().flatten().tolist():
            self.done[batch] = True
            self.losses[:, images_of[batch]] = other.losses[:, images_of[batch]]
            self.ranked[:, images_of[batch]] = other.ranked[:, images_of[batch]]


@made_on_cpu()
def evaluate_in_folder(
    model: nn.Module,
    dataset: ImageSource,
    folder: str | Path | None = None,
    *,
    resume: bool = False,
    batch_size: int = BATCH_SIZE,
    flip_average: bool = False,
    precision: str = "float32",
    processes: Processes = ALONE,
    progress: bool = True,
    stop: Callable[[], str | None] = never,
) -> list[Evaluation]:
    """The model's result on a data set's test images; with `flip_average`, that of the logits
    averaged over each image and its mirror image too.

    Args:
        model: on the device of the data; afterwards every part of it is in its mode of before.
        dataset: on the model's device.
        folder: where the outcomes of all images are kept as they come. None: nowhere.
        resume: whether to go on with those that are in the folder.
        batch_size: images that go through the model together.
        flip_average: whether mirror images are looked at.
        precision: "float32", or by autocast "bfloat16" or "float16".
        processes: those that share the batches; each of them gets the whole result.
        progress: whether a bar is drawn on stderr where that is a terminal.
        stop: asked between two batches; a reason, in words, ends the evaluation with `Stopped`.

    Raises `ValueError` for a folder that holds outcomes without `resume`, or those of other
    weights, images or settings, and what reading the images raises.

    >>> from mixerlib.training import dataset_for, evaluate_in_folder, load_recipe, train
    >>> model, _ = train(load_recipe("digits", {"epochs": 1}), progress=False)
    >>> digits = dataset_for(load_recipe("digits"))
    >>> (result,) = evaluate_in_folder(model, digits, "looks", progress=False)
    >>> evaluate_in_folder(model, digits, "looks", resume=True)[0].loss == result.loss
    True
    """
    settings = {"views": 2 if flip_average else 1, "precision": precision}
    known, steps = _blank(model, dataset, batch_size, settings)
    images_of = [slice(int(step[0]), int(step[-1]) + 1) for step in steps]
    folder = None if folder is None else Path(folder)
    if folder is not None:
        _take_kept(folder, known, images_of, resume)
        processes.barrier()  # nobody writes before all have read
    owner = _owners(known, processes)
    work = _Work(model, dataset, known, images_of, folder, processes, precision)
    left = (owner < 0).nonzero().flatten()[processes.rank :: processes.count].tolist()
    work.do(left, [steps[batch] for batch in left], progress, stop)
    _together(known, owner, images_of, processes)
    if folder is not None and processes.is_first:
        known.write(folder / WHOLE)
        for file in folder.glob(PART.format("*")):
            file.unlink(missing_ok=True)
    labels, classes = dataset.test_labels.cpu(), dataset.num_classes
    views = zip(known.losses, known.ranked, strict=True)
    return [summary(losses, ranked, labels, classes) for losses, ranked in views]


def _blank(
    model: nn.Module, dataset: ImageSource, batch_size: int, settings: dict[str, Any]
) -> tuple[Outcomes, list[torch.Tensor]]:
    """Outcomes of which none is known yet, and the image numbers of each batch."""
    one_of("precision", settings["precision"], tuple(PRECISIONS))
    count = len(dataset.test_labels)
    if not count:
        raise ValueError(f"`dataset`={dataset.name!r} has no test images")
    steps = list(torch.arange(count).split(positive_int("batch_size", batch_size)))
    identity = _identity(model, dataset) | {"batch_size": batch_size} | settings
    shape = (settings["views"], count, dataset.num_classes)
    return Outcomes.none_yet(len(steps), shape, identity), steps


@dataclass(frozen=True)
class _Work:
    """The batches that this process does, and where it keeps them."""

    model: nn.Module
    dataset: ImageSource
    known: Outcomes
    images_of: list[slice]
    folder: Path | None
    processes: Processes
    precision: str

    def do(
        self,
        numbers: list[int],
        steps: list[torch.Tensor],
        progress: bool,
        stop: Callable[[], str | None],
    ) -> None:
        """Do these batches, and write what is done: now and then, and at the end in any case."""
        written = time.monotonic()
        shown_here = progress and self.processes.is_first
        total = sum(map(len, steps))
        with (
            progress_bar(shown_here, total=total, unit=" images", unit_scale=True) as bar,
            self._kept(),
        ):
            for number, (losses, ranked) in zip(numbers, self._outcomes(steps), strict=True):
                images = self.images_of[number]
                self.known.losses[:, images], self.known.ranked[:, images] = losses, ranked
                self.known.done[number] = True
                bar.update(images.stop - images.start)
                if time.monotonic() - written > SECONDS:
                    self._write()
                    written = time.monotonic()
                if number != numbers[-1] and (reason := stop()):
                    count = int(self.known.done.sum())
                    raise Stopped(f"{reason} after {count} of {len(self.known.done)} batches")

    def _outcomes(self, steps: list[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The losses (V, B) and ranked classes (V, B, 5) of each step's images."""
        dtype, device = PRECISIONS[self.precision], self.dataset.device
        views = len(self.known.losses)
        with evaluating(self.model):
            for images, labels in self.dataset.test_images_at(steps):
                inputs = self.dataset.normalize(images)
                with torch.autocast(device.type, dtype, enabled=dtype is not None):
                    logits = [self.model(inputs).float()]
                    if views > 1:
                        logits.append((logits[0] + self.model(inputs.flip(-1)).float()) / 2)
                seen = [outcomes(one, labels) for one in logits]
                losses, ranked = (torch.stack(part).cpu() for part in zip(*seen, strict=True))
                yield losses, ranked

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._write()

    def _write(self) -> None:
        if self.folder is not None and self.known.done.any():
            self.known.write(self.folder / PART.format(self.processes.rank))


def _identity(model: nn.Module, dataset: ImageSource) -> dict[str, Any]:
    """What outcomes depend on: the weights, the images and what is done to them."""
    files = hashlib.sha256(dataset.test_labels.cpu().numpy().tobytes())
    reading: dict[str, Any] = {}
    if isinstance(dataset, ImageFiles):
        for file in dataset.test_files.tolist():
            files.update(b"/".join(os.fsencode(file).split(os.fsencode(os.sep))[-2:]) + b"\0")
        reading = {"crop_pct": dataset.crop_pct, "interpolation": dataset.interpolation}
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    return {
        "schema": SCHEMA,
        "model": type(model).__name__,
        "weights": digest_of(state, {}),
        "dataset": dataset.name,
        "images": files.hexdigest(),
        "image_size": list(dataset.image_size),
        "mean": dataset.mean.tolist(),
        "std": dataset.std.tolist(),
        **reading,
    }


def _take_kept(folder: Path, known: Outcomes, images_of: list[slice], resume: bool) -> None:
    """Take over what lies in the folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(folder.glob(PART.format("*"))) + sorted(folder.glob(WHOLE))
    if files and not resume:
        raise ValueError(
            f"`out`='{folder}' holds the outcomes of an earlier evaluation; go on with it by "
            f"--resume (resume=True), or name another folder"
        )
    for file in files:
        clear_parts(file, older_than=3600)
        known.take(_read(file, known), images_of)


def _read(file: Path, known: Outcomes) -> Outcomes:
    """Outcomes from a file, of the same identity and shapes. `ValueError` for others."""
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        check_digest(tensors, metadata)
        identity = json.loads(metadata["identity"])
        kept = Outcomes(**tensors, identity=identity)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(
            f"{file} is damaged ({reason}); remove it, and its images are done anew"
        ) from None
    for name, value in known.identity.items():
        if identity.get(name) != value:
            raise ValueError(
                f"`out`='{file.parent}' holds the outcomes of another evaluation: its {name} is "
                f"{shown(identity.get(name))}, and here it is {shown(value)}"
            )
    if any(tensor.shape != kept.tensors()[name].shape for name, tensor in known.tensors().items()):
        raise ValueError(
            f"{file} is damaged (other shapes); remove it, and its images are done anew"
        )
    return kept


def _owners(known: Outcomes, processes: Processes) -> torch.Tensor:
    """For each batch the first process that knows its outcomes; -1: none."""
    ranks = torch.zeros(processes.count, len(known.done), dtype=torch.int64)
    ranks[processes.rank] = known.done.long()
    ranks = _summed(ranks, processes)
    return torch.where(ranks.any(dim=0), ranks.argmax(dim=0), -1)


def _together(
    known: Outcomes, owner: torch.Tensor, images_of: list[slice], processes: Processes
) -> None:
    """Give every process the outcomes of all, each image's from one process."""
    left = (owner < 0).nonzero().flatten()
    owner = owner.clone()
    owner[left] = torch.arange(len(left)) % processes.count
    mine = torch.zeros(known.losses.shape[1], dtype=torch.bool)
    for batch in (owner == processes.rank).nonzero().flatten().tolist():
        mine[images_of[batch]] = True
    counted = _summed(mine.long(), processes)
    if not bool((counted == 1).all()):
        raise RuntimeError("an image was counted twice, or not at all")
    known.losses = _summed(torch.where(mine, known.losses, 0.0), processes)
    known.ranked = _summed(torch.where(mine[:, None], known.ranked, 0), processes)
    known.done[:] = True


def _summed(tensor: torch.Tensor, processes: Processes) -> torch.Tensor:
    """The sum over all processes, on the CPU; NCCL adds on GPUs only."""
    if processes.count > 1 and torch.distributed.get_backend() == "nccl":
        return processes.sum(tensor.cuda()).cpu()
    return processes.sum(tensor)
