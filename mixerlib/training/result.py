"""What a run comes to when all its epochs are done: its record."""

from dataclasses import asdict

import torch

from mixerlib.data import ImageSource
from mixerlib.records import Record, peak_memory, provenance
from mixerlib.speed.training_step import settings_of_form
from mixerlib.training.run import Run
from mixerlib.weights.saving import file_sha256


def record_of(run: Run, dataset: ImageSource, device: torch.device) -> Record:
    """The record of a run that has done all its epochs, on this data set and device. The
    example of `begin_or_resume` makes one.
    """
    settings = asdict(run.recipe) | settings_of_form(run.form) | {"fastest": False}  # as it was
    seconds = sum(row.training_seconds for row in run.curve)
    assert run.test is not None  # after the last epoch
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
        weights_sha256=file_sha256(run.evaluated_model),
        parts=run.parts,
    )
