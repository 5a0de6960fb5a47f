"""What stops a run: the first signal asks, the second acts, whatever the process is doing."""

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from commands import PATIENCE  # whose server of forks has torch already

from mixerlib.training import Session, stop_on_signals


def stuck(ready: Path) -> None:
    """A process deep in a call that no signal interrupts: it waits for a lock that it holds."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
    lock, library = ctypes.create_string_buffer(128), ctypes.CDLL(None)
    with stop_on_signals():
        library.pthread_mutex_lock(lock)
        ready.touch()
        library.pthread_mutex_lock(lock)


def waiting(ready: Path) -> None:
    """A process that waits for another one, as for a reader of images that hangs."""
    with stop_on_signals() as stop:
        ready.touch()
        while stop() is None:
            time.sleep(0.01)
        (ready.parent / "asked").touch()
        time.sleep(PATIENCE)


def begun(target, folder: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context("forkserver").Process(
        target=target, args=[folder / "up"], daemon=True
    )
    process.start()
    wait_for(folder / "up")
    return process


def wait_for(path: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_a_process_that_is_stuck(tmp_path, number, monkeypatch):
    process = begun(stuck, tmp_path)
    os.kill(process.pid, number)
    process.join(0.3)
    assert process.is_alive()  # the first one only asks
    os.kill(process.pid, number)
    process.join(PATIENCE)
    assert process.exitcode == 128 + number


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_the_second_signal_ends_a_process_that_waits(tmp_path):
    process = begun(waiting, tmp_path)
    os.kill(process.pid, signal.SIGTERM)
    wait_for(tmp_path / "asked")
    os.kill(process.pid, signal.SIGTERM)
    process.join(PATIENCE)
    assert process.exitcode in (-signal.SIGTERM, 128 + signal.SIGTERM)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_signals_of_a_forked_process_are_its_own(tmp_path):
    """Two processes that read images are ended by SIGTERM, and their parent goes on."""
    fork = multiprocessing.get_context("fork")
    with stop_on_signals() as stop:
        children = [fork.Process(target=wait_for, args=[tmp_path / "never"]) for _ in range(2)]
        for child in children:
            child.start()
            os.kill(child.pid, signal.SIGTERM)  # which it heeds as its parent does
        time.sleep(0.1)
        assert stop() is None
        for child in children:
            child.kill()
            child.join()


def test_a_program_s_own_answer_to_a_signal_comes_back():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert stop() == "stopped by SIGTERM" and seen == []
            for _ in range(2):
                signal.raise_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert seen == [signal.SIGTERM] * 2
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_a_thread_the_time_alone_stops_a_run():
    """Python lets only the main thread answer signals, and a notebook's server trains in others."""
    reasons = []

    def run():
        with stop_on_signals(minutes=0) as stop:
            reasons.append(stop())
        with stop_on_signals() as stop:
            reasons.append(stop())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert reasons == ["stopped at the deadline", None]


@pytest.mark.parametrize("steps", [0, -1, 2.0])
def test_a_session_s_checkpoints_are_steps_apart(steps):
    with pytest.raises(ValueError, match=rf"`checkpoint_every`={steps} must be a positive whole"):
        Session(checkpoint_every=steps)
