"""What a command's errors mean: a mistake, the surroundings, or a bug of ours.

The exit status says which: 0 done; 2 a mistake in what was asked, or a file, a place or a machine
that does not allow it, in one line; 130 or 143 stopped by Ctrl-C or SIGTERM; 1 a bug, with its
traceback.
"""

import re

from mixerlib.files import one_line

DONE, BUG, MISTAKE, STOPPED = 0, 1, 2, 130
MEANINGS = f"""exit status:
  {DONE}    done
  {BUG}    a bug of mixerlib, with a traceback
  {MISTAKE}    a mistake, or a file, a place or a machine that does not allow it: one line says what
  {STOPPED}  stopped by Ctrl-C; 143 by SIGTERM. A run has a checkpoint then, and --resume goes on"""

# What torch's, numpy's and Python's own errors say when the machine is the reason → in other words.
# Each is of a kind that has been seen; what is not here is a bug, and shows its traceback.
_MACHINE = {
    r"can.t allocate memory|not enough memory|out of memory|Unable to allocate": (
        "there is too little memory; a smaller batch, model or image takes less"
    ),
    r"Storage size calculation overflowed|multiplication overflow|Trying to create tensor with": (
        "there is too little memory, on any machine; smaller numbers take less"
    ),
    r"DataLoader worker .*(exited unexpectedly|killed by signal)": (
        "a process that reads images has been ended, mostly by the system for want of memory"
    ),
    r"unable to open shared memory|No space left on device|shm_open|Too many open files": (
        "the processes that read images lack shared memory or files"
    ),
    r"can.t start new thread|Resource temporarily unavailable": (
        "the system allows no further thread or process"
    ),
    r"Could not determine home directory|getpwuid": (
        "there is no home folder here; name one in the environment variable HOME"
    ),
    r"NVIDIA driver|CUDA driver|No CUDA GPUs|no kernel image|busy or unavailable|cuDNN error": (
        "the GPU cannot be used; --device cpu can"
    ),
}
_COMPILER = ("torch._dynamo", "torch._inductor", "torch._functorch")


def explanation(error: BaseException) -> str | None:
    """What an error says to whoever gave the command, in one line; None for a bug.

    A `ValueError` and an `OSError` are messages already. Of the errors that can be bugs as well,
    only those that are known to come from the machine have one.
    """
    message = one_line(error)
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or "").partition(".")[0]
        return None if missing == "mixerlib" else f"the package {missing} is not installed"
    if isinstance(error, ValueError | OSError):
        return message
    if isinstance(error, ArithmeticError):  # a loss that is no number; the others are bugs
        return None if isinstance(error, ZeroDivisionError | OverflowError) else message
    if isinstance(error, MemoryError):
        message = message or "out of memory"
    elif not isinstance(error, RuntimeError | KeyError | ImportError):
        return None
    if type(error).__module__.startswith(_COMPILER):
        return f"torch.compile cannot be used here: {_first_line(error)}"
    if any(kind.__module__ == "torch.distributed" for kind in type(error).__mro__):
        return f"the processes cannot join: {message}"
    for pattern, meaning in _MACHINE.items():
        if re.search(pattern, message):
            return f"{meaning} ({_short(message)})"
    return None


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _short(message: str) -> str:
    message = re.sub(r"^\[enforce fail at [^\]]*\] \S+ == 0\. ", "", message)
    return message if len(message) <= 200 else f"{message[:199]}…"
