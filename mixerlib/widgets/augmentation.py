"""The table of augmentations: what each operation makes of an image at several magnitudes."""

from collections.abc import Iterable
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mixerlib import checks
from mixerlib.data import MAGNITUDES, OPERATIONS, apply_operations, torchvision_arguments
from mixerlib.pages.interactives.frames import ANY, Turn, frames
from mixerlib.pages.interactives.mixer import Guess
from mixerlib.pages.tables import listed
from mixerlib.widgets.pictures import figure, mosaic, picture
from mixerlib.widgets.showing import alert, label, show, toolkit

POLICIES = ("randaugment", "trivialaugment")
OF_A_POLICY = OPERATIONS[:14]  # torchvision's; the other two are timm's alone
FIRST = ("Rotate", "ShearX", "Brightness", "Posterize", "Solarize")
COLUMNS, LARGEST = 6, 64  # of a row; pixels of a side


class AugmentationTable:
    """A table to turn: a row of images for each chosen operation, a column for each magnitude.

    As the last value of a cell it is a widget, where a kernel runs and ipywidgets is installed; on
    a page of the book the rows of its first table are made beforehand, to be chosen there. Chapter
    12.

    Args:
        images: uint8 (B, C, H, W), of 1 or 3 channels. None: two photographs of 64×64 pixels.
        operations: those of `OPERATIONS` that have a row at first, of the first fourteen.

    Raises `ValueError` for other images, and for an operation that a policy does not have.

    >>> from mixerlib.widgets import AugmentationTable
    >>> table = AugmentationTable()
    >>> table.controls["operations"].value = ("Rotate", "Color")
    >>> table.controls["magnitudes"].value = (10, 30)
    >>> table.arguments("Rotate")
    [10.0, 14.0, 18.0, 22.0, 26.0, 30.0]
    """

    def __init__(
        self, images: torch.Tensor | None = None, operations: Iterable[str] = FIRST
    ) -> None:
        self.images = photographs() if images is None else images
        if (
            not isinstance(self.images, torch.Tensor)
            or self.images.dtype != torch.uint8
            or self.images.ndim != 4
            or self.images.shape[1] not in (1, 3)
            or not len(self.images)
        ):
            given = getattr(images, "shape", type(images).__name__)
            raise ValueError(f"`images`, {given}, must be uint8 (B, C, H, W) of 1 or 3 channels")
        self.first = tuple(operations)
        for name in self.first:
            checks.one_of("operations", name, OF_A_POLICY)

    @cached_property
    def controls(self) -> dict[str, Any]:
        """The controls by name, which are policy, operations, magnitudes, sign and image."""
        kit = toolkit()
        later = {"continuous_update": False}
        controls = {
            "policy": kit.Dropdown(options=POLICIES, **label("Policy")),
            "operations": kit.SelectMultiple(
                options=OF_A_POLICY, value=self.first, rows=8, **label("Operations")
            ),
            "magnitudes": kit.IntRangeSlider(
                value=(0, MAGNITUDES - 1), max=MAGNITUDES - 1, **later, **label("Magnitudes")
            ),
            "sign": kit.ToggleButtons(options=[("+", 1), ("−", -1)], **label("Direction")),
            "image": kit.IntSlider(max=len(self.images) - 1, **later, **label("Image")),
        }
        for control in controls.values():
            control.observe(lambda _: self._draw(), "value")
        return controls

    @cached_property
    def box(self) -> Any:
        """The whole widget. `ValueError` where ipywidgets is not installed."""
        kit = toolkit()
        self._draw()
        return kit.VBox([*self.controls.values(), self._screen])

    @cached_property
    def _screen(self) -> Any:
        return toolkit().HTML()

    @property
    def shown(self) -> str:
        """The table as the controls have it, as HTML."""
        self._draw()
        return self._screen.value

    def _draw(self) -> None:
        c = {name: control.value for name, control in self.controls.items()}
        shown = (c["operations"], spread_out(*c["magnitudes"]), c["sign"], c["policy"], c["image"])
        try:
            self._screen.value = self.table(*shown)
        except ValueError as error:
            self._screen.value = alert(str(error))

    def arguments(self, operation: str) -> list[float]:
        """What the operation is given in its row, in the units of `apply_operations`, as the
        controls have it."""
        c = {name: control.value for name, control in self.controls.items()}
        return self._arguments(operation, spread_out(*c["magnitudes"]), c["sign"], c["policy"])

    def _arguments(
        self, operation: str, magnitudes: list[int], sign: int, policy: str
    ) -> list[float]:
        number = torch.full((len(magnitudes),), OPERATIONS.index(operation))
        negative = torch.full((len(magnitudes),), sign < 0)
        size = (self.images.shape[2], self.images.shape[3])
        given = torchvision_arguments(policy, number, torch.tensor(magnitudes), negative, size)
        return given.tolist()

    def table(
        self, operations: Iterable[str], magnitudes: list[int], sign: int, policy: str, image: int
    ) -> str:
        """A table as HTML.

        Args:
            operations: a row each.
            magnitudes: of a row, in 0 … 30.
            sign: 1, or −1 for the other direction of an operation that has two.
            policy: whose scale the magnitudes are of: "randaugment" or "trivialaugment".
            image: the number of the image.

        Raises `ValueError` where no operation is chosen, and for an image that is not there.
        """
        operations = tuple(operations)
        if not operations:
            raise ValueError("`operations`=() must name one at least")
        few = len(self.images) - 1
        checks.follows("image", image, checks.Rule(lambda i: 0 <= i <= few, f"0 … {few}"))
        head = "".join(
            f'<th scope="col">{text}</th>'
            for text in ("operation", f"at magnitudes {listed(map(str, magnitudes))}", "given")
        )
        rows = []
        for name in operations:
            given = self._arguments(name, magnitudes, sign, policy)
            number = torch.full((len(magnitudes), 1), OPERATIONS.index(name))
            several = self.images[image : image + 1].expand(len(magnitudes), -1, -1, -1)
            after = apply_operations(several, number, torch.tensor(given).double()[:, None])
            tiles = after.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
            says = f"{name} at magnitudes {listed(map(str, magnitudes))}"
            side = LARGEST * len(magnitudes) + 2
            numbers = ", ".join(f"{value + 0.0:.3g}" for value in given) if np.ptp(given) else "–"
            rows.append(
                f'<tr><th scope="row">{escape(name)}</th>'
                f"<td>{picture(mosaic(tiles, len(tiles), gap=2), says, side)}</td>"
                f"<td>{numbers}</td></tr>"
            )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"

    def still(self) -> str:
        """The first table, as a figure: for paper, and where no script runs."""
        shown = self.table(self.first, spread_out(0, MAGNITUDES - 1), 1, "randaugment", 0)
        words = (
            f"{listed(self.first)} at magnitudes from 0 to {MAGNITUDES - 1}, and the numbers that "
            "they are given. In a notebook this is a widget: choose operations, magnitudes, image."
        )
        return figure([("RandAugment", shown)], words)

    def offline(self) -> str:
        """What stands on a page of the book, as HTML: the first rows, in both directions."""
        magnitudes = spread_out(0, MAGNITUDES - 1)
        made: dict[tuple[str, ...], tuple[str, str]] = {}
        for name in self.first:
            ways = {s: self._arguments(name, magnitudes, s, "randaugment") for s in (1, -1)}
            signs = {"1": 1, "-1": -1} if ways[1] != ways[-1] else {ANY: 1}
            for key, sign in signs.items():
                row = self.table([name], magnitudes, sign, "randaugment", 0)
                numbers = ", ".join(f"{value + 0.0:.3g}" for value in ways[sign])
                given = f"is given {numbers}" if np.ptp(ways[sign]) else "is given nothing"
                says = f"{name} at magnitudes {listed(map(str, magnitudes))} {given}."
                made[name, key] = row, says.replace("-", "−")
        turns = [
            Turn("operation", "Operation", {name: name for name in self.first}, self.first[0]),
            Turn("sign", "Direction", {"1": "+", "-1": "−"}, "1"),
        ]
        label = "A table of augmentations"
        return frames(label, self._asked(), turns, made, self.still())._repr_html_()

    def _asked(self) -> Guess:
        """What the reader guesses first: which operation changes the image most."""
        names = self.first if len(self.first) > 1 else FIRST
        most, image = MAGNITUDES - 1, self.images[:1]
        changes = {}
        for name in names:
            given = torch.tensor(self._arguments(name, [most], 1, "randaugment")).double()[:, None]
            after = apply_operations(image, torch.tensor([[OPERATIONS.index(name)]]), given)
            changes[name] = float((after.double() - image.double()).abs().mean())
        sizes = listed(f"{name} by {change:.0f}" for name, change in changes.items())
        return Guess(
            f"At magnitude {most}, the largest, which of these changes the pixels of this image "
            "most?",
            names,
            max(changes, key=changes.__getitem__),
            f"Of 255 levels, on average: {sizes}.",
        )

    def _ipython_display_(self) -> None:
        show(lambda: self.box, self.offline)


def spread_out(least: int, most: int) -> list[int]:
    """At most six magnitudes from the least to the most, evenly."""
    return sorted({round(m) for m in np.linspace(least, most, COLUMNS).tolist()})


def photographs(side: int = LARGEST) -> torch.Tensor:
    """Scikit-learn's two photographs, their middle, as bytes (2, 3, `side`, `side`)."""
    from sklearn.datasets import load_sample_image  # takes a second

    several = []
    for name in ("flower.jpg", "china.jpg"):
        pixels = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float()
        several.append(F.interpolate(pixels[..., 106:533], side, mode="bilinear", antialias=True))
    return torch.cat(several).round().to(torch.uint8)
