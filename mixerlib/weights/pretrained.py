"""A model as a folder: weights, what they belong to, and a card for people.

The files are named as on the Hugging Face Hub, where `PyTorchModelHubMixin` and timm look for
them: `model.safetensors`, `config.json`, `README.md`. So `mixerlib.timm` can build the model from
the folder too, by `timm.create_model("local-dir:FOLDER", pretrained=True)`.
"""

import errno
import json
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import nn

from mixerlib import __version__, checks
from mixerlib.costs.unwrapping import unwrapped
from mixerlib.files import read_json, write_atomic
from mixerlib.models import create_model, made_of, model_entry
from mixerlib.models.wrappers import computed_weights, made_permanent
from mixerlib.records import Provenance, judged_on
from mixerlib.weights.loading import load_weights
from mixerlib.weights.saving import file_content

CONFIG, WEIGHTS, CARD, RECIPE = "config.json", "model.safetensors", "README.md", "recipe.yaml"
TIMMS_WORDS = {"in_channels": "in_chans", "image_size": "img_size"}


class Trained(Protocol):
    """What a card says of a training: `mixerlib.records.Record` has it."""

    @property
    def recipe(self) -> str: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def seed(self) -> int: ...
    @property
    def test_images(self) -> int: ...
    @property
    def test_accuracy(self) -> float: ...
    @property
    def provenance(self) -> Provenance: ...


def save_pretrained(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    record: Trained | None = None,
    image_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Write a model as a folder that `from_pretrained`, timm and the Hugging Face Hub can read.

    Args:
        model: of `create_model`, with any weights; it may be compiled, in `DataParallel` or
            averaged, pruned or parametrized: the weights are written that it computes with.
        folder: is made where it is missing; files of the same names are replaced.
        record: of the run that trained it: the card states its result, and `recipe.yaml` holds its
            settings, in the words of the version that wrote the record.
        image_size: side in pixels, or (height, width), that it is to be given. None: what the model
            is registered with.
        mean: of each channel, for pixels in 0..1, by which images are normalised.
        std: the deviations.
        classes: their names, in the order of the logits.

    Raises `ValueError` for a model that `create_model` has not made or whose layers were changed
    since, and for numbers of channels or classes that are not the model's; and as `save_weights`.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.weights import from_pretrained, save_pretrained
    >>> save_pretrained(create_model("splitmixer_iv", dim=64, depth=4, segments=4), "mine")
    >>> from_pretrained("mine").strategy
    'IV'
    """
    model, folder = unwrapped(model), Path(folder)
    if computed_weights(model):
        model = made_permanent(model)
    name, options = made_of(model)
    _check_shapes(model, name, options)
    if classes and len(classes) != model.num_classes:
        raise ValueError(f"`classes` must be {model.num_classes} names, not {len(classes)}")
    given = _images(model, name, options, image_size, {"mean": mean, "std": std})
    if record is not None:
        read_as = {word: record.settings.get(word) for word in ("crop_pct", "interpolation")}
        given |= {word: value for word, value in read_as.items() if value is not None}
    config = _config(model, name, options) | {"pretrained_cfg": given}
    if classes:
        config["label_names"] = list(classes)
    content = file_content(model)
    folder.mkdir(parents=True, exist_ok=True)
    if record is not None:
        text = f"# The settings of {record.recipe}, seed {record.seed}, as they were used.\n"
        text += yaml.safe_dump(record.settings, sort_keys=False, allow_unicode=True)
        write_atomic(folder / RECIPE, text.encode())
    write_atomic(folder / WEIGHTS, content)
    write_atomic(folder / CONFIG, (json.dumps(config, indent=1) + "\n").encode())
    write_atomic(folder / CARD, _card(model, name, options, record, given).encode())


def _images(
    model: nn.Module,
    name: str,
    options: dict[str, Any],
    image_size: int | tuple[int, int] | None,
    statistics: dict[str, Sequence[float] | None],
) -> dict[str, Any]:
    """What images the model is to be given, and where it meets them, in timm's words."""
    channels, tokens = options["in_channels"], model_entry(name).family == "mlp_mixer"
    for word, values in statistics.items():
        if values is not None and len(values) != channels:
            raise ValueError(f"`{word}`={checks.shown(values)} must have {channels} numbers")
    if image_size is None:
        image_size = options.get("image_size") or model_entry(name).image_size
    return {
        "input_size": [channels, *checks.image_pair("image_size", image_size)],
        "fixed_input_size": tokens,
        "first_conv": "stem.proj" if tokens else "stem.0",
        "classifier": "head",
        "num_classes": model.num_classes,
        "crop_pct": 1.0,
    } | {
        word: list(map(float, values)) for word, values in statistics.items() if values is not None
    }


def _check_shapes(model: nn.Module, name: str, options: dict[str, Any]) -> None:
    """Raises `ValueError` where `create_model` would not make the same tensors again."""
    with torch.device("meta"):
        again = create_model(name, **options)
    expected = {key: tensor.shape for key, tensor in again.state_dict().items()}
    actual = {key: tensor.shape for key, tensor in model.state_dict().items()}
    changed = sorted(k for k in expected | actual if expected.get(k) != actual.get(k))
    if changed:
        raise ValueError(
            f"`model`, a {type(model).__name__}, must have the layers of {name!r} with its options;"
            f" changed since: {', '.join(changed[:3])}{' …' if len(changed) > 3 else ''}"
        )


def _config(model: nn.Module, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """What config.json says of the model, for mixerlib and in timm's words.

    timm is given the bare name and every option, as some presets have other models' names there.
    """
    plain = {k: str(v) if isinstance(v, Fraction) else v for k, v in options.items()}
    arguments = {TIMMS_WORDS.get(k, k): v for k, v in plain.items() if k != "num_classes"}
    return {
        "architecture": model_entry(name).family,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "model_args": arguments,
        "mixerlib": {"version": __version__, "model": name, "options": plain},
    }


def _card(
    model: nn.Module,
    name: str,
    options: dict[str, Any],
    record: Trained | None,
    given: dict[str, Any],
) -> str:
    """README.md: a head of metadata, how the model is used, and what trained it."""
    about, (height, width) = model_entry(name).about, given["input_size"][1:]
    count = sum(p.numel() for p in model.parameters())
    head = {"library_name": "mixerlib", "pipeline_tag": "image-classification"}
    made = ", ".join([repr(name), *(f"{k}={v!r}" for k, v in sorted(options.items()))])
    lines = [
        *("---", yaml.safe_dump(head | {"tags": ["mixerlib", name]}).strip(), "---"),
        f"# {name}\n\n{about}, with {count:,} parameters, made by `create_model({made})`.",
        f"Images of {height}×{width} pixels"
        + (f", normalised by mean {given['mean']}" if "mean" in given else "")
        + (f" and deviation {given['std']}." if "std" in given else "."),
        "```python\nfrom mixerlib.weights import from_pretrained\n\n"
        'model = from_pretrained("FOLDER")  # or the name of a repository, with download=True\n```',
        "With `import mixerlib.timm`, timm reads it too: "
        '`timm.create_model("local-dir:FOLDER", pretrained=True)`.',
    ]
    if record is None:
        lines.append("## Training\n\nHow these weights came about is not stated.")
    else:
        where = record.provenance
        lines.append(
            f"## Training\n\n{record.test_accuracy:.2%} of {record.test_images:,} "
            f"{judged_on(record.settings)} of `{record.settings.get('dataset')}` right at the end "
            f"of the run, with the recipe `{record.recipe}` and seed {record.seed}. Every setting "
            f"stands in `{RECIPE}`.\n\n"
            f"Trained on {where.device_name}, PyTorch {where.torch}, mixerlib {where.mixerlib}, "
            f"ended {where.date}."
        )
    return "\n\n".join(lines).replace("---\n\n", "---\n").replace("\n\n---", "\n---") + "\n"


def from_pretrained(
    source: str | os.PathLike[str], *, download: bool = False, revision: str | None = None
) -> nn.Module:
    """The model in a folder that `save_pretrained` wrote, in evaluation mode, on the CPU.

    Args:
        source: the folder, or the name OWNER/NAME of a repository on the Hugging Face Hub.
        download: whether to fetch the repository, once, into the Hub's own cache, where `source` is
            no folder. It needs `mixerlib[hub]`.
        revision: of the repository: a branch, a tag or a commit.

    Raises `FileNotFoundError` where there is no such folder and `download` is False; `ImportError`
    without huggingface_hub; `ValueError` for a folder of another program, naming what it lacks, and
    as `create_model` and `load_weights`.
    """
    folder = Path(source)
    if not folder.is_dir():
        if not download:
            rule = "there is no such folder; download=True looks for it on the Hugging Face Hub"
            raise FileNotFoundError(errno.ENOENT, rule, str(source))
        folder = fetched(str(source), revision=revision)
    file = folder / CONFIG
    config = read_json(file)
    if not isinstance(config, dict) or "mixerlib" not in config:
        raise ValueError(f"{file} has no key `mixerlib`: `save_pretrained` has not written it")
    entry = checks.table(f"{file}: `mixerlib`", config["mixerlib"], ("model", "options", "version"))
    if not isinstance(entry["options"], dict):
        raise ValueError(f"{file}: `options`={checks.shown(entry['options'])} must be a table")
    with torch.random.fork_rng(devices=()):  # the first weights, which are replaced
        model = create_model(entry["model"], **entry["options"])
    load_weights(model, folder / WEIGHTS)
    return model.eval()


def fetched(repository: str, **options: Any) -> Path:
    """The folder of the Hub's cache with the files of a repository that are read.

    The options are those of `huggingface_hub.snapshot_download`.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(f"{error}; download=True needs: pip install 'mixerlib[hub]'") from error
    return Path(
        huggingface_hub.snapshot_download(
            repository,
            **options,
            allow_patterns=[CONFIG, WEIGHTS],
            library_name="mixerlib",
            library_version=__version__,
        )
    )
