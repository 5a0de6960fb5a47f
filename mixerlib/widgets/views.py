"""What an explorer shows of a model: its costs, who hears whom, footprints and maps, as HTML.

A view is a function of the model, and needs no kernel: a page shows the same as a still figure.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixerlib import checks, costs
from mixerlib.inside import feature_maps, footprint
from mixerlib.models import ConvMixer
from mixerlib.pages.tables import digits, percent
from mixerlib.widgets.pictures import framed, inked, mosaic, picture, stretched

COSTS = {
    "params": "parameters",
    "macs": "MACs",
    "activations": "kept for training",
    "moved": "numbers moved",
}
MOST_MAPS = 32  # channels whose maps are shown
SIDE = 192  # of a picture on the screen, in pixels


@dataclass(frozen=True)
class Subject:
    """The model that is looked at: in evaluation mode, with images that it takes.

    Args:
        model: a copy, which nothing else changes.
        images: normalized, (B, C, H, W).
    """

    model: nn.Module
    images: torch.Tensor

    @property
    def name(self) -> str:
        return type(self.model).__name__

    @property
    def depth(self) -> int:
        """Its blocks; 0 where it has none that can be counted."""
        blocks = getattr(self.model, "blocks", None)
        return len(blocks) if isinstance(blocks, nn.Sequential | nn.ModuleList) else 0


def costs_view(subject: Subject) -> str:
    """A table of what each part of the model costs for one image.

    Where the names of its layers say no parts, of what each child of the model costs: parameters
    and MACs alone, and why.
    """
    channels, *side = subject.images.shape[1:]
    try:
        counts = costs.measure(subject.model, (side[0], side[1]), channels)
    except ValueError as error:
        return f"{_table(_by_child(subject), COSTS)}<p>By child: {escape(str(error))}.</p>"
    return _table(
        {part: [getattr(counts, q).get(part, 0) for q in COSTS] for part in counts.params}, COSTS
    )


def _by_child(subject: Subject) -> dict[str, list[int]]:
    """Child of the model → its parameters and its MACs, counted by PyTorch."""
    model = copy.deepcopy(subject.model).to("meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(subject.images[:1].to("meta"))
    flops = counter.get_flop_counts()
    return {
        name: [
            sum(parameter.numel() for parameter in child.parameters()),
            sum(flops.get(f"{subject.name}.{name}", {}).values()) // 2,
        ]
        for name, child in model.named_children()
    }


def _table(parts: Mapping[str, list[int]], quantities: Mapping[str, str]) -> str:
    """A row for each part and one for their sum, a column for each of the first quantities."""
    rows = {**parts, "all": [sum(column) for column in zip(*parts.values(), strict=True)]}
    heads = ("for one image", *list(quantities.values())[: len(rows["all"])])
    head = "".join(f'<th scope="col">{words}</th>' for words in heads)
    body = ""
    for part, counts in rows.items():
        cells = "".join(f'<td style="text-align: right">{count:,}</td>' for count in counts)
        body += f'<tr><th scope="row">{escape(part)}</th>{cells}</tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def declares(model: nn.Module) -> bool:
    """Whether all blocks say which channels they mix, as ConvMixers and SplitMixers do."""
    if isinstance(model, ConvMixer):
        return True
    return all(hasattr(getattr(block, "mixing", None), "mixed") for block in model.blocks)


def heard_after(subject: Subject, blocks: int) -> np.ndarray:
    """Who hears whom after so many blocks: as the blocks say, or else by the derivative."""
    if not subject.depth:
        raise ValueError(
            f"`model`, a {subject.name}, must have `blocks` to be asked who hears whom"
        )
    if declares(subject.model):
        steps = costs.mixing_steps(subject.model)
        return costs.reach(subject.model.num_features, steps[:blocks])
    return costs.measured_reach(subject.model, subject.images[:1], blocks)


def reach_view(subject: Subject, blocks: int) -> str:
    """A square in row o and column i where channel o hears channel i after so many blocks."""
    checks.follows("blocks", blocks, checks.Rule(lambda b: 0 <= b <= subject.depth, "0 … depth"))
    heard = heard_after(subject, blocks)
    how = "as its blocks say" if declares(subject.model) else "by the derivative"
    says = (
        f"After {blocks} of {subject.depth} blocks {percent(float(heard.mean()))} of the pairs of "
        f"{len(heard)} channels hear each other, {how}."
    )
    drawn = framed(picture(inked(heard.astype(float)), says, SIDE))
    return f"{drawn}<p>{says} Row: who hears. Column: who is heard.</p>"


def footprint_view(subject: Subject, layer: str) -> str:
    """The pixels that the place in the middle of a layer's map hears, darker for more."""
    slopes = footprint(subject.model, subject.images, layer)
    most = float(slopes.max())
    shares = (slopes / most if most else slopes).cpu().numpy()
    says = (
        f"The middle of {layer} hears {percent(float((shares > 0).mean()))} of the pixels; "
        f"{percent(_half(shares))} of them make up half of it."
    )
    drawn = framed(picture(inked(np.sqrt(shares)), says, SIDE))
    return f"{drawn}<p>{escape(says)}</p>"


def _half(shares: np.ndarray) -> float:
    """The share of the pixels, the strongest first, that add up to half of all."""
    summed = np.sort(shares.ravel())[::-1].cumsum()
    return float((np.searchsorted(summed, summed[-1] / 2) + 1) / shares.size)


def maps_view(subject: Subject, layer: str, image: int) -> str:
    """The first channels of a layer for an image, each from its least value to its largest."""
    few = len(subject.images) - 1
    checks.follows("image", image, checks.Rule(lambda i: 0 <= i <= few, f"0 … {few}"))
    maps = feature_maps(subject.model, subject.images[image : image + 1], [layer])[layer][0]
    if maps.ndim == 2:  # tokens, as the patches lie in the image
        height, width = subject.images.shape[2:]
        rows = max(1, round((len(maps) * height / width) ** 0.5))
        if len(maps) % rows:
            raise ValueError(f"`layer`={layer!r} has {len(maps)} tokens, which fill no rectangle")
        maps = maps.T.unflatten(1, (rows, -1))
    if maps.ndim != 3:
        raise ValueError(f"`layer`={layer!r} gives no maps: its output is {tuple(maps.shape)}")
    shown = maps[:MOST_MAPS].float().cpu().numpy()
    silent = int((maps.flatten(1).std(dim=1) == 0).sum())
    says = (
        f"{len(shown)} of {len(maps)} channels of {layer} for image {image}, each from its least "
        f"value, black, to its largest, white; {silent or 'none'} of all is the same everywhere."
    )
    tiles = mosaic(stretched(shown), columns=8)
    given = subject.images[image].float()
    seen = picture(mosaic(_visible(given)[None], 1), f"Image {image}, as the model sees it.", 96)
    return f"{seen}<br>{picture(tiles, says, 2 * SIDE)}<p>{escape(says)}</p>"


def _visible(image: torch.Tensor) -> np.ndarray:
    """A normalized image (C, H, W) as bytes (H, W, 3) or, of other than 3 channels, (H, W, 3) grey
    of their mean."""
    pixels = image if len(image) == 3 else image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    low, high = pixels.min(), pixels.max()
    levels = 255 * (pixels - low) / (high - low).clamp(min=1e-12)
    return levels.round().byte().permute(1, 2, 0).cpu().numpy()


def sample_images(channels: int, image_size: tuple[int, int]) -> torch.Tensor:
    """Scikit-learn's two photographs, their middle, normalized: float32 (2, C, H, W).

    Raises `ValueError` for other than 1 or 3 channels, grey or coloured.
    """
    if channels not in (1, 3):
        raise ValueError(f"`images`=None: photographs have 1 or 3 channels, not {channels}")
    from sklearn.datasets import load_sample_image  # takes a second

    photographs = []
    for name in ("china.jpg", "flower.jpg"):
        pixels = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float()
        middle = pixels[..., 106:533]
        photographs.append(F.interpolate(middle, image_size, mode="bilinear", antialias=True))
    images = torch.cat(photographs) / 255
    if channels == 1:
        images = images.mean(dim=1, keepdim=True)
    return (images - images.mean()) / images.std()


def summary(subject: Subject) -> str:
    """One line on the model: its class, parameters and the images it is looked at with."""
    params = sum(parameter.numel() for parameter in subject.model.parameters())
    shape = "×".join(map(str, subject.images.shape[1:]))
    return f"{subject.name}: {digits(params)} parameters, on images of {shape}"
