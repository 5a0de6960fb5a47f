"""Where the book lies that a notebook belongs to."""

from pathlib import Path

MARK = "published.yaml"  # a file of the book's folder, and of few others'


def book_folder() -> Path:
    """The folder `book` with the published numbers and the records, from any working folder.

    That of the checkout that the working folder is in comes first, as a notebook in it belongs to
    it; else it is that of the checkout that mixerlib was imported from. `FileNotFoundError` where
    there is neither, as mixerlib can be installed without the book.

    >>> from mixerlib.pages import book_folder
    >>> (book_folder() / "records").is_dir()
    True
    """
    places = [Path(above, "book") for above in ("..", ".")]
    places.append(Path(__file__).parents[2] / "book")
    for place in places:
        if (place / MARK).is_file():
            return place
    raise FileNotFoundError(
        f"there is no folder book with {MARK} beside {Path.cwd()}, in it, or beside mixerlib in "
        f"{Path(__file__).parents[1]}; start in a checkout of the book, in its folder notebooks"
    )
