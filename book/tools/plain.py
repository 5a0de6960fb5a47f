"""MyST Markdown as plain Markdown: what only Sphinx understands is written anew."""

import base64
import mimetypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from book.tools.myst import Directive, directive_of, parser
from book.tools.references import Book

ADMONITIONS = {
    *("note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "seealso"),
}
ADDRESS = r"[a-z][a-z+.-]*:"  # how a link begins that leads out of the book


class Unknown(ValueError):
    """Something that Sphinx knows and for which there is no plain form here."""


@dataclass(frozen=True)
class Cut:
    """Between two lines: here a cell ends. `solution` is the label of the solution that begins."""

    solution: str = ""


@dataclass
class Page:
    """One page on its way to plain Markdown."""

    book: Book
    name: str  # such as notebooks/01-patches

    def resolve(self, target: str) -> str:
        """The page that a relative address names, seen from this one; without its ending."""
        start = Path(self.name).parent
        path = os.path.normpath(target.lstrip("/") if target.startswith("/") else start / target)
        return re.sub(r"\.(md|ipynb|html)$", "", Path(path).as_posix())

    def role(self, name: str, content: str) -> str:
        """What a role says in plain Markdown. Unknown for a role or a target that is not known."""
        content = re.sub(r"\s+", " ", content)
        named = re.fullmatch(r"(.*?)\s*<([^<>]+)>", content)
        words, target = (named[1], named[2]) if named else ("", content)
        name = name.removeprefix("std:").removeprefix("math:")
        if name in ("doc", "ref", "eq", "numref", "prf:ref", "term"):
            return self.reference(name, words, target)
        if name in ("cite", "cite:p", "cite:t", "cite:ps", "cite:ts"):
            return self.citation(content)
        if name == "math":
            return f"${content}$"
        if name in ("sub", "sup"):
            return f"<{name}>{content}</{name}>"
        if name.removeprefix("py:") in ("class", "func", "meth", "attr", "mod", "data", "obj"):
            short = target.rpartition(".")[2] if target.startswith("~") else target
            return f"`{words or short}`"
        raise Unknown(f"the role {name!r}")

    def reference(self, role: str, words: str, target: str) -> str:
        """A link to a page, a label or a term, with these words or those of the target."""
        if role == "doc":
            page = self.resolve(target)
            if page not in self.book.titles:
                raise Unknown(f"the page {target!r}")
            return self.book.link(words or self.book.titles[page], page)
        if role == "term":
            label = self.book.terms.get(target.lower())
            words = words or target
        else:
            label = self.book.labels.get(target)
        if not label:
            raise Unknown(f"the {'term' if role == 'term' else 'label'} {target!r}")
        if role == "eq" or label.words == "equation":
            words = words or f"({label.number})"
        elif label.number:
            words = words or f"Exercise {label.number}"
        return self.book.link(words or label.words, label.page, label.anchor)

    def citation(self, content: str) -> str:
        """Authors and years of the entries whose keys are listed."""
        keys = [key.strip() for key in content.split(",")]
        if missing := [key for key in keys if key not in self.book.citations]:
            raise Unknown(f"the citation {missing[0]!r}")
        cited = (self.book.link(self.book.citations[key], "book/bibliography") for key in keys)
        return f"({'; '.join(cited)})"

    def inline(self, raw: str, children: list) -> str:
        """A paragraph's text with its roles, its links and its pictures made plain.

        The parser says what is there and in which order; it does not say where. So each thing is
        looked for after the one before it, which also keeps what stands inside code untouched.
        """
        done, rest = "", raw
        targets: list[str] = []  # of the links that are open
        for child in children:
            if child.type in ("footnote_ref", "substitution_inline", "span_open"):
                raise Unknown(f"the form {child.type!r}: {child.content or raw[:60]!r}")
            pattern, new = self.plain(child, targets)
            if not pattern:
                continue
            place = re.search(pattern, rest)
            if not place:
                raise Unknown(f"the place of {child.content or child.attrs!r}")
            done += rest[: place.start()] + (place[0] if new is None else new)
            rest = rest[place.end() :]
        return done + rest

    def plain(self, child: Any, targets: list[str]) -> tuple[str, str | None]:
        """A pattern for a part of a paragraph, and what replaces it; None where it stays.

        The pattern is empty for a part that needs none, such as text. `targets` holds those of the
        links that are open, each empty for a link out of the book.
        """
        if child.type == "myst_role":
            role = child.meta["name"]
            pattern = rf"\{{{re.escape(role)}\}}(`+){words_of(child)}\1"
            return pattern, self.role(role, child.content)
        if child.type == "code_inline":
            return rf"(?<!`)(`+) ?{words_of(child)} ?\1(?!`)", None
        if child.type.startswith("math_inline"):
            return rf"(\$\$?)\s*{words_of(child)}\s*\1", None
        if child.type == "link_open":
            target = child.attrs["href"]
            targets.append("" if re.match(ADDRESS, target) else target)
            if targets[-1]:
                pattern = rf"\[(?=[^\[\]]*\]\(<?{re.escape(target)})"
                return pattern, "[" if self.book.site else ""
        elif child.type == "link_close":
            if target := targets.pop():
                return rf"\]\(<?{re.escape(target)}[^)]*\)", self.place(target)
        elif child.type == "image":
            target = child.attrs["src"]
            inside = not re.match(ADDRESS, target)
            new = f"]({self.picture(target)}" if inside else None
            return rf"\]\(<?{re.escape(target)}>?", new
        return "", None

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
        path = (self.book.root / self.name).parent / target
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
        return " ".join(line for line in whole(self.lines(text)) if line).strip()

    def directive(self, directive: Directive) -> list[str | Cut]:
        """What a directive says in plain Markdown."""
        name, argument, options = directive.name, directive.argument, directive.options
        if name == "math":
            return [*self.equation(directive.body, options.get("label", ""))]
        if name == "code-block":
            return [f"```{argument}", *directive.body.splitlines(), "```"]
        if name == "solution-end":
            return [Cut()]
        body = self.lines(directive.body)
        if name == "exercise":
            number = self.book.labels[options["label"]].number
            return [Cut(), f"### Exercise {number}: {self.words(argument)}", "", *body]
        if name in ("solution", "solution-start"):
            title = f"Solution of exercise {self.book.labels[argument].number}"
            if name == "solution":
                return [*folded(title, body)]
            return [Cut(argument), f"#### {title}", Cut(), *body]  # all below the heading is folded
        if name == "admonition" or name in ADMONITIONS:
            title = argument if name == "admonition" else name.capitalize()
            if name in ADMONITIONS and argument:  # such a one has no title: these are words
                body = [*self.lines(argument), "", *body]
            form = folded if "dropdown" in options.get("class", "").split() else quoted
            return [*form(self.words(title), body)]
        if name == "dropdown":
            return [*folded(self.words(argument), body)]
        if name in ("margin", "sidebar", "topic"):
            return [*quoted(self.words(argument), body)]
        if name in ("figure", "image"):
            alt = options.get("alt", "").replace("]", "")
            return [f"![{alt}]({self.picture(argument)})", "", *body]
        raise Unknown(f"the directive {name!r}")

    def lines(self, text: str) -> list[str | Cut]:
        """The lines of a Markdown text, made plain, with the places where its cell must end."""
        source = text.splitlines()
        changes: dict[tuple[int, int], list[str | Cut]] = {}
        paragraphs: dict[tuple[int, int], list] = {}
        for token in parser().parse(text):
            if token.type == "inline":
                paragraphs.setdefault(tuple(token.map), []).extend(token.children)
            elif token.type in ("fence", "colon_fence"):
                if directive := directive_of(token):
                    changes[tuple(token.map)] = self.directive(directive)
                elif token.type == "colon_fence":
                    raise Unknown(f"the fence ::: {token.info}")
            elif token.type == "math_block_label":
                changes[tuple(token.map)] = [*self.equation(token.content, token.info)]
            elif token.type in ("myst_target", "myst_line_comment", "myst_block_break"):
                changes[tuple(token.map)] = []
            elif re.match("dl_open|footnote|front_matter|substitution", token.type):
                raise Unknown(f"the form {token.type!r}")
        for (start, end), children in paragraphs.items():
            new = self.inline("\n".join(source[start:end]), children)
            changes[start, end] = [*new.split("\n")]
        made: list[str | Cut] = []
        done = 0
        for (start, end), lines in sorted(changes.items()):
            made += source[done:start]
            indent = re.sub(r"\S.*", "", source[start])
            block = (start, end) not in paragraphs  # those still have their indent
            made += [indent + x if block and isinstance(x, str) and x else x for x in lines]
            done = end
        return made + source[done:]

    def cells(self, text: str) -> Iterator[tuple[str, str]]:
        """A Markdown cell as plain cells: pairs of text and the label of the solution it begins."""
        part: list[str] = []
        solution = ""
        for line in [*self.lines(text), Cut()]:
            if isinstance(line, str):
                part.append(line)
                continue
            if cell := re.sub(r"\n{3,}", "\n\n", "\n".join(part)).strip("\n"):
                yield cell, solution
            part, solution = [], line.solution


def words_of(child: Any) -> str:
    """A pattern for the words of a part of a paragraph, whatever its line breaks."""
    return r"\s+(?:>\s*)*".join(re.escape(word) for word in child.content.strip().split())


def folded(title: str, body: list[str | Cut]) -> list[str]:
    """What a reader opens by a click."""
    return [f"<details><summary><b>{title}</b></summary>", "", *whole(body), "", "</details>"]


def quoted(title: str, body: list[str | Cut]) -> list[str]:
    """A block quote with a bold title, its equations on one line each, as Jupyter reads them."""
    text = re.sub(
        r"^\$\$\n(.*?)\n\$\$$",
        lambda equation: "$$" + " ".join(equation[1].split("\n")) + "$$",
        "\n".join(whole(body)),
        flags=re.S | re.M,
    )
    lines = ([f"**{title}**", ""] if title else []) + text.strip("\n").splitlines()
    return [f"> {line}".rstrip() for line in lines]


def whole(lines: list[str | Cut]) -> list[str]:
    """These lines; Unknown if a cell would have to end between them."""
    texts = [line for line in lines if isinstance(line, str)]
    if len(texts) < len(lines):
        raise Unknown("an exercise or a solution inside another directive")
    return texts
