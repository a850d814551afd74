"""Files: whole or not at all, and errors in one line."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtool import files
from cvtool.errors import BadInputError, CvtoolError
from cvtool.files import atomic_path, read_input, sha256_of, shown, write_atomically


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def assert_one_line(message: str, *words: str) -> None:
    assert "\n" not in message
    assert message.isprintable()
    for word in words:
        assert word in message


def test_bytes_arrive_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.bin", b"first")
    write_atomically(tmp_path / "a.bin", b"second")
    assert (tmp_path / "a.bin").read_bytes() == b"second"
    assert names_in(tmp_path) == ["a.bin"]


def test_temporary_file_lies_beside_the_target_and_has_its_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "picture.PNG") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".PNG"
        temporary.write_bytes(b"x")
        assert not (tmp_path / "picture.PNG").exists()
    assert (tmp_path / "picture.PNG").read_bytes() == b"x"
    assert names_in(tmp_path) == ["picture.PNG"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError("its own")], ids=repr)
def test_failure_inside_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail_half_way() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(type(error)) as caught:
        fail_half_way()
    assert caught.value is error
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_bytes_are_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("replace"), replace(*paths)))
    write_atomically(tmp_path / "a", b"x")
    assert events == ["fsync", "replace"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EDQUOT, "disk is full"), (errno.EIO, "")],
)
def test_failing_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CvtoolError) as caught:
        write_atomically(tmp_path / "a.png", b"x")
    assert caught.value.exit_code == 1
    assert_one_line(str(caught.value), "a.png", words)
    assert names_in(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_really_full_disk() -> None:
    with pytest.raises(CvtoolError, match="disk is full"):
        write_atomically("/dev/full", b"x" * 100_000)


def test_directories_that_cannot_take_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    cases = {
        "missing/a.png": "does not exist",
        "file/a.png": "not a directory",
        "folder": "is a directory",
        "x" * 300: "too long",
        "a\0b": "character",
    }
    for name, words in cases.items():
        with pytest.raises(CvtoolError) as caught:
            write_atomically(tmp_path / name, b"x")
        assert caught.value.exit_code == 1
        assert_one_line(str(caught.value), words)
    assert names_in(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux")
def test_a_directory_that_is_there_is_not_told_to_be_created() -> None:
    with pytest.raises(CvtoolError, match="the directory '/proc'") as caught:
        write_atomically("/proc/a.png", b"x")
    assert "not exist" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_directory_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(CvtoolError, match="may not be written"):
            write_atomically(tmp_path / "a", b"x")
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_permissions_are_those_of_any_new_file_or_of_the_old_one(tmp_path: Path) -> None:
    ordinary, ours, kept = tmp_path / "ordinary", tmp_path / "ours", tmp_path / "kept"
    ordinary.touch()
    kept.touch()
    kept.chmod(0o640)
    for path in (ours, kept):
        write_atomically(path, b"x")
    assert stat.S_IMODE(ours.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="symbolic links, devices and pipes")
class TestTargetsThatAreNoPlainFiles:
    def test_symbolic_link_stays_one(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
        write_atomically(tmp_path / "link", b"x")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "a").read_bytes() == b"x"

    def test_device_is_written_into_and_stays_a_device(self) -> None:
        write_atomically("/dev/null", b"x")
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

    def test_pipe_gets_the_bytes(self, tmp_path: Path) -> None:
        pipe, got = tmp_path / "pipe", []
        os.mkfifo(pipe)
        reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
        reader.start()
        write_atomically(pipe, b"through the pipe")
        reader.join(timeout=10)
        assert got == [b"through the pipe"]
        assert names_in(tmp_path) == ["pipe"]

    def test_input_may_be_a_pipe(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(b"data",))
        writer.start()
        assert read_input(pipe) == b"data"
        writer.join(timeout=10)

    def test_input_that_never_ends_is_refused(self) -> None:
        with pytest.raises(BadInputError, match="device"):
            read_input("/dev/zero")


def test_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    name = "n" * 251 + ".png"
    write_atomically(tmp_path / name, b"x")
    assert names_in(tmp_path) == [name]


@pytest.mark.parametrize("address", ["http://a.example/c.jpg", "HTTPS://a.example/x/c.tar/d.jpg", "s3://bucket/c.npy"])
def test_an_address_is_not_fetched(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (address, Path(address)):
        with pytest.raises(BadInputError) as caught:
            read_input(name)
        assert str(caught.value) == f"Cannot read '{address}': addresses are not fetched. Download it first."
    Path(address).parent.mkdir(parents=True)  # a folder may be called so
    Path(address).write_bytes(b"x")
    assert read_input(address) == b"x"


def test_inputs_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in {"none.png": "no such file", ".": "directory", "a\0b": "character", "x" * 300: "long"}.items():
        with pytest.raises(BadInputError) as caught:
            read_input(tmp_path / name)
        assert_one_line(str(caught.value), words)

    def deny(*args: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "secret").write_text("")
    monkeypatch.setattr(files, "open", deny, raising=False)
    with pytest.raises(BadInputError, match=r"secret.*permission denied"):
        read_input(tmp_path / "secret")


def test_input_larger_than_memory_should_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_INPUT_BYTES", 9)
    (tmp_path / "a").write_bytes(b"123456789")
    assert read_input(tmp_path / "a") == b"123456789"
    (tmp_path / "a").write_bytes(b"1234567890")
    with pytest.raises(BadInputError, match="larger"):
        read_input(tmp_path / "a")


def test_sha256_of_a_file_longer_than_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # The example in FIPS 180-2, B.1.
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    monkeypatch.setattr(files, "CHUNK_BYTES", 7)
    (tmp_path / "long").write_bytes(bytes(range(100)))
    assert sha256_of(tmp_path / "long") == hashlib.sha256(bytes(range(100))).hexdigest()
    with pytest.raises(BadInputError):
        sha256_of(tmp_path / "none")


def test_shown_keeps_what_can_be_printed() -> None:
    assert shown("Ånderung 猫 (1).png") == "Ånderung 猫 (1).png"
    assert shown("a\nb\x1b[31m\u2028\udcff\r") == r"a\nb\x1b[31m\u2028\udcff\r"


@given(st.text(alphabet=st.characters()))
def test_shown_is_one_printable_line(name: str) -> None:
    assert shown(name).isprintable()
    assert len(shown(name).splitlines()) <= 1
