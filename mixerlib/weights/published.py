"""Weights that others have published, by name: where they lie, and what they need to be right.

>>> from mixerlib.weights import weights_of
>>> best, *others = weights_of("convmixer_1536_20")
>>> best.name, best.top1, str(best.preprocessing)
('convmixer_1536_20.timm', 81.382, '224×224, bicubic, crop 0.96, normalization dataset')
>>> weights_of("splitmixer_i_256_8")  # of SplitMixer none is published
()

What is in the table below is as its publisher says it; `source` names the place. The sizes of files
are in 10⁶ bytes.
"""

import hashlib
import http.client
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mixerlib.checks import did_you_mean, shown
from mixerlib.data import PREPROCESSINGS, DataDamaged, DataNotFound, Preprocessing
from mixerlib.data.fetching import WrongContent, fetch
from mixerlib.models import list_models, model_entry

LARGEST = 2 * 10**9  # bytes of a download whose size is not stated
# MindSpore's course enlarges CIFAR's images whole; no preset for photographs does that
PREPARED = {**PREPROCESSINGS, "enlarged": Preprocessing(interpolation="bilinear", crop_pct=None)}


@dataclass(frozen=True)
class PublishedWeights:
    """A file of trained weights, and all that is needed to use it as it was meant.

    Args:
        name: as `--weights` takes it.
        model: whose weights they are, as `create_model` knows it.
        url: where the file lies.
        source: who says so.
        layout: of its names, as `mixerlib.weights` calls it.
        prepared_by: the name among `PREPROCESSINGS` of what its images go through, or "enlarged" of
            what CIFAR's do.
        license: as the publisher states it; None where nothing is stated beside the file.
        megabytes: of the file; None where it is not stated.
        sha256: the first digits of its checksum, where the publisher gives any.
        top1: on the test images of `dataset`, in percent, as `source` has it.
        top5: the same.
        classes: of its classifier.
        dataset: whose classes those are.
        recipe: of mixerlib's, by which they are evaluated; None: on ImageNet, with `preprocessing`.
    """

    name: str
    model: str
    url: str
    source: str
    layout: str
    prepared_by: str
    license: str | None = None
    megabytes: float | None = None
    sha256: str | None = None
    top1: float | None = None
    top5: float | None = None
    classes: int = 1000
    dataset: str = "imagenet"
    recipe: str | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """What a test image goes through for the published accuracy."""
        return PREPARED[self.prepared_by]

    @property
    def activation(self) -> str:
        """The activation that they were trained with, which is the model's own."""
        return str(model_entry(self.model).defaults["activation"])

    @property
    def suffix(self) -> str:
        """The end of the file's name, such as .pth.tar, which says how it is read."""
        name = PurePosixPath(self.url).name
        return next(s for s in (".pth.tar", PurePosixPath(name).suffix) if name.endswith(s))


TIMM = "timm's results/results-imagenet.csv at aa4b585, and its model files"
AUTHORS = "README of github.com/locuslab/convmixer; the paper, arXiv 2201.09792"
MINDCV = "configs/convmixer/README.md of github.com/mindspore-lab/mindcv"
JAX = "README and LICENSE of github.com/google-research/vision_transformer"
SAM = f"{JAX}; its files as in github.com/gau-nernst/vision-toolbox"
MINDSPORE = "mlpMixer/readme.md of github.com/mindspore-courses/applications at 564a710"
HUB = "https://huggingface.co/timm/{}/resolve/main/model.safetensors"
RELEASE = "https://github.com/tmp-iclr/convmixer/releases/download/v1.0/{}"
HUAWEI = "https://storage.googleapis.com/huawei-mindspore-hk/ConvMixer/{}"
GOOGLE = "https://storage.googleapis.com/mixer_models/{}.npz"
COURSES = "https://download.mindspore.cn/vision/mlpmixer/gsam_{}.ckpt"
WIGHTMAN = "https://github.com/rwightman/pytorch-image-models/releases/download/{}.pth"
DATASET_OF = {1000: "imagenet", 21843: "imagenet21k"}


def _timm(
    name: str, model: str, hub: str, top: tuple[float, float], size: float | None
) -> PublishedWeights:
    return PublishedWeights(
        name, model, HUB.format(hub), TIMM, "timm", "convmixer", "MIT", size, None, *top
    )


def _authors(model: str, file: str, size: float, top1: float) -> PublishedWeights:
    url, name = RELEASE.format(file), f"{model}.authors"
    return PublishedWeights(
        name, model, url, AUTHORS, "locuslab", "convmixer", "MIT", size, None, top1
    )


def _mindcv(name: str, model: str, file: str, top: tuple[float, float]) -> PublishedWeights:
    url = HUAWEI.format(file)
    return PublishedWeights(name, model, url, MINDCV, "mindcv", "mindcv", top1=top[0], top5=top[1])


def _mixer(
    name: str,
    file: str,
    sha256: str,
    top: tuple[float | None, float | None] = (None, None),
    classes: int = 1000,
    prepared_by: str = "mlp_mixer",
) -> PublishedWeights:
    """An MLP-Mixer of timm's; its files carry the beginning of their SHA-256 in the name."""
    url, terms = WIGHTMAN.format(f"{file}-{sha256}"), "Apache-2.0"
    model, dataset = name.partition(".")[0], DATASET_OF[classes]
    return PublishedWeights(
        name, model, url, TIMM, "timm", prepared_by, terms, None, sha256, *top, classes, dataset
    )


def _jax(name: str, file: str, classes: int = 1000, source: str = JAX) -> PublishedWeights:
    model, url, dataset = name.partition(".")[0], GOOGLE.format(file), DATASET_OF[classes]
    return PublishedWeights(
        name, model, url, source, "jax", "mlp_mixer", "Apache-2.0", classes=classes, dataset=dataset
    )


def _mindspore(model: str, file: str, top: tuple[float, float]) -> PublishedWeights:
    """An MLP-Mixer that MindSpore's course fine-tuned on CIFAR-10."""
    name, url = f"{model}.mindspore_cifar10", COURSES.format(file)
    recipe = f"cifar10/{model}_224_mindspore"
    return PublishedWeights(
        name, model, url, MINDSPORE, "mindspore", "enlarged", None, None, None, *top, 10,
        "cifar10", recipe,
    )  # fmt: skip


# Of a model's the first is the one that its bare name stands for
TABLE = (
    _timm("convmixer_1536_20.timm", "convmixer_1536_20", "convmixer_1536_20.in1k",
          (81.382, 95.618), 207),
    _authors("convmixer_1536_20", "convmixer_1536_20_ks9_p7.pth.tar", 207, 81.37),
    _mindcv("convmixer_1536_20.mindcv", "convmixer_1536_20",
            "Converted/convmixer_1536_20.ckpt", (80.98, 95.51)),
    _timm("convmixer_768_32.timm", "convmixer_768_32", "convmixer_768_32.in1k",
          (80.158, 95.070), 84.9),
    _authors("convmixer_768_32", "convmixer_768_32_ks7_p7_relu.pth.tar", 85, 80.16),
    _mindcv("convmixer_768_32.mindcv", "convmixer_768_32",
            "Converted/convmixer_768_32.ckpt", (79.68, 94.92)),
    _mindcv("convmixer_768_32.mindcv_trained", "convmixer_768_32",
            "convmixer_768_32_trained.ckpt", (73.05, 90.53)),
    _timm("convmixer_1024_20.timm", "convmixer_1024_20", "convmixer_1024_20_ks9_p14.in1k",
          (76.944, 93.364), None),
    _authors("convmixer_1024_20", "convmixer_1024_20_ks9_p14.pth.tar", 98, 76.94),
    _mindcv("convmixer_1024_20.mindcv", "convmixer_1024_20",
            "Converted/convmixer_1024_20.ckpt", (76.68, 93.3)),
    _mixer("mixer_b16.timm", "v0.1-vitjx/jx_mixer_b16_224", "76587d61", (76.616, 92.250)),
    _mixer("mixer_b16.timm_in21k", "v0.1-vitjx/jx_mixer_b16_224_in21k", "617b3de2",
           classes=21843),
    _mixer("mixer_b16.miil", "v0.1-tresnet/mixer_b16_224_miil", "9229a591", (82.314, 95.710),
           prepared_by="miil"),
    _jax("mixer_b16.jax", "imagenet1k/Mixer-B_16"),
    _jax("mixer_b16.jax_in21k", "imagenet21k/Mixer-B_16", 21843),
    _jax("mixer_b16.jax_sam", "sam/Mixer-B_16", source=SAM),
    _jax("mixer_b16.jax_gsam", "gsam/Mixer-B_16", source=SAM),
    _mindspore("mixer_b16", "Mixer-B_16", (96.06, 99.85)),
    _jax("mixer_b32.jax_gsam", "gsam/Mixer-B_32", source=SAM),
    _jax("mixer_b32.jax_sam", "sam/Mixer-B_32", source=SAM),
    _mindspore("mixer_b32", "Mixer-B_32", (93.64, 99.33)),
    _jax("mixer_s8.jax_gsam", "gsam/Mixer-S_8", source=SAM),
    _mindspore("mixer_s8", "Mixer-S_8", (92.91, 99.08)),
    _jax("mixer_s16.jax_gsam", "gsam/Mixer-S_16", source=SAM),
    _mindspore("mixer_s16", "Mixer-S_16", (96.06, 99.85)),
    _jax("mixer_s32.jax_gsam", "gsam/Mixer-S_32", source=SAM),
    _mindspore("mixer_s32", "Mixer-S_32", (91.75, 99.08)),
    _mixer("mixer_l16.timm", "v0.1-vitjx/jx_mixer_l16_224", "92f9adc4", (72.084, 87.632)),
    _mixer("mixer_l16.timm_in21k", "v0.1-vitjx/jx_mixer_l16_224_in21k", "846aa33c",
           classes=21843),
    _jax("mixer_l16.jax", "imagenet1k/Mixer-L_16"),
    _jax("mixer_l16.jax_in21k", "imagenet21k/Mixer-L_16", 21843),
)  # fmt: skip
_BY_NAME = {weights.name: weights for weights in TABLE}


def weights_of(model: str = "*") -> tuple[PublishedWeights, ...]:
    """The published weights of a model, the first the one that its bare name stands for; "*": all.

    Of SplitMixer none is published, and of ConvMixer and MLP-Mixer only sizes for ImageNet: of all
    others it is (). Raises `ValueError` for a name that is no model's.

    >>> from mixerlib.weights import weights_of
    >>> [weights.name for weights in weights_of("mixer_l16")][:2]
    ['mixer_l16.timm', 'mixer_l16.timm_in21k']
    """
    if model == "*":
        return TABLE
    name = model_entry(model, "model").name
    return tuple(weights for weights in TABLE if weights.model == name)


def published_weights(name: str) -> PublishedWeights:
    """Published weights by their name, or by that of their model.

    Raises `ValueError` for an unknown name, and for a model of which there are none.

    >>> from mixerlib.weights import published_weights
    >>> published_weights("mixer_b16").name
    'mixer_b16.timm'
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name not in list_models():
        known = [*_BY_NAME, *(weights.model for weights in TABLE)]
        hint = did_you_mean(str(name), known, "`mixerlib list --weights` prints them")
        raise ValueError(f"`weights`={shown(name)} are not among those published; {hint}")
    for weights in weights_of(name):
        return weights
    family = "SplitMixer" if name.startswith("splitmixer") else name
    raise ValueError(
        f"`weights`={shown(name)}: no weights of {family} are published; those that are, "
        f"`mixerlib list --weights` prints"
    )


def published_as(file: str | Path) -> PublishedWeights | None:
    """Those published weights whose file has this name, or that of our copy; None for none."""
    name = Path(file).name
    for weights in TABLE:
        theirs = PurePosixPath(weights.url).name
        if name == f"{weights.name}{weights.suffix}":
            return weights
        if name == theirs != "model.safetensors" and weights.layout != "jax":
            return weights
    return None


def weights_file(
    name: str | PublishedWeights, *, download: bool = False, folder: str | Path | None = None
) -> Path:
    """The file of published weights on this machine.

    Args:
        name: of the weights, or of their model; or the weights, as `weights_of` gives them.
        download: whether they are fetched if they are not there, or not whole.
        folder: that they lie in. None: `weights` in the folder that the environment variable
            MIXERLIB_DATA names, else in ./data.

    Raises `ValueError` for an unknown name, `DataNotFound` where the file is not there or cannot be
    fetched, and `DataDamaged` where it is not what the publisher's checksum promises.

    >>> from mixerlib.weights import weights_file
    >>> weights_file("splitmixer_i_256_8")
    Traceback (most recent call last):
    ValueError: `weights`='splitmixer_i_256_8': no weights of SplitMixer are published; ...
    """
    weights = name if isinstance(name, PublishedWeights) else published_weights(name)
    data = Path(os.environ.get("MIXERLIB_DATA") or "data").expanduser()
    file = Path(folder or data / "weights").resolve() / f"{weights.name}{weights.suffix}"
    if file.is_file() and _is_whole(file, weights):
        return file
    if not download:
        if file.is_file():
            raise DataDamaged(
                f"{file} does not have the SHA-256 that begins with {weights.sha256}; fetch it "
                f"again with --download (download=True)"
            )
        raise DataNotFound(
            f"the weights {weights.name} are not on this machine: fetch them with --download "
            f"(download=True), or put {weights.url} to {file}"
        )
    most = LARGEST if weights.megabytes is None else int(weights.megabytes * 1.05e6)
    try:
        fetch(weights.url, file, weights.sha256, most, "sha256")
    except WrongContent:
        raise DataDamaged(
            f"the weights {weights.name} arrive damaged: what comes from {weights.url} does not "
            f"have the SHA-256 that begins with {weights.sha256}"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataNotFound(
            f"the weights {weights.name} could not be downloaded "
            f"({' '.join(str(error).split()) or type(error).__name__}): fetch {weights.url} where "
            f"there is a network, and put it to {file}"
        ) from None
    return file


def _is_whole(file: Path, weights: PublishedWeights) -> bool:
    if weights.sha256 is None:
        return True
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest().startswith(weights.sha256)
