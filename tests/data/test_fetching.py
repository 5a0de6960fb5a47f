"""Downloads from a server that misbehaves, in every way that was thought of."""

import contextlib
import hashlib
import http.server
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixerlib._torchvision import import_torchvision
from mixerlib.data import DataDamaged, DataNotFound, fetching, load_dataset

CONTENT = bytes(range(256)) * 400
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers `/NAME` as its method `NAME` says."""

    def do_GET(self) -> None:
        with contextlib.suppress(OSError):  # who asks has given up
            getattr(self, self.path.split("/")[1])()

    def log_message(self, *arguments: object) -> None:
        pass

    def begin(self, length: int | None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def whole(self) -> None:
        self.begin(len(CONTENT))
        self.wfile.write(CONTENT)

    def moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/whole")
        self.end_headers()

    def circle(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/circle")
        self.end_headers()

    def elsewhere(self) -> None:
        self.send_response(302)
        self.send_header("Location", "file:///etc/hostname")
        self.end_headers()

    def missing(self) -> None:
        self.send_error(404)

    def page(self) -> None:
        self.begin(None)
        self.wfile.write(b"<html>log in first</html>")

    def silent(self) -> None:
        self.server.done.wait(30)

    def stalls(self) -> None:
        self.begin(len(CONTENT))
        self.wfile.write(CONTENT[:1000])
        self.server.done.wait(30)

    def drips(self) -> None:
        self.begin(len(CONTENT))
        while not self.server.done.wait(0.05):
            self.wfile.write(b"x")

    def breaks(self) -> None:
        self.begin(len(CONTENT))
        self.wfile.write(CONTENT[:-1])

    def endless(self) -> None:
        self.begin(None)
        while not self.server.done.is_set():
            self.wfile.write(CONTENT)

    def boasts(self) -> None:
        self.begin(10**12)

    def nonsense(self) -> None:
        self.wfile.write(b"\0\1\2 what?\r\n\r\n")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        httpd.done = threading.Event()
        threading.Thread(target=httpd.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.done.set()
        httpd.shutdown()


@pytest.fixture(autouse=True)
def in_haste(monkeypatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(fetching, "SILENCE", 0.4)


@pytest.mark.parametrize("how", ["whole", "moved"])
def test_a_file_arrives_whole_in_place_of_an_older_one(tmp_path, server, how):
    file = tmp_path / "new" / "folder" / "file"
    for _ in range(2):
        fetching.fetch(f"{server}/{how}", file, MD5, 10**6)
        assert file.read_bytes() == CONTENT and [*file.parent.iterdir()] == [file]
        file.write_bytes(b"older")


BAD = {
    "missing": "404",
    "circle": "302",
    "elsewhere": "file:",
    "silent": "timed out",
    "stalls": "timed out",
    "drips": "less than 1,000 bytes a second",
    "breaks": "ended after 102,399 of 102,400 bytes",
    "endless": "more than 900,000 bytes",
    "boasts": "offers 1,000,000,000,000 bytes, and 900,000 are the most",
    "nonsense": "what",
    "page": "does not have the MD5",
}


@pytest.mark.parametrize("how", BAD)
def test_a_bad_server_is_a_line_in_time_and_leaves_nothing(tmp_path, server, monkeypatch, how):
    cifar = import_torchvision().datasets.CIFAR10
    monkeypatch.setattr(cifar, "url", f"{server}/{how}/cifar-10-python.tar.gz")
    monkeypatch.setattr("mixerlib.data.in_memory.MB", 5000)  # 180 of them are the limit
    start = time.monotonic()
    with pytest.raises(DataDamaged if how == "page" else DataNotFound, match=BAD[how]) as error:
        load_dataset("cifar10", tmp_path / "a" / "b", download=True)
    assert time.monotonic() - start < 10 and "\n" not in str(error.value)
    assert [*tmp_path.iterdir()] == []


def test_what_was_there_stays_when_a_download_fails(tmp_path, server):
    file = tmp_path / "file"
    file.write_bytes(b"older")
    for how in ("missing", "breaks", "page"):
        with pytest.raises((OSError, fetching.WrongContent)):
            fetching.fetch(f"{server}/{how}", file, MD5, 10**6)
    assert [*tmp_path.iterdir()] == [file] and file.read_bytes() == b"older"


def test_ctrl_c_leaves_nothing_half(tmp_path, server, monkeypatch):
    class Interrupted:
        def __init__(self, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "progress_bar", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetching.fetch(f"{server}/whole", tmp_path / "new" / "file", MD5, 10**6)
    assert [*tmp_path.iterdir()] == []


def test_what_a_killed_attempt_left_goes_with_the_next(tmp_path, server):
    old, new = tmp_path / ".file.1234.part", tmp_path / ".file.5678.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    fetching.fetch(f"{server}/whole", tmp_path / "file", MD5, 10**6)
    assert sorted(tmp_path.iterdir()) == [new, tmp_path / "file"]  # one may be somebody's at work


def packed(root: Path, **contents: str) -> Path:
    for name, text in contents.items():
        (root / "set" / name).mkdir(parents=True, exist_ok=True)
        (root / "set" / name / "a.txt").write_text(text)
    with tarfile.open(root / "set.tgz", "w:gz") as tar:
        tar.add(root / "set", "set")
    return root / "set.tgz"


def test_unpacking_replaces_files_one_by_one(tmp_path):
    archive = packed(tmp_path / "made", one="1", two="2")
    folder = tmp_path / "here"
    (folder / "set" / "one").mkdir(parents=True)
    (folder / "set" / "one" / "a.txt").write_text("older")
    (folder / "set" / "one" / "b.txt").write_text("somebody's")
    fetching.unpack(archive, folder)
    texts = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*.txt")}
    assert texts == {"set/one/a.txt": "1", "set/one/b.txt": "somebody's", "set/two/a.txt": "2"}
    assert [path.name for path in folder.iterdir()] == ["set"]


def test_unpacking_that_is_stopped_leaves_nothing_half(tmp_path):
    archive = packed(tmp_path / "made", **{f"n{i}": str(i) * 100_000 for i in range(9)})
    archive.write_bytes(archive.read_bytes()[:-300])
    (tmp_path / "here").mkdir()
    with pytest.raises((OSError, EOFError, tarfile.TarError)):
        fetching.unpack(archive, tmp_path / "here")
    assert [*(tmp_path / "here").iterdir()] == []
