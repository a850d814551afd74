"""Captions as arrays: which pictures go through the network together, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cvtool.caption.vocabulary import NULL

Words = NDArray[np.int64]

BUCKET = 20
"""Batches whose pictures are sorted by length among themselves, so that little padding is computed."""


class Features(Protocol):
    """Features of pictures, on disk or in memory."""

    @property
    def channels(self) -> int:
        """Features a place has."""

    def read(self, numbers: Sequence[int], flipped: bool) -> NDArray[np.floating[Any]]:
        """(N, P, C) of some pictures, as they are or of their mirror images."""

    @property
    def can_flip(self) -> bool:
        """Whether the mirror images are there."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Pictures with captions, ready to train on.

    Attributes:
        features: of all pictures.
        rows: of `features` for each picture here.
        captions: for each picture its captions as `Vocabulary.encode` gives them, <START> to <END>.
        references: for each picture its captions as tokens, for the metrics.
        names: of the pictures.
    """

    features: Features
    rows: tuple[int, ...]
    captions: tuple[tuple[Words, ...], ...]
    references: tuple[tuple[tuple[str, ...], ...], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def tokens(self) -> int:
        """Words to predict in all captions, <END> counted."""
        return sum(len(caption) - 1 for each in self.captions for caption in each)


def padded(captions: Sequence[Sequence[Words]]) -> Words:
    """Captions of N pictures → (N, K, T), <NULL> behind each one's end and for captions that a picture lacks."""
    most = max(len(each) for each in captions)
    longest = max(len(caption) for each in captions for caption in each)
    found = np.full((len(captions), most, longest), NULL, dtype=np.int64)
    for number, each in enumerate(captions):
        for place, caption in enumerate(each):
            found[number, place, : len(caption)] = caption
    return found


def batches(corpus: Corpus, size: int, seed: int, epoch: int) -> list[list[int]]:
    """Which pictures share a step in an epoch; captions of like length come together."""
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(corpus))
    lengths = np.array([max(len(caption) for caption in each) for each in corpus.captions])
    found: list[list[int]] = []
    for start in range(0, len(order), size * BUCKET):
        bucket = order[start : start + size * BUCKET]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        found += [bucket[first : first + size].tolist() for first in range(0, len(bucket), size)]
    random.shuffle(found)
    return found


def in_order(corpus: Corpus, size: int) -> Iterator[list[int]]:
    """Every picture once, in the order they have."""
    for start in range(0, len(corpus), size):
        yield list(range(start, min(start + size, len(corpus))))
