"""A chapter as a notebook for Colab: plain Markdown, and a first cell that sets it up."""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from book.tools import ROOT
from book.tools.plain import Page, Unknown
from book.tools.references import LABEL_IN_CODE, Book
from book.tools.solutions import are_shown, without_solutions
from book.tools.times import running_time

RUNTIME = "2026.07"  # Colab's dated runtime that the notebooks were last checked with
# What Colab lacks, by the word in a notebook that asks for it. Each is installed without its needs,
# and at the version of constraints.txt unless there is another one here.
LACKING = {
    "fvcore": ("fvcore", "iopath", "portalocker", "yacs"),
    "ptflops": ("ptflops",),
    "thop": ("thop",),
    "torchinfo": ("torchinfo",),
    "onnx": ("onnx==1.18.0", "onnx-ir", "onnxruntime", "onnxscript"),  # Colab's protobuf is older
}
ROLE_IN_OUTPUT = re.compile(r"\{{1,2}(doc|eq|ref|numref|cite|term)\}{1,2}`([^`\n]+)`")

FIRST_CELL = """\
# Run this first. Last checked with Colab's runtime {runtime}. If a newer one breaks
# a cell, choose that: Runtime > Change runtime type > Runtime version.
import importlib.util, os, pathlib, subprocess, sys
SOURCE = os.environ.get("MIXERBOOK_SOURCE", "{source}")
COMMIT = "{commit}"
TROUBLE = "{trouble}"
if importlib.util.find_spec("mixerlib") is None:
    book = os.path.abspath("mixer-book")
    fetch = ["git", "-C", book, "fetch", "--quiet", "--depth", "1", SOURCE, COMMIT]
    checkout = ["git", "-C", book, "checkout", "--quiet", "--force", "FETCH_HEAD"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    for step in ["git", "init", "-q", book], fetch, checkout, [*pip, "-e", book]:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{{TROUBLE}}\\n{{done.stderr}}")
{extras}    sys.path.insert(0, book)
import mixerlib, torch
if (notebooks := pathlib.Path(mixerlib.__file__).parents[1] / "notebooks").is_dir():
    os.chdir(notebooks)  # the measured records are read from ../book
gpu = torch.cuda.is_available() and torch.cuda.get_device_name()
gpu = gpu or "{no_gpu}"
print(f"mixerlib {{mixerlib.__version__}}, torch {{torch.__version__}}, {{gpu}}")
"""
EXTRAS = """\
{packages}
    subprocess.run([*pip, *extras], capture_output=True)  # not in Colab; it works without
"""
TROUBLE = "mixerlib could not be fetched from GitHub. Is there a network?"
NO_HOME = "This book has no home on the web. Install mixerlib from the book's folder first."
NO_GPU = "no GPU, and this chapter needs none"
WANTS_GPU = "no GPU. To have one: Runtime > Change runtime type > T4 GPU"


def title_of_hidden(source: str, tags: set[str]) -> str:
    """The title under which Colab folds a cell away; empty for a cell that is shown."""
    if source.startswith("%%") or not tags & {"hide-input", "hide-cell", "remove-input"}:
        return ""
    return "The code of this figure" if "plots.show" in source else "The code of what follows"


def code_cell(source: str, metadata: dict, page: Page) -> tuple[str, dict]:
    """A code cell and its metadata as Colab and JupyterLab fold it."""
    source = ROLE_IN_OUTPUT.sub(lambda role: page.role(role[1], role[2]), source)
    source = LABEL_IN_CODE.sub(lambda label: page.book.labels[label[0]].number, source)
    tags = set(metadata.get("tags", ()))
    kept: dict = {}
    if "raises-exception" in tags:
        kept["tags"] = ["raises-exception"]
    if title := title_of_hidden(source, tags):
        kept |= {"cellView": "form", "jupyter": {"source_hidden": True}}
        source = f"#@title {title}\n{source}"
    return source, kept


def pinned(package: str, root: Path = ROOT) -> str:
    """The package with a version: its own, or that of constraints.txt."""
    if "==" in package:
        return package
    pins = (root / "constraints.txt").read_text(encoding="utf-8")
    if not (pin := re.search(rf"^{re.escape(package)}==\S+$", pins, re.M | re.I)):
        raise ValueError(f"constraints.txt has no version of {package}, which a notebook installs")
    return pin[0]


def wrapped(packages: list[str]) -> str:
    """The line of code that lists the packages, in as many as it needs."""
    line = f'    extras = """{" ".join(packages)}""".split()'
    return textwrap.fill(line, 92, break_on_hyphens=False, break_long_words=False)


def first_cell(code: str, home: str, commit: str) -> str:
    """The cell that sets the notebook up, for what the code of the notebook asks for."""
    asks = r"^\s*(?:import|from) {0}\b|\bexport_{0}\b|\b{0}_operators\b"
    lacking = (LACKING[word] for word in LACKING if re.search(asks.format(word), code, re.M))
    packages = [pinned(name) for names in lacking for name in names]
    return FIRST_CELL.format(
        runtime=RUNTIME,
        source=f"https://github.com/{home}" if home else "",
        commit=commit,
        trouble=TROUBLE if home else NO_HOME,
        extras=EXTRAS.format(packages=wrapped(packages)) if packages else "",
        no_gpu=WANTS_GPU if "cuda" in code else NO_GPU,
    )


def plain_cells(written: Iterable, page: Page) -> Iterator[tuple[str, str, dict]]:
    """The cells of a chapter made plain: kind, source and metadata of each.

    Unknown for what has no plain form, with its place.
    """
    for cell in written:
        try:
            if cell.cell_type == "code":
                yield "code", *code_cell(cell.source, cell.metadata, page)
                continue
            for source, solution in page.cells(cell.source):
                folds = {"jp-MarkdownHeadingCollapsed": True} if solution else {}
                yield "markdown", source, folds
        except (Unknown, KeyError) as problem:
            near = cell.source.strip().splitlines()[0][:60]
            where = f"{page.name}.md, in the cell {near!r}"
            raise Unknown(f"{where}: {problem} has no form on Colab") from None


def make_notebook(name: str, book: Book, home: str, commit: str) -> dict:
    """The chapter of this name as a notebook without outputs; Unknown as in `plain_cells`.

    The same sources, home and commit give the same notebook, byte for byte.
    """
    import jupytext
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    stem = Path(name).name
    source = (book.root / f"{name}.md").read_text(encoding="utf-8")
    text = jupytext.reads(source if are_shown() else without_solutions(source), "md:myst")
    code = "\n".join(cell.source for cell in text.cells if cell.cell_type == "code")
    plain = plain_cells(text.cells, Page(book, name))
    title, _, rest = next(plain)[1].partition("\n")
    where = book.link("This chapter on the book's site", name) if home else ""
    opening = f"{title}\n\n{where}{'. ' if where else ''}{running_time(stem)}"
    cells = [
        new_markdown_cell(opening),
        new_code_cell(first_cell(code, home, commit).rstrip("\n")),
    ]
    if rest := rest.strip("\n"):
        cells.append(new_markdown_cell(rest))
    for kind, source, metadata in plain:
        new = new_code_cell if kind == "code" else new_markdown_cell
        cells.append(new(source, metadata=metadata))
    start = re.sub(r"[^a-z0-9-]", "-", stem)[:50]
    for number, cell in enumerate(cells):
        cell["id"] = cell["metadata"]["id"] = f"{start}-{number}"
    folds = [cell["id"] for cell in cells if "jp-MarkdownHeadingCollapsed" in cell["metadata"]]
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "colab": {"name": f"{stem}.ipynb", "provenance": [], "collapsed_sections": folds},
    }
    if "execution" in text.metadata:
        metadata["execution"] = text.metadata["execution"]
    if "cuda" in code:
        metadata["accelerator"] = "GPU"
        metadata["colab"]["gpuType"] = "T4"
    made = new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(made)
    return made


def write_notebook(made: dict, path: Path) -> None:
    text = json.dumps(made, indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(f"{text}\n", encoding="utf-8")
