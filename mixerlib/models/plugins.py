"""Mixings of other packages: a package that is installed need not be imported by hand.

In its pyproject.toml it names a module that calls `register_mixing`:

    [project.entry-points."mixerlib.mixings"]
    carousel = "carousel_mixing"

The module is imported when the registry is first asked for all names, or for one that it does not
have. The folder `template/` of the book is such a package.
"""

import warnings
from importlib.metadata import entry_points

GROUP = "mixerlib.mixings"
_asked = False  # whether this process has looked already


def import_mixings() -> None:
    """Import, once in a process, every module that an installed package names under `GROUP`.

    One that cannot be imported is named in a warning, and its mixings are missing.
    """
    global _asked
    if _asked:
        return
    _asked = True  # before the imports, as a module may ask for models itself
    for declared in entry_points(group=GROUP):
        try:
            declared.load()
        except Exception as error:  # whatever a module of somebody's does
            kind = type(error).__name__
            message = f"the mixings of {declared.value!r}, {declared.name!r} of an installed "
            message += f"package, are missing: its import raises {kind}: {error}"
            warnings.warn(message, stacklevel=3)
