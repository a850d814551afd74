"""Where results go: decided, and refused where it must be, before any work starts."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cvtool.cli.console import Console, is_terminal
from cvtool.cli.options import Format
from cvtool.errors import CvtoolError, UsageError

STDOUT = "-"


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


def plan_outputs(
    names: Sequence[str],
    *,
    output: str | None,
    format: Format | None,
    inputs: Iterable[Path],
    json: bool,
    collected: bool = False,
) -> list[Destination]:
    """One destination per result, in order; no two are the same file, none is an input.

    Args:
        names: what each result would be called in a folder, without suffix (see `result_name`). A name that
            comes again gets ``-2``, ``-3`` … .
        output: as given to ``--output``; None for the current folder.
        format: as given to ``--format``; it wins over the suffix of `output`.
        inputs: all files that are read; none may be written to.
        json: JSON lines go to stdout, so pictures cannot.
        collected: the inputs come from a folder or a glob: even a single result means "several", so that
            a script does the same whatever the folder holds.

    Raises:
        UsageError: the results do not fit the place, its suffix is unknown, or it is an input.
    """
    several = len(names) > 1 or collected
    if output == STDOUT:
        destinations = [_stdout(len(names), format, json)]
    elif output is not None and not _is_folder(output, several):
        destinations = [_file(Path(output), len(names), format)]
    else:
        folder, chosen = Path(output or "."), format or Format.png
        files = (folder / f"{name}.{chosen.value}" for name in _without_repeats(names))
        destinations = [Destination(path, chosen) for path in files]
    protected = list(inputs)
    for destination in destinations:
        if destination.path is not None:
            check_writable(destination.path, protected, "--output")
    return destinations


def check_writable(path: Path, inputs: Iterable[Path], option: str) -> None:
    """Make sure before the work that `path` can be written and that no input would be lost.

    Args:
        path: the file to be written.
        inputs: files that must stay as they are.
        option: which option says where, for the message.

    Raises:
        UsageError: it is an input, a folder, or in a place where nothing can be written.
    """
    problem = _problem(path, inputs)
    if problem:
        raise UsageError(f"'{path}' {problem}. Choose another {option}.")


def _problem(path: Path, inputs: Iterable[Path]) -> str:
    """What speaks against writing to `path`; "" if nothing does."""
    if any(_same_file(path, other) for other in inputs):
        return "is an input and would be overwritten"
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except OSError as error:  # e.g. the name is too long
        return f"cannot be written: {error.strerror}"
    else:
        there = True
    if path.is_dir():
        return "is a folder, a file is needed"
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        return f"cannot be written: '{folder}' is not a folder"
    return "" if os.access(path if there else folder, os.W_OK) else "cannot be written: no permission"


def _stdout(results: int, format: Format | None, json: bool) -> Destination:
    if json:
        raise UsageError("--json and '--output -' would both write to stdout. Give --output a file.")
    if results != 1:
        raise UsageError(f"'--output -' takes one picture, but there are {results} results. Give --output a folder.")
    if is_terminal(sys.stdout):
        raise UsageError("'--output -' would write a picture to the terminal. Redirect or pipe stdout.")
    return Destination(None, format or Format.png)


def _is_folder(output: str, several: bool) -> bool:
    """Whether ``--output`` names a folder: one that is there, ends in a slash, or has no suffix but takes several."""
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        return True
    return several and not Path(output).suffix


def _file(path: Path, results: int, format: Format | None) -> Destination:
    if results != 1:
        raise UsageError(f"--output '{path}' is one file, but there are {results} results. Give a folder.")
    from cvtool.images import format_of

    return Destination(path, format or Format(format_of(path)))


def _without_repeats(names: Sequence[str]) -> Iterator[str]:
    """`names`, those that come again with a number; upper and lower case are one name on some file systems."""
    wanted = Counter(name.casefold() for name in names)
    taken: set[str] = set()
    for name in names:
        candidate, number = name, 1
        while candidate.casefold() in taken or (number > 1 and candidate.casefold() in wanted):
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.casefold())
        yield candidate


def _same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them does not exist
        return False
