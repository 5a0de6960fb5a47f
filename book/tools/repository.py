"""The repository: how git is asked, where it lives on GitHub, the address of its site."""

import os
import re
import subprocess
from pathlib import Path

from book.tools import ROOT

GITHUB = re.compile(
    r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[:/](?P<home>[\w.-]+/[\w.-]+?)(?:\.git)?/?"
)


def git(folder: Path, *words: str, env: dict[str, str] | None = None, check: bool = True) -> str:
    """What git answers in a folder, with the variables `env` beside those that are set.

    CalledProcessError where it refuses; with `check=False` an empty string instead.
    """
    done = subprocess.run(
        ["git", *words],
        cwd=folder,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=check,
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def is_repository(home: str) -> bool:
    """Whether it is owner/name as GitHub has them: letters, digits and -, in a name also _ and ."""
    owner, _, name = home.partition("/")
    return bool(
        re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?", owner)
        and re.fullmatch(r"[A-Za-z0-9._-]+", name)
        and name not in (".", "..")
    )


def home(root: Path = ROOT) -> str:
    """Where this copy of the book lives on GitHub, as owner/name; empty if nothing says so.

    It is never typed. A workflow has it in GITHUB_REPOSITORY; elsewhere the remote `origin` says
    it, in any of git's forms for github.com. So a fork's links are the fork's. ValueError for a
    GITHUB_REPOSITORY that is not owner/name; an empty one means: no links.
    """
    if (named := os.environ.get("GITHUB_REPOSITORY")) is not None:
        if named and not is_repository(named):
            raise ValueError(f"`GITHUB_REPOSITORY`={named!r} must have the form owner/name")
        return named
    # A copy without git inside somebody's repository must not take that one for its home.
    ceiling = {"GIT_CEILING_DIRECTORIES": str(root.parent)}
    try:
        remote = git(root, "remote", "get-url", "origin", env=ceiling, check=False)
    except FileNotFoundError:  # no git here
        return ""
    match = GITHUB.fullmatch(remote)
    return match["home"] if match and is_repository(match["home"]) else ""


def site_address(home: str) -> str:
    """Where GitHub Pages shows the repository owner/name; empty for an empty `home`.

    The site has a folder of its own below the owner's, except in the owner's own repository. An
    owner with a domain of their own loses nothing: GitHub leads readers there from this address.
    """
    if not home:
        return ""
    owner, name = home.split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"
