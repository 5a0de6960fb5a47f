"""The chapters' Markdown, read by the book's own parser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from book.tools import ROOT


@cache
def parser() -> Any:
    """The book's own Markdown parser, with the extensions that _config.yml asks for."""
    from markdown_it.renderer import RendererHTML
    from myst_parser.config.main import MdParserConfig
    from myst_parser.parsers.mdit import create_md_parser

    settings = yaml.safe_load((ROOT / "_config.yml").read_text())["parse"]
    config = MdParserConfig(
        enable_extensions=set(settings["myst_enable_extensions"]),
        dmath_double_inline=settings["myst_dmath_double_inline"],
    )
    return create_md_parser(config, RendererHTML)


@dataclass(frozen=True)
class Directive:
    """A fence whose info is in braces: its name, what follows the name, its options, its body."""

    name: str
    argument: str
    options: dict[str, str]
    body: str


def directive_of(token: Any) -> Directive | None:
    """The directive that a fence is; None for a fence of code."""
    info = re.fullmatch(r"\{([^}\s]+)\}\s*(.*)", token.info.strip())
    if not info:
        return None
    lines = token.content.splitlines()
    options = {}
    while lines and (option := re.fullmatch(r":([\w-]+):\s*(.*)", lines[0])):
        options[option[1]] = option[2]
        del lines[0]
    return Directive(info[1], info[2].strip(), options, "\n".join(lines).strip("\n"))


def blocks(text: str) -> Iterator[tuple[Any, Directive | None]]:
    """Every block of a text, also those inside directives, with the directive that it is."""
    for token in parser().parse(text):
        fence = token.type in ("fence", "colon_fence")
        directive = directive_of(token) if fence else None
        yield token, directive
        if directive and directive.name not in ("math", "code-cell", "code-block"):
            yield from blocks(directive.body)
