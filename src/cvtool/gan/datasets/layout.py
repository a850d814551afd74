"""What the paths of picture files say: which belong to the split, and to which class. No file is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError
from cvtool.files import PICTURE_SUFFIXES, shown
from cvtool.gan.datasets.data import no_split
from cvtool.gan.picture_options import Conditional
from cvtool.problems import Problem

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation", "dev", "eval")
"""Names of folders that are splits; of the second, the first that is there is taken."""

_JUNK = "__MACOSX"  # what macOS adds to archives


@dataclass(frozen=True, eq=False)
class Layout:
    """Which of the names are taken.

    Attributes:
        chosen: positions in the list of names, sorted by class and name.
        labels: (len(chosen),) int64, or None if there are no folders of classes.
        classes: names of the classes, sorted; by number if all of them are numbers.
        found: pictures that have no class where others have one.
    """

    chosen: tuple[int, ...]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    found: tuple[Problem, ...]


def is_picture_name(name: str) -> bool:
    """Whether a path inside a data set looks like a picture's; hidden files and folders do not."""
    parts = parts_of(name)
    hidden = any(part.startswith(".") or part == _JUNK for part in parts)
    return bool(parts) and not hidden and PurePosixPath(parts[-1]).suffix.lower() in PICTURE_SUFFIXES


def parts_of(name: str) -> tuple[str, ...]:
    """``"./a/b.png"`` → ``("a", "b.png")``."""
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def lay_out(names: Sequence[str], split: str, conditional: Conditional, place: object) -> Layout:
    """The pictures of a split and their classes.

    Folders that hold everything else are passed by: ``data/images/cat/1.png`` and ``cat/1.png`` are alike. Folders
    ``train`` and ``test`` (or ``val``, …) are splits; without them everything is ``train``. Then a folder is a class.

    Args:
        names: of picture files, with slashes.
        split: ``"train"`` or ``"test"``.
        conditional: with ``no``, pictures beside the folders of classes are fine.
        place: for messages.

    Raises:
        BadInputError: no pictures, or none in this split.
    """
    if not names:
        raise BadInputError(f"'{shown(place)}' holds no pictures (png, jpg, webp, …). Check the path.")
    paths = sorted((parts_of(name), position) for position, name in enumerate(names))
    paths = _of_split(_without_common_folders(paths), split, place)
    folders = {parts[0] for parts, _ in paths if len(parts) > 1}
    if not folders or conditional is Conditional.no:
        return Layout(tuple(position for _, position in paths), None, (), ())
    loose = tuple(
        Problem(names[position], "lies beside the folders of classes and has no class (--conditional no takes it)")
        for parts, position in paths
        if len(parts) == 1
    )
    numbers = {name: number for number, name in enumerate(_in_order(folders))}
    inside = [(numbers[parts[0]], position) for parts, position in paths if len(parts) > 1]
    inside.sort(key=lambda pair: pair[0])  # classes in their order, names in theirs
    labels = np.array([number for number, _ in inside], dtype=np.int64)
    return Layout(tuple(position for _, position in inside), labels, tuple(map(shown, numbers)), loose)


_Paths = list[tuple[tuple[str, ...], int]]


def _without_common_folders(paths: _Paths) -> _Paths:
    """Down to where paths part, or to folders that are splits."""
    while all(len(parts) > 1 for parts, _ in paths):
        tops = {parts[0] for parts, _ in paths}
        if len(tops) > 1 or tops.pop().lower() in TRAIN:
            return paths
        paths = [(parts[1:], position) for parts, position in paths]
    return paths


def _of_split(paths: _Paths, split: str, place: object) -> _Paths:
    tops = {parts[0].lower() for parts, _ in paths if len(parts) > 1}
    loose = any(len(parts) == 1 for parts, _ in paths)
    if loose or not tops.intersection(TRAIN) or not tops <= {*TRAIN, *TEST}:
        if split != "train":
            raise no_split(place, split)
        return paths
    there = [name for name in (TRAIN if split == "train" else TEST) if name in tops]
    if not there:
        raise no_split(place, split)
    inside = [(parts[1:], position) for parts, position in paths if parts[0].lower() == there[0]]
    return _without_common_folders(inside)


def _in_order(names: set[str]) -> list[str]:
    numbered = all(name.isascii() and name.isdigit() for name in names)
    return sorted(names, key=lambda name: (int(name), name)) if numbered else sorted(names)
