"""A run that trains in a thread, so that the notebook's kernel stays free.

It is paused, stopped and taken up between two steps, and ends with the same weights as `train`.
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from mixerlib.data import ImageSource
from mixerlib.files import one_line
from mixerlib.records import Epoch, Record
from mixerlib.training import (
    Diverged,
    Recipe,
    Run,
    Session,
    Stopped,
    begin_or_resume,
    choose_device,
    errors_explained,
    fit,
    record_of,
    run_folder,
    save_results,
)
from mixerlib.training.run import read_back

EVERY = 0.25  # seconds between two looks at a run: more often would cost the run its time
ACTIVE = ("running", "paused")


class ThreadedRun:
    """One training run in a thread of this process.

    Args:
        recipe: what is trained, and how.
        dataset: the recipe's, loaded.
        device: one that `choose_device` knows. None: the GPU if there is one.
        folder: where its checkpoint, its metrics and its results go, in a folder of its own. None:
            runs/RECIPE/DATE, as `mixerlib train` has it.
        changed: called from either thread when there is something new to show.

    Its `state` is "new", "running", "paused", "stopped", "finished" or "failed", and its `message`
    says why it is stopped or failed.

    >>> from mixerlib.training import dataset_for, load_recipe
    >>> from mixerlib.widgets import ThreadedRun
    >>> recipe = load_recipe("digits", {"epochs": 1})
    >>> run = ThreadedRun(recipe, dataset_for(recipe), "cpu")
    >>> run.start()
    >>> run.wait()  # or go on with something else
    >>> run.state, len(run.curve)
    ('finished', 1)
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: ImageSource,
        device: str | None = None,
        folder: Path | None = None,
        changed: Callable[[], None] = lambda: None,
    ):
        self.recipe, self.folder = recipe, folder
        self.dataset = dataset.to(choose_device(device))
        self.changed = changed
        self.state, self.message = "new", ""
        self.record: Record | None = None
        self.curve: list[Epoch] = []
        self.points: list[tuple[float, float, float]] = []  # of this epoch: epochs, loss, accuracy
        self.done = 0.0  # the share of the steps
        self._run: Run | None = None
        self._thread: threading.Thread | None = None
        self._go, self._stop = threading.Event(), threading.Event()
        self._looked = (0.0, 0, 0)  # when, at which epoch, after how many of its steps

    def start(self) -> None:
        """Begin, or go on where the run was paused or stopped.

        Raises `ValueError` for a recipe that does not fit, and `OSError` for a folder that cannot
        be written to; the run is then as it was.
        """
        if self.state == "paused":
            self._go.set()
            return
        resume = self.state == "stopped"
        with ExitStack() as stack:
            self.folder = stack.enter_context(run_folder(self.recipe, self.folder, resume))
            session = Session(self.folder, resume, progress=False, stop=self._between_steps)
            device = self.dataset.device
            with errors_explained(self.recipe):  # here, as it seeds torch's global generator
                self._run = begin_or_resume(self.recipe, self.dataset, device, session)
            held = stack.pop_all()  # the claim of the folder, until the thread ends
        self._stop.clear()
        self._go.set()
        self.state, self.message = "running", ""
        self._thread = threading.Thread(target=self._fit, args=(session, held), daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Hold the run before its next step; `start` lets it go on at once."""
        self._go.clear()

    def stop(self) -> None:
        """End the run before its next step, with a checkpoint; `start` takes it up there."""
        self._stop.set()
        self._go.set()

    def wait(self, seconds: float | None = None) -> None:
        """Return when the thread has ended, or the time is over."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _fit(self, session: Session, held: ExitStack) -> None:
        run = self._run
        assert run is not None and self.folder is not None  # as `start` has set both
        state, message = "failed", ""
        try:
            with held, errors_explained(self.recipe):
                fit(run, self.dataset, session)
                self.record = record_of(run, self.dataset, self.dataset.device)
                save_results(run.evaluated_model.eval(), self.record, self.folder)
            state = "finished"
        except Stopped as stopped:
            state, message = "stopped", str(stopped)
        except (Diverged, ValueError, OSError) as error:
            message = one_line(error)
        except Exception as error:  # a bug: nobody else would see it in a thread
            message = f"{type(error).__name__}: {one_line(error)}"
        self.curve, self.points = list(run.curve), []
        self.done = run.steps_done / run.all_steps
        self._run = None  # and so its memory is free
        self.state, self.message = state, message
        self.changed()

    def _between_steps(self) -> str | None:
        """The reason to stop, if there is one. In the thread, between two steps."""
        run = self._run
        assert run is not None
        self._look(run)
        if not self._go.is_set():
            begin = time.perf_counter()
            self.state = "paused"
            self.changed()
            self._go.wait()
            self.state = "running"
            run.clock_start += time.perf_counter() - begin  # a pause is none of the run's time
        return "stopped at the desk" if self._stop.is_set() else None

    def _look(self, run: Run) -> None:
        """Note how far the run is and what its latest steps' losses were, a few times a second."""
        when, epoch, before = self._looked
        if time.monotonic() - when < EVERY:
            return
        if run.epoch != epoch:
            before, self.points = 0, []
        self._looked = (time.monotonic(), run.epoch, run.step)
        self.curve, self.done = list(run.curve), run.steps_done / run.all_steps
        if run.step > before:
            sums = read_back(run, run.loss_and_correct[:, before : run.step]).sum(dim=1)
            images = min(run.step * run.recipe.batch_size, run.images)
            loss, correct = (sums / (images - before * run.recipe.batch_size)).tolist()
            self.points.append((run.epoch - 1 + run.step / run.steps, loss, correct))
        self.changed()
