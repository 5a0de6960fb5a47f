"""The Colab notebooks: each text notebook as plain Markdown, with a first cell that sets it up.

    make notebooks                          # every chapter, clean, into _build/colab
    python book/colab.py time FOLDER        # how long those in a folder run, into a record
    python book/colab.py trial NAME FOLDER  # one chapter, to be run in a place like Colab

Colab knows nothing of the book's directives and roles. So the Markdown is parsed by the book's own
parser, and what only Sphinx understands is written anew: admonitions as block quotes, exercises
under headings, hints and solutions folded, references as links to the site. What has no form there
stops the making, with its file and line; so nothing of it can reach a reader raw.
"""

import base64
import json
import mimetypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
RUNTIME = "2026.07"  # Colab's dated runtime that the notebooks were last checked with
# What Colab lacks, by the word in a notebook that asks for it. Each is installed without its needs.
LACKING = {
    "fvcore": ("fvcore", "iopath", "portalocker", "yacs"),
    "ptflops": ("ptflops",),
    "thop": ("thop",),
    "torchinfo": ("torchinfo",),
    "onnx": ("onnx==1.18.0", "onnx-ir", "onnxruntime", "onnxscript"),  # Colab's protobuf is older
}
NAMED = {"note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "seealso"}
IN_OUTPUT = re.compile(
    r"\{{1,2}(doc|eq|ref|numref|cite|term)\}{1,2}`([^`\n]+)`"
)  # in a printed text
LABELLED = re.compile(r"(?<=[\"'(])eq-[\w-]+(?=[\"')])")  # an equation that a cell prints
TIMES = ROOT / "book" / "records" / "notebooks"
SCHEMA = "mixerbook notebook times 1"

FIRST_CELL = """\
# Run this first. Last checked with Colab's runtime {runtime}. If a newer one breaks
# a cell, choose that: Runtime > Change runtime type > Runtime version.
import importlib.util, os, subprocess, sys
from pathlib import Path
SOURCE = os.environ.get("MIXERBOOK_SOURCE", "{source}")
COMMIT = "{commit}"
TROUBLE = "{trouble}"
if importlib.util.find_spec("mixerlib") is None:
    book = str(Path("mixer-book").resolve())
    fetch = ["git", "-C", book, "fetch", "--quiet", "--depth", "1", SOURCE, COMMIT]
    checkout = ["git", "-C", book, "checkout", "--quiet", "--force", "FETCH_HEAD"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    for step in ["git", "init", "-q", book], fetch, checkout, [*pip, "-e", book]:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{{TROUBLE}}\\n{{done.stderr}}")
{extras}    sys.path.insert(0, book)
import mixerlib, torch
if (notebooks := Path(mixerlib.__file__).parents[1] / "notebooks").is_dir():
    os.chdir(notebooks)  # the measured records are read from ../book
gpu = torch.cuda.is_available() and torch.cuda.get_device_name()
gpu = gpu or "{no_gpu}"
print(f"mixerlib {{mixerlib.__version__}}, torch {{torch.__version__}}, {{gpu}}")
"""
EXTRAS = """\
    extras = "{packages}".split()  # not in Colab
    subprocess.run([*pip, *extras], capture_output=True)  # the chapter can do without them
"""
TROUBLE = "mixerlib could not be fetched from GitHub. Is there a network?"
NO_HOME = "This book has no home on the web. Install mixerlib from the book's folder first."
NO_GPU = "no GPU, and this chapter needs none"
WANTS_GPU = "no GPU. To have one: Runtime > Change runtime type > T4 GPU"


@dataclass(frozen=True)
class Label:
    """What a reference finds: the page, the place in it, its words, its number if it has one."""

    page: str
    anchor: str
    words: str
    number: str = ""


@dataclass
class Book:
    """What the pages refer to, read from the sources: titles, numbers, labels, citations, terms."""

    site: str  # with a slash at its end; empty where the book has no home
    titles: dict[str, str] = field(default_factory=dict)  # by page, such as notebooks/01-patches
    labels: dict[str, Label] = field(default_factory=dict)
    terms: dict[str, Label] = field(default_factory=dict)  # by the term in small letters
    citations: dict[str, str] = field(default_factory=dict)

    def link(self, words: str, page: str, anchor: str = "") -> str:
        """Words that lead to the site, or the words alone where there is none."""
        if not self.site:
            return words
        return f"[{words}]({self.site}{page}.html{f'#{anchor}' if anchor else ''})"


@dataclass(frozen=True)
class Cut:
    """Between two lines: here a cell ends. `solution` is the label of the solution that begins."""

    solution: str = ""


class Unknown(ValueError):
    """Something that Sphinx knows and for which this file has no plain form."""


@cache
def parser() -> object:
    """The book's own Markdown parser, with the extensions that _config.yml asks for."""
    from markdown_it.renderer import RendererHTML
    from myst_parser.config.main import MdParserConfig
    from myst_parser.parsers.mdit import create_md_parser

    asked = yaml.safe_load((ROOT / "_config.yml").read_text())["parse"]
    config = MdParserConfig(
        enable_extensions=set(asked["myst_enable_extensions"]),
        dmath_double_inline=asked["myst_dmath_double_inline"],
    )
    return create_md_parser(config, RendererHTML)


@dataclass(frozen=True)
class Directive:
    """A fence whose info is in braces: its name, what follows the name, its options, its body."""

    name: str
    argument: str
    options: dict[str, str]
    body: str


def directive_of(token: object) -> Directive | None:
    """The directive that a fence is; None for a fence of code."""
    found = re.fullmatch(r"\{([^}\s]+)\}\s*(.*)", token.info.strip())
    if not found:
        return None
    lines = token.content.splitlines()
    options = {}
    while lines and (option := re.fullmatch(r":([\w-]+):\s*(.*)", lines[0])):
        options[option[1]] = option[2]
        del lines[0]
    return Directive(found[1], found[2].strip(), options, "\n".join(lines).strip("\n"))


def directives(text: str) -> Iterator[tuple[object, Directive | None]]:
    """Every block of a text, also those inside directives, with the directive that it is."""
    for token in parser().parse(text):
        fence = token.type in ("fence", "colon_fence")
        directive = directive_of(token) if fence else None
        yield token, directive
        if directive and directive.name not in ("math", "code-cell", "code-block"):
            yield from directives(directive.body)


def surname(person: object) -> str:
    from pybtex.richtext import Text

    return str(Text.from_latex(" ".join(person.prelast_names + person.last_names)))


def read_citations(path: Path) -> dict[str, str]:
    """How each entry of a bibliography is cited: the authors' names and the year."""
    from pybtex.database import parse_file

    found = {}
    for key, entry in parse_file(str(path)).entries.items():
        names = [surname(p) for p in entry.persons.get("author", entry.persons.get("editor", []))]
        who = " and ".join(names) if len(names) < 3 else f"{names[0]} *et al.*"
        found[key] = f"{who}, {entry.fields['year']}"
    return found


def sources(page: str) -> Iterator[tuple[str, str]]:
    """The cells of a page as pairs of kind and text; a page that runs nothing is one cell."""
    import jupytext

    path = ROOT / f"{page}.md"
    if page.startswith("notebooks/"):
        for cell in jupytext.read(path).cells:
            yield cell.cell_type, cell.source
    else:
        yield "markdown", path.read_text()


def site_of(home: str) -> str:
    """Where GitHub Pages puts the site of owner/name; empty for no home."""
    if not home:
        return ""
    owner, _, name = home.partition("/")
    start = f"https://{owner.lower()}.github.io/"
    return start if name.lower() == f"{owner.lower()}.github.io" else f"{start}{name}/"


def read_book(home: str) -> Book:
    """Read the whole book for what its pages can refer to, numbered as Sphinx numbers it."""
    from docutils.nodes import make_id
    from sphinx.util.nodes import _make_id as place_of_term

    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    book = Book(site_of(home), citations=read_citations(ROOT / "book" / "references.bib"))
    pages = [(toc["root"], "")]
    for part in toc["parts"]:
        for entry in part["chapters"]:
            chapter = re.match(r"notebooks/(\d\d)-", entry["file"])  # as in mixerbook.py
            pages.append((entry["file"], f"{int(chapter[1])}." if chapter else ""))
    for page, before in pages:
        equations = exercises = 0
        waiting = None  # a label that names the heading after it

        def name(label: str, words: str, number: str, page: str = page) -> None:
            prefix = "equation-" if words == "equation" else ""
            book.labels[label] = Label(page, make_id(prefix + label), words, number)

        for kind, text in sources(page):
            if kind != "markdown":
                for label in LABELLED.findall(text):
                    equations += 1
                    name(label, "equation", f"{before}{equations}")
                continue
            tokens = list(directives(text))
            for place, (token, directive) in enumerate(tokens):
                if token.type == "heading_open":
                    words = re.sub(r"\s+", " ", tokens[place + 1][0].content)
                    if token.tag == "h1":
                        book.titles.setdefault(page, words)
                    if waiting:
                        name(waiting, words, "")
                        waiting = None
                elif token.type == "myst_target":
                    waiting = token.content
                elif token.type == "math_block_label":
                    equations += 1
                    name(token.info, "equation", f"{before}{equations}")
                elif directive and directive.name == "math" and "label" in directive.options:
                    equations += 1
                    name(directive.options["label"], "equation", f"{before}{equations}")
                elif directive and directive.name == "exercise":
                    exercises += 1
                    label = directive.options["label"]
                    name(label, directive.argument, f"{before}{exercises}")
                elif directive and directive.name == "glossary":
                    for line in re.findall(r"^(\S.*)$", directive.body, re.M):
                        if not line.startswith(":"):
                            term = Label(page, f"term-{place_of_term(line)}", line)
                            book.terms[line.lower()] = term
                elif directive and "name" in directive.options:
                    name(directive.options["name"], directive.argument, "")
    return book


@dataclass
class Page:
    """One page on its way to plain Markdown."""

    book: Book
    name: str  # such as notebooks/01-patches

    def resolve(self, target: str) -> str:
        """The page that a relative address names, seen from this one; without its ending."""
        start = Path(self.name).parent
        found = os.path.normpath(target.lstrip("/") if target.startswith("/") else start / target)
        return re.sub(r"\.(md|ipynb|html)$", "", Path(found).as_posix())

    def role(self, name: str, content: str) -> str:
        """What a role says in plain Markdown. Unknown for a role or a target that is not known."""
        content = re.sub(r"\s+", " ", content)
        named = re.fullmatch(r"(.*?)\s*<([^<>]+)>", content)
        words, target = (named[1], named[2]) if named else ("", content)
        name = name.removeprefix("std:").removeprefix("math:")
        if name == "doc":
            page = self.resolve(target)
            if page not in self.book.titles:
                raise Unknown(f"the page {target!r}")
            return self.book.link(words or self.book.titles[page], page)
        if name in ("ref", "eq", "numref", "prf:ref"):
            if target not in self.book.labels:
                raise Unknown(f"the label {target!r}")
            found = self.book.labels[target]
            if name == "eq" or found.words == "equation":
                words = words or f"({found.number})"
            elif found.number:
                words = words or f"Exercise {found.number}"
            return self.book.link(words or found.words, found.page, found.anchor)
        if name in ("cite", "cite:p", "cite:t", "cite:ps", "cite:ts"):
            keys = [key.strip() for key in content.split(",")]
            if missing := [key for key in keys if key not in self.book.citations]:
                raise Unknown(f"the citation {missing[0]!r}")
            cited = (self.book.link(self.book.citations[k], "book/bibliography") for k in keys)
            return f"({'; '.join(cited)})"
        if name == "term":
            found = self.book.terms.get(target.lower())
            if not found:
                raise Unknown(f"the term {target!r}")
            return self.book.link(words or target, found.page, found.anchor)
        if name == "math":
            return f"${content}$"
        if name in ("sub", "sup"):
            return f"<{name}>{content}</{name}>"
        if name.removeprefix("py:") in ("class", "func", "meth", "attr", "mod", "data", "obj"):
            short = target.rpartition(".")[2] if target.startswith("~") else target
            return f"`{words or short}`"
        raise Unknown(f"the role {name!r}")

    def inline(self, raw: str, children: list) -> str:
        """A paragraph's text with its roles, its links and its pictures made plain.

        The parser says what is there and in which order; it does not say where. So each thing is
        looked for after the one before it, which also keeps what stands inside code untouched.
        """
        done, rest, targets = "", raw, []
        for child in children:
            new = None
            if child.type == "myst_role":
                found = find(rest, r"\{" + re.escape(child.meta["name"]) + r"\}(`+)", child, r"\1")
                new = self.role(child.meta["name"], child.content)
            elif child.type == "code_inline":
                found = find(rest, r"(?<!`)(`+) ?", child, r" ?\1(?!`)")
            elif child.type.startswith("math_inline"):
                found = find(rest, r"(\$\$?)\s*", child, r"\s*\1")
            elif child.type == "link_open":
                target = child.attrs["href"]
                targets.append("" if re.match(r"[a-z][a-z+.-]*:", target) else target)
                if not targets[-1]:
                    continue
                found = re.search(r"\[(?=[^\[\]]*\]\(<?" + re.escape(target) + ")", rest)
                new = "[" if self.book.site else ""
            elif child.type == "link_close":
                target = targets.pop()
                if not target:
                    continue
                found = re.search(r"\]\(<?" + re.escape(target) + r"[^)]*\)", rest)
                new = self.place(target)
            elif child.type == "image":
                target = child.attrs["src"]
                found = re.search(r"\]\(<?" + re.escape(target) + r">?", rest)
                if not re.match(r"[a-z][a-z+.-]*:", target):
                    new = f"]({self.picture(target)}"
            elif child.type in ("footnote_ref", "substitution_inline", "span_open"):
                raise Unknown(f"the form {child.type!r}: {child.content or raw[:60]!r}")
            else:
                continue
            if not found:
                raise Unknown(f"the place of {child.content or child.attrs!r}")
            done += rest[: found.start()] + (found[0] if new is None else new)
            rest = rest[found.end() :]
        return done + rest

    def place(self, target: str) -> str:
        """The end of a link to a page of the book or to a label in it; empty without a home."""
        path, _, anchor = target.partition("#")
        if not path and anchor in self.book.labels:
            label = self.book.labels[anchor]
            return self.book.link("", label.page, label.anchor).removeprefix("[")
        page = self.resolve(path) if path else self.name
        if page not in self.book.titles:
            raise Unknown(f"the page {target!r}")
        return self.book.link("", page, anchor).removeprefix("[")

    def picture(self, target: str) -> str:
        """A picture's file as an address that holds all of it, so that it shows anywhere."""
        path = (ROOT / self.name).parent / target
        if not path.is_file():
            raise Unknown(f"the picture {target!r}")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"

    def equation(self, body: str, label: str = "") -> list[str]:
        """A displayed equation, with the number that it has on the site."""
        tag = f" \\tag{{{self.book.labels[label].number}}}" if label else ""
        return ["$$", f"{body.strip()}{tag}", "$$"]

    def words(self, text: str) -> str:
        """One line of text, such as a title, made plain."""
        return " ".join(line for line in self.lines(text) if line).strip()

    def directive(self, found: Directive) -> list[str | Cut]:
        """What a directive says in plain Markdown."""
        kinds = found.options.get("class", "").split()
        body = self.lines(found.body) if found.name not in ("math", "code-block") else []
        if found.name == "exercise":
            label = self.book.labels[found.options["label"]]
            title = f"### Exercise {label.number}: {self.words(found.argument)}"
            return [Cut(), title, "", *body]
        if found.name == "solution-start":
            label = self.book.labels[found.argument]
            title = f"#### Solution of exercise {label.number}"
            return [Cut(found.argument), title, Cut(), *body]  # all below the heading is folded
        if found.name == "solution-end":
            return [Cut()]
        if found.name == "solution":
            label = self.book.labels[found.argument]
            return folded(f"Solution of exercise {label.number}", body)
        if found.name == "admonition" or found.name in NAMED:
            title = found.argument if found.name == "admonition" else found.name.capitalize()
            if found.name in NAMED and found.argument:  # such a one has no title: these are words
                body = [*self.lines(found.argument), "", *body]
            if "dropdown" in kinds:
                return folded(self.words(title), body)
            return quoted(self.words(title), body)
        if found.name == "dropdown":
            return folded(self.words(found.argument), body)
        if found.name in ("margin", "sidebar", "topic"):
            return quoted(self.words(found.argument), body)
        if found.name in ("figure", "image"):
            alt = found.options.get("alt", "").replace("]", "")
            return [f"![{alt}]({self.picture(found.argument)})", "", *body]
        if found.name == "math":
            return self.equation(found.body, found.options.get("label", ""))
        if found.name == "code-block":
            return [f"```{found.argument}", *found.body.splitlines(), "```"]
        raise Unknown(f"the directive {found.name!r}")

    def lines(self, text: str) -> list[str | Cut]:
        """The lines of a Markdown text, made plain, with the places where its cell must end."""
        source = text.splitlines()
        changes: dict[tuple[int, int], list] = {}
        paragraphs: dict[tuple[int, int], list] = {}
        for token in parser().parse(text):
            if token.type == "inline":
                paragraphs.setdefault(tuple(token.map), []).extend(token.children)
            elif token.type in ("fence", "colon_fence"):
                if found := directive_of(token):
                    changes[tuple(token.map)] = self.directive(found)
                elif token.type == "colon_fence":
                    raise Unknown(f"the fence ::: {token.info}")
            elif token.type == "math_block_label":
                changes[tuple(token.map)] = self.equation(token.content, token.info)
            elif token.type in ("myst_target", "myst_line_comment", "myst_block_break"):
                changes[tuple(token.map)] = []
            elif re.match("dl_open|footnote|front_matter|substitution", token.type):
                raise Unknown(f"the form {token.type!r}")
        for (start, end), children in paragraphs.items():
            new = self.inline("\n".join(source[start:end]), children)
            changes[start, end] = new.split("\n")
        made: list[str | Cut] = []
        done = 0
        for (start, end), new in sorted(changes.items()):
            made += source[done:start]
            indent = re.match(r"\s*", source[start])[0]
            block = (start, end) not in paragraphs  # those still have their indent
            made += [indent + x if block and isinstance(x, str) and x else x for x in new]
            done = end
        return made + source[done:]

    def cells(self, text: str) -> Iterator[tuple[str, str]]:
        """A Markdown cell as plain cells: pairs of text and the label of the solution it begins."""
        part, solution = [], ""
        for line in [*self.lines(text), Cut()]:
            if isinstance(line, str):
                part.append(line)
                continue
            if whole := re.sub(r"\n{3,}", "\n\n", "\n".join(part)).strip("\n"):
                yield whole, solution
            part, solution = [], line.solution


def find(text: str, before: str, child: object, after: str) -> re.Match | None:
    """Where a part of a paragraph stands, whatever its line breaks."""
    words = r"\s+(?:>\s*)*".join(re.escape(word) for word in child.content.strip().split())
    return re.search(before + words + after, text)


def folded(title: str, body: list[str]) -> list[str]:
    """What a reader opens by a click."""
    return [f"<details><summary><b>{title}</b></summary>", "", *whole(body), "", "</details>"]


def quoted(title: str, body: list[str]) -> list[str]:
    """A block quote with a bold title, its equations on one line each, as Jupyter reads them."""
    text = re.sub(
        r"^\$\$\n(.*?)\n\$\$$",
        lambda found: "$$" + " ".join(found[1].split("\n")) + "$$",
        "\n".join(whole(body)),
        flags=re.S | re.M,
    )
    lines = ([f"**{title}**", ""] if title else []) + text.strip("\n").splitlines()
    return [f"> {line}".rstrip() for line in lines]


def whole(body: list[str | Cut]) -> list[str]:
    """These lines; Unknown if a cell would have to end between them."""
    if any(isinstance(line, Cut) for line in body):
        raise Unknown("an exercise or a solution inside another directive")
    return body


def hidden(source: str, tags: set[str]) -> str:
    """The title under which Colab folds a cell away; empty for a cell that is shown."""
    if source.startswith("%%") or not tags & {"hide-input", "hide-cell", "remove-input"}:
        return ""
    return "The code of this figure" if "plots.show" in source else "The code of what follows"


def code_cell(source: str, metadata: dict, page: Page) -> tuple[str, dict]:
    """A code cell and its metadata as Colab and JupyterLab fold it."""
    source = IN_OUTPUT.sub(lambda found: page.role(found[1], found[2]), source)
    source = LABELLED.sub(lambda found: page.book.labels[found[0]].number, source)
    tags = set(metadata.get("tags", ()))
    kept = {"tags": sorted(tags & {"raises-exception"})} if "raises-exception" in tags else {}
    if title := hidden(source, tags):
        kept |= {"cellView": "form", "jupyter": {"source_hidden": True}}
        source = f"#@title {title}\n{source}"
    return source, kept


def first_cell(code: str, home: str, commit: str) -> str:
    """The cell that sets the notebook up, for what the code of the notebook asks for."""
    asks = r"^\s*(?:import|from) {0}\b|\bexport_{0}\b"
    lacking = (LACKING[word] for word in LACKING if re.search(asks.format(word), code, re.M))
    packages = [name for names in lacking for name in names]
    return FIRST_CELL.format(
        runtime=RUNTIME,
        source=f"https://github.com/{home}" if home else "",
        commit=commit,
        trouble=TROUBLE if home else NO_HOME,
        extras=EXTRAS.format(packages=" ".join(packages)) if packages else "",
        no_gpu=WANTS_GPU if "cuda" in code else NO_GPU,
    )


def duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 100 else f"{max(seconds, 1):.0f} seconds"


def time_told(stem: str, folder: Path = TIMES) -> str:
    """How long a notebook runs on a CPU and on a T4, from the measured times; else that none is."""
    told, missing = [], []
    for kind, name in (("cpu", "a CPU"), ("t4", "a T4 GPU")):
        here = []
        for suffix, switch in (("", ""), ("-full", " with `FULL = True`")):
            path = folder / f"{kind}{suffix}.json"
            record = json.loads(path.read_text()) if path.is_file() else {"seconds": {}}
            if stem in record["seconds"]:
                stamp = record["provenance"]
                where = f" ({stamp['device_name']}, {stamp['date'][:10]})" if not suffix else ""
                here.append(f"{duration(record['seconds'][stem])} on {name}{where}{switch}")
        told += here
        missing += [] if here else [name]
    sentences = [f"It runs in {', '.join(told)}."] if told else []
    sentences += [f"It has not been timed on {' or '.join(missing)} yet."] if missing else []
    return " ".join(sentences)


def notebook(page: str, book: Book, home: str, commit: str) -> dict:
    """A chapter as a notebook without outputs. Unknown for what has no plain form, with its place.

    The same sources, home and commit give the same notebook, byte for byte.
    """
    import jupytext
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    stem, plain = Path(page).name, Page(book, page)
    text = jupytext.read(ROOT / f"{page}.md")
    code = "\n".join(cell.source for cell in text.cells if cell.cell_type == "code")
    cells, folds = [], []

    def add(made: dict) -> None:
        made["id"] = f"{re.sub(r'[^a-z0-9-]', '-', stem)[:50]}-{len(cells)}"
        made["metadata"]["id"] = made["id"]
        cells.append(made)

    for cell in text.cells:
        try:
            if cell.cell_type == "code":
                source, metadata = code_cell(cell.source, cell.metadata, plain)
                add(new_code_cell(source, metadata=metadata))
                continue
            for source, solution in plain.cells(cell.source):
                if not cells:
                    title, _, source = source.partition("\n")
                    where = book.link("This chapter on the book's site", page) if home else ""
                    opening = f"{title}\n\n{where}{'. ' if where else ''}{time_told(stem)}"
                    add(new_markdown_cell(opening))
                    add(new_code_cell(first_cell(code, home, commit).rstrip("\n")))
                    source = source.strip("\n")
                    if not source:
                        continue
                add(new_markdown_cell(source))
                if solution:
                    cells[-1]["metadata"]["jp-MarkdownHeadingCollapsed"] = True
                    folds.append(cells[-1]["id"])
        except (Unknown, KeyError) as problem:
            near = cell.source.strip().splitlines()[0][:60]
            raise Unknown(
                f"{page}.md, in the cell {near!r}: {problem} has no form on Colab"
            ) from None
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "colab": {"name": f"{stem}.ipynb", "provenance": [], "collapsed_sections": folds},
    }
    if "execution" in text.metadata:
        metadata["execution"] = text.metadata["execution"]
    if "cuda" in code:
        metadata |= {"accelerator": "GPU"}
        metadata["colab"]["gpuType"] = "T4"
    made = new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(made)
    return made


def write_notebook(made: dict, path: Path) -> None:
    text = json.dumps(made, indent=1, ensure_ascii=False, sort_keys=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def home() -> str:
    """Where this copy of the book lives, as the pages' build finds it."""
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        import mixerbook
    finally:
        sys.path.pop(0)
    return mixerbook.home()


def git(*words: str, **also: str) -> str:
    done = subprocess.run(
        ["git", *words], env=os.environ | also, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def chapters() -> list[str]:
    """The pages that are notebooks, in their order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [page for page in files if page.startswith("notebooks/")]


def make_all(target: Path = ROOT / "_build" / "colab") -> list[Path]:
    """Every chapter as a notebook for Colab, in place of what the folder held; at this commit."""
    where = home()
    book = read_book(where)
    commit = git("-C", str(ROOT), "rev-parse", "HEAD")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        part = Path(scratch, "colab")
        part.mkdir()
        for page in chapters():
            path = part / f"{Path(page).name}.ipynb"
            write_notebook(notebook(page, book, where, commit), path)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    return sorted(target.glob("*.ipynb"))


def snapshot(repository: Path) -> str:
    """Put the working tree, as it is now, into a new bare repository; return the commit."""
    git("init", "--quiet", "--bare", str(repository))
    inside = {"GIT_DIR": str(repository), "GIT_WORK_TREE": str(ROOT)}
    for who in ("AUTHOR", "COMMITTER"):
        inside |= {f"GIT_{who}_NAME": "The Mixer Book", f"GIT_{who}_EMAIL": "book@example.org"}
        inside |= {f"GIT_{who}_DATE": "2026-01-01T00:00:00Z"}
    git("-C", str(ROOT), "add", "--all", **inside)
    commit = git("commit-tree", git("write-tree", **inside), "-m", "Working tree", **inside)
    git("update-ref", "HEAD", commit, **inside)
    return commit


def make_trial(stem: str, folder: Path) -> Path:
    """One chapter's notebook as readers get it, but of the working tree instead of a commit.

    `folder` also gets `source.git`, from which its first cell fetches mixerlib where the variable
    MIXERBOOK_SOURCE says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "source.git", ignore_errors=True)
    commit = snapshot((folder / "source.git").resolve())
    where = home()
    path = folder / f"{stem}.ipynb"
    write_notebook(notebook(f"notebooks/{stem}", read_book(where), where, commit), path)
    return path


def time_all(folder: Path) -> Path:
    """Run every notebook of a folder here and record the seconds that each takes, start to end.

    mixerlib must be importable, so that its installation does not count. The record's name is that
    of the device: cpu, or that of the GPU, with `-full` after it where MIXERBOOK_FULL is 1.
    """
    from dataclasses import asdict

    import nbformat
    import torch
    from nbclient import NotebookClient

    from mixerlib.files import write_atomic
    from mixerlib.records import provenance

    here = asdict(provenance("cuda" if torch.cuda.is_available() else "cpu"))
    name = here["device_name"].split()[-1].lower() if here["device"] == "cuda" else "cpu"
    full = os.environ.get("MIXERBOOK_FULL") == "1"
    seconds = {}
    for path in sorted(folder.glob("*.ipynb")):
        text = nbformat.read(path, as_version=4)
        start = time.monotonic()
        NotebookClient(text, timeout=3600, resources={"metadata": {"path": str(folder)}}).execute()
        seconds[path.stem] = round(time.monotonic() - start, 1)
        print(f"{seconds[path.stem]:8.1f} s  {path.stem}", flush=True)
    if not seconds:
        raise ValueError(f"There are no notebooks in {folder}: make notebooks")
    target = TIMES / f"{name}{'-full' if full else ''}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    record = {"schema": SCHEMA, "full": full, "seconds": seconds, "provenance": here}
    write_atomic(target, f"{json.dumps(record, indent=1, ensure_ascii=False)}\n".encode())
    return target


def main() -> int:
    """`colab.py`, `colab.py trial NAME FOLDER`, `colab.py time FOLDER`: see the top of the file."""
    try:
        match sys.argv[1:]:
            case []:
                made = make_all()
                print(f"== {len(made)} notebooks for Colab in {made[0].parent}")
            case ["trial", stem, folder]:
                print(make_trial(stem, Path(folder)))
            case ["time", folder]:
                print(f"== {time_all(Path(folder))}")
            case _:
                print(main.__doc__, file=sys.stderr)
                return 2
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as problem:
        print(f"{' '.join(problem.cmd[:4])} failed: {problem.stderr}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
