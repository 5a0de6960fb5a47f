"""Runs an interactive's own script, in Node, which has no page, or in a page: what it computes."""

import json
import re
import shutil
import subprocess
from typing import Any, Protocol

from every_interactive import PAGE
from helpers import missing


class Piece(Protocol):
    """What a notebook shows as HTML."""

    def _repr_html_(self) -> str: ...


def script_of(piece: Piece) -> str:
    """The script in an interactive's HTML: the kit's and its own."""
    (script,) = re.findall(r"<script>(.*?)</script>", piece._repr_html_(), re.S)
    return script


def name_of(piece: Piece) -> str:
    """The name that an interactive's script starts it by."""
    (name,) = re.findall(r'data-interactive="(\w+)"', piece._repr_html_())
    return name


def asked(piece: Piece, program: str) -> str:
    """An expression of JavaScript: what a program returns, as JSON.

    The program is the body of a function. It finds what the interactive computes in `api`.
    """
    return f"JSON.stringify((api => {{ {program} }})(mixerKit.api.{name_of(piece)}))"


def in_node(piece: Piece, program: str) -> Any:
    """What a program returns that Node runs after the interactive's script."""
    if (node := shutil.which("node")) is None:
        missing("needs Node.js, which runs the script")
    code = f"{script_of(piece)}\nconsole.log({asked(piece, program)});"
    done = subprocess.run([node, "-"], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_browser(tab: Any, piece: Piece, program: str) -> Any:
    """What a program returns that runs in a page with the interactive, after it has begun."""
    tab.goto("about:blank")
    tab.set_content(PAGE % piece._repr_html_())
    returned = json.loads(tab.evaluate(f"() => {asked(piece, program)}"))
    assert tab.failed == [] and tab.left == [] and tab.said == []
    return returned
