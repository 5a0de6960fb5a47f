"""One file from the web: within a time and a size, and whole or not there at all."""

import hashlib
import os
import secrets
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixerlib.data.progress import progress_bar

SILENCE = 30  # seconds without an answer, or with hardly any, after which a download is given up
SLOWEST = 1000  # bytes a second
DAY = 24 * 3600


class WrongContent(Exception):
    """What came is not what its checksum promises."""


def fetch(
    url: str, file: Path, checksum: str | None, most_bytes: int, algorithm: str = "md5"
) -> None:
    """Download a file, in place of one that is there. What does not arrive whole leaves nothing.

    `checksum` is the beginning of what `algorithm` gives, in hexadecimal digits; None: not known.

    Raises `WrongContent`, and `OSError` or `http.client.HTTPException` for a server that cannot be
    reached, is silent or too slow, or sends more than `most_bytes`.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "mixerlib"})
    with _answer(request) as response, _new_folders(file.parent):
        _remove_older(file.parent, f".{file.name}.*.part", 2 * SILENCE)
        part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
        try:
            received = _received(response, part, most_bytes, algorithm)
            if not received.startswith(checksum or ""):
                raise WrongContent
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


def _answer(request: urllib.request.Request) -> Any:
    try:
        return urllib.request.urlopen(request, timeout=SILENCE)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise


def _received(response: Any, part: Path, most_bytes: int, algorithm: str) -> str:
    """The checksum of what comes, which is written to a new file."""
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    if total is not None and total > most_bytes:
        raise OSError(f"the server offers {total:,} bytes, and {most_bytes:,} are the most")
    digest, since, before = hashlib.new(algorithm, usedforsecurity=False), time.monotonic(), 0
    with (
        part.open("xb") as file,
        progress_bar(total=total, unit="B", unit_scale=True, leave=False) as bar,
    ):
        while content := response.read1(2**18):
            file.write(content)
            digest.update(content)
            bar.update(len(content))
            if file.tell() > most_bytes:
                raise OSError(f"the server sends more than {most_bytes:,} bytes")
            if (seconds := time.monotonic() - since) > SILENCE:
                if file.tell() - before < SLOWEST * seconds:
                    raise TimeoutError(
                        f"less than {SLOWEST:,} bytes a second came for {SILENCE} seconds"
                    )
                since, before = time.monotonic(), file.tell()
        if total is not None and file.tell() < total:
            raise OSError(f"the connection ended after {file.tell():,} of {total:,} bytes")
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive into a folder; each file comes there whole, in place of an older one."""
    _remove_older(folder, ".*.unpacking", DAY)
    scratch = folder / f".{secrets.token_hex(4)}.unpacking"
    scratch.mkdir()
    try:
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(scratch, filter="data")
            else:  # before Python 3.11.4; the archive's checksum is a published one
                tar.extractall(scratch)
        for inside, _, names in os.walk(scratch):
            target = folder / Path(inside).relative_to(scratch)
            target.mkdir(exist_ok=True)
            for name in names:
                Path(inside, name).replace(target / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _new_folders(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; if what follows fails, those that are new go again."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in new:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        raise


def _remove_older(folder: Path, pattern: str, seconds: float) -> None:
    """Remove what an attempt has left that was killed."""
    for path in folder.glob(pattern):
        if time.time() - path.stat().st_mtime > seconds:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
