"""The training desk: a recipe's fields as controls, and runs that train while other cells run."""

import threading
from collections.abc import Iterable
from dataclasses import fields as fields_of
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mixerlib.checks import did_you_mean, shown
from mixerlib.data import ImageSource
from mixerlib.files import one_line
from mixerlib.models import model_entry
from mixerlib.pages.interactives.replay import QUANTITIES, replay
from mixerlib.pages.tables import listed
from mixerlib.records import Record
from mixerlib.training import Recipe, dataset_for
from mixerlib.training.recipe import CHOICES, FIELD_TYPES
from mixerlib.widgets.chart import AREA, Line, chart, legend
from mixerlib.widgets.pictures import figure
from mixerlib.widgets.runs import ACTIVE, ThreadedRun
from mixerlib.widgets.showing import alert, label, show, toolkit

FIELDS = (
    *("max_learning_rate", "schedule", "warmup_epochs", "weight_decay", "clip_norm"),
    *("label_smoothing", "batch_size", "epochs", "seed"),
)
OF_DATA = ("dataset", "image_size", "interpolation", "crop_pct", "crop_area", "normalization")
FIXED = ("name", "model_options", "dataset", "model")  # a desk is for one model and its data
NULL = "null"  # what stands in a control for None, as in a recipe's file


class TrainingDesk:
    """A desk to train at: change a recipe, start, pause, stop and go on, and compare the curves.

    As the last value of a cell it is a widget, where a kernel runs and ipywidgets is installed; on
    a page of the book its records are played again. A
    run trains in a thread, so other cells can run meanwhile. Its folder holds what `mixerlib train`
    leaves: a stopped run goes on at the desk, or by `mixerlib train --resume --out FOLDER` after
    the kernel has ended. Chapter 13.

    Args:
        recipe: what the controls begin with.
        fields: those that have a control: fields of a recipe, or options of its model, as "dim".
        dataset: the recipe's, already loaded. None: it is loaded when a run needs it.
        device: one that `choose_device` knows. None: the GPU if there is one.
        folder: where the runs go, in folders 1, 2, … None: runs/RECIPE/DATE.
        records: finished runs that are drawn from the beginning, to be compared with.

    Raises `ValueError` for what is no field. A value that a recipe refuses is refused at the desk,
    in the same words.

    >>> from mixerlib.training import load_recipe
    >>> from mixerlib.widgets import TrainingDesk
    >>> desk = TrainingDesk(load_recipe("digits", {"epochs": 2}), folder="runs/desk")
    >>> desk.controls["max_learning_rate"].value = "0.02"
    >>> desk.controls["start"].click()
    >>> desk.wait()  # a reader need not: the kernel is free
    >>> desk.runs[0].state, len(desk.runs[0].record.curve)
    ('finished', 2)
    """

    def __init__(
        self,
        recipe: Recipe,
        fields: Iterable[str] = FIELDS,
        *,
        dataset: ImageSource | None = None,
        device: str | None = None,
        folder: str | Path | None = None,
        records: Iterable[Record] = (),
    ):
        self.recipe, self.fields = recipe, tuple(fields)
        self.device, self.folder = device, None if folder is None else Path(folder)
        self.records, self.runs = tuple(records), list[ThreadedRun]()
        self._one_at_a_time = threading.RLock()  # a run's thread also writes into the controls
        self._datasets = {} if dataset is None else {self._data_of(recipe): dataset}
        self._options = model_entry(recipe.model).defaults
        known = [f.name for f in fields_of(Recipe) if f.name not in FIXED] + [*self._options]
        for name in self.fields:
            if name not in known:
                hint = did_you_mean(str(name), known, f"there are {listed(known)}")
                raise ValueError(f"`fields` has {shown(name)}, which a desk cannot change; {hint}")

    # --- what the controls say ------------------------------------------------------------------

    @cached_property
    def controls(self) -> dict[str, Any]:
        """The widget's controls by name, which are the fields, and start, pause, go_on, stop, run
        and quantity."""
        kit = toolkit()
        made = {name: self._control(name) for name in self.fields}
        words = {"start": "Start", "pause": "Pause", "go_on": "Go on", "stop": "Stop"}
        actions = {name: kit.Button(description=text) for name, text in words.items()}
        actions["start"].on_click(lambda _: self._try(self._start))
        actions["pause"].on_click(lambda _: self._try(self._pause))
        actions["go_on"].on_click(lambda _: self._try(self._go_on))
        actions["stop"].on_click(lambda _: self._try(self._stop))
        made |= actions
        made["run"] = kit.Dropdown(options=[("none", None)], **label("Run"))
        made["quantity"] = kit.ToggleButtons(options=["loss", "accuracy"], **label(""))
        for name in ("run", "quantity"):
            made[name].observe(lambda _: self.refresh(), "value")
        return made

    def _control(self, name: str) -> Any:
        kit, value = toolkit(), self._value_of(self.recipe, name)
        if name in CHOICES:
            options = [*CHOICES[name], *([NULL] if FIELD_TYPES[name] is not str else [])]
            return kit.Dropdown(options=options, value=_text(value), **label(name))
        if isinstance(value, bool):
            return kit.Checkbox(value=value, **label(name))
        return kit.Text(value=_text(value), continuous_update=False, **label(name))

    def _value_of(self, recipe: Recipe, name: str) -> Any:
        if name in FIELD_TYPES:
            return getattr(recipe, name)
        return recipe.model_options.get(name, self._options[name])

    def chosen(self) -> Recipe:
        """The recipe that the controls say. Raises `ValueError` where a recipe refuses a value."""
        values = {name: _value(self.controls[name].value) for name in self.fields}
        options = {n: v for n, v in values.items() if n not in FIELD_TYPES}
        given = {n: v for n, v in options.items() if v != self._value_of(self.recipe, n)}
        settings = {n: v for n, v in values.items() if n in FIELD_TYPES}
        return replace(
            self.recipe, **settings, model_options={**self.recipe.model_options, **given}
        )

    # --- what the buttons do --------------------------------------------------------------------

    def _try(self, action: Any) -> None:
        """What a button asks for, and any mistake in it as a line of the desk."""
        try:
            action()
            self._mistake.value = ""
        except (ValueError, OSError) as error:
            self._mistake.value = alert(one_line(error))
        except Exception as error:  # of the reader's own model: nobody else would see it here
            self._mistake.value = alert(f"{type(error).__name__}: {one_line(error)}")
        self.refresh()

    def _start(self) -> None:
        recipe = self.chosen()
        if self.active:
            raise ValueError("a run is under way; stop it first")
        number = len(self.runs) + 1
        folder = self.folder
        while folder is not None and (folder / str(number)).exists():
            number += 1
        folder = folder and folder / str(number)
        run = ThreadedRun(recipe, self._dataset(recipe), self.device, folder, self.refresh)
        run.start()
        self.runs.append(run)

    def _pause(self) -> None:
        if self.active:
            self.active.pause()

    def _stop(self) -> None:
        if self.active:
            self.active.stop()

    def _go_on(self) -> None:
        run = self.active or self.selected
        if run is not None:
            run.start()

    @property
    def active(self) -> ThreadedRun | None:
        """The run that trains or is paused."""
        return next((run for run in self.runs if run.state in ACTIVE), None)

    @property
    def selected(self) -> ThreadedRun | None:
        """The run that is chosen in the list."""
        number = self.controls["run"].value
        return None if number is None else self.runs[number]

    def wait(self, seconds: float | None = None) -> None:
        """Return when no run trains any more, or the time is over."""
        for run in self.runs:
            run.wait(seconds)

    def _data_of(self, recipe: Recipe) -> tuple:
        return tuple(getattr(recipe, name) for name in OF_DATA)

    def _dataset(self, recipe: Recipe) -> ImageSource:
        key = self._data_of(recipe)
        if key not in self._datasets:
            self._datasets = {key: dataset_for(recipe)}
        return self._datasets[key]

    # --- what is shown --------------------------------------------------------------------------

    @cached_property
    def box(self) -> Any:
        """The whole widget. `ValueError` where ipywidgets is not installed."""
        kit, controls = toolkit(), self.controls
        wrapped = kit.Layout(flex_flow="row wrap")
        rows = (self.fields, ("start", "pause", "go_on", "stop", "run"), ("quantity",))
        inside = [kit.HBox([controls[name] for name in row], layout=wrapped) for row in rows]
        self.refresh()
        fields, actions, quantity = inside
        return kit.VBox([fields, actions, self._mistake, self._said, quantity, self._screen])

    @cached_property
    def _mistake(self) -> Any:
        return toolkit().HTML()

    @cached_property
    def _said(self) -> Any:
        return toolkit().HTML()

    @cached_property
    def _screen(self) -> Any:
        return toolkit().HTML()

    def refresh(self) -> None:
        """Show the runs as they are now. Also called from the thread of a run."""
        with self._one_at_a_time:
            self._refresh(self.controls, tuple(self.runs))

    def _refresh(self, controls: dict[str, Any], runs: tuple[ThreadedRun, ...]) -> None:
        active = self.active
        options = [(f"{n + 1}, {run.state}", n) for n, run in enumerate(runs)]
        if options and tuple(options) != tuple(controls["run"].options):
            known = len(controls["run"].options) == len(options)
            chosen = controls["run"].value if known else None
            controls["run"].options = options
            controls["run"].value = len(runs) - 1 if chosen is None else chosen
        chosen_state = self.selected.state if self.selected else ""
        going = active is not None and active.state == "running"
        controls["start"].disabled = active is not None
        controls["pause"].disabled = not going
        controls["stop"].disabled = active is None
        controls["go_on"].disabled = going or (active is None and chosen_state != "stopped")
        self._screen.value = self.drawn(controls["quantity"].value)
        said = f'<p role="status">{self._state()}</p>'
        if self._said.value != said:
            self._said.value = said

    def _state(self) -> str:
        """What a screen reader says when it changes."""
        if not self.runs:
            return "No run yet."
        run = self.active or self.runs[-1]
        where = f", in {run.folder}" if run.folder else ""
        why = f": {run.message}" if run.message else ""
        return f"Run {self.runs.index(run) + 1} is {run.state}{where}{why}."

    def drawn(self, quantity: str = "loss") -> str:
        """The curves of all runs and what they are, as HTML; `quantity` is "loss" or "accuracy"."""
        lines = self._recorded() + [
            Line(self._label(number, run), run.curve, run.points)
            for number, run in enumerate(self.runs, 1)
        ]
        says = f"The {quantity} of {len(lines)} runs over their epochs."
        ends = [f"{line.label}{_end(line)}" for line in lines]
        return chart(lines, quantity, says) + legend(ends)

    def _recorded(self) -> list[Line]:
        return [Line(f"{r.recipe}, seed {r.seed}, from its record", r.curve) for r in self.records]

    def _label(self, number: int, run: ThreadedRun) -> str:
        """What differs from the recipe that the desk began with."""
        differing = [
            f"{name}={_text(self._value_of(run.recipe, name))}"
            for name in self.fields
            if self._value_of(run.recipe, name) != self._value_of(self.recipe, name)
        ]
        what = ", ".join(differing) or "as the recipe says"
        progress = "" if run.state == "finished" else f", {run.state} at {run.done:.0%}"
        return f"run {number}: {what}{progress}"

    def still(self) -> str:
        """The curves that are there, in one figure: for paper, and where no script runs."""
        count = len(self.records) + len(self.runs)
        words = (
            f"The loss of {count} run{'s' * (count != 1)}, thin in training, thick in the test. "
            "In a notebook this is a desk with a control for each field of the recipe, and trains."
        )
        return figure([("Loss", self.drawn())], words)

    def offline(self) -> str:
        """What stands on a page of the book, as HTML: the finished runs, played again. Where there
        is none, the still figure."""
        lines = self._recorded()
        if not lines:
            return self.still()
        charts = [chart(lines, quantity, f"The {quantity} of the runs.") for quantity in QUANTITIES]
        names = legend([line.label for line in lines])
        return replay(self.records, charts, AREA, names, self.still())._repr_html_()

    def _ipython_display_(self) -> None:
        show(lambda: self.box, self.offline)


def _end(line: Line) -> str:
    """The last test accuracy of a run, in words."""
    test = line.test("accuracy")
    return f": {test[-1][1]:.1%} of the test images after epoch {test[-1][0]:g}" if test else ""


def _text(value: Any) -> str:
    return NULL if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _value(given: Any) -> Any:
    """What was written into a control, as a recipe's file would be read: a number where it is one.

    What is none stays text, and the recipe says what it should have been.
    """
    if not isinstance(given, str):
        return given
    text = given.strip()
    if text in ("", NULL):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
