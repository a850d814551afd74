"""What every data set becomes: pictures of one size in one array, with labels if there are any."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError, UsageError
from cvtool.files import shown
from cvtool.gan.picture_options import Conditional
from cvtool.problems import Problem

SPLITS = ("train", "test")

LARGEST_DATA = 64 << 30
"""Bytes of pictures that a file may claim to hold, uncompressed."""

_BLOCK = 1 << 24  # bytes hashed at a time


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of one size.

    Attributes:
        pixels: (N, S, S, C) uint8, C = 1 or 3, read-only, in memory or mapped from the cache.
        labels: (N,) int64 in [0, len(classes)), or None.
        classes: names of the classes; () without labels.
        name: what they were read from, for people.
        fingerprint: SHA-256 (64 hex digits) of pixels, labels and classes, wherever they came from.
        problems: what was left out.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    name: str
    fingerprint: str
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        """Side in pixels."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return int(self.pixels.shape[3])

    @classmethod
    def of(
        cls,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64] | None = None,
        classes: Sequence[str] = (),
        name: str = "array",
        problems: Sequence[Problem] = (),
    ) -> Pictures:
        """Pictures from arrays that fit; `labels` without `classes` are named by their numbers.

        Raises:
            UsageError: the arrays do not fit together.
        """
        _check(pixels, labels)
        if labels is not None:
            labels = labels.astype(np.int64)
            count = int(labels.max(initial=-1)) + 1
            classes = tuple(classes) or tuple(map(str, range(count)))
            if labels.min(initial=0) < 0 or count > len(classes):
                raise UsageError(f"Labels up to {count - 1} do not fit {len(classes)} classes.")
            labels.setflags(write=False)
        names = tuple(classes) if labels is not None else ()
        pixels = pixels.view()
        pixels.setflags(write=False)
        return cls(pixels, labels, names, name, fingerprint_of(pixels, labels, names), tuple(problems))


Content = bytes | NDArray[np.uint8] | Problem
"""Of one picture: the bytes of a file, (H, W, C) pixels, or why there are none."""


class Item(NamedTuple):
    """One picture as a source hands it over, in any order.

    Attributes:
        row: its place in the result.
        name: for messages.
        content: still to be decoded and made to fit.
    """

    row: int
    name: str
    content: Content


@dataclass(frozen=True, eq=False)
class Source:
    """A data set opened: what is in it is known, pictures are still to be read.

    Attributes:
        count: pictures.
        labels: (count,) int64 or None.
        classes: names of the classes that `labels` number.
        items: yields the pictures of the chosen numbers (sorted, in [0, count)); `Item.row` counts the chosen.
        shape: (H, W) if all have the same and it is known before, else None.
        grey: all have one channel, and that is known before.
        found: what cannot be used and is not counted.
    """

    count: int
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    items: Callable[[NDArray[np.int64]], Iterator[Item]]
    shape: tuple[int, int] | None = None
    grey: bool = False
    found: tuple[Problem, ...] = ()


class Origin(Protocol):
    """Where a data set lies."""

    name: str
    place: str

    def state(self) -> str:
        """Text that changes whenever the files do; quick."""

    def open(self, split: str, conditional: Conditional) -> Source:
        """Find out what is there.

        Raises:
            BadInputError: it cannot be read, or lacks the split.
        """


def no_split(place: object, split: str) -> BadInputError:
    """What to say of a data set without that split."""
    if split == "train":
        return BadInputError(f"'{shown(place)}' has no pictures for training, only for tests. Name its folder itself.")
    return BadInputError(f"'{shown(place)}' has no pictures set apart for tests. Use the split 'train'.")


def fingerprint_of(pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None, classes: Sequence[str]) -> str:
    """SHA-256 over all of it, 64 hex digits."""
    digest = hashlib.sha256(json.dumps([pixels.shape, labels is not None, *classes]).encode() + b"\n")
    rows = max(1, _BLOCK // max(1, pixels[:1].nbytes))
    for start in range(0, len(pixels), rows):
        digest.update(np.ascontiguousarray(pixels[start : start + rows]).data)
    if labels is not None:
        digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _check(pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None) -> None:
    square = pixels.ndim == 4 and pixels.shape[1] == pixels.shape[2] and pixels.shape[3] in (1, 3)
    if pixels.dtype != np.uint8 or not square:
        raise UsageError(f"An array {pixels.shape} of {pixels.dtype} is not (N, S, S, 1 or 3) of uint8.")
    if labels is not None and (labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu"):
        raise UsageError(f"Labels {labels.shape} of {labels.dtype} do not fit {len(pixels)} pictures.")
