"""From the words on the command line to pictures: files, folders, globs, tars, ``-`` and ``asset:NAME``."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cvtool.bundled import find_asset
from cvtool.cli.console import is_terminal
from cvtool.errors import BadInputError, UsageError
from cvtool.files import PICTURE_SUFFIXES, shown
from cvtool.tars import Member, pictures_in, read_member

if TYPE_CHECKING:
    from cvtool.images import Picture

STDIN = "-"
ASSET = "asset:"
TAR = ".tar"
LONGEST_STEM = 200
"""Bytes of the name of a member of a tar that results are called after: file systems have room for 255 in a name."""


def safe_stem(name: str) -> str:
    """The last part of a member's name without its suffix, fit for the name of a file on any system."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    safe = "".join(letter if letter.isprintable() else "_" for letter in stem)
    return safe.encode()[:LONGEST_STEM].decode(errors="ignore") or "member"


@dataclass(frozen=True)
class Input:
    """One picture to be read.

    Attributes:
        name: what the user sees: the path as given or found, ``-`` or ``asset:NAME``.
        path: the file, None for stdin. It need not exist: reading it says so.
        collected: found in a folder or by a glob or in a tar, rather than named itself.
        member: where it lies in `path`, if that is a tar.
    """

    name: str
    path: Path | None
    collected: bool = False
    member: Member | None = None

    @property
    def stem(self) -> str:
        """The name that results are called after."""
        if self.member is not None and self.member.name:
            return safe_stem(self.member.name)
        return self.path.stem if self.path is not None else "stdin"

    @property
    def lasting_name(self) -> str:
        """A name that means the same picture in any folder: the absolute path, or ``-`` and ``asset:NAME`` as given."""
        if self.path is None or self.name.startswith(ASSET):
            return self.name
        inside = f"/{self.member.path}" if self.member is not None else ""
        return f"{self.path.resolve()}{inside}"


def expand(arguments: Iterable[str], *, recursive: bool = False) -> list[Input]:
    """All inputs that the arguments stand for, in their order; folders and globs sorted by name.

    Args:
        arguments: paths, folders, globs the shell left alone, tars or members of them, ``-``, ``asset:NAME``.
        recursive: take pictures from all folders below a folder, not only those directly inside.

    A path that does not exist, or a folder without pictures, stays in the list: it is a bad input of
    its own and must not stop the others.

    Raises:
        UnknownNameError: no bundled picture of that name.
        UsageError: an empty text, as from a variable of the shell that is not set.
    """
    return [found for argument in arguments for found in _expand_one(argument, recursive)]


def expand_one(argument: str, *, recursive: bool = False) -> Iterable[Input]:
    """As `expand` for one argument, quicker for the usual one, a file: a list may have a million."""
    if argument and argument != STDIN and not argument.startswith(ASSET):
        try:
            mode = os.stat(argument).st_mode
        except (OSError, ValueError):
            plain = not glob.has_magic(argument) and f"{TAR}/" not in argument.lower()
        else:
            plain = not stat.S_ISDIR(mode) and not is_tar(argument)
        if plain:
            return [Input(argument, Path(argument))]
    return _expand_one(argument, recursive)


def one_file(argument: str, option: str) -> Input:
    """The one file that an option names.

    Raises:
        UsageError: it stands for several.
    """
    found = expand([argument])
    if len(found) != 1 or found[0].collected:
        raise UsageError(f"{option} takes one file, but '{argument}' stands for several.")
    return found[0]


def refuse_second_stdin(inputs: Iterable[Input], files_from: str | None = None) -> None:
    """stdin can be read only once.

    Raises:
        UsageError: ``-`` comes twice, or besides a list on stdin, or stdin is a terminal.
    """
    count = sum(given.path is None for given in inputs)
    if count and files_from == STDIN:
        raise UsageError("'-' cannot stand for a picture where '--files-from -' reads a list. Give either as a file.")
    if count > 1:
        raise UsageError("'-' stands for stdin and can be given only once. Write the picture to a file first.")
    if count and sys.stdin is None:
        raise UsageError("'-' reads a picture from stdin, but stdin is closed. Pipe or redirect a file into it.")
    if count and is_terminal(sys.stdin):
        raise UsageError("'-' reads a picture from stdin, but stdin is a terminal. Pipe or redirect a file into it.")


def read_input(given: Input, *, keep_profile: bool = False) -> tuple[Picture, str]:
    """The picture and the SHA-256 (hex) of the bytes it was read from; `keep_profile` as in `images.read_picture`.

    Raises:
        BadInputError: the file is missing, unreadable or not a picture; a folder holds no pictures.
    """
    from cvtool import files
    from cvtool.images import decode_picture

    if given.path is not None and os.path.isdir(given.path):
        raise BadInputError(
            f"Folder '{given.name}' holds no pictures directly inside. --recursive looks further below."
        )
    is_pattern = glob.has_magic(given.name) and "://" not in given.name
    if given.path is not None and is_pattern and not os.path.lexists(given.path):
        raise BadInputError(
            f"Cannot read '{shown(given.name)}': as a pattern it matches nothing, and no file is called so. Check it."
        )
    # Read once: the path may be a pipe, as in a shell's <(command).
    name = given.name if given.path is not None else "stdin"
    if given.path is None:
        data = files.read_stream(sys.stdin.buffer, name)
    elif given.member is not None:
        data = read_member(given.path, given.member)
    else:
        data = files.read_input(given.path, lasting=given.collected)  # nobody means a pipe that lies in a folder
    return decode_picture(data, name, keep_profile=keep_profile), sha256(data).hexdigest()


def paths_of(inputs: Iterable[Input]) -> list[Path]:
    """The files among the inputs."""
    return [given.path for given in inputs if given.path is not None]


@dataclass(frozen=True)
class FilesRead:
    """All files that a command reads, told one by one, as often as they are asked for.

    Attributes:
        inputs: of which there may be many.
        others: None stands for no file.
    """

    inputs: Sequence[Input]
    others: tuple[Path | None, ...] = ()

    def __iter__(self) -> Iterator[Path]:
        for given in self.inputs:
            if given.path is not None:
                yield given.path
        yield from (path for path in self.others if path is not None)


def is_tar(argument: str) -> bool:
    """Whether a word names a tar, by its suffix."""
    return argument.lower().endswith(TAR)


def _expand_one(argument: str, recursive: bool) -> Iterable[Input]:
    if argument == STDIN:
        return [Input(STDIN, None)]
    if not argument:  # else it would be the current folder
        raise UsageError("An input has an empty name. Give a path, or '-' for stdin.")
    if argument.startswith(ASSET):
        asset = find_asset(argument[len(ASSET) :])
        return [Input(f"{ASSET}{asset.name}", asset.path)]
    path = Path(argument)
    if is_tar(argument) and os.path.isfile(path):
        return map(partial(_in_tar, argument), pictures_in(path))
    tar, inside = _split_at_tar(argument)
    if inside and not os.path.lexists(path) and os.path.isfile(tar):
        return [_in_tar(tar, each) for each in pictures_in(Path(tar)) if each.path == inside] or [Input(argument, path)]
    if os.path.isdir(path):
        found: Iterable[Path] = sorted(_pictures_in(path, recursive))
    elif not os.path.lexists(path) and glob.has_magic(argument):
        found = (Path(match) for match in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(match))
    else:
        found = ()
    return [Input(str(file), file, collected=True) for file in found] or [Input(argument, path)]


def _in_tar(tar: str, member: Member) -> Input:
    return Input(f"{tar}/{member.path}" if member.name else tar, Path(tar), collected=True, member=member)


def _split_at_tar(argument: str) -> tuple[str, str]:
    """``a/b.tar/c/d.jpg`` → ``a/b.tar``, ``c/d.jpg``."""
    end = argument.lower().find(f"{TAR}/") + len(TAR)
    return (argument[:end], argument[end + 1 :]) if end >= len(TAR) else ("", "")


def _pictures_in(folder: Path, recursive: bool) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES:
                yield Path(where, name)
