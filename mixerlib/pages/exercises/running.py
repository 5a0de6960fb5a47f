"""A reader's answer run at arm's length: what it raises is said, and what hangs is stopped."""

import copy
import ctypes
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import torch

from mixerlib.checks import shown

Value = TypeVar("Value")
SECONDS = 20.0  # the most that a check may take
PATIENCE = 6  # times as long, on a machine that gives it little of that time


class Refused(ValueError):
    """An answer that cannot be judged, with what is wrong about its form."""


class Unanswered(Exception):
    """A stub that is still as it was."""


class _Stopped(BaseException):
    """Raised inside an answer that takes too long."""


def within(seconds: float, work: Callable[[], Value]) -> Value:
    """What `work` returns, or whatever it raises; `TimeoutError` after so many seconds.

    Both the clock and the processor count: where other programs take the time, it may take up to
    `PATIENCE` times as long. A loop in Python is stopped then; what runs inside one call of a
    library goes on to its end.
    """
    result: list[Value] = []
    problem: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # an answer may also call exit()
            problem.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        begun, used = time.monotonic(), time.process_time()
        while thread.is_alive():
            passed = time.monotonic() - begun
            worked = min(passed, time.process_time() - used)
            if worked >= seconds or passed >= PATIENCE * seconds:
                break
            thread.join(seconds / 20)
    finally:
        if alive := thread.is_alive():
            number = ctypes.c_ulong(thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(_Stopped))
    if alive:
        raise TimeoutError(f"no result after {seconds:g} s")
    if problem:
        raise problem[0]
    return result[0]


def is_open(value: object) -> bool:
    """Whether a value is a stub's `...`, or holds one."""
    if isinstance(value, dict):
        return any(is_open(part) for part in value.values())
    if isinstance(value, list | tuple):
        return any(is_open(part) for part in value)
    return value is ...


def described(value: object) -> str:
    """An argument or a result in a few words: tensors by their shape, long lists by their first
    numbers, objects by what they have.
    """
    if isinstance(value, torch.Tensor):
        return f"{tuple(value.shape)}" if value.ndim else f"{value.item():.6g}"
    if isinstance(value, torch.nn.Module):
        return type(value).__name__
    if isinstance(value, tuple):
        return f"({', '.join(map(described, value))})"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
        first = ", ".join(f"{one:.4g}" for one in value[:3])
        return f"[{first}{f', … {len(value)} numbers' if len(value) > 3 else ''}]"
    if isinstance(value, SimpleNamespace):
        return f"an object with {', '.join(vars(value))}"
    return shown(value)


def as_tensor(value: Any, rule: str) -> torch.Tensor:
    """A tensor, an array or nested lists as a tensor of float64; `Refused`, with the rule, for what
    is none.
    """
    try:
        return torch.as_tensor(value).double()
    except (TypeError, ValueError, RuntimeError):
        raise Refused(f"{described(value)} is no tensor. {rule}") from None


def called(function: Callable, *arguments: Any) -> Any:
    """What an answer's function returns for these arguments, which it gets as copies.

    Raises `Refused` where it is none, raises or returns nothing, `Unanswered` where it is a stub.
    """
    if not callable(function):
        raise Refused(
            f"{described(function)} is no function: give its name alone, without parentheses."
        )
    where = f"on ({', '.join(map(described, arguments))})"
    try:
        result = function(*copy.deepcopy(arguments))
    except Exception as error:
        kind = type(error).__name__
        raise Refused(f"Your function raises {kind} {where}: {shown(str(error))}") from error
    if is_open(result):
        raise Unanswered
    if result is None:
        raise Refused(f"Your function returns nothing {where}: does it end in `return`?")
    return result
