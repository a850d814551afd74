"""Files on disk: read whole with errors that say what to do, written whole or not at all. No pictures here."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from cvtool.errors import BadInputError, CvtoolError

MAX_INPUT_BYTES = 2 << 30
"""Largest input read into memory, in bytes: the largest picture accepted, uncompressed at 16 bits, fits."""

CHUNK_BYTES = 1 << 20

_UTF16 = (b"\xff\xfe", b"\xfe\xff")

PIPE_SECONDS = 30.0
"""How long a named pipe is waited for until somebody writes into it."""

PICTURE_SUFFIXES = frozenset(
    f".{name}"
    for name in "avif bmp gif jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm qoi tif tiff webp".split()  # noqa: SIM905
)
"""What counts as a picture inside a folder or an archive; a file that is named itself may be called anything."""


def shown(name: object) -> str:
    """`name` fit for one line of text: control characters, line breaks and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(name))


def in_few_words(error: BaseException) -> str:
    """What an error of a library says, short and fit for one of our lines; its kind if it says nothing."""
    return shown(" ".join(str(error).split())[:120]) or type(error).__name__


def read_input(path: str | Path, *, lasting: bool = False) -> bytes:
    """All bytes of an input file or pipe; `lasting` as in `opened_input`.

    Raises:
        BadInputError: `path` is missing, a directory, a device, unreadable, or larger than `MAX_INPUT_BYTES`.
    """
    with opened_input(path, lasting=lasting) as file:
        return read_stream(file, path)


def read_stream(file: IO[bytes], name: object) -> bytes:
    """All bytes of an open file or pipe; `name` is used in messages.

    Raises:
        BadInputError: there are more than `MAX_INPUT_BYTES`.
    """
    data = read_at_most(file, MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise BadInputError(f"'{shown(name)}' is larger than {MAX_INPUT_BYTES >> 30} GiB. Give a smaller file.")
    return data


def read_lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """Lines of a text file with their numbers from 1, without line ends; None for a line that is not UTF-8.

    Raises:
        BadInputError: the file cannot be read, is UTF-16, or is no text.
    """
    data = read_input(path)
    if data[:2] in _UTF16:
        raise BadInputError(f"'{shown(path)}' is UTF-16, not UTF-8. Save it as UTF-8.")
    if b"\0" in data:
        raise BadInputError(f"'{shown(path)}' is not a text file. Check the path.")
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError:
            yield number, None


def read_at_most(file: IO[bytes], most: int) -> bytes:
    """The first `most` bytes of a file, or all if there are fewer.

    Unlike ``file.read(most)``, which takes memory for `most` bytes before it looks, it takes what there is.
    """
    found = io.BytesIO()  # gives its bytes away without a copy
    while most > 0 and (part := file.read(min(most, CHUNK_BYTES))):
        found.write(part)
        most -= len(part)
    return found.getvalue()


@contextmanager
def opened_input(path: str | Path, *, lasting: bool = False) -> Iterator[BinaryIO]:
    """An input file or pipe, open for reading in the block.

    Args:
        path: of the file.
        lasting: it must be a file, not a pipe: it is read more than once, or out of order.

    Raises:
        BadInputError: it cannot be read; also for an `OSError` in the block.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _read_error(path, error) from error
    try:
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # /dev/zero never ends
            raise BadInputError(f"'{shown(path)}' is a device, not a file. Give a file.")
        if lasting and not stat.S_ISREG(mode):
            raise BadInputError(f"'{shown(path)}' is a pipe, and has to be a file. Write it to a file first.")
        with _open_pipe(path) if stat.S_ISFIFO(mode) else open(path, "rb") as file:
            yield file
    except OSError as error:
        raise _read_error(path, error) from error


def _open_pipe(path: str | Path) -> BinaryIO:
    """A pipe to read from: opening one waits for somebody who writes, for ever if need be."""
    handles: list[int] = []

    def wait() -> None:
        with suppress(OSError):
            handles.append(os.open(path, os.O_RDONLY))

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(PIPE_SECONDS)
    in_vain = waiting.is_alive()
    if in_vain:  # being a writer for a moment lets go of the thread
        with suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        waiting.join(1)
    if in_vain or not handles:
        for handle in handles:
            os.close(handle)
        raise BadInputError(f"Nobody writes into the pipe '{shown(path)}'. Start what fills it first.")
    return open(handles[0], "rb")


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
        BadInputError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with opened_input(path, lasting=True) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def folder_of_pictures(folders: Sequence[Path], names: Sequence[str]) -> Path:
    """The folder that holds the most of the pictures `names`; the first of those that exist if none holds any.

    Raises:
        BadInputError: none of the folders can be read.
    """
    best: tuple[int, Path] | None = None
    wanted = set(names)
    for folder in folders:
        try:
            present = len(wanted.intersection(os.listdir(folder)))
        except (OSError, ValueError):
            continue
        if best is None or present > best[0]:
            best = (present, folder)
    if best is None:
        raise BadInputError(f"The folder '{shown(folders[0])}' of the pictures cannot be read. Check the path.")
    return best[1]


def link_below(folder: Path) -> Path | None:
    """A symbolic link somewhere below a folder, None if there is none. No link is followed on the way."""
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(path := os.path.join(where, name)):
                return Path(path)
    return None


def remove(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        CvtoolError: it cannot be.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CvtoolError(f"'{path}' cannot be removed: {error.strerror}. Remove it, or use another -o.") from error


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all; no parent directories are created.

    Raises:
        CvtoolError: the file cannot be written; says why and what to do. Nothing is left behind.
    """
    with atomic_path(path) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise write_error(path, error) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, to be written in the block; renamed to `path` after it.

    The temporary file exists (empty) from the start, so a directory that is missing or read-only is found
    before any work is done. An exception in the block deletes it and leaves `path` as it was. A symbolic link
    is followed; a file that exists keeps its permissions. A device or pipe (``/dev/null``) is written into
    after the block, never replaced.

    Raises:
        CvtoolError: the file cannot be written; also for an `OSError` of the block that means so (disk full, …).
    """
    try:
        target = Path(os.path.realpath(path))
        mode = _mode_of(target)
        if mode is not None and stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        special = mode is not None and not stat.S_ISREG(mode)
        directory = Path(tempfile.gettempdir()) if special else target.parent
        temporary = _create_beside(directory, target.suffix, None if special else mode)
    except (OSError, ValueError) as error:
        raise write_error(path, error) from error
    try:
        yield temporary
        _publish(temporary, target, copy=special)
    except OSError as error:
        if error.errno in _DISK_ERRNOS:
            raise write_error(path, error) from error
        raise
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _read_error(path: str | Path, error: OSError | ValueError) -> BadInputError:
    reasons = {
        errno.ENOENT: "there is no such file. Check the path.",
        errno.ENOTDIR: "there is no such file. Check the path.",
        errno.EISDIR: "it is a directory. Give a file in it.",
        errno.EACCES: "permission denied. Check its permissions.",
        errno.ENAMETOOLONG: "the name is too long. Check the path.",
    }
    address = _ADDRESS.fullmatch(str(path))
    if address and isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR):
        name = f"{address['kind']}://{address['rest']}"
        return BadInputError(f"Cannot read '{shown(name)}': addresses are not fetched. Download it first.")
    return BadInputError(f"Cannot read '{shown(path)}': {_reason(error, reasons)}")


_ADDRESS = re.compile(r"(?P<kind>https?|s?ftp|s3|gs):/+(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
"""An address, also where a path has been made of it, which keeps one of two slashes."""


def write_error(path: str | Path, error: OSError | ValueError) -> CvtoolError:
    """What to raise when `path` cannot be written: why, and what to do."""
    parent = shown(Path(path).parent)
    full = "the disk is full. Free some space or choose another directory."
    denied = f"the directory '{parent}' may not be written to. Choose another directory."
    missing = f"the directory '{parent}' does not exist. Create it first."
    if os.path.isdir(Path(path).parent):  # as /proc, where the kernel alone makes files
        missing = f"no file can be made in the directory '{parent}'. Choose another directory."
    reasons = {
        errno.ENOENT: missing,
        errno.ENOTDIR: f"'{parent}' is not a directory. Choose another path.",
        errno.EISDIR: "it is a directory. Give the name of a file.",
        errno.EACCES: denied,
        errno.EPERM: denied,
        errno.EROFS: "the file system is read-only. Choose another directory.",
        errno.ENOSPC: full,
        errno.EDQUOT: full,
        errno.ENAMETOOLONG: "the name is too long. Choose a shorter one.",
    }
    return CvtoolError(f"Cannot write '{shown(path)}': {_reason(error, reasons)}")


def _reason(error: OSError | ValueError, reasons: dict[int, str]) -> str:
    if isinstance(error, OSError):
        known = reasons.get(error.errno or 0)
        return known or f"{shown(error.strerror or error)}. Check the path."
    return "the name holds a character no file name can have. Check the path."


_DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


def _mode_of(target: Path) -> int | None:
    try:
        return target.stat().st_mode
    except FileNotFoundError:
        return None


def _create_beside(directory: Path, suffix: str, mode: int | None) -> Path:
    # A short name of its own: one derived from the target's could be too long where the target's is not.
    temporary = directory / f".cvtool-{secrets.token_hex(8)}{suffix}"
    # Unlike tempfile's 0600, 0666 lets the umask decide, as for any other new file.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    if mode is not None:
        with suppress(OSError):
            temporary.chmod(stat.S_IMODE(mode))
    return temporary


def _publish(temporary: Path, target: Path, *, copy: bool) -> None:
    if copy:
        with open(temporary, "rb") as source, open(target, "wb") as sink:
            shutil.copyfileobj(source, sink)
        return
    handle = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(handle)  # the name must not appear on disk before the bytes do
    finally:
        os.close(handle)
    os.replace(temporary, target)
