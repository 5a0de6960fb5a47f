"""A bar on stderr that says how far long work has come.

>>> from mixerlib.data.progress import progress_bar
>>> with progress_bar(total=3) as bar:  # drawn where stderr is a terminal
...     bar.n
0
"""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(shown: bool = True, **options: Any) -> tqdm:
    """tqdm's bar, drawn if it is to be `shown` and stderr is a terminal.

    Without a stderr, as under pythonw and in a program made by PyInstaller, tqdm would fail.
    """
    return tqdm(disable=None if shown and sys.stderr is not None else True, **options)
