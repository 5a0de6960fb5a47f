"""Where a widget is shown, and what stands in its place where none can live."""

import os
from collections.abc import Callable
from html import escape
from types import ModuleType
from typing import Any

PAGE = "MIXERBOOK_PAGE"  # set to 1 by the book's build, for the kernels that run its chapters


def on_a_page() -> bool:
    """Whether the cell that runs now belongs to a page of the book, which no kernel stands behind.

    >>> from mixerlib.widgets import on_a_page
    >>> on_a_page()
    False
    """
    return os.environ.get(PAGE) == "1"


def toolkit() -> ModuleType:
    """ipywidgets, 7.7 or later. `ValueError` where it is not installed."""
    try:
        import ipywidgets
    except ImportError:
        raise ValueError("a widget needs the package ipywidgets: pip install ipywidgets") from None
    return ipywidgets


def show(box: Callable[[], Any], offline: Callable[[], str]) -> None:
    """Display a widget where a reader's kernel runs, and what needs no kernel where none does.

    Args:
        box: makes the widget.
        offline: makes what stands in its place, as HTML: on a page of the book, and where
            ipywidgets is absent, which a line below it then says.
    """
    from IPython.display import HTML, display

    if on_a_page():
        display(HTML(offline()))
        return
    try:
        made = box()
    except ValueError as error:
        display(HTML(f"{offline()}<p>{escape(str(error))}</p>"))
        return
    display(made)


def label(text: str) -> dict[str, Any]:
    """The options of a control with these words beside it, which are never cut short."""
    return {"description": text, "style": {"description_width": "initial"}}


def alert(message: str) -> str:
    """A mistake in words, as HTML that a screen reader says at once."""
    return f'<p role="alert" style="color: #D55E00">{escape(message)}</p>' if message else ""
