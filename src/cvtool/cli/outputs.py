"""Where results go: decided, and refused where it must be, before any work starts."""

from __future__ import annotations

import errno
import os
import stat
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, overload

from cvtool.cli.console import Console, is_terminal
from cvtool.cli.inputs import Input
from cvtool.cli.options import Format
from cvtool.cli.protected import would_be_lost
from cvtool.errors import CvtoolError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STDOUT = "-"
BEGUN, FINISHED = 1, 2


@dataclass(frozen=True)
class Destination:
    """Where one result goes, and in which format.

    Attributes:
        path: the file; None for stdout.
        format: of the picture.
    """

    path: Path | None
    format: Format

    @property
    def name(self) -> str:
        """What the user sees."""
        return STDOUT if self.path is None else str(self.path)

    def write(self, data: bytes, console: Console) -> None:
        """Write the whole picture, or leave what was there; folders on the way are made.

        Raises:
            CvtoolError: the file cannot be written, e.g. because the disk is full.
        """
        from cvtool.files import write_atomically

        if self.path is None:
            console.picture(data)
            return
        make_folder(self.path.parent)
        write_atomically(self.path, data)

    def warn_without_room(self, note: str, console: Console) -> None:
        """Say where a picture of this format has no room for its provenance."""
        from cvtool.images import note_fits

        if not note_fits(note, self.format.value):
            console.warn(f"'{self.name}' has no room for its provenance; png, webp and tiff have.")


def make_folder(folder: Path) -> None:
    """Make a folder with all above it; fine if it is there.

    Raises:
        CvtoolError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CvtoolError(f"Cannot make the folder '{folder}': {error.strerror}. Choose another place.") from error


def result_name(stem: str, technique: str, detail: str = "") -> str:
    """``cat``, ``saliency``, ``grad-cam`` → ``cat-saliency-grad-cam``."""
    return "-".join(part for part in (stem, technique, detail) if part)


def class_part(name: str, otherwise: str) -> str:
    """A class as part of a file's name: ``"Tabby, cat"`` → ``tabby-cat``; `otherwise` where nothing is left of it."""
    words = "".join(letter if letter.isalnum() else " " for letter in name).split()
    return "-".join(words).lower() or otherwise


@dataclass(frozen=True)
class ResultNames(Sequence[str]):
    """The names of all results, input by input, made when they are asked for.

    Attributes:
        inputs: of which there may be many.
        technique: see `result_name`.
        details: one for each result of an input.
    """

    inputs: Sequence[Input]
    technique: str
    details: Sequence[str] = ("",)

    def __len__(self) -> int:
        return len(self.inputs) * len(self.details)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[str]: ...

    def __getitem__(self, number: int | slice) -> str | Sequence[str]:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        given, detail = divmod(range(len(self))[number], len(self.details))
        return result_name(self.inputs[given].stem, self.technique, self.details[detail])

    def __iter__(self) -> Iterator[str]:
        for given in self.inputs:
            stem = given.stem
            yield from (result_name(stem, self.technique, detail) for detail in self.details)


@dataclass(frozen=True)
class _InFolder(Sequence[Destination]):
    """Results in a folder, made when they are asked for: four bytes each, of names that come again."""

    folder: Path
    names: Sequence[str]
    format: Format
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, number: int) -> Destination: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Destination]: ...

    def __getitem__(self, number: int | slice) -> Destination | Sequence[Destination]:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        file = self._file(self.names[number], self.numbers[number] if self.numbers else 1)
        return Destination(Path(file), self.format)

    def __iter__(self) -> Iterator[Destination]:
        return (Destination(Path(file), self.format) for file in self.files())

    def files(self) -> Iterator[str]:
        """As text: a million paths take their time."""
        return map(self._file, self.names, self.numbers or repeat(1))

    def _file(self, name: str, number: int) -> str:
        return os.path.join(self.folder, f"{name if number == 1 else f'{name}-{number}'}.{self.format.value}")


@dataclass
class Skipping:
    """``--skip-existing``: which inputs are left out since their results are all there, and how many they were.

    Attributes:
        wanted: whether the option was given.
        known: what earlier processes of the same launch did, by number of the input: `FINISHED` ones are left out
            in any case, `BEGUN` ones never, since what is there of them may be half of it.
        begins: told the number of every input that is not left out, before it is worked on.
        count: of those that were left out for the option; whoever leaves one out adds to it.
    """

    wanted: bool = False
    known: Sequence[int] = b""
    begins: Callable[[int], None] = lambda number: None
    count: int = 0

    def skips(self, number: int, results: Iterable[Destination]) -> bool:
        """Whether the input of that number, with these results, is left out."""
        known = self.known[number] if self.known else 0
        there = self.wanted and all(each.path is not None and each.path.exists() for each in results)
        left_out = known == FINISHED or (there and known != BEGUN)
        if not left_out:
            self.begins(number)
        return left_out

    def tell(self, console: Console) -> None:
        """Say how many there were."""
        if self.count:
            console.say(f"left out, since their results are there already: {self.count}")


def plan_outputs(
    names: Sequence[str],
    *,
    output: str | None,
    format: Format | None,
    inputs: Iterable[Path],
    json: bool,
    collected: bool = False,
    option: str = "--output",
) -> Sequence[Destination]:
    """One destination per result, in order; no two are the same file, none is an input.

    Args:
        names: what each result would be called in a folder, without suffix (see `result_name`). A name that
            comes again gets ``-2``, ``-3`` … . They are asked for again whenever a destination is.
        output: as given to `option`; None for the current folder.
        format: as given to ``--format``; it wins over the suffix of `output`.
        inputs: all files that are read; none may be written to.
        json: JSON lines go to stdout, so pictures cannot.
        collected: the inputs come from a folder, a glob or a list: even a single result means "several", so that
            a script does the same whatever the folder holds.
        option: which option says where, for messages.

    Raises:
        UsageError: the results do not fit the place, its suffix is unknown, or it is an input.
    """
    several = len(names) > 1 or collected
    if output == STDOUT:
        destinations: Sequence[Destination] = [_stdout(len(names), format, json, option)]
    elif output is not None and not _is_folder(output, several):
        destinations = [_file(Path(output), len(names), format, option)]
    else:
        found = _InFolder(Path(output or "."), names, format or Format.png, _numbers(names))
        check_all(found.files(), inputs, option)
        return found
    check_all((str(each.path) for each in destinations if each.path is not None), inputs, option)
    return destinations


def check_all(paths: Iterable[str], inputs: Iterable[Path], option: str = "--output") -> None:
    """As `check_writable` for all of `paths`, with one look at every file instead of one for every pair."""
    read: NDArray[np.int64] | None = None
    checked: set[str] = set()
    for path in paths:
        try:
            identity = _identity(os.stat(path))
        except OSError as error:
            folder = os.path.dirname(path)
            if error.errno in (errno.ENOENT, errno.ENOTDIR) and folder in checked:
                continue
            checked.add(folder)
        else:
            if read is None:  # only now: what is not there cannot be an input
                read = _identities(inputs)
            place = read.searchsorted(identity)
            if place < len(read) and read[place] == identity:
                raise UsageError(f"'{Path(path)}' is an input and would be overwritten. Choose another {option}.")
        check_writable(Path(path), (), option)


def _identity(found: os.stat_result) -> int:
    """Eight bytes that stand for a file: for two of a million, they agree by chance once in 30 million."""
    return hash((found.st_dev, found.st_ino))


def _identities(paths: Iterable[Path]) -> NDArray[np.int64]:
    """Of those that exist, sorted."""
    import numpy as np

    def each() -> Iterator[int]:
        for path in paths:
            with suppress(OSError, ValueError):
                yield _identity(os.stat(path))

    found = np.fromiter(each(), np.int64)
    found.sort()
    return found


def check_writable(path: Path, inputs: Iterable[Path], option: str) -> None:
    """Make sure before the work that `path` can be written and that no input would be lost.

    Args:
        path: the file to be written.
        inputs: files that must stay as they are, and folders whose files must.
        option: which option says where, for the message.

    Raises:
        UsageError: it is an input, a folder, or in a place where nothing can be written.
    """
    problem = _problem(path, inputs)
    if problem:
        raise UsageError(f"'{path}' {problem}. Choose another {option}.")


def check_besides(path: Path, inputs: Iterable[Path], option: str, taken: set[Path]) -> None:
    """As `check_writable`, for a file besides the outputs `taken` (absolute), which it joins.

    Raises:
        UsageError: also where it is one of them.
    """
    check_writable(path, inputs, option)
    if path.absolute() in taken:
        raise UsageError(f"{option} '{path}' is already another output. Choose another name.")
    taken.add(path.absolute())


def files_of(destinations: Iterable[Destination | None]) -> set[Path]:
    """The files of results, absolute, for `check_besides`."""
    return {each.path.absolute() for each in destinations if each is not None and each.path is not None}


def _problem(path: Path, inputs: Iterable[Path]) -> str:
    """What speaks against writing to `path`; "" if nothing does."""
    there: os.stat_result | None = None
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # e.g. the name is too long
        return f"cannot be written: {error.strerror}"
    else:
        if would_be_lost(path, inputs):
            return "is an input and would be overwritten"
    if path.is_dir():
        return "is a folder, a file is needed"
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        return f"cannot be written: '{folder}' is not a folder"
    needed = [folder] if there is None else [path]
    if there is not None and stat.S_ISREG(there.st_mode):  # written beside it and renamed
        needed.append(Path(os.path.realpath(path)).parent if path.is_symlink() else folder)
    return "" if all(os.access(each, os.W_OK) for each in needed) else "cannot be written: no permission"


def _stdout(results: int, format: Format | None, json: bool, option: str) -> Destination:
    if json:
        raise UsageError(f"--json and '{option} -' would both write to stdout. Give {option} a file.")
    if results != 1:
        raise UsageError(f"'{option} -' takes one picture, but there are {results} results. Give {option} a folder.")
    if sys.stdout is None:
        raise UsageError(f"'{option} -' writes a picture to stdout, but stdout is closed. Redirect or pipe it.")
    if is_terminal(sys.stdout):
        raise UsageError(f"'{option} -' would write a picture to the terminal. Redirect or pipe stdout.")
    return Destination(None, format or Format.png)


def _is_folder(output: str, several: bool) -> bool:
    """Whether ``--output`` names a folder: one that is there, ends in a slash, or has no suffix but takes several."""
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return True
    return several and not Path(output).suffix


def _file(path: Path, results: int, format: Format | None, option: str) -> Destination:
    if results != 1:
        raise UsageError(f"{option} '{path}' is one file, but there are {results} results. Give a folder.")
    from cvtool.images import format_of

    return Destination(path, format or Format(format_of(path)))


def _numbers(names: Sequence[str]) -> Sequence[int]:
    """A number for each name, 1 for none, so that no two are alike; () if none comes again.

    Upper and lower case are one name on some file systems. Hashes of eight bytes stand for the names: that two
    of them agree by chance, one in 30 million for a million names, only costs a number.
    """
    import numpy as np

    hashes = np.fromiter((hash(name.casefold()) for name in names), np.int64, len(names))
    hashes.sort()
    if not (hashes[1:] == hashes[:-1]).any():
        return ()
    wanted: set[int] = set(hashes.tolist())
    taken: set[int] = set()
    following: dict[int, int] = {}
    numbers = array("I")
    for name in names:
        folded = name.casefold()
        found, number = hash(folded), following.get(hash(folded), 1)
        while found in taken or (number > 1 and found in wanted):
            number += 1
            found = hash(f"{folded}-{number}")
        following[hash(folded)] = number
        taken.add(found)
        numbers.append(number)
    return numbers
