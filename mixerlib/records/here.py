"""Where, when and with which code a number is made."""

import contextlib
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Provenance:
    """Where, when and with which code a number was made.

    Args:
        date: of the end of the run: ISO 8601, UTC.
        device: "cpu" or "cuda".
        device_name: the processor's.
        threads: of torch on the CPU.
        python: its version.
        torch: its version.
        torchvision: the version of the package whose operations augment the images.
        mixerlib: its version.
        commit: what the variable MIXERLIB_COMMIT says; else that of the git checkout that mixerlib
            was run from; None if it was none.
        dirty: whether mixerlib's own files differed from that commit; None if nobody can tell.
    """

    date: str
    device: str
    device_name: str
    threads: int
    python: str
    torch: str
    torchvision: str | None
    mixerlib: str | None
    commit: str | None
    dirty: bool | None

    @property
    def device_folder(self) -> str:
        """The name of the folder for records of the device's speed, such as amd-epyc."""
        return re.sub(r"[^a-z0-9]+", "-", self.device_name.lower()).strip("-")


def provenance(device: torch.device | str) -> Provenance:
    """What can be said here and now about the machine, the versions and the code.

    Raises `ValueError` for a MIXERLIB_COMMIT that is no commit's full name.
    """
    device = torch.device(device)
    commit, dirty = _git_state()
    return Provenance(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        device=device.type,
        device_name=_device_name(device),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        torchvision=_installed_version("torchvision"),
        mixerlib=_installed_version("mixerlib"),
        commit=commit,
        dirty=dirty,
    )


def peak_memory(device: torch.device | str) -> int | None:
    """The most bytes in use at any time: of tensors on a GPU; else of this process, as a whole.

    None where the system does not tell (Windows).
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):  # Linux only; elsewhere Python itself knows
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _installed_version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git_state() -> tuple[str | None, bool | None]:
    """The commit of the checkout that mixerlib belongs to, and whether it has changed since.

    (None, None) when there is no git, or mixerlib is not under its control (an installed package
    may lie inside another project's checkout). The variable MIXERLIB_COMMIT may name the commit
    that the files are a copy of, as on a machine that was sent them without their history, or with
    an older one. Whether they differ from it is not known then.
    """
    if named := os.environ.get("MIXERLIB_COMMIT", "").strip():
        if not re.fullmatch("[0-9a-f]{40}", named):
            raise ValueError(f"`MIXERLIB_COMMIT`={named!r} must be a commit: 40 hex digits")
        return named, None
    try:
        _git("ls-files", "--error-unmatch", "__init__.py")
        return _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".") != ""
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    answer = subprocess.run(
        ("git", *arguments), cwd=PACKAGE, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()
