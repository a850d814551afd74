"""``zip:FILE`` and ``tar:FILE``: pictures read where they lie in the archive; nothing is unpacked to the disk."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError
from cvtool.files import in_few_words, opened_input, shown
from cvtool.gan.datasets.data import Item, Source
from cvtool.gan.datasets.layout import is_picture_name, lay_out
from cvtool.gan.picture_options import Conditional
from cvtool.problems import Problem
from cvtool.tars import BROKEN, LARGEST_MEMBER, has_end, opened_tar, read_limited, regular_members

_ENCRYPTED = 0x1  # flag of a member of a zip
_BROKEN = (zipfile.BadZipFile, *BROKEN)
"""What the readers of archives raise on damaged ones (RuntimeError: unknown compression, encryption, recursion)."""


class FileOrigin:
    """A data set in one file.

    Raises:
        BadInputError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with opened_input(path, lasting=True):  # the clear words for files that cannot be read at all
            pass
        self._path = path
        self.place = os.path.realpath(path)
        self.name = path.name

    def state(self) -> str:
        """Size and times of the file."""
        status = os.stat(self._path)
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


class ZipOrigin(FileOrigin):
    """A zip of pictures; links in it are ignored."""

    def open(self, split: str, conditional: Conditional) -> Source:
        """By the names of the folders, see `lay_out`."""
        with self._opened() as archive:
            members = {info.filename: info for info in archive.infolist() if _is_zipped_picture(info)}
        names = list(members)
        layout = lay_out(names, split, conditional, self._path)

        def items(chosen: NDArray[np.int64]) -> Iterator[Item]:
            rows = [(row, members[names[layout.chosen[number]]]) for row, number in enumerate(chosen.tolist())]
            with self._opened() as archive:
                for row, info in sorted(rows, key=lambda pair: pair[1].header_offset):
                    yield Item(row, info.filename, _unzipped(archive, info))

        return Source(len(layout.chosen), layout.labels, layout.classes, items, found=layout.found)

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            archive = zipfile.ZipFile(self._path)
        except _BROKEN as error:
            raise BadInputError(
                f"'{shown(self._path)}' is no zip archive, or its end is missing. Fetch it again."
            ) from (error)
        with archive:
            yield archive


class TarOrigin(FileOrigin):
    """A tar of pictures, compressed or not; only regular members are read.

    The archive is gone through in its own order: once to see what there is, once to read.
    """

    def open(self, split: str, conditional: Conditional) -> Source:
        """By the names of the folders, see `lay_out`."""
        names, complete = self._names()
        if not names and not complete:
            raise BadInputError(f"'{shown(self._path)}' is no tar archive, or it is truncated. Fetch it again.")
        layout = lay_out(names, split, conditional, self._path)
        cut = Problem(self.name, "is truncated: pictures at its end are missing")

        def items(chosen: NDArray[np.int64]) -> Iterator[Item]:
            return self._items({names[layout.chosen[number]]: row for row, number in enumerate(chosen.tolist())})

        found = layout.found if complete else (cut, *layout.found)
        return Source(len(layout.chosen), layout.labels, layout.classes, items, found=found)

    def _names(self) -> tuple[list[str], bool]:
        """The pictures' names, each once, and whether the archive was there up to its end."""
        names: dict[str, None] = {}
        with opened_input(self._path) as file:
            try:
                with opened_tar(file) as archive:
                    for member in regular_members(archive):
                        if is_picture_name(member.name):
                            names[member.name] = None
                    return list(names), has_end(archive)
            except _BROKEN:
                return list(names), False

    def _items(self, wanted: dict[str, int]) -> Iterator[Item]:
        left = dict(wanted)
        with opened_input(self._path) as file:
            try:
                with opened_tar(file) as archive:
                    for member in regular_members(archive):
                        if member.name in left:  # of two with one name the first is taken
                            content = _limited(archive.extractfile(member), member.name)
                            yield Item(left.pop(member.name), member.name, content)
            except _BROKEN:
                pass  # told below, picture by picture
        for name, row in left.items():
            yield Item(row, name, Problem(name, "is cut off: the archive ends early or is broken there"))


def _is_zipped_picture(info: zipfile.ZipInfo) -> bool:
    link = stat.S_ISLNK(info.external_attr >> 16)
    return not info.is_dir() and not link and is_picture_name(info.filename)


def _unzipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | Problem:
    if info.flag_bits & _ENCRYPTED:
        return Problem(info.filename, "is encrypted")
    try:
        with archive.open(info) as file:
            return _limited(file, info.filename)
    except _BROKEN as error:
        return Problem(info.filename, f"is broken in the archive: {in_few_words(error)}")


def _limited(file: IO[bytes] | None, name: str) -> bytes | Problem:
    """All bytes of a member, or what is wrong with it."""
    data = read_limited(file)
    return data if data is not None else Problem(name, f"is larger than {LARGEST_MEMBER >> 20} MiB")
