"""The tensors in a file, and what it states about their model. Nothing in it is run."""

import argparse
import re
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import safe_open

SUFFIXES = (".safetensors", ".pt", ".pth", ".tar")


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors in a file, and what it states about their model. Runs nothing that is in it."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"`path`='{path}' must end in one of {', '.join(SUFFIXES)}")
    with path.open("rb") as file:  # raises the plain OSError of a missing or forbidden file
        try:
            tensors, stated = _unpickle(file) if path.suffix != SUFFIXES[0] else _safetensors(path)
        except Exception as error:  # of a damaged file torch raises nearly anything, even KeyError
            code = re.search(r"GLOBAL (\S+)", str(error))
            why = "is cut short, damaged or of a kind that cannot be read as plain data"
            if code and (file.read(1) or zipfile.is_zipfile(file)):  # or the name itself is cut
                why = f"would run code if unpickled: {code[1]}"
            # not chained: torch's own text tells how to unpickle the file all the same
            raise ValueError(f"`path`='{path}' {why}; nothing was loaded") from None
    if not (isinstance(tensors, dict) and tensors and all(map(_is_entry, tensors.items()))):
        raise ValueError(f"`path`='{path}' must hold a state dict: names, each with a dense tensor")
    for prefix in ("module.", "_orig_mod."):  # of DataParallel and of torch.compile
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors, stated


def _safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def _unpickle(file: BinaryIO) -> tuple[object, dict[str, str]]:
    # timm's trainer keeps its command line in a Namespace, a class that only holds values
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # 3 is read well; 4 raises
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    content = checkpoint if isinstance(checkpoint, dict) else {}
    config = content.get("config")
    activation = config.get("activation") if isinstance(config, dict) else None
    stated = {"activation": activation.lower()} if isinstance(activation, str) else {}
    return content.get("state_dict", content), stated


def _is_entry(item: tuple[object, object]) -> bool:
    name, tensor = item
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        return False
    return tensor.layout == torch.strided and tensor.device.type == "cpu"  # "meta" has no numbers
