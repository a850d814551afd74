"""Tar archives from anywhere: their members one by one, in the order of the archive, and single ones by their place."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from bz2 import BZ2File
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from lzma import LZMAError, LZMAFile
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cvtool.errors import BadInputError
from cvtool.files import CHUNK_BYTES, PICTURE_SUFFIXES, in_few_words, opened_input, read_at_most, shown

LARGEST_MEMBER = 256 << 20
"""Bytes of one picture's file in an archive, unpacked: what is larger is no picture of a data set."""
LONGEST_NAME = 4096
"""Bytes of a member's name."""

BROKEN = (
    *(tarfile.TarError, zlib.error, LZMAError),
    *(EOFError, OSError, RuntimeError, ValueError, LookupError, OverflowError),
)
"""What the reader of tars raises on damaged ones."""


def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All members in their order, in constant memory."""
    while (member := archive.next()) is not None:
        yield member
        archive.members = []  # type: ignore[attr-defined]  # else the headers of all stay in memory
        if archive.fileobj is not None:  # the headers of each may take so much, not those of all
            archive.fileobj.seek(archive.fileobj.tell())


def regular_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Regular members in their order; links, devices and folders are passed over."""
    return (member for member in members(archive) if member.isreg())


def has_end(archive: tarfile.TarFile) -> bool:
    """Whether the reader stopped at the mark of the end; it stops as quietly where a file was cut between members."""
    if archive.fileobj is None:
        return False
    archive.fileobj.seek(archive.offset)
    return archive.fileobj.read(tarfile.BLOCKSIZE) == tarfile.NUL * tarfile.BLOCKSIZE


def read_limited(file: IO[bytes] | None) -> bytes | None:
    """All bytes of an open member; None if there are more than `LARGEST_MEMBER`: few can stand for very many."""
    data = read_at_most(file, LARGEST_MEMBER + 1) if file is not None else b""
    return data if len(data) <= LARGEST_MEMBER else None


class _Modest:
    """A file that gives a reader of a member's headers no more than they can honestly take together."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, CHUNK_BYTES
        self.tell = file.tell

    def seek(self, place: int) -> int:
        """Go there, and give as much once more: what comes next is another member, or the content of one."""
        self._left = CHUNK_BYTES
        return self._file.seek(place)

    def read(self, size: int) -> bytes:
        """So many bytes, or what is left."""
        self._left -= size
        if self._left < 0:  # of a member's content `read_limited` asks for less between two seeks
            raise tarfile.ReadError(f"headers of more than {CHUNK_BYTES} bytes")
        return self._file.read(size)


def _opened_plain(file: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=_Modest(file), mode="r:")  # type: ignore[call-overload,no-any-return]


_ENVELOPES: tuple[Callable[[Any], Any], ...] = (
    lambda file: file,
    lambda file: gzip.GzipFile(fileobj=file),
    BZ2File,
    LZMAFile,
)
"""What a tar may be packed in."""


def opened_tar(file: IO[bytes]) -> tarfile.TarFile:
    """A tar, plain or compressed in any way that `tarfile` finds out itself, from the beginning of an open file.

    `tarfile` would ask what it unpacks for as much as a header claims: a file of some bytes could take all memory.

    Raises:
        tarfile.ReadError: it is none.
    """
    for unpacked in _ENVELOPES:
        file.seek(0)
        try:
            return _opened_plain(unpacked(file))
        except BROKEN:
            continue
    raise tarfile.ReadError("no tar")


@dataclass(frozen=True)
class Member:
    """A member of a tar that is called like a picture, or what is wrong with the tar.

    Attributes:
        name: in the archive; "" where the archive itself is wrong.
        offset: of its header, in bytes.
    """

    name: str
    offset: int

    @property
    def path(self) -> str:
        """The name without the ``./`` that ``tar -C folder .`` puts before it."""
        return self.name.removeprefix("./")


def pictures_in(path: Path) -> Iterator[Member]:
    """What is called a picture in an uncompressed tar, in its order, and a last one without a name if it is broken.

    Only headers are read. What cannot be used is told by `read_member`.
    """
    found, whole, offset = False, False, 0
    try:
        with opened_input(path, lasting=True) as file, _opened_plain(file) as archive:
            for member in members(archive):
                offset = archive.offset
                if not member.isdir() and PurePosixPath(member.name).suffix.lower() in PICTURE_SUFFIXES:
                    found = True
                    yield Member(member.name, member.offset)
            whole = has_end(archive)
    except (BadInputError, *BROKEN):
        pass  # told when it is read
    if not (whole and found):
        yield Member("", offset)


def read_member(path: Path, member: Member) -> bytes:
    """The bytes of one member, found at its place; links are not followed and no path of the archive is used.

    Raises:
        BadInputError: the archive or the member cannot be read, or is nothing to read a picture from.
    """
    name = f"'{shown(path)}/{shown(member.path)}'"
    with opened_input(path, lasting=True) as file:
        if not member.name:
            raise BadInputError(_fault(file, path, member.offset))
        refused = _refusal(member.name)
        if refused:
            raise BadInputError(f"{name} {refused}. It is left out.")
        try:
            file.seek(member.offset)
            with _opened_plain(file) as archive:
                found = archive.next()
                if found is None or found.name != member.name:
                    raise BadInputError(f"{name} is not where it was: the archive has changed. Start again.")
                if not found.isreg():
                    raise BadInputError(f"{name} is a link, a device or the like, not a file. It is left out.")
                large = found.size > LARGEST_MEMBER
                data = None if large else read_limited(archive.extractfile(found))
        except BROKEN as error:
            raise BadInputError(f"{name} is cut off or broken: {in_few_words(error)}. Fetch the archive again.") from (
                error
            )
    if data is None:
        raise BadInputError(f"{name} is larger than {LARGEST_MEMBER >> 20} MiB. It is left out.")
    if len(data) < found.size:
        raise BadInputError(f"{name} is cut off: the archive ends in it. Fetch the archive again.")
    return data


def _refusal(name: str) -> str:
    """What speaks against a name: it names nothing outside of an archive, and results are called after it."""
    if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
        return "has a name that leads out of the archive"
    if not name.isprintable() or len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
        return "has a name that no file should have"
    return ""


def _fault(file: IO[bytes], path: Path, offset: int) -> str:
    """Why a tar gave no more pictures."""
    start = file.read(6)
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return f"'{shown(path)}' is compressed, so that it cannot be read from any place. Unpack it to a plain .tar."
    if offset == 0:
        return f"'{shown(path)}' is no tar archive, or it is empty. Check the file."
    if offset < file.seek(0, os.SEEK_END):  # a broken header can name a place that no file reaches
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) == tarfile.NUL * tarfile.BLOCKSIZE:
            return f"'{shown(path)}' holds no pictures. Give a tar whose members end in .jpg, .png …"
    return f"'{shown(path)}' is truncated or broken: what comes after byte {offset} is missing. Fetch it again."
