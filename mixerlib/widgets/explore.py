"""The explorer of the reader's own model."""

import copy
from collections.abc import Callable
from functools import cached_property
from html import unescape
from typing import Any, TypeVar

import torch
from torch import nn

from mixerlib import checks
from mixerlib.files import one_line
from mixerlib.inside import layer_names
from mixerlib.inside.choosing import check_images
from mixerlib.pages.interactives.frames import ANY, Turn, frames
from mixerlib.pages.interactives.mixer import Guess
from mixerlib.pages.tables import listed, percent
from mixerlib.widgets import views
from mixerlib.widgets.pictures import figure
from mixerlib.widgets.showing import alert, label, show, toolkit
from mixerlib.widgets.views import Subject

Answer = TypeVar("Answer")
VIEWS = {"costs": "Costs", "reach": "Who hears whom", "footprint": "Footprint", "maps": "Maps"}


class Explore:
    """An explorer of a model of yours: what it costs, who hears whom, what a place sees, its maps.

    As the last value of a cell it is a widget, where a kernel runs and ipywidgets is installed; on
    a page of the book the same views are made beforehand, to be chosen there. Chapter 11.

    Args:
        model: any `nn.Module` that takes images, registered or home-made. Its costs are split
            by part where its parts are `stem`, `blocks` and `head`, and who hears whom is asked
            where it has `blocks`; a view that it does not allow says why. A copy is looked at, in
            evaluation mode: call it again after more training.
        image_size: of the photographs that are shown to it, where no `images` are given: a side
            in pixels or (height, width). None: what the model asks for, or 32.
        images: normalized, (B, C, H, W), to be looked at in place of two photographs.

    Raises `ValueError` for what is no module or cannot be copied, and for images that do not fit.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.widgets import Explore
    >>> explorer = Explore(create_model("splitmixer_i", dim=15, depth=4, patch_size=2))
    >>> explorer.controls["view"].value = "reach"
    >>> explorer.controls["blocks"].value = 2
    >>> "89% of the pairs" in explorer.shown
    True
    """

    def __init__(
        self,
        model: nn.Module,
        image_size: int | tuple[int, int] | None = None,
        images: torch.Tensor | None = None,
    ):
        if not isinstance(model, nn.Module):
            raise ValueError(f"`model` must be a torch.nn.Module, not a {type(model).__name__}")
        if images is None:
            size = image_size
            if size is None:
                size = getattr(model, "image_size", 32)
            channels = getattr(model, "in_channels", 3)
            images = views.sample_images(channels, checks.image_pair("image_size", size))
        elif image_size is not None:
            raise ValueError(f"`image_size`={image_size!r} has no effect beside `images`")
        check_images(model, images)
        if (first := next(model.parameters(), None)) is not None:
            images = images.to(first.device, first.dtype)
        try:
            looked_at = copy.deepcopy(model).eval()
        except Exception as error:  # it is the reader's: anything can be in it
            raise ValueError(f"`model` cannot be copied: {one_line(error)}") from error
        self.subject = Subject(looked_at, images.detach())
        self.layers = layer_names(self.subject.model)
        if not self.layers:
            raise ValueError(f"`model`, a {type(model).__name__}, must have layers")
        # the last block; of other models the first layer, as the last is likely to be no map
        self.looked_at = self.layers[-1 if self.subject.depth else 0]

    @cached_property
    def controls(self) -> dict[str, Any]:
        """The widget's controls by name, which are view, blocks, layer and image."""
        kit, depth = toolkit(), self.subject.depth
        controls = {
            "view": kit.ToggleButtons(
                options=[(words, name) for name, words in VIEWS.items()], **label("")
            ),
            "blocks": kit.IntSlider(
                value=min(2, depth), max=depth, continuous_update=False, **label("Blocks")
            ),
            "layer": kit.Dropdown(options=self.layers, value=self.looked_at, **label("Layer")),
            "image": kit.IntSlider(
                max=len(self.subject.images) - 1, continuous_update=False, **label("Image")
            ),
        }
        for control in controls.values():
            control.observe(lambda change: self._draw(), "value")
        return controls

    @cached_property
    def box(self) -> Any:
        """The whole widget. `ValueError` where ipywidgets is not installed."""
        kit = toolkit()
        line = kit.HTML(f"<b>{views.summary(self.subject)}</b>")
        self._draw()
        return kit.VBox([line, *self.controls.values(), self._screen])

    @cached_property
    def _screen(self) -> Any:
        return toolkit().HTML()

    @property
    def shown(self) -> str:
        """What the view that is chosen shows, as HTML."""
        self._draw()
        return self._screen.value

    def _draw(self) -> None:
        view = self.controls["view"].value
        needed = {"reach": ["blocks"], "footprint": ["layer"], "maps": ["layer", "image"]}
        for name, control in self.controls.items():
            visible = name in ("view", *needed.get(view, []))
            control.layout.display = None if visible else "none"
        options = {name: self.controls[name].value for name in needed.get(view, [])}
        try:
            self._screen.value = self.view(view, **options)
        except ValueError as error:
            self._screen.value = alert(str(error))

    def view(self, name: str, **options: Any) -> str:
        """One view as HTML.

        Args:
            name: "costs", "reach", "footprint" or "maps".
            **options: of the view: `blocks` for reach, `layer` for footprint and maps, `image` for
                maps.

        Raises `ValueError` for another name, and for a view that the model does not allow.
        """
        checks.one_of("name", name, tuple(VIEWS))
        return self._asked_of_the_model(getattr(views, f"{name}_view"), **options)

    def _asked_of_the_model(
        self, ask: Callable[..., Answer], *given: Any, **options: Any
    ) -> Answer:
        """What a function answers of the model, which is the reader's and can raise anything: a
        widget shows a line, and a traceback would be lost. So all of it is `ValueError`."""
        try:
            return ask(self.subject, *given, **options)
        except ValueError:
            raise
        except Exception as error:
            kind = type(error).__name__
            raise ValueError(
                f"`model`, a {self.subject.name}, raises {kind}: {one_line(error)}"
            ) from error

    def still(self) -> str:
        """The views that the model allows, in one figure: for paper, and where no script runs."""
        last, depth = self.looked_at, self.subject.depth
        asked: tuple[tuple[str, dict[str, Any]], ...] = (
            ("costs", {}),
            ("reach", {"blocks": min(2, depth)}),
            ("footprint", {"layer": last}),
            ("maps", {"layer": last, "image": 0}),
        )
        parts = []
        for name, options in asked:
            try:
                parts.append((VIEWS[name], self.view(name, **options)))
            except ValueError as error:
                parts.append((VIEWS[name], alert(str(error))))
        words = f"{views.summary(self.subject)}. In a notebook this is a widget with four views."
        return figure(parts, words)

    def offline(self) -> str:
        """What stands on a page of the book, as HTML: the views, made beforehand, to choose from.

        It has who hears whom, a footprint and the maps after some of the blocks, and the costs.
        """
        depth = self.subject.depth
        stops = sorted({0, 1, 2, 3, depth // 2, depth} & {*range(depth + 1)})
        made: dict[tuple[str, ...], tuple[str, str]] = {}
        for blocks in stops:
            layer = f"blocks.{blocks - 1}" if blocks else self.layers[0]
            made["reach", str(blocks)] = self._frame("reach", blocks=blocks)
            made["footprint", str(blocks)] = self._frame("footprint", layer=layer)
            made["maps", str(blocks)] = self._frame("maps", layer=layer, image=0)
        html, says = self._frame("costs")
        made["costs", ANY] = html, says or f"{views.summary(self.subject)}."
        first = "reach" if depth else "costs"
        order = [first, *(name for name in VIEWS if name != first)]
        turns = [
            Turn("view", "View", {name: VIEWS[name] for name in order}, first),
            Turn(
                "blocks",
                "After so many blocks",
                {str(blocks): str(blocks) for blocks in stops},
                str(stops[min(2, len(stops) - 1)]),
            ),
        ]
        label = f"An explorer of a {self.subject.name}"
        return frames(label, self._asked(), turns, made, self.still())._repr_html_()

    def _frame(self, name: str, **options: Any) -> tuple[str, str]:
        """A view without its words, and its words; these alone where the model allows no more."""
        try:
            drawn, _, says = self.view(name, **options).partition("<p>")
        except ValueError as error:
            return "", f"{error}."
        return drawn, unescape(says.removesuffix("</p>"))

    def _asked(self) -> Guess:
        """What the reader guesses first: when all channels have heard all; or the parameters."""
        depth, name = self.subject.depth, self.subject.name
        try:
            ask = views.heard_after
            shares = [self._asked_of_the_model(ask, b).mean() for b in range(1, depth + 1)]
        except ValueError:
            shares = []
        if not shares:
            count = sum(parameter.numel() for parameter in self.subject.model.parameters())
            answers = tuple(f"{n:,}" for n in sorted({count // 2, count, 2 * count + 1}))
            text = f"They are {count:,}, as the costs below say."
            return Guess(f"How many parameters has this {name}?", answers, f"{count:,}", text)
        never = f"not within its {depth}"
        needed = next((b for b, share in enumerate(shares, 1) if share == 1), None)
        near = {1, depth, *(range(max(1, needed - 1), needed + 2) if needed else (2, 3))}
        numbers = sorted(near & {*range(1, depth + 1)})
        told = shares[:needed]  # up to the first of all
        heard = listed(f"{percent(float(s))} after {b}" for b, s in enumerate(told, 1))
        return Guess(
            f"After how many blocks of this {name} has every channel heard every other?",
            (*map(str, numbers), never),
            str(needed) if needed else never,
            f"The share of pairs that have heard each other, by blocks: {heard}.",
        )

    def _ipython_display_(self) -> None:
        show(lambda: self.box, self.offline)
