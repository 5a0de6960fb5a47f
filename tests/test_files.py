"""Files that are whole or not there, whatever fails while they are written."""

import errno
import os
import re
import secrets
from contextlib import nullcontext
from pathlib import Path

import pytest

from mixerlib.files import (
    append,
    check_writable,
    clear_parts,
    one_line,
    read_json,
    read_text,
    read_yaml,
    write_atomic,
)


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
        unfinished = [file for file in tmp_path.iterdir() if file != path]
        if os.path.samestat(os.fstat(number), tmp_path.stat()):
            order.append(("names forced", unfinished, path.read_bytes()))
        else:
            order.append(("forced", unfinished[0].read_bytes(), path.read_bytes()))
        fsync(number)

    def noted_rename(self: Path, target: Path) -> Path:
        order.append(("renamed", self.read_bytes(), target.read_bytes()))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    write_atomic(path, b"new")
    assert order == [
        ("forced", b"new", b"old"),
        ("renamed", b"new", b"old"),
        *([("names forced", [], b"new")] if os.name == "posix" else []),
    ]


def test_what_a_killed_process_left_does_not_matter(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.bin"
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):  # as if the process ended here: nothing is cleared up
        write_atomic(path, b"a long text that was never finished")
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    assert re.fullmatch(r"\.a\.bin\.[0-9a-f]{16}\.part", left.name)
    write_atomic(path, b"short")  # which leaves what may be another's, being written
    assert path.read_bytes() == b"short" and set(tmp_path.iterdir()) == {left, path}
    other = tmp_path / ".b.bin.0123456789abcdef.part"
    for old in (left, other, tmp_path / ".a.bin.part", tmp_path / ".a.bin.mine.part"):
        old.touch()
        os.utime(old, (0, 0))
    write_atomic(path, b"again")
    assert set(tmp_path.iterdir()) == {path, other, tmp_path / ".a.bin.mine.part"}


def test_parts_are_cleared_at_once_where_nobody_else_writes(tmp_path: Path):
    path, part = tmp_path / "a[b].bin", tmp_path / ".a[b].bin.0123456789abcdef.part"
    part.touch()
    clear_parts(path, older_than=3600)
    assert part.exists()
    clear_parts(path)
    assert not part.exists()


def test_two_writers_never_share_an_unfinished_file(tmp_path: Path, monkeypatch):
    """The second begins and ends while the first is in the midst of it; the later one stays."""
    path, fsync = tmp_path / "a.bin", os.fsync

    def meanwhile(number: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        write_atomic(path, b"second")
        assert path.read_bytes() == b"second"
        fsync(number)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomic(path, b"first, longer")
    assert path.read_bytes() == b"first, longer" and list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_of_an_unfinished_file_is_not_followed(tmp_path: Path, monkeypatch):
    target, path = tmp_path / "somebody's", tmp_path / "a.bin"
    target.write_bytes(b"precious")
    monkeypatch.setattr(secrets, "token_hex", lambda length: "00" * length)  # as if guessed
    for name in (".a.bin.part", f".a.bin.{'00' * 8}.part"):
        (tmp_path / name).symlink_to(target)
    with pytest.raises(FileExistsError, match="could not be written"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    write_atomic(path, b"new")
    assert target.read_bytes() == b"precious" and path.read_bytes() == b"new"


def test_a_written_file_can_be_read_by_whom_the_system_lets(tmp_path: Path):
    path, plain = tmp_path / "a.bin", tmp_path / "plain"
    write_atomic(path, b"new")
    plain.write_bytes(b"new")
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.skipif(os.name == "nt", reason="Windows does not force folders")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_some_file_systems_do_not_force_folders(tmp_path: Path, monkeypatch, number):
    fsync = os.fsync

    def of_files_only(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_only)
    failure = pytest.raises(OSError, match="could not be written \\(Input/output error")
    with failure if number == errno.EIO else nullcontext():
        write_atomic(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


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
        ("a: !!binary aGk=\n", "is not YAML"),
        ("a: !mine 1\n", "is not YAML"),
        ("a: 1:30.5\n", "1:30.5 must be a decimal number .*line 1"),
        ("a: !!float x\n", "x must be a decimal number"),
        ("a: !!bool x\n", "x must be true or false"),
        pytest.param(f"a: {'9' * 5000}\n", "number of 5,000 digits is too large", id="digits"),
        ("~: 1\n", "`~` is a key and must be text"),
        ("a: {1: 2}\n", "`1` is a key and must be text"),
        ("? [a]\n: 1\n", "is a key and must be text"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", "`<<` is not read.*line 3"),
        ("a: 1\n---\nb: 1\n", "is not YAML: expected a single document"),
        ("a:\n\tb: 1\n", "is not YAML: .*line 2"),
        ("a: \x01\n", "is not YAML"),
        ("a: &a [*a]\n", "`\\*a` lies in itself"),
        ("a: *b\n", "is not YAML: found undefined alias 'b'"),
        ("- 1\n", "must hold lines of the form `key: value`"),
        ("", "must hold lines of the form `key: value`"),
    ],
)
def test_yaml_that_may_mean_something_else_is_refused(tmp_path, text, message):
    path = yaml_file(tmp_path, text)
    with pytest.raises(ValueError, match=message) as refusal:
        read_yaml(path)
    assert str(path) in str(refusal.value)


TWENTY = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 20)}]" for i in range(1, 8)]
LEVELS = [f"a{i}: &a{i} {'[' * 30}*a{i - 1}{']' * 30}" for i in range(1, 8)]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500,
        "a: " + "{b: " * 500,
        "\n".join(" " * i + "a:" for i in range(500)),
        "\n".join(["a0: &a0 {b: 1}", *TWENTY]),
        "\n".join(["a0: &a0 [1]", *LEVELS]),
        "\n".join(f"k{i}: {[1] * 1000}" for i in range(120)),
    ],
    ids=["brackets", "braces", "indented", "20 to the 7th", "levels by aliases", "many values"],
)
def test_yaml_is_no_larger_than_a_person_writes(tmp_path, text):
    path = yaml_file(tmp_path, text)
    with pytest.raises(ValueError, match=r"a file\.yaml: more than .* \(line \d+, column \d+\)"):
        read_yaml(path)


def test_yaml_of_today(tmp_path):
    """Where YAML 1.1 surprises, a file is read as in YAML 1.2."""
    text = "on: yes\nday: 2024-01-01\nflag: True\noff: false\nnothing: ~\na: &a [1]\nb: *a\n"
    expected = {"on": "yes", "day": "2024-01-01", "flag": True, "off": False, "nothing": None}
    assert read_yaml(yaml_file(tmp_path, text)) == expected | {"a": [1], "b": [1]}
    assert read_yaml(yaml_file(tmp_path, "\ufeffa: 1\n")) == {"a": 1}  # as Windows' editors begin


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


def test_a_long_value_is_cut_short(tmp_path):
    with pytest.raises(ValueError) as refusal:
        read_yaml(yaml_file(tmp_path, f"runs: {'x' * 100_000}"), "runs")
    assert len(str(refusal.value)) < 200 + len(str(tmp_path))


# What is no file of this kind


@pytest.mark.parametrize("read", [read_text, read_yaml, read_json])
def test_what_may_never_end_is_not_read(tmp_path, read):
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="pipe must be a file, not a pipe or a device"):
        read(pipe)
    if Path("/dev/zero").exists():
        with pytest.raises(ValueError, match="/dev/zero must be a file"):
            read("/dev/zero")
    with large.open("wb") as file:
        file.truncate(2**40)  # of which nothing is on the disk
    with pytest.raises(ValueError, match=r"large must have at most [\d,]+ bytes"):
        read(large)
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


# JSON


def test_json_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"a": [1, 2.5, null, "×"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, 2.5, None, "×"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is not JSON"),
        (b'{"a": {"b": 1, "b": 1}}', "is not JSON: `b` is set twice"),
        (b'{"a": NaN}', "is not JSON: NaN is no number"),
        (b'{"a": -Infinity}', "is not JSON: -Infinity is no number"),
        (b'{"a": 1e999}', "is not JSON: 1e999 is no number"),
        (b"9" * 5000, "is not JSON"),
        (b"[" * 100_000, "is not JSON: it is nested too deeply"),
        ("{}".encode("utf-16"), "must be UTF-8 text"),
    ],
    ids=range(8),
)
def test_what_is_not_json_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=f"a.json {message}"):
        read_json(path)


# Messages, and places


def test_one_line():
    assert one_line(ValueError("one\n  two\x1b[31m\u2028three")) == "one two\\x1b[31m three"
    assert one_line(OSError(5, "bad", "a\nb")) == "a b: bad"
    assert one_line(OSError(5, "bad")) == "bad"
    assert len(one_line(ValueError("x" * 10**6))) == 1000


def test_a_place_is_asked_about_beforehand(tmp_path):
    check_writable(tmp_path / "new" / "folder" / "a.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IsADirectoryError) as raised:
        check_writable(tmp_path)
    assert one_line(raised.value).startswith(f"{tmp_path}: could not be written")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        check_writable(tmp_path / "file" / "a.json")
    if Path("/proc/self").exists():  # a folder where nobody may write, not even root
        with pytest.raises(OSError, match="could not be written"):
            check_writable("/proc/self/new/a.json")


@pytest.mark.skipif(os.name == "nt", reason="links and modes are POSIX's here")
def test_a_link_is_followed_and_a_mode_is_kept(tmp_path: Path):
    (tmp_path / "far").mkdir()
    target, link, dangling = tmp_path / "far" / "a.bin", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(Path("far", "a.bin"))
    dangling.symlink_to(Path("far", "b.bin"))
    write_atomic(link, b"new")
    write_atomic(dangling, b"first")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert dangling.is_symlink() and (tmp_path / "far" / "b.bin").read_bytes() == b"first"
    assert target.stat().st_mode & 0o777 == 0o640
    assert {file.name for file in (tmp_path / "far").iterdir()} == {"a.bin", "b.bin"}
    write_atomic(target, b"newer")
    assert target.stat().st_mode & 0o777 == 0o640
    left = tmp_path / "far" / f".a.bin.{'00' * 8}.part"  # by a process that was killed
    left.write_bytes(b"half")
    clear_parts(link)
    assert not left.exists() and link.exists()


@pytest.mark.skipif(os.name == "nt", reason="names are counted in bytes on POSIX")
@pytest.mark.parametrize("name", ["a" * 232, "a" * 233, "é" * 127, "a" * 255])
def test_a_name_as_long_as_the_system_allows(tmp_path: Path, monkeypatch, name):
    write_atomic(tmp_path / name, b"new")
    assert [file.name for file in tmp_path.iterdir()] == [name]
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        write_atomic(tmp_path / name, b"newer")
    assert len(list(tmp_path.iterdir())) == 2
    clear_parts(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]
