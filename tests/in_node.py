"""Runs an interactive's own script in Node, which has no page: what it computes."""

import json
import re
import shutil
import subprocess
from typing import Any, Protocol

import pytest

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Node.js, which runs the script, is not here")


class Piece(Protocol):
    """What a notebook shows as HTML."""

    def _repr_html_(self) -> str: ...


def script_of(piece: Piece) -> str:
    """The script in an interactive's HTML: the kit's and its own."""
    (script,) = re.findall(r"<script>(.*?)</script>", piece._repr_html_(), re.S)
    return script


def run_script(piece: Piece, program: str) -> Any:
    """What a program prints as JSON, run after the interactive's script.

    The program finds what the interactive computes in `api`.
    """
    (name,) = re.findall(r'data-interactive="(\w+)"', piece._repr_html_())
    code = f"{script_of(piece)}\nconst api = mixerKit.api.{name};\n{program}"
    done = subprocess.run([NODE, "-"], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
