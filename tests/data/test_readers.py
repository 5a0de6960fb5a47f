"""The processes that read images: they live on, end with their parent, and may be killed."""

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from PIL import Image

from mixerlib.data import load_dataset
from mixerlib.data.readers import PIECE, Readers

# Python 3.12 on warns that forking beside torch's threads may go wrong
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
SHAPE = (1, 2, 3)


@dataclass(frozen=True)
class Numbers:
    """Images that show their own numbers; what their files are called happens in the worker."""

    def images(self, files):
        for _, file in files:
            if file == b"damaged":
                raise OSError(f"{file.decode()} is no image")
            if file == b"bug":
                raise KeyError(file)
            if file == b"kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if file == b"leave":
                os._exit(3)
        numbers = np.array([number for number, _ in files], np.uint8).reshape(-1, 1, 1, 1)
        return np.broadcast_to(numbers, (len(files), *SHAPE))


def steps(*sizes: int, **odd: bytes) -> list[list[tuple[int, bytes]]]:
    """So many images in each step, numbered on; `image5=b"bug"` names that one's file."""
    numbers = iter(range(sum(sizes)))
    return [
        [(n, odd.get(f"image{n}", b"")) for n in [next(numbers) for _ in range(size)]]
        for size in sizes
    ]


def read(readers: Readers, wanted) -> list[list[int]]:
    batches = readers.batches(Numbers(), wanted, SHAPE, False)
    return [batch[:, 0, 0, 0].tolist() for batch in batches]


def numbers(wanted) -> list[list[int]]:
    return [[number for number, _ in step] for step in wanted]


def workers_of(readers: Readers) -> list[int]:
    return [worker.process.pid for worker in readers._workers]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_they_live_on_from_pass_to_pass(count):
    readers, wanted = Readers(count), steps(5, 3 * PIECE + 1, 1, 60)
    assert workers_of(readers) == []
    assert read(readers, wanted) == numbers(wanted)
    first = workers_of(readers)
    assert len(first) == count
    assert all(os.getpgid(pid) == pid != os.getpgid(0) for pid in first)
    for again in (steps(1), wanted):
        assert read(readers, again) == numbers(again)
    assert workers_of(readers) == first


def test_no_more_start_than_have_work():
    readers = Readers(50)
    read(readers, steps(PIECE, 1))
    assert len(workers_of(readers)) == 2


def test_a_pass_may_be_cut_short_and_two_run_side_by_side():
    readers, wanted = Readers(2), steps(*[5] * 20)
    cut = readers.batches(Numbers(), wanted, SHAPE, False)
    assert next(cut)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    cut.close()
    one, other = (readers.batches(Numbers(), wanted, SHAPE, False) for _ in range(2))
    for pair, step in zip(zip(one, other, strict=True), numbers(wanted), strict=True):
        assert [batch[:, 0, 0, 0].tolist() for batch in pair] == [step, step]


def test_passes_may_run_in_threads():
    readers, wanted, seen = Readers(2), steps(*[9] * 25), []
    threads = [
        threading.Thread(target=lambda: seen.append(read(readers, wanted))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [numbers(wanted)] * 3


def test_an_error_comes_when_its_step_is_due_and_the_workers_live_on():
    readers = Readers(2)
    batches = readers.batches(Numbers(), steps(4, 4, 4, image5=b"damaged"), SHAPE, False)
    assert next(batches)[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(OSError, match=r"^damaged is no image$"):
        next(batches)
    alive = workers_of(readers)
    assert read(readers, steps(7)) == numbers(steps(7)) and workers_of(readers) == alive
    with pytest.raises(RuntimeError, match=r"KeyError.* in a worker\n(.*\n)+.*in images"):
        read(readers, steps(1, image0=b"bug"))


@pytest.mark.parametrize(
    "file, how", [(b"kill", "was ended by SIGKILL, as"), (b"leave", "ended with exit status 3;")]
)
def test_one_that_has_ended_is_a_line_and_the_next_pass_has_others(file, how):
    readers = Readers(2)
    with pytest.raises(OSError, match=rf"^a process that reads images {how}[^\n]*`workers`") as e:
        read(readers, steps(*[PIECE] * 9, image20=file))
    assert "--resume" in str(e.value)
    assert workers_of(readers) == []
    assert read(readers, steps(9)) == numbers(steps(9))


def test_one_that_is_killed_between_two_passes_is_noticed():
    readers = Readers(1)
    read(readers, steps(1))
    os.kill(workers_of(readers)[0], signal.SIGKILL)
    with pytest.raises(ChildProcessError, match="SIGKILL"):
        read(readers, steps(*[50] * 9))


def test_signals_that_stop_a_job_do_not_reach_them():
    readers = Readers(2)
    read(readers, steps(20))
    before = workers_of(readers)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for pid in before:
            os.kill(pid, number)
    assert read(readers, steps(20)) == numbers(steps(20)) and workers_of(readers) == before


def test_they_end_with_the_object():
    readers = Readers(2)
    read(readers, steps(20))
    processes = [worker.process for worker in readers._workers]
    del readers
    assert not any(process.is_alive() for process in processes)


def test_a_copy_has_workers_of_its_own():
    readers = Readers(2)
    read(readers, steps(9))
    for other in (copy.deepcopy(readers), pickle.loads(pickle.dumps(readers))):
        assert other.count == 2 and workers_of(other) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_has_workers_of_its_own():
    readers = Readers(1)
    read(readers, steps(9))
    if (child := os.fork()) == 0:
        good = read(readers, steps(9)) == numbers(steps(9))
        readers.close()
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert read(readers, steps(9)) == numbers(steps(9))


def test_too_few_file_handles_are_a_line(monkeypatch):
    def full(*arguments):
        raise OSError(24, "Too many open files")

    readers = Readers(3)
    monkeypatch.setattr(multiprocessing.get_context(), "Pipe", full)
    with pytest.raises(OSError, match=r"of 3 processes .* 0 could be started \(Too many open file"):
        read(readers, steps(9))


def test_spawned_ones_live_on_too(monkeypatch):
    """Where each has to import torch anew, which takes seconds."""
    spawn = multiprocessing.get_context("spawn")
    monkeypatch.setattr(multiprocessing, "get_context", lambda: spawn)
    readers, wanted = Readers(1), steps(5, 9)
    assert read(readers, wanted) == numbers(wanted)
    first = workers_of(readers)
    assert read(readers, wanted) == numbers(wanted) and workers_of(readers) == first


# In a process of its own, as a run is

KEPT = []  # what lives as long as its process


def read_and(connection, wait: bool) -> None:
    KEPT.append(Readers(2))
    read(KEPT[0], steps(20))
    connection.send(workers_of(KEPT[0]))
    if wait:
        time.sleep(60)


def all_gone(pids: list[int]) -> bool:
    """Whether the processes end within seconds."""
    for _ in range(100):
        alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        if not alive:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks /proc who lives")
@pytest.mark.parametrize("way", ["exit", "kill", "terminate"])
def test_they_leave_no_orphans(way):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=read_and, args=(theirs, way != "exit"))
    process.start()
    workers = ours.recv()
    if way != "exit":
        getattr(process, way)()
    process.join(30)
    assert process.exitcode == {"exit": 0, "kill": -9, "terminate": -15}[way]
    assert len(workers) == 2 and all_gone(workers)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A folder imagenet with two classes of ten training images and a test image each."""
    root = tmp_path_factory.mktemp("images")
    for part, count in (("train", 10), ("val", 1)):
        for name in "ab":
            folder = root / "imagenet" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (9, 9), (25 * i, 0, 0)).save(folder / f"{i}.png")
    return root


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or sys.platform != "linux",
    reason="needs root on Linux, to mount",
)
def test_little_shared_memory_is_enough(images):
    """As in a container; there a batch of images in shared memory would wait for ever."""
    recipe = images / "r.yaml"
    recipe.write_text(
        "dataset: imagenet\nmodel: convmixer\nimage_size: 256\nepochs: 1\nbatch_size: 20\n"
        "interpolation: bilinear\n"
        "model_options: {dim: 2, depth: 1, kernel_size: 3, patch_size: 32}\n"
    )
    command = (
        f"mount -t tmpfs -o size=64k tmpfs /dev/shm && exec {sys.executable} -m mixerlib train "
        f"{recipe} --data {images} --out {images}/out --workers 2 --quiet --device cpu"
    )
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("may not mount here")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and "of 2 test images right" in done.stdout, done.stderr


def test_workers_are_a_setting_of_the_data_set(images):
    for count in (0, 1):
        dataset = load_dataset("imagenet", images, image_size=8, workers=count)
        steps = dataset.training_batches(torch.arange(20).split(7), seed=0, epoch=1)
        assert [len(labels) for _, labels in steps] == [7, 7, 6]
        assert len(workers_of(dataset._readers)) == count


def in_a_pool(_) -> str:
    try:
        next(Readers(2).batches(Numbers(), steps(4), SHAPE, pinned=False))
    except ValueError as error:
        return str(error)
    return "read"


def test_where_no_process_may_be_started_a_line_says_so():
    """A worker of a multiprocessing.Pool, as searches use them, may have no children."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        (said,) = pool.map(in_a_pool, [None])
    assert said.startswith("`workers`=2 must be 0 in a daemonic process")
