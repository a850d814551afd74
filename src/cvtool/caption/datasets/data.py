"""What every format is read into: pictures with captions and a split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvtool.errors import BadInputError, UsageError
from cvtool.files import shown
from cvtool.problems import Problem

if TYPE_CHECKING:
    from cvtool.caption.datasets.cs231n import Cs231nFeatures

SPLITS = ("train", "dev", "test")

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "restval": "train",  # Karpathy's name for COCO's validation pictures that he trains on
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
"""What the formats call a split → what it is here."""

TRAIN_SHARE, DEV_SHARE = 0.90, 0.05
"""Of pictures that no file assigns to a split; the rest is ``test``."""


@dataclass(frozen=True)
class CaptionedPicture:
    """One picture and what people say of it.

    Attributes:
        name: unique in its data set: the file's name, or its path below the data set's folder.
        path: the picture's file, which may be missing; None where only features exist (``cs231n:``).
        captions: as distributed, without the white space around them.
        split: one of `SPLITS`.
    """

    name: str
    path: Path | None
    captions: tuple[str, ...]
    split: str


@dataclass(frozen=True, eq=False)
class CaptionData:
    """A data set as read. Its pictures have not been opened.

    Attributes:
        spec: what it was read from.
        pictures: in the order of the files, each name once.
        fingerprint: SHA-256 (64 hex digits) over names, captions and splits.
        features: for ``cs231n:`` only, the matrices and numbered captions that come with it.
        found: what was wrong in the files; `problems` adds what is wrong with the pictures.
    """

    spec: str
    pictures: tuple[CaptionedPicture, ...]
    fingerprint: str
    features: Cs231nFeatures | None = None
    found: tuple[Problem, ...] = ()

    def split(self, name: str) -> tuple[CaptionedPicture, ...]:
        """The pictures of one split.

        Raises:
            UsageError: `name` is not one of `SPLITS`.
        """
        if name not in SPLITS:
            raise UsageError(f"No split '{shown(name)}'. Use one of {', '.join(SPLITS)}.")
        return tuple(picture for picture in self.pictures if picture.split == name)


@dataclass
class Reading:
    """What a reader of one format gathers.

    Attributes:
        captions: name → what people say of the picture.
        paths: name → file; None, or no name, where only features exist.
        splits: name → split where the files say so; names that are missing here get a split by hash if this is empty,
            and else are left out.
        problems: what could not be used.
        features: for ``cs231n:`` only.
    """

    captions: dict[str, list[str]]
    paths: dict[str, Path | None]
    splits: dict[str, str]
    problems: list[Problem]
    features: Cs231nFeatures | None = None

    @classmethod
    def empty(cls) -> Reading:
        """Nothing read yet."""
        return cls({}, {}, {}, [])

    def report(self, name: str, what: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(name, what))

    def assign(self, name: str, split: str, source: str) -> None:
        """Note that `source` puts a picture into a split; a second split is a problem: it mixes test and training."""
        known = self.splits.setdefault(name, split)
        if known != split:
            self.report(name, f"is in two splits, {known} and {split} (by {source})")


def finish(spec: str, reading: Reading) -> CaptionData:
    """The data set that was read.

    Raises:
        BadInputError: no picture has a caption.
    """
    splits: Mapping[str, str] = reading.splits or split_by_hash(reading.captions)
    problems = list(reading.problems)
    pictures = [
        CaptionedPicture(name, reading.paths.get(name), tuple(captions), splits[name])
        for name, captions in reading.captions.items()
        if name in splits
    ]
    for name in reading.splits:
        if name not in reading.captions:
            problems.append(Problem(name, f"is named for the split '{reading.splits[name]}' but has no captions"))
    if not any(picture.captions for picture in pictures):
        why = f" ({problems[0]})" if problems else ""
        raise BadInputError(f"'{shown(spec)}' has no picture with a caption{why}. Check the path and the format.")
    return CaptionData(spec, tuple(pictures), fingerprint_of(pictures), reading.features, tuple(problems))


def fingerprint_of(pictures: Iterable[CaptionedPicture]) -> str:
    """SHA-256 over names, captions and splits, 64 hex digits; the same wherever the files lie."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(json.dumps([picture.name, picture.split, *picture.captions]).encode() + b"\n")
    return digest.hexdigest()


def without(data: CaptionData, problems: Sequence[Problem]) -> CaptionData:
    """The data set without the pictures that have problems.

    Raises:
        BadInputError: no picture is left.
    """
    bad = {problem.name for problem in problems}
    kept = tuple(picture for picture in data.pictures if picture.name not in bad)
    if not kept:
        raise BadInputError(f"No picture of '{shown(data.spec)}' can be used: the first {problems[0]}.")
    left = tuple(problem for problem in data.found if problem not in set(problems))
    return replace(data, pictures=kept, fingerprint=fingerprint_of(kept), found=left)


def split_by_hash(names: Iterable[str]) -> dict[str, str]:
    """Name → split: 90 % train, 5 % dev, 5 % test by a hash of the name alone.

    So a picture stays where it is when others come or go. In a set too small to have pictures for ``dev`` or ``test``
    those of ``train`` that come nearest are taken, as long as one is left.
    """
    places = {name: _place(name) for name in names}
    splits = {
        name: "train" if place < TRAIN_SHARE else "dev" if place < TRAIN_SHARE + DEV_SHARE else "test"
        for name, place in places.items()
    }
    for wanted in ("dev", "test"):
        train = [name for name, split in splits.items() if split == "train"]
        if wanted not in splits.values() and len(train) > 1:
            splits[max(train, key=lambda name: places[name])] = wanted
    return splits


def _place(name: str) -> float:
    """A name → a number in [0, 1), evenly spread."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:7], "big") / 2**56


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8; half a pair of UTF-16, or a file's name in another encoding, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
