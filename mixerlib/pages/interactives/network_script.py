"""A network as a list of steps with its weights, for the JavaScript in `network.js`.

The list is made from the module's own structure, as `steps` tells it, so it fits ConvMixer, every
SplitMixer and MLP-Mixer, and home-made networks of the same layers.

>>> from mixerlib.models import create_model
>>> from mixerlib.pages.interactives import network_script
>>> model = create_model("convmixer", dim=8, depth=1, in_channels=1).eval()
>>> network, weights = network_script(model, image_size=8)
>>> [step["op"] for step in network["steps"]][:4]
['conv', 'act', 'batchnorm', 'conv']
"""

import base64
import copy
import re
import string
from typing import Any

import torch
from torch import nn

from mixerlib import checks
from mixerlib.pages.step import Step
from mixerlib.pages.tracing import steps

ACTIVATIONS = {nn.GELU: "gelu", nn.ReLU: "relu"}
BITS, MOST = (6, 16), 31  # of a weight; steps of one of six bits, to either side
LETTERS = f"{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}+/"  # of base64


def network_script(
    model: nn.Module, image_size: int | tuple[int, int], bits: int = 16
) -> tuple[dict, str]:
    """The steps of a network in evaluation mode as a JSON value, and its weights in base64.

    The weights are float16, two bytes each, the lower one first; each step says where its own
    begin. Those of `mixerlib.training.trained_model` are float16 already, and lose nothing. With 6
    `bits` a network takes little more than half the room: each row of its matrices and kernels has
    a step, and each weight of the row is a letter, after a dot: how many steps, plus 32, as base64
    writes it. `in_six_bits` gives the same weights.

    Raises `ValueError` for a model in training mode, for one with a layer that the script does not
    know or without blocks, for other `bits`, and as `steps`.
    """
    checks.one_of("bits", bits, BITS)
    if model.training:
        raise ValueError("`model` must be in evaluation mode: call its `eval()`")
    sides = checks.image_pair("image_size", image_size)
    writer = _Writer(model, sides)
    trail = steps(model, sides)
    written, places = [], []
    for i, step in enumerate(trail):
        written.append(writer.step(step) | _place(trail, i))
        places.append(writer.places)
    blocks = [step.get("block") for step in written]
    if 0 not in blocks:
        raise ValueError("`model` must have `blocks`, as the models of mixerlib do")
    lasts = {"stem": blocks.index(0) - 1}
    for block in sorted({b for b in blocks if b is not None}):
        lasts[f"block {block + 1}"] = len(blocks) - 1 - blocks[::-1].index(block)
    shown = [{"title": t, "step": last, "places": places[last]} for t, last in lasts.items()]
    network: dict[str, Any] = {"steps": written, "shown": shown}
    if bits < 16:
        network["rows"] = writer.rows()
    return network, writer.text(bits)


def in_six_bits(model: nn.Module) -> nn.Module:
    """A copy whose matrices and kernels are rounded as in a page of six bits a weight."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for weight in copied.parameters():
            if weight.ndim > 1:
                steps, whole = _counted(weight)
                weight.copy_((whole * steps[:, None]).view_as(weight))
    return copied


def _counted(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each row a step, in float16, and how many steps each of its numbers has: −31 … 31."""
    rows = weight.detach().float().cpu().flatten(1)
    steps = (rows.abs().amax(1) / MOST).half().float().clamp(min=torch.finfo(torch.half).tiny)
    return steps, (rows / steps[:, None]).round().clamp(-MOST, MOST)


def _place(trail: list[Step], i: int) -> dict[str, Any]:
    """Which block a step belongs to, and what of it goes when this step is switched off."""
    step = trail[i]
    if (match := re.match(r"blocks\.(\d+)", step.path)) is None:
        return {}
    place: dict[str, Any] = {"block": int(match[1])}
    if step.added is not None:
        kinds = {inner.kind for inner in trail[step.added + 1 : i]}
        place["part"] = "space" if "space" in kinds else "channels"
    elif step.kind == "channels" and not _in_branch(trail, i):
        place["part"] = "channels"
    return place


def _in_branch(trail: list[Step], i: int) -> bool:
    """Whether a residual leads round this step."""
    return any(s.added is not None and s.added < i < j for j, s in enumerate(trail))


class _Writer:
    """Writes steps one after the other; it knows how many channels and places there are."""

    def __init__(self, model: nn.Module, sides: tuple[int, int]):
        self.model, self.sides = model, sides
        self.weights: list[torch.Tensor] = []
        self.size, self.begins = 0, dict[int, int]()
        self.channels, self.places = 0, sides[0] * sides[1]

    def rows(self) -> list[list[int]]:
        """Of each tensor how many rows it has, and how many letters a row; of one that has none,
        how many numbers, and 0."""
        return [[len(w), w[0].numel() if w.ndim > 1 else 0] for w in self.weights]

    def text(self, bits: int) -> str:
        """All float16 in base64, tensor by tensor, then the letters."""
        halves, whole = [], []
        for weight in self.weights:
            if bits == 16 or weight.ndim == 1:
                halves.append(weight.flatten())
            else:
                steps, counted = _counted(weight)
                halves.append(steps)
                whole += (counted.flatten().int() + MOST + 1).tolist()
        text = base64.b64encode(torch.cat(halves).half().numpy().astype("<f2").tobytes()).decode()
        return f"{text}.{''.join(LETTERS[n] for n in whole)}" if whole else text

    def at(self, tensor: torch.Tensor | None) -> int:
        """Where a tensor's numbers begin among the weights; -1 for none."""
        if tensor is None:
            return -1
        if id(tensor) not in self.begins:
            self.begins[id(tensor)] = self.size
            self.weights.append(tensor.detach().float().cpu())
            self.size += tensor.numel()
        return self.begins[id(tensor)]

    def step(self, step: Step) -> dict[str, Any]:
        """One step as a table of plain values."""
        module = self.model.get_submodule(step.path)
        if step.kind == "sum":
            return {"op": "sum", "added": step.added}
        if step.kind == "shuffle":
            return {"op": "shuffle", "segments": step.segments, "places": self.places}
        if step.kind == "mean":
            places, self.places = self.places, 1
            return {"op": "mean", "places": places}
        if step.kind == "act" and type(module) in ACTIVATIONS:
            return {"op": "act", "name": ACTIVATIONS[type(module)]}
        if step.kind == "norm" and isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            return self._norm(module)
        if step.kind == "channels":
            return self._channels(module, step)
        if step.kind == "space" and isinstance(module, nn.Linear):
            return {"op": "tokens", "channels": self.channels} | self._matrix(module, places=True)
        if isinstance(module, nn.Conv2d):
            return self._convolution(module)
        raise ValueError(f"`model` has a step that the page cannot compute: {step.label}")

    def _norm(self, norm: nn.Module) -> dict[str, Any]:
        scale = {"eps": norm.eps, "weight": self.at(norm.weight), "bias": self.at(norm.bias)}
        if isinstance(norm, nn.LayerNorm):
            return {"op": "layernorm", "channels": self.channels, "places": self.places} | scale
        statistics = {"mean": self.at(norm.running_mean), "variance": self.at(norm.running_var)}
        return {"op": "batchnorm", "places": self.places} | scale | statistics

    def _matrix(self, layer: nn.Module, places: bool = False) -> dict[str, Any]:
        leaving, entering = layer.weight.shape[:2]
        if places:
            self.places = leaving
        shape = {"entering": entering, "leaving": leaving}
        return shape | {"weight": self.at(layer.weight), "bias": self.at(layer.bias)}

    def _channels(self, module: nn.Module, step: Step) -> dict[str, Any]:
        layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        if step.mixed == ((0, step.entering),):
            self.channels = step.leaving
            return {"op": "linear", "places": self.places} | self._matrix(layers[0])
        if any(start + width > step.entering for start, width in step.mixed):
            raise ValueError(f"`model` has a step that the page cannot compute: {step.label}")
        if step.shared:
            layers *= len(step.mixed)
        parts = [
            {"start": start} | self._matrix(layer)
            for (start, _), layer in zip(step.mixed, layers, strict=True)
        ]
        return {"op": "segments", "places": self.places, "parts": parts}

    def _convolution(self, conv: nn.Conv2d) -> dict[str, Any]:
        sides, kernel, stride = self.sides, conv.kernel_size, conv.stride
        if conv.padding == "same":  # an even kernel pads once more below and on the right
            before, whole = [(k - 1) // 2 for k in kernel], [k - 1 for k in kernel]
        else:
            before, whole = list(conv.padding), [2 * p for p in conv.padding]
        out = [(sides[i] + whole[i] - kernel[i]) // stride[i] + 1 for i in (0, 1)]
        self.sides, self.channels = (out[0], out[1]), conv.out_channels
        self.places = out[0] * out[1]
        place = {"sides": sides, "out": out, "kernel": kernel, "stride": stride, "padding": before}
        shape = {"entering": conv.in_channels, "leaving": conv.out_channels, "groups": conv.groups}
        return {"op": "conv"} | place | shape | self._weights(conv)

    def _weights(self, layer: nn.Module) -> dict[str, int]:
        return {"weight": self.at(layer.weight), "bias": self.at(layer.bias)}
