"""The explorer of the reader's own model."""

import copy
from functools import cached_property
from typing import Any

import torch
from torch import nn

from mixerlib import checks
from mixerlib.inside import layer_names
from mixerlib.inside.choosing import check_images
from mixerlib.widgets import views
from mixerlib.widgets.pictures import figure
from mixerlib.widgets.showing import alert, label, show, toolkit
from mixerlib.widgets.views import Subject

VIEWS = {"costs": "Costs", "reach": "Who hears whom", "footprint": "Footprint", "maps": "Maps"}


class Explore:
    """An explorer of a model of yours: what it costs, who hears whom, what a place sees, its maps.

    As the last value of a cell it is a widget, where a kernel runs and ipywidgets is installed; on
    a page of the book the same views stand as a still figure. Chapter 11.

    Args:
        model: any `nn.Module` that takes images, registered or home-made. Its costs are split
            by part where its parts are `stem`, `blocks` and `head`, and who hears whom is asked
            where it has `blocks`; a view that it does not allow says why. A copy is looked at, in
            evaluation mode: call it again after more training.
        image_size: of the photographs that are shown to it, where no `images` are given: a side
            in pixels or (height, width). None: what the model asks for, or 32.
        images: normalized, (B, C, H, W), to be looked at in place of two photographs.

    Raises `ValueError` for what is no module, and for images that do not fit it.

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
        self.subject = Subject(copy.deepcopy(model).eval(), images.detach())
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
        return getattr(views, f"{name}_view")(self.subject, **options)

    def still(self) -> str:
        """What stands on a page of the book: the views that the model allows, in one figure."""
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

    def _ipython_display_(self) -> None:
        show(lambda: self.box, self.still)
