"""Files whose bytes depend on what is packed and on the commit's time alone."""

import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path


def write_zip(folder: Path, target: Path, inside: str, seconds: int, pattern: str = "*") -> None:
    """The files of a folder as a zip whose bytes depend on nothing but them and `seconds`.

    Everything lies in one folder called `inside`. Files whose names begin with a dot, which are
    the build's own notes, stay out.
    """
    files = sorted(p for p in folder.rglob(pattern) if p.is_file())
    # a zip's dates begin in 1980
    date = datetime.fromtimestamp(max(seconds, 315532800), UTC).timetuple()[:6]
    with zipfile.ZipFile(target, "w") as archive:
        for path in files:
            name = path.relative_to(folder)
            if any(part.startswith(".") for part in name.parts):
                continue
            entry = zipfile.ZipInfo(f"{inside}/{name.as_posix()}", date)
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes(), compresslevel=9)


def write_checksums(folder: Path) -> None:
    """SHA256SUMS of the folder's files, in the form that `sha256sum --check` reads."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def settle_sdist(path: Path, seconds: int) -> None:
    """Write a source distribution anew without the moment, the user and the order of its making."""
    part = path.with_suffix(".part")
    with (
        tarfile.open(path) as old,
        part.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=seconds) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in sorted(old.getmembers(), key=lambda member: member.name):
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = seconds, 0, 0, "", ""
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            entry.pax_headers = {}
            new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)
    part.replace(path)


def build_package(root: Path, folder: Path, seconds: int) -> None:
    """Wheel and sdist of mixerlib, with fixed times, looked over by twine."""
    fixed = {"SOURCE_DATE_EPOCH": str(seconds), "PIP_CONSTRAINT": str(root / "constraints.txt")}
    builder = [sys.executable, "-m", "build", "--outdir", str(folder), str(root)]
    done = subprocess.run(
        builder, env={**os.environ, **fixed}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The package was not built:\n{done.stdout}\n{done.stderr}")
    for path in folder.glob("*.tar.gz"):
        settle_sdist(path, seconds)
    made = sorted(map(str, [*folder.glob("*.whl"), *folder.glob("*.tar.gz")]))
    check = [sys.executable, "-m", "twine", "check", "--strict", *made]
    if subprocess.run(check, check=False).returncode:
        raise RuntimeError("twine finds fault with the package")
