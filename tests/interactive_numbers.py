"""Numbers of the interactives that the tests hold: how large each is, how far its networks are from
PyTorch's, how long one image takes. `python tests/every_interactive.py FOLDER` prints them."""

import copy
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from run_scripts import Piece, name_of, script_of
from torch import nn

from mixerlib.data import Dataset, load_dataset
from mixerlib.pages import Guess, Interactive, live_mixer, live_pictures
from mixerlib.pages.interactives import pictures
from mixerlib.training import list_trained, trained_model

DIGITS = list_trained("digits/*")
PICTURES = [name for name in list_trained("cpu/*") if "ablation" not in name]
ASKED = Guess("Which?", ("this", "that"), "that", "Look.")
Runs = Callable[[Piece, str], Any]  # as `in_node`


def sizes(piece: Piece) -> tuple[int, int]:
    """Bytes of an interactive's HTML and of its script. Trained networks and pictures in the HTML
    are neither."""
    page, code = piece._repr_html_(), script_of(piece)
    if name_of(piece) in ("mixer", "pictures"):
        page, code = (re.sub(r"^const data = .*$", "", text, flags=re.M) for text in (page, code))
    page = re.sub(r'src="data:image/png;base64,[^"]*"', "", page)
    return len(page.encode()) - len(code.encode()), len(code.encode())


@functools.cache
def digits() -> Dataset:
    return load_dataset("digits")


@functools.cache
def hundred_digits() -> torch.Tensor:
    """The first of the test images: uint8 (100, 1, 8, 8)."""
    return digits().test_images[:100]


@functools.cache
def hundred_pictures() -> torch.Tensor:
    """Pieces of scikit-learn's photographs, as sharp as they are: uint8 (100, 3, 32, 32)."""
    from sklearn.datasets import load_sample_image

    pieces = []
    for name in ("china.jpg", "flower.jpg"):
        whole = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)
        places = [(40 * row, 60 * column) for row in range(5) for column in range(10)]
        pieces += [whole[:, y : y + 32, x : x + 32] for y, x in places]
    return torch.stack(pieces)


def live(models: dict[str, nn.Module], images: torch.Tensor, **options: int) -> Interactive:
    """Networks in a page: for digits, or for images of three channels."""
    return (live_mixer if images.shape[1] == 1 else live_pictures)(models, ASKED, **options)


def pixels_of(images: torch.Tensor) -> list[list[int]]:
    """Images as the scripts take them: 0..16 of ink, or 0..255, place by place."""
    if images.shape[1] == 1:
        return (images.flatten(1) * (16 / 255)).round().int().tolist()
    return images.permute(0, 2, 3, 1).flatten(1).tolist()


def normalized(images: torch.Tensor) -> torch.Tensor:
    """What a network sees of images, in float64."""
    mean, std = pictures.MEAN, pictures.STD
    if images.shape[1] == 1:
        mean, std = digits().mean.tolist(), digits().std.tolist()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (mean, std))
    return (images.double() / 255 - mean) / std


def logits_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """PyTorch's logits in float64. Its float32 has errors of up to 3e-4 where BatchNorm enlarges a
    channel that hardly varies, as some do in the kept SplitMixer-III; the page computes in float64.
    """
    with torch.no_grad():
        return copy.deepcopy(model).double()(normalized(images))


class Measured(NamedTuple):
    """A network in a page beside PyTorch's, on many images.

    Args:
        off: the largest difference of a logit from PyTorch's in float64.
        off_float32: that from PyTorch's in float32.
        float32: how far PyTorch's in float32 are from those in float64.
        milliseconds: of the fastest image, as the machine may be busy.
    """

    off: float
    off_float32: float
    float32: float
    milliseconds: float


def returned(
    run: Runs, models: dict[str, nn.Module], images: torch.Tensor, program: str, **options: int
) -> Any:
    """What a program returns that `run` runs, in Node or in a Chromium, with networks in the page.

    It finds the images as `pixels`, and `logits(i, weights, order, off)` of network `i`.
    """
    begins = (
        f"const pixels = {json.dumps(pixels_of(images))}, nets = api.data.networks;\n"
        "const plain = api.data.order.map((_, p) => p);\n"
        "const values = nets.map(n => api.weightsOf(n.weights, n.network.rows));\n"
        "const one = (x, i, w, order, off = []) =>\n"
        "  [...api.run(nets[i].network, w, api.input(x, order), new Set(off)).at(-1)];\n"
        "const logits = (...how) => pixels.map(x => one(x, ...how));\n"
    )
    return run(live(models, images, **options), begins + program)


def measured(run: Runs, model: nn.Module, images: torch.Tensor) -> Measured:
    """A network's script, which `run` runs, beside PyTorch."""
    program = """const answers = logits(0, values[0], plain), times = pixels.map(x => {
      const before = performance.now();
      one(x, 0, values[0], plain);
      return performance.now() - before;
    });
    return [answers, Math.min(...times)];"""
    answers, milliseconds = returned(run, {"it": model}, images, program)
    actual, exact = torch.tensor(answers, dtype=torch.float64), logits_of(model, images)
    with torch.no_grad():
        in_float32 = model(normalized(images).float())
    gaps = (actual - exact, actual - in_float32, in_float32 - exact)
    return Measured(*(gap.abs().max().item() for gap in gaps), milliseconds)


def kept(families: Iterable[str], images: torch.Tensor, runs: dict[str, Runs]) -> Iterator[list]:
    """A line for each kept network and each place it runs in."""
    for name in families:
        for where, run in runs.items():
            it = measured(run, trained_model(name), images)
            numbers = (f"{it.off:.1e}", f"{it.off_float32:.1e}", f"{it.milliseconds:.1f}")
            yield [name, where, *numbers]


def told(pieces: dict[str, Piece], runs: dict[str, Runs]) -> str:
    """Two tables: the size of each interactive, and each kept network beside PyTorch's.

    Args:
        pieces: name → interactive.
        runs: name of a place → what runs a script in it.
    """
    heavy = [[name, *(f"{size:,}" for size in sizes(piece))] for name, piece in pieces.items()]
    nets = [*kept(DIGITS, hundred_digits(), runs), *kept(PICTURES, hundred_pictures(), runs)]
    heads = (
        ("interactive", "bytes of HTML", "of script"),
        ("network", "in", "off float64 by", "off float32 by", "ms an image"),
    )
    return "\n".join(map(aligned, heads, (heavy, nets)))


def aligned(head: Iterable[str], rows: list[list[str]]) -> str:
    """A table in plain text: words to the left, numbers to the right."""
    columns = []
    for title, *cells in zip(head, *rows, strict=True):
        width = max(map(len, (title, *cells)))
        side = ">" if cells[0][0].isdigit() else "<"
        columns.append([f"{cell:{side}{width}}" for cell in (title, *cells)])
    return "".join(f"{'  '.join(line).rstrip()}\n" for line in zip(*columns, strict=True))
