"""What is read and has to stay: where it lies, and whether an output would take it away."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cvtool.errors import UsageError


def place_of(spec: str) -> Path:
    """The file or folder that the SPEC of a data set names: ``KIND:PATH``, ``KIND:PATH#PART`` or a path."""
    path = Path(spec) if os.path.exists(spec) else Path(spec.partition(":")[2] or spec)
    file, hash_sign, _ = str(path).rpartition("#")
    return Path(file) if hash_sign and not path.exists() else path


def would_be_lost(path: Path, inputs: Iterable[Path]) -> bool:
    """Whether a file that is there is one of the inputs, or a part of one that is a folder."""
    return any(_same_file(path, other) or _is_part(path, other) for other in inputs)


def refuse_input(path: Path, inputs: Iterable[Path | None], option: str) -> None:
    """For an output that may be there already, such as a run's directory.

    Raises:
        UsageError: `path` is one of the inputs.
    """
    if any(_same_file(path, other) for other in inputs if other is not None):
        raise UsageError(f"'{path}' is an input, too. Choose another {option}.")


def refuse_inside(folder: Path, inputs: Iterable[Path | None]) -> None:
    """For the directory of a run that ``--overwrite`` starts again.

    Raises:
        UsageError: one of the inputs that are there lies in it.
    """
    emptied = os.path.realpath(folder)
    for each in inputs:
        if each is None or not os.path.exists(each):
            continue
        places = [os.path.realpath(each)]
        if each.is_symlink():  # the link may be removed where the file is not
            places.append(os.path.join(os.path.realpath(each.parent), each.name))
        if any(Path(place).is_relative_to(emptied) for place in places):
            raise UsageError(
                f"'{each}' is an input in '{folder}', where --overwrite removes the old run. Choose another --output."
            )


def _same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them does not exist
        return False


def _is_part(path: Path, folder: Path) -> bool:
    """Whether `path` may be a part of a data set; pages and JSON lines in its folder were written by us."""
    read = path.suffix.lower() not in (".html", ".jsonl")
    return read and folder.is_dir() and path.resolve().is_relative_to(folder.resolve())
