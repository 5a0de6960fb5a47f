"""The attacks, by name: each makes one input and holds the answer against the rule."""

import contextlib
import copy
import functools
import io
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from helpers import ROOT, few_digits
from PIL import Image

from mixerlib.models import create_model, list_models, model_entry
from mixerlib.records import read_record, read_records, write_record
from mixerlib.training import (
    Recipe,
    Session,
    Stopped,
    list_recipes,
    load_recipe,
    loop,
    read_sweep,
    train,
)
from mixerlib.weights import load_weights, save_weights
from tests.fuzz.attack import Attack, Fault, refusals
from tests.fuzz.command_lines import command_lines
from tests.fuzz.values import TEXTS, damaged, long, odd, plain, spoiled

TINY = {"dim": 8, "depth": 1, "kernel_size": 3}
SMALL = {"epochs": 2, "model": "convmixer", "model_options": TINY}


def options(random: random.Random, folder: Path) -> None:
    """A model with odd options, on no memory at all."""
    name = random.choice(list_models())
    names = [*model_entry(name).defaults, "dim", "segments", "ratio", "norm", "unknown"]
    given = {random.choice(names): odd(random) for _ in range(random.randint(1, 3))}
    with refusals(), torch.device("meta"):
        create_model(name if random.random() < 0.9 else odd(random), **given)


def recipes(random: random.Random, folder: Path) -> None:
    """A recipe with odd settings; one that is accepted must begin, and do a step."""
    fields = list(Recipe.__dataclass_fields__)
    given = {random.choice(fields): odd(random) for _ in range(random.randint(1, 3))}
    with refusals():
        recipe = load_recipe("digits", given)
        if recipe.dataset == "digits" and _is_small(recipe):
            _one_step(recipe)


def recipe_files(random: random.Random, folder: Path) -> None:
    """A recipe's file, or a sweep's, with odd or damaged content."""
    sweep = random.random() < 0.3
    if sweep:
        path = random.choice(sorted((ROOT / "book" / "sweeps").glob("*.yaml")))
        content, read = path.read_bytes(), read_sweep
    else:
        name = random.choice(list_recipes())
        path = ROOT / "mixerlib" / "training" / "recipes" / f"{name}.yaml"
        content, read = path.read_bytes(), load_recipe
    file = folder / "hostile.yaml"
    file.write_bytes(_hostile(random, content, yaml.safe_load))
    with refusals("hostile.yaml"):
        read(file)


def _hostile(random: random.Random, content: bytes, parse: Callable[[bytes], Any]) -> bytes:
    """A file's content with flipped bits, much too long, or with a wrong value in what it holds."""
    chance = random.random()
    if chance < 0.5:
        return damaged(random, content)
    if chance < 0.55:
        return long(random, content)
    return _as_json(spoiled(random, parse(content)))


def records(random: random.Random, folder: Path) -> None:
    """A record with a wrong value, or with flipped bits; one with a digest, with any damage."""
    path, file = random.choice(_records()), folder / "hostile.json"
    if random.random() < 0.2:
        whole = read_record(path)
        write_record(whole, file)
        file.write_bytes(damaged(random, file.read_bytes()))
        with refusals("hostile.json"):
            if read_record(file) != whole:
                raise Fault("another record than the one that was written")
        return
    file.write_bytes(_hostile(random, path.read_bytes(), json.loads))
    with refusals("hostile.json"):
        record = read_record(file)
        write_record(record, folder / "again.json")
        if read_record(folder / "again.json") != record:
            raise Fault("a record that is read differs from what it is when written again")
    with refusals("hostile.json"):
        read_records(folder)


def weights(random: random.Random, folder: Path) -> None:
    """A file of weights with flipped bits or parts missing: refused, or the very same weights."""
    kind = random.choice(["safetensors", "pt", "legacy.pt"])
    file = folder / f"hostile.{kind}"
    file.write_bytes(damaged(random, _weights()[kind]))
    model, whole = create_model("convmixer", **TINY), _model().state_dict()
    before = copy.deepcopy(model.state_dict())
    try:
        with refusals("hostile"):
            load_weights(model, file)
            after = model.state_dict()
            if kind != "legacy.pt" and not _equal(after, whole):  # that kind has no checksum
                raise Fault("other weights than those that were written")
            return
    finally:
        after = model.state_dict()
        if not _equal(after, before) and not _equal(after, whole) and kind != "legacy.pt":
            raise Fault("a refused file has changed the model")


def state_dicts(random: random.Random, folder: Path) -> None:
    """A pickled state dict with an odd entry."""
    state: dict[Any, Any] = dict(_model().state_dict())
    for _ in range(random.randint(1, 2)):
        key = random.choice([k for k, v in state.items() if isinstance(v, torch.Tensor)])
        state[key] = _odd_tensor(random, state[key])
        if random.random() < 0.3:
            state[random.choice(TEXTS)[:40]] = state.pop(key)
    content = random.choice([state, {"state_dict": state}, {"model": state, "epoch": 3}])
    _save(content, folder / "hostile.pt")
    model = create_model("convmixer", **TINY)
    with refusals("hostile.pt"):
        load_weights(model, folder / "hostile.pt")
        if not all(t.isfinite().all() for t in model.state_dict().values()):
            raise Fault("weights that are no numbers were taken without a word")


def checkpoints(random: random.Random, folder: Path) -> None:
    """A run's checkpoint with an odd entry or damaged bytes; what is accepted must do a step."""
    file = folder / "checkpoint.pt"
    if random.random() < 0.2:
        file.write_bytes(damaged(random, _checkpoint()))
    else:
        content = torch.load(io.BytesIO(_checkpoint()), weights_only=True)
        _save(_spoiled_state(random, content), file)
    with refusals("checkpoint.pt"):
        recipe = load_recipe("digits", SMALL)
        device, session = torch.device("cpu"), Session(folder, resume=True)
        run = loop.begin_or_resume(recipe, few_digits(), device, session)
        if run.epoch <= recipe.epochs and not run.form.compile:  # that takes too long
            next(loop.training_steps(run, few_digits()), None)


def images(random: random.Random, folder: Path) -> None:
    """A picture of any kind with damaged bytes: read, or refused by its name."""
    from mixerlib.data.image_files import read_image

    mode = random.choice(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
    kind = random.choice(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "ICO", "EPS"])
    size = (random.randint(1, 40), random.randint(1, 40))
    picture = io.BytesIO()
    try:
        Image.new("RGB", size, "teal").convert(mode).save(picture, kind)
    except (OSError, ValueError, KeyError):  # not every format holds every mode
        return
    content = picture.getvalue()
    file = folder / random.choice(["hostile.png", "hostile.jpeg", "hostile.JPG"])
    file.write_bytes(damaged(random, content) if random.random() < 0.8 else content)
    with refusals("hostile"):
        image = np.asarray(read_image(str(file)))
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise Fault(f"an image of {image.dtype} {image.shape}")


ATTACKS: dict[str, Attack] = {
    "options": options,
    "recipes": recipes,
    "recipe_files": recipe_files,
    "records": records,
    "weights": weights,
    "state_dicts": state_dicts,
    "checkpoints": checkpoints,
    "images": images,
    "command_lines": command_lines,
}


# What the attacks share


def _as_json(tree: Any) -> bytes:
    try:
        return json.dumps(tree, default=str).encode(errors="surrogatepass")
    except ValueError:  # Python writes no number of so many digits
        return b"[" + b"9" * 5000 + b"]"


def _is_small(recipe: Recipe) -> bool:
    """Whether a step of this recipe takes a moment."""
    entry = model_entry(recipe.model)
    values = {**entry.defaults, **recipe.model_options}
    small = int(values["dim"]) * int(values["depth"]) <= 600 and recipe.batch_size <= 512
    return small and not recipe.compile and not recipe.fastest and recipe.image_size is None


def _one_step(recipe: Recipe) -> None:
    try:
        train(recipe, few_digits(), "cpu", progress=False, stop=lambda: "that will do")
    except Stopped:
        return


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def _save(content: object, file: Path) -> None:
    """`torch.save`, of what it can save."""
    try:
        torch.save(content, file)
    except Exception:
        torch.save({"odd": 1}, file)


def _odd_tensor(random: random.Random, tensor: torch.Tensor) -> Any:
    """Something in a tensor's place: of another shape, type, layout, or none at all."""
    kinds: list[Any] = [
        lambda: tensor.flatten()[:1],
        lambda: tensor.flatten(),
        lambda: tensor.unsqueeze(0),
        lambda: tensor.double(),
        lambda: tensor.half(),
        lambda: tensor.int(),
        lambda: tensor + 0j,
        lambda: tensor * float("nan"),
        lambda: torch.full(tuple(tensor.shape), float("inf")),
        lambda: torch.zeros(()).expand(tensor.shape),
        lambda: torch.zeros(tuple(tensor.shape)).to_sparse(),
        lambda: tensor.to("meta"),
        lambda: torch.zeros(0),
        lambda: tensor.tolist(),
        lambda: odd(random),
    ]
    return random.choice(kinds)()


def _spoiled_state(random: random.Random, tree: Any) -> Any:
    """`spoiled`, for a tree that also holds tensors."""
    if isinstance(tree, torch.Tensor):
        return _odd_tensor(random, tree)
    if isinstance(tree, dict) and tree and random.random() < 0.95:
        key = random.choice(list(tree))
        if random.random() < 0.07:
            return {k: v for k, v in tree.items() if k != key}
        return tree | {key: _spoiled_state(random, tree[key])}
    if isinstance(tree, list) and tree and random.random() < 0.95:
        place = random.randrange(len(tree))
        return [*tree[:place], _spoiled_state(random, tree[place]), *tree[place + 1 :]]
    if isinstance(tree, str) and tree.startswith("{") and random.random() < 0.95:
        return json.dumps(spoiled(random, json.loads(tree)), default=str)  # a run's settings
    return plain(random)


@functools.cache
def _records() -> list[Path]:
    return sorted((ROOT / "book" / "records" / "cpu").rglob("*.json"))


@functools.cache
def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model("convmixer", **TINY)


@functools.cache
def _weights() -> dict[str, bytes]:
    """The same weights as files of three kinds."""
    with tempfile.TemporaryDirectory() as folder:
        save_weights(_model(), Path(folder) / "w.safetensors")
        safe = (Path(folder) / "w.safetensors").read_bytes()
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(_model().state_dict(), new)
    torch.save(_model().state_dict(), old, _use_new_zipfile_serialization=False)
    return {"safetensors": safe, "pt": new.getvalue(), "legacy.pt": old.getvalue()}


@functools.cache
def _checkpoint() -> bytes:
    """The checkpoint of a run after its first step."""
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(Stopped):
            train(
                load_recipe("digits", SMALL),
                few_digits(),
                "cpu",
                progress=False,
                folder=Path(folder),
                stop=lambda: "after a step",
            )
        return (Path(folder) / "checkpoint.pt").read_bytes()
