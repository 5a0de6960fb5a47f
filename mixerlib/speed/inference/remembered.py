"""Choices kept from one call to the next: a small JSON file of forms for each question asked.

They lie in the folder `MIXERLIB_CACHE`, else in `mixerlib` of the user's cache. Only the choice is
kept, never weights. A file that cannot be read or written costs time and nothing else.
"""

import hashlib
import json
import os
import platform
import warnings
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from torch import nn

import mixerlib
from mixerlib.files import read_json, write_atomic
from mixerlib.speed.form import Form


def cache_folder() -> Path:
    """Where choices are kept."""
    if folder := os.environ.get("MIXERLIB_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mixerlib"


def question(
    model: nn.Module, example: torch.Tensor, dtype: torch.dtype, compile: bool | None
) -> str:
    """All that a choice depends on, as one line: the architecture, the images, the machine, and the
    code.

    The values of the weights are no part of it, only their shapes.
    """
    device = example.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    weights = [(key, list(value.shape)) for key, value in model.state_dict().items()]
    architecture = hashlib.sha256(f"{model} {weights}".encode()).hexdigest()
    images = [list(example.shape), str(dtype), compile]
    machine = [device.type, name, platform.node(), os.cpu_count(), torch.get_num_threads()]
    code = [torch.__version__, mixerlib.__version__, code_digest(Path(mixerlib.__file__).parent)]
    return json.dumps([architecture, images, machine, *code])


@cache
def code_digest(package: Path) -> str:
    """A digest of the code that makes models and their forms: two checkouts side by side, or one
    before and after a change, share no choices.
    """
    digest = hashlib.sha256()
    for room in ("models", "speed"):
        for file in sorted((package / room).rglob("*.py")):
            digest.update(f"{file.relative_to(package).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _file(asked: str) -> Path:
    return cache_folder() / f"form-{hashlib.sha256(asked.encode()).hexdigest()[:20]}.json"


def recall(asked: str) -> Form | None:
    """The form that was chosen for this question; None when there is none to be read."""
    try:
        content = read_json(_file(asked))
        return Form(**content["form"]) if content["question"] == asked else None
    except (OSError, ValueError, TypeError, KeyError, RuntimeError):
        return None


def remember(asked: str, form: Form) -> None:
    """Keep a choice; warn where it cannot be written."""
    content = json.dumps({"question": asked, "form": asdict(form)})
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_atomic(_file(asked), content.encode())
    except (OSError, RuntimeError) as error:
        warnings.warn(f"the choice of a fast form was not kept: {error}", stacklevel=3)
