"""Files that are whole or not there, whatever fails while they are written."""

import errno
import os
from pathlib import Path

import pytest

from mixerlib.files import append, read_yaml, write_atomic


@pytest.fixture
def full_disk(monkeypatch):
    """Every attempt to force a file to the disk finds it full."""

    def fsync(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_file_is_written_and_replaced(tmp_path: Path):
    path = tmp_path / "a.bin"
    write_atomic(path, b"first, and longer")
    assert path.read_bytes() == b"first, and longer"
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch):
    """Else a loss of power could leave an empty file under the name of a whole one."""
    path, order = tmp_path / "a.bin", []
    write_atomic(path, b"old")
    fsync, rename = os.fsync, Path.replace

    def noted_fsync(number: int) -> None:
        (unfinished,) = (file for file in tmp_path.iterdir() if file != path)
        order.append(("forced", unfinished.read_bytes(), path.read_bytes()))
        fsync(number)

    def noted_rename(self: Path, target: Path) -> Path:
        order.append(("renamed", self.read_bytes(), target.read_bytes()))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    write_atomic(path, b"new")
    assert order == [("forced", b"new", b"old"), ("renamed", b"new", b"old")]


def test_what_a_killed_process_left_does_not_matter(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.bin"
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):  # as if the process ended here: nothing is cleared up
        write_atomic(path, b"a long text that was never finished")
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    assert left.name == ".a.bin.part"
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, full_disk):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(
        OSError, match=r"could not be written \(No space left on device\)"
    ) as raised:
        write_atomic(path, b"new")
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_takes_a_part_only(tmp_path: Path):
    resource = pytest.importorskip("resource", reason="limits on the size of files are Unix's")
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="could not be written") as raised:
            write_atomic(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_or_no_folder(tmp_path: Path):
    for path, error in (
        (tmp_path / "missing" / "a.bin", FileNotFoundError),
        (tmp_path / "file" / "a.bin", NotADirectoryError),
    ):
        (tmp_path / "file").write_bytes(b"")
        for write in (write_atomic, append):
            with pytest.raises(error, match="could not be written") as raised:
                write(path, b"new")
            assert raised.value.filename == str(path)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_that_forbids_it(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="could not be written"):
        write_atomic(tmp_path / "a.bin", b"new")
    tmp_path.chmod(0o700)


def test_append(tmp_path: Path):
    path = tmp_path / "a.txt"
    append(path, b"one\n")
    append(path, "zwölf\n".encode())
    assert path.read_text(encoding="utf-8") == "one\nzwölf\n"
    if Path("/dev/full").exists():  # a device that is always full
        with pytest.raises(OSError, match="could not be written") as raised:
            append(Path("/dev/full"), b"one\n")
        assert raised.value.errno == errno.ENOSPC and raised.value.filename == "/dev/full"


# YAML


def yaml_file(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "a file.yaml"
    path.write_bytes(text.encode(encoding))
    return path


def test_yaml_is_read(tmp_path):
    text = "seed: -12\nzero: 0\nrate: 1.0e-2\nname: '010'\nlist: [a, {b: 1}]\n"
    expected = {"seed": -12, "zero": 0, "rate": 0.01, "name": "010", "list": ["a", {"b": 1}]}
    assert read_yaml(yaml_file(tmp_path, text)) == expected
    assert read_yaml(yaml_file(tmp_path, "runs: [1, 2]"), "runs") == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "`a` is set twice .*line 3"),
        ("a: {b: 1, b: 1}\n", "`b` is set twice"),
        ("seed: 010\n", "010 must be a decimal number without a leading 0 .*line 1"),
        ("epochs: 1:30\n", "1:30 must be a decimal number"),
        ("seed: 0x1F\n", "0x1F must be a decimal number"),
        ("a: [1\n", "is not YAML"),
        ("a: !!python/object:os.system {}\n", "is not YAML"),
        ("- 1\n", "must hold lines of the form `key: value`"),
        ("", "must hold lines of the form `key: value`"),
    ],
)
def test_yaml_that_may_mean_something_else_is_refused(tmp_path, text, message):
    path = yaml_file(tmp_path, text)
    with pytest.raises(ValueError, match=message) as refusal:
        read_yaml(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_yaml_is_utf_8(tmp_path, encoding):
    path = yaml_file(tmp_path, "name: Größe\n", encoding)
    with pytest.raises(ValueError, match=r"a file.yaml must be UTF-8 text"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: [1]\nmore: 2\n", "must hold the key `runs` and no other"),
        ("- 1\n", "must hold the key `runs` and no other"),
        ("runs: 1\n", "`runs`=1 must be a list of entries"),
        ("runs: []\n", r"`runs`=\[\] must be a list of entries"),
    ],
)
def test_yaml_with_one_key(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_yaml(yaml_file(tmp_path, text), "runs")
