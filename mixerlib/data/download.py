"""Published data sets on the disk: found, checked by their checksums, and downloaded if asked.

`obtain(published, download=True)` returns when all is there and whole; otherwise it says what is
not.
"""

import http.client
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mixerlib._torchvision import import_torchvision
from mixerlib.data.fetching import WrongContent, fetch, unpack

MB = 10**6


class DataNotFound(FileNotFoundError):
    """A data set is not where it was looked for; the message says where, and how to get it."""


class DataDamaged(OSError):
    """A file of a data set is not what its checksum promises, or is no image that can be read."""


@dataclass(frozen=True)
class Download:
    """One file that the publisher offers."""

    url: str
    md5: str
    folder: Path  # where it goes, and what it holds with it
    most_bytes: int  # a little more than it has
    is_archive: bool = False

    @property
    def file(self) -> Path:
        return self.folder / Path(self.url).name


@dataclass(frozen=True)
class Published:
    """A data set as its publisher offers it, and what must be on the disk before it can be read."""

    name: str
    root: Path  # the folder that holds data sets
    folder: str  # this one's, within `root`
    downloads: tuple[Download, ...]
    unpacked: tuple[tuple[str, str | None], ...] = ()  # paths in `folder`; MD5s where known
    # the images, where they are files without checksums of their own; read once all else is there
    image_files: Callable[[], Iterable[str]] | None = None


def obtain(published: Published, download: bool) -> None:
    """Return when the data set is there and whole; with `download`, fetch what is not.

    An archive is checked where something is missing, and where its images have no checksums of
    their own. Raises `DataNotFound` and `DataDamaged`, with a message of one line.
    """
    problem = _problem(published)
    if problem is not None and download:
        for part in published.downloads:
            with _explained(published, part):
                if not _is_whole(part.file, part.md5):
                    fetch(part.url, part.file, part.md5, part.most_bytes)
                if part.is_archive:
                    unpack(part.file, part.folder)
        problem = _problem(published)
    if problem is not None:
        raise problem


def _problem(published: Published) -> DataNotFound | DataDamaged | None:
    problem = _problem_with_files(published)
    each_is_checked = published.image_files is None
    if isinstance(problem, DataDamaged) or (problem is None and each_is_checked):
        return problem
    for part in published.downloads:
        if part.is_archive and part.file.is_file() and not _is_whole(part.file, part.md5):
            return _damaged(published, part.file, part.md5)
    return problem


def _problem_with_files(published: Published) -> DataNotFound | DataDamaged | None:
    """The error for the first file that is missing or damaged; archives are not looked at."""
    name, folder = published.name, published.root / published.folder
    if not folder.is_dir():
        return DataNotFound(
            f"{name} was not found: there is no {published.folder} in {published.root}. "
            f"Fetch it there with --download (download=True), or set MIXERLIB_DATA to the folder "
            f"that holds {published.folder}"
        )
    files = [(part.file, part.md5) for part in published.downloads if not part.is_archive]
    for file, md5 in files + [(folder / file, md5) for file, md5 in published.unpacked]:
        if not file.exists():
            return _incomplete(published, f"{file} is missing")
        if not file.is_file() and not (md5 is None and file.is_dir()):  # to read one may not end
            return _incomplete(published, f"{file} is no file")
        if md5 is not None and not _is_whole(file, md5):
            return _damaged(published, file, md5)
    if published.image_files is None:
        return None
    try:
        expected = list(published.image_files())
    except ValueError as error:  # a list of files that is no JSON
        return DataDamaged(
            f"{name} is damaged: a list of images in {folder} cannot be read ({error}); {_AGAIN}"
        )
    present = _files_in({os.path.dirname(file) for file in expected})  # noqa: PTH120 (100,000 paths)
    missing = [file for file in expected if file not in present]
    if missing:
        more = f", and {len(missing) - 1:,} more" if missing[1:] else ""
        return _incomplete(published, f"{missing[0]} is missing{more}")
    return None


_AGAIN = "fetch it again with --download (download=True)"


def _incomplete(published: Published, what: str) -> DataNotFound:
    return DataNotFound(f"{published.name} is incomplete: {what}; {_AGAIN}")


def _damaged(published: Published, file: Path, md5: str) -> DataDamaged:
    return DataDamaged(f"{published.name} is damaged: {file} does not have the MD5 {md5}; {_AGAIN}")


def _files_in(folders: Iterable[str]) -> set[str]:
    """The paths of the files directly in the folders: one look a folder, not one a file."""
    present = set()
    for folder in folders:
        if Path(folder).is_dir():
            with os.scandir(folder) as entries:
                present |= {entry.path for entry in entries if entry.is_file()}
    return present


def _is_whole(file: Path, md5: str) -> bool:
    return import_torchvision().datasets.utils.check_integrity(file, md5)


@contextmanager
def _explained(published: Published, part: Download) -> Iterator[None]:
    """Turn what may go wrong with a download into one of the two errors of a data set."""
    try:
        yield
    except WrongContent:
        raise DataDamaged(
            f"{published.name} arrives damaged: what comes from {part.url} does not have the MD5 "
            f"{part.md5}"
        ) from None
    except (OSError, EOFError, tarfile.TarError, http.client.HTTPException, ValueError) as error:
        raise DataNotFound(
            f"{published.name} could not be downloaded to {part.folder} from {part.url}: "
            f"{' '.join(str(error).split()) or type(error).__name__}. Where it is on this machine "
            f"already, set MIXERLIB_DATA to the folder that holds {published.folder}"
        ) from None
