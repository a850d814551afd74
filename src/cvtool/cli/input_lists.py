"""``--files-from``: any number of inputs, whose names are kept on disk."""

from __future__ import annotations

import os
import sys
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import IO, overload

from cvtool.bundled import find_asset
from cvtool.cli.inputs import ASSET, STDIN, Input, expand_one, is_tar
from cvtool.errors import BadInputError, UsageError
from cvtool.files import opened_input, shown
from cvtool.tars import Member

CHUNK_BYTES = 1 << 16
LONGEST_NAME = 1 << 16
"""Bytes; no system takes longer names, so that what is longer is no list."""
IN_MEMORY = 1 << 20
"""Bytes of names that are not worth a file."""
TOGETHER = 1024
"""Names that are read at a time where all are."""
NAMED, COLLECTED, BUNDLED, INSIDE = b"=", b"*", b"@", b"/"


class ListedInputs(Sequence[Input]):
    """Inputs whose names lie in a temporary file: eight bytes of memory each, whatever the names.

    Reading the whole list before the work, rather than as it comes, is what lets a command refuse all that it would
    refuse of arguments: to write over an input, and one name for two results.

    Args:
        inputs: are taken one by one; none is kept.
    """

    def __init__(self, inputs: Iterable[Input]) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (as long as this object)
        self._close = weakref.finalize(self, self._file.close)
        self._ends = array("Q", [0])
        end = 0
        for given in inputs:
            end += self._file.write(_entry(given))
            self._ends.append(end)

    @classmethod
    def of(cls, inputs: Sequence[Input]) -> ListedInputs:
        """These inputs, if need be as such a list."""
        return inputs if isinstance(inputs, cls) else cls(inputs)

    def save(self, path: Path) -> None:
        """Write all names, for `load` by another process."""
        with open(path, "wb") as file:
            for start in range(0, len(self), TOGETHER):
                entries = self._entries(start, min(start + TOGETHER, len(self)))
                file.write(b"".join(b"%d\n%s" % (len(entry), entry) for entry in entries))

    @classmethod
    def load(cls, path: Path) -> ListedInputs:
        """What `save` wrote.

        Raises:
            BadInputError: it cannot be read.
        """
        with opened_input(path, lasting=True) as file:
            return cls(_input(file.read(int(length))) for length in iter(file.readline, b""))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, number: int) -> Input: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Input]: ...

    def __getitem__(self, number: int | slice) -> Input | Sequence[Input]:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        number = range(len(self))[number]
        return next(self._read(number, number + 1))

    def __iter__(self) -> Iterator[Input]:
        for start in range(0, len(self), TOGETHER):
            yield from self._read(start, min(start + TOGETHER, len(self)))

    def _read(self, start: int, stop: int) -> Iterator[Input]:
        return map(_input, self._entries(start, stop))

    def _entries(self, start: int, stop: int) -> list[bytes]:
        first, last = self._ends[start], self._ends[stop]
        self._file.seek(first)
        entries = self._file.read(last - first)
        return [entries[self._ends[n] - first : self._ends[n + 1] - first] for n in range(start, stop)]


def _entry(given: Input) -> bytes:
    name = os.fsencode(given.name)
    if given.member is not None:  # its place, and three texts after the lengths of two
        tar = os.fsencode(str(given.path))
        member = given.member.name.encode("utf-8", "surrogatepass")
        return b"%s%d %d %d %s%s%s" % (INSIDE, given.member.offset, len(name), len(tar), name, tar, member)
    bundled = given.name.startswith(ASSET) and given.path != Path(given.name)
    return (BUNDLED if bundled else COLLECTED if given.collected else NAMED) + name


def _input(entry: bytes) -> Input:
    if entry.startswith(INSIDE):
        offset, length, end, rest = entry[1:].split(b" ", 3)
        first, second = int(length), int(length) + int(end)
        member = Member(rest[second:].decode("utf-8", "surrogatepass"), int(offset))
        return Input(os.fsdecode(rest[:first]), Path(os.fsdecode(rest[first:second])), True, member)
    kind, name = entry[:1], os.fsdecode(entry[1:])
    if name == STDIN:
        return Input(STDIN, None)
    path = find_asset(name[len(ASSET) :]).path if kind == BUNDLED else Path(name)
    return Input(name, path, kind == COLLECTED)


def inputs_of(
    arguments: Sequence[str], files_from: str | None, *, null: bool, recursive: bool = False
) -> Sequence[Input]:
    """What the arguments stand for, as `inputs.expand`, then what the lines of a list do.

    Args:
        arguments: as given.
        files_from: as given to ``--files-from``.
        null: NUL bytes end the names in the list, not line feeds.
        recursive: as in `inputs.expand`.

    Raises:
        UsageError: no inputs are given, an empty argument, or ``--null`` without a list; the list has NUL bytes
            that were not announced.
        UnknownNameError: no bundled picture of that name.
        BadInputError: the list is missing, is no list, or is empty.
    """
    return _gather(arguments, files_from, null, lambda word: expand_one(word, recursive=recursive), "pictures")


def list_file(files_from: str | None) -> Path | None:
    """The list as one of the files that must not be written to; None if there is none, or it comes from stdin."""
    return None if files_from in (None, STDIN) else Path(files_from)


def files_of(arguments: Sequence[str], files_from: str | None, *, null: bool) -> Sequence[Input]:
    """As `inputs_of` for files of any kind, which are taken as they are."""
    return _gather(
        arguments, files_from, null, lambda word: [Input(word, None if word == STDIN else Path(word))], "files"
    )


def _gather(
    arguments: Sequence[str], files_from: str | None, null: bool, of: Callable[[str], Iterable[Input]], what: str
) -> Sequence[Input]:
    if files_from is None:
        if null:
            raise UsageError("--null is for the list of --files-from. Give both, or leave it out.")
        if not arguments:
            raise UsageError(f"No input: give {what} as arguments, or a list of them with --files-from.")
        found = (given for word in arguments for given in of(word))
        return ListedInputs(found) if any(map(is_tar, arguments)) else list(found)
    words = chain(arguments, names_in(files_from, null=null))
    listed = ListedInputs(given for word in words for given in of(word))
    if not listed:
        raise BadInputError(f"The list '{shown(files_from)}' names no file.")
    return listed


def names_in(path: str, *, null: bool) -> Iterator[str]:
    """The names in a list, one by one; empty ones are left out, and bytes that are no text stay what they are.

    Args:
        path: of the list; ``-`` for stdin.
        null: NUL bytes end the names, not line feeds.

    Raises:
        BadInputError: it cannot be read, or is no list.
        UsageError: it has NUL bytes and `null` was not told.
    """
    if path == STDIN and sys.stdin is None:
        raise UsageError("'--files-from -' reads names from stdin, but stdin is closed. Pipe a list into it.")
    separator = b"\0" if null else b"\n"
    with nullcontext(sys.stdin.buffer) if path == STDIN else opened_input(path) as file:
        for name in _parts(file, separator, path):
            if not null and b"\0" in name:
                raise UsageError(f"The list '{shown(path)}' has NUL bytes between its names. Give --null, too.")
            name = name if null else name.removesuffix(b"\r")
            if name:
                yield os.fsdecode(name)


def _parts(file: IO[bytes], separator: bytes, path: str) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
        if len(rest) > LONGEST_NAME:
            break
    if len(rest) > LONGEST_NAME:
        hint = "Leave out --null, or end every name with a NUL byte." if separator == b"\0" else "Give one name a line."
        raise BadInputError(f"'{shown(path)}' is no list of names: one has over {LONGEST_NAME >> 10} KiB. {hint}")
    yield rest
