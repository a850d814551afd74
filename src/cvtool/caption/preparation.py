"""From a data set and its features to what a captioner is trained and judged on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvtool.caption.batches import Corpus, Features
from cvtool.caption.datasets import CaptionedPicture
from cvtool.caption.datasets.cs231n import Cs231nFeatures
from cvtool.caption.features import POOLED, SPATIAL, FeatureFile, Pca
from cvtool.caption.vocabulary import SPECIALS, Vocabulary, tokenize
from cvtool.errors import BadInputError

Tokens = tuple[str, ...]


def tokens_of(pictures: Sequence[CaptionedPicture]) -> dict[str, tuple[Tokens, ...]]:
    """Name → its captions as tokens."""
    return {each.name: tuple(tuple(tokenize(caption)) for caption in each.captions) for each in pictures}


def check_split(pictures: Sequence[CaptionedPicture], name: str, purpose: str) -> None:
    """Whether there are any.

    Raises:
        BadInputError: there are none.
    """
    if not pictures:
        raise BadInputError(f"The split '{name}' has no pictures to {purpose}. Check the split files.")


def build_vocabulary(pictures: Sequence[CaptionedPicture], threshold: int) -> Vocabulary:
    """The words of the training pictures' captions.

    Raises:
        BadInputError: no pictures to learn from, or no word often enough.
    """
    check_split(pictures, "train", "learn from")
    captions = [caption for each in tokens_of(pictures).values() for caption in each]
    vocabulary = Vocabulary.build(captions, threshold)
    if len(vocabulary) == len(SPECIALS):
        raise BadInputError(f"No word occurs {threshold} times in the training captions. Lower --threshold.")
    return vocabulary


@dataclass(frozen=True, eq=False)
class Source:
    """Where features come from.

    Attributes:
        features: of all pictures.
        rows: name → row.
        model: what made them, for people.
        fingerprint: of what made them.
    """

    features: Features
    rows: dict[str, int]
    model: str
    fingerprint: str


class InMemory:
    """Pooled features (N, C) of a set that comes with them."""

    can_flip = False

    def __init__(self, matrix: NDArray[np.float32]) -> None:
        self._matrix = matrix
        self.channels = matrix.shape[1]

    def read(self, numbers: Sequence[int], flipped: bool) -> NDArray[np.float32]:
        """(N, 1, C) of some pictures."""
        return self._matrix[np.asarray(numbers, dtype=np.intp)][:, None]


class Projected:
    """Features that go through principal components when they are read."""

    def __init__(self, features: Features, pca: Pca) -> None:
        self._features, self._pca = features, pca
        self.channels = len(pca.components)
        self.can_flip = features.can_flip

    def read(self, numbers: Sequence[int], flipped: bool) -> NDArray[np.float32]:
        """(N, P, K) of some pictures."""
        return self._pca.project(self._features.read(numbers, flipped))


def source_of_file(file: FeatureFile, pca: Pca | None, *, attention: bool) -> Source:
    """A file of features; without attention those that are pooled are enough.

    Args:
        file: as read.
        pca: what they go through, not necessarily the file's own.
        attention: the captioner looks at places.

    Raises:
        BadInputError: it has no features of places, and attention needs them.
    """
    rows = {name: row for row, name in enumerate(file.names)}
    features: Features = file.rows(SPATIAL if attention else POOLED)
    if pca is not None:
        features = Projected(features, pca)
    return Source(features, rows, file.origin.model, file.origin.fingerprint)


def source_of_course(found: Cs231nFeatures) -> Source:
    """The features that come with the course's data; they are VGG-16's fc7 and cannot be made of other pictures."""
    splits = list(found.files)
    names = [found.name(split, row) for split in splits for row in range(found.rows[split])]
    matrix = np.concatenate([found.matrix(split) for split in splits])
    digest = hashlib.sha256(np.ascontiguousarray(matrix[:64]).tobytes()).hexdigest()
    rows = {name: row for row, name in enumerate(names)}
    return Source(InMemory(matrix), rows, f"cs231n vgg16 fc7 ({found.channels})", digest)


def corpus_of(pictures: Sequence[CaptionedPicture], source: Source, vocabulary: Vocabulary, longest: int) -> Corpus:
    """Pictures with their features and captions.

    Args:
        pictures: of one split.
        source: of their features.
        vocabulary: to encode with.
        longest: words of a caption at most.

    Raises:
        BadInputError: a picture has no features.
    """
    missing = [each.name for each in pictures if each.name not in source.rows]
    if missing:
        raise BadInputError(
            f"{len(missing)} pictures have no features, '{missing[0]}' among them. Run 'cvtool caption features' again."
        )
    tokens = tokens_of(pictures)
    return Corpus(
        source.features,
        tuple(source.rows[each.name] for each in pictures),
        tuple(tuple(vocabulary.encode(caption, longest) for caption in tokens[each.name]) for each in pictures),
        tuple(tokens[each.name] for each in pictures),
        tuple(each.name for each in pictures),
    )
