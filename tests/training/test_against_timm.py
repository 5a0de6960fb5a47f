"""Evaluation on an ImageNet, and timm's own evaluation of the same files, to the last digit.

What timm's validate.py does, which its package does not hold: its data set, its transform, its
loader and its meters, with timm's own ConvMixer and the weights that ours reads from a file. Where
TIMM_SCRIPTS names a folder with train.py and validate.py, both run as they are.
"""

import json
import os
from pathlib import Path

import made_up_imagenet as made
import pytest
import torch
import torch.nn.functional as F
from commands import run
from helpers import Later, trained_look
from safetensors.torch import load_file

from mixerlib.data import PREPROCESSINGS, Preprocessing, load_dataset

timm_data = Later("timm.data")
timm_utils = Later("timm.utils")
timm_convmixer = Later("timm.models.convmixer")
timm_scripts = Later("book.tools.timm_scripts")
SCRIPTS = os.environ.get("TIMM_SCRIPTS")

# timm leaves the files of images open
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SIZE = {"dim": 16, "depth": 2, "kernel_size": 3, "patch_size": 4}
SIDE, BATCH = 32, 8
# Those known by name, in small; and a crop where ⌊32 / 0.9⌋ is not the nearest whole number
WAYS = {
    name: Preprocessing(SIDE, way.interpolation, way.crop_pct, way.normalization)
    for name, way in PREPROCESSINGS.items()
} | {"odd crop": Preprocessing(SIDE, "bicubic", 0.9)}
MEAN_AND_STD = {
    "dataset": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "unit": ((0.0,) * 3, (1.0,) * 3),
}


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Path:
    """A folder with a made-up ImageNet, timm's weights for it, and a recipe for each way."""
    root = tmp_path_factory.mktemp("imagenet")
    made.write_validation(root)
    torch.manual_seed(0)
    theirs = trained_look(timm_convmixer.ConvMixer(**SIZE, num_classes=len(made.CLASSES)))
    torch.save(theirs.state_dict(), root / "timm.pth")
    for name, way in WAYS.items():
        settings = {"dataset": "imagenet", "model": "convmixer", "model_options": SIZE}
        (root / f"{name}.yaml").write_text(json.dumps(settings | way.settings()))
    return root


def by_timm(root: Path, way: Preprocessing) -> tuple[dict[str, float], list[str], torch.Tensor]:
    """As validate.py: its numbers, and for each file the cross-entropy of its logits."""
    mean, std = MEAN_AND_STD[way.normalization]
    model = timm_convmixer.ConvMixer(**SIZE, num_classes=len(made.CLASSES))
    model.load_state_dict(torch.load(root / "timm.pth", weights_only=True))
    dataset = timm_data.create_dataset("", root=str(root / "imagenet" / "val"))
    loader = timm_data.create_loader(
        dataset,
        input_size=(3, SIDE, SIDE),
        batch_size=BATCH,
        use_prefetcher=False,
        interpolation=way.interpolation,
        mean=mean,
        std=std,
        num_workers=0,
        crop_pct=way.crop_pct,
        pin_memory=False,
        device=torch.device("cpu"),
    )
    losses, top1, top5 = (timm_utils.AverageMeter() for _ in range(3))
    each = []
    model.eval()
    with torch.inference_mode():
        for images, target in loader:
            output = model(images)
            acc1, acc5 = timm_utils.accuracy(output, target, topk=(1, 5))
            losses.update(F.cross_entropy(output, target).item(), len(images))
            top1.update(acc1.item(), len(images))
            top5.update(acc5.item(), len(images))
            each.append(F.cross_entropy(output, target, reduction="none"))
    numbers = {"top1": round(top1.avg, 4), "top5": round(top5.avg, 4), "loss": round(losses.avg, 4)}
    return numbers, dataset.filenames(basename=True), torch.cat(each)


@pytest.mark.parametrize("name", WAYS)
def test_evaluate_is_timms_validation_to_the_last_digit(capsys, imagenet, name, tmp_path):
    way = WAYS[name]
    theirs, files, losses = by_timm(imagenet, way)
    status, out, err = run(
        capsys,
        *("evaluate", imagenet / "timm.pth", "--recipe", imagenet / f"{name}.yaml", "--json"),
        *("--data", imagenet, "--batch-size", BATCH, "--workers", 0, "--device", "cpu"),
        *("--out", tmp_path / "kept"),
    )
    assert (status, err) == (0, "")
    ours = json.loads(out)
    assert ours["images"] == made.IMAGES
    assert round(100 * ours["top1"], 4) == theirs["top1"]
    assert round(100 * ours["top5"], 4) == theirs["top5"]
    assert round(ours["loss"], 4) == theirs["loss"]
    assert 0 < ours["top1"] < ours["top5"] < 1  # so that a mistake would show
    # every image by itself, to the last bit
    dataset = load_dataset("imagenet", imagenet, image_size=SIDE, test_only=True)
    order = [Path(os.fsdecode(file)).name for file in dataset.test_files]
    kept = load_file(tmp_path / "kept" / "outcomes.safetensors")["losses"][0]
    assert order == files
    assert torch.equal(kept, losses)


def test_timms_results_differ_between_the_ways(imagenet):
    """Else the test above would compare nothing but numbers of images."""
    seen = {name: by_timm(imagenet, way)[2] for name, way in WAYS.items()}
    names = list(seen)
    same = [(a, b) for i, a in enumerate(names) for b in names[:i] if torch.equal(seen[a], seen[b])]
    assert same == []


def test_the_flat_folder_gives_the_numbers_of_the_folders_of_classes(capsys, imagenet, tmp_path):
    made.write_validation(tmp_path, in_classes=False)
    made.write_kit(tmp_path / "imagenet" / "ILSVRC2012_devkit_t12" / "data")
    reports = []
    for data in (imagenet, tmp_path):
        arguments = ("evaluate", imagenet / "timm.pth", "--recipe", imagenet / "convmixer.yaml")
        flags = ("--data", data, "--batch-size", 1, "--workers", 0, "--device", "cpu", "--json")
        status, out, err = run(capsys, *arguments, *flags)
        assert (status, err) == (0, "")
        reports.append(json.loads(out))
    folders, flat = reports
    assert flat.pop("loss") == pytest.approx(folders.pop("loss"), rel=1e-12)  # in another order
    assert flat == folders


@pytest.mark.skipif(
    not SCRIPTS,
    reason="TIMM_SCRIPTS names no folder with timm's train.py and validate.py, which its package "
    "does not hold; book/records/timm has a run of them",
)
def test_timms_own_scripts_run_with_our_model_and_agree(tmp_path):
    made.write_training(tmp_path)
    made.write_validation(tmp_path)
    (tmp_path / "run").mkdir()
    given = (Path(SCRIPTS), tmp_path / "imagenet", tmp_path / "run", "a test")
    printed, record = timm_scripts.run(*given)
    assert record.as_printed() == record.theirs
    assert record.images == made.IMAGES and record.train_images == 2 * len(made.CLASSES)
    assert "*** Best metric: " in printed["train"]
    assert f"Acc@1 {float(record.theirs['top1']):.3f}" in printed["validate"]
