"""CIDEr-D (Vedantam et al. 2015), number for number as pycocoevalcap computes it, and fast enough for a reward."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from cvtool.caption.metrics.ngrams import LONGEST, NGram, Tokens, ngrams
from cvtool.errors import UsageError
from cvtool.files import shown

SIGMA = 6.0
"""Standard deviation, in words, of the penalty on a length other than the reference's."""

SCALE = 10.0
"""A caption equal to its only reference scores 10."""

PICTURES_KEPT = 30_000
"""Pictures whose reference vectors stay in memory: about 16 kB for each with five captions."""


_Holders = tuple[tuple[int, int], ...]
"""Which references of a picture hold a run: (number of the reference, how often it is there)."""


@dataclass(frozen=True)
class _Prepared:
    """The references of one picture; a tuple has an entry for each run length.

    Attributes:
        holders: run → the references that hold it.
        norms: norm of each reference's vector.
        lengths: length of each reference.
    """

    holders: tuple[dict[NGram, _Holders], ...]
    norms: tuple[tuple[float, ...], ...]
    lengths: tuple[int, ...]


class CiderD:
    """CIDEr-D against the references of a set, built once for any number of captions.

    A run of words weighs the logarithm of (pictures in the set / pictures with the run in a reference): runs that every
    picture has weigh nothing, unknown ones most. With one picture everything weighs nothing and every score is 0.

    As a reward: give references *and* hypotheses with the end token as their last word (where the caption did end), or
    a network learns to stop in the middle of a sentence, which costs nothing else.

    The references are kept, not copied, and must not change. Their vectors are made when a picture is first scored.

    Args:
        references: captions of each picture, at least one, as words or as numbers (the same in hypotheses).
        pictures_kept: how many pictures' vectors to keep; those of others are made again each time.

    Raises:
        UsageError: no pictures, a picture without captions, or a text where its words are wanted.
    """

    def __init__(self, references: Mapping[str, Sequence[Tokens]], pictures_kept: int = PICTURES_KEPT) -> None:
        _check(references)
        self._references = references
        self._kept = pictures_kept
        self._prepared: dict[str, _Prepared] = {}
        self._alike: dict[_Holders, _Holders] = {}
        self._unknown = math.log(len(references))
        self._weights = tuple(self._weights_of(length) for length in range(1, LONGEST + 1))
        self._penalties = [math.exp(-(difference**2) / (2 * SIGMA**2)) for difference in range(64)]

    def __len__(self) -> int:
        """The number of pictures."""
        return len(self._references)

    def score(self, name: str, hypothesis: Tokens) -> float:
        """CIDEr-D of one caption for the picture `name`, in [0, 10].

        Raises:
            UsageError: a picture without references.
        """
        return self._score(self._of(name), hypothesis)

    def scores(self, names: Sequence[str], hypotheses: Sequence[Tokens]) -> NDArray[np.float64]:
        """CIDEr-D of B captions, (B,) float64; `names` says the picture of each and may repeat.

        Raises:
            UsageError: a picture without references, or not one name for each caption.
        """
        if len(names) != len(hypotheses):
            raise UsageError(f"{len(names)} pictures for {len(hypotheses)} captions. Name the picture of each caption.")
        scores = np.empty(len(names), dtype=np.float64)
        by_picture = sorted(range(len(names)), key=names.__getitem__)  # so that each is prepared once, one at a time
        for name, numbers in groupby(by_picture, key=names.__getitem__):
            references = self._of(name)
            for number in numbers:
                scores[number] = self._score(references, hypotheses[number])
        return scores

    def _score(self, references: _Prepared, hypothesis: Tokens) -> float:
        cosines = [0.0] * len(references.lengths)  # summed over the run lengths
        for k in range(LONGEST):
            weights, holders = self._weights[k], references.holders[k]
            squares = 0.0
            products = [0.0] * len(cosines)
            for run, count in ngrams(hypothesis, k + 1).items():
                weight = weights.get(run, self._unknown)
                square = weight * weight
                squares += square * count * count
                for number, there in holders.get(run, ()):
                    # One word's weight is the same on both sides, so min(count · w, there · w) · there · w is:
                    products[number] += square * (count if count < there else there) * there
            norm = math.sqrt(squares)
            for number, other in enumerate(references.norms[k]):
                if products[number]:
                    cosines[number] += products[number] / (norm * other)
        pairs = zip(cosines, references.lengths, strict=True)
        return SCALE * sum(c * self._penalty(len(hypothesis) - other) for c, other in pairs) / (LONGEST * len(cosines))

    def _weights_of(self, length: int) -> dict[NGram, float]:
        """Weights of runs that two pictures or more have; one that only one has weighs as much as an unknown one."""
        pictures: Counter[NGram] = Counter()
        for captions in self._references.values():
            pictures.update({run for caption in captions for run in ngrams(caption, length)})
        return {run: self._unknown - math.log(count) for run, count in pictures.items() if count > 1}

    def _of(self, name: str) -> _Prepared:
        prepared = self._prepared.get(name)
        if prepared is None:
            if name not in self._references:
                raise UsageError(f"There are no references for the picture '{shown(name)}'.")
            prepared = self._prepare(self._references[name])
            if len(self._prepared) < self._kept:
                self._prepared[name] = prepared
        return prepared

    def _prepare(self, captions: Sequence[Tokens]) -> _Prepared:
        holders: list[dict[NGram, _Holders]] = []
        norms = []
        for k, weights in enumerate(self._weights):
            counts = [ngrams(caption, k + 1) for caption in captions]
            squares = (sum((n * weights.get(run, self._unknown)) ** 2 for run, n in each.items()) for each in counts)
            norms.append(tuple(math.sqrt(square) for square in squares))
            found: dict[NGram, _Holders] = {}
            for number, each in enumerate(counts):
                for run, n in each.items():
                    found[run] = (*found.get(run, ()), (number, n))
            # Few different ones: keeping each once halves the memory.
            holders.append({run: self._alike.setdefault(some, some) for run, some in found.items()})
        return _Prepared(tuple(holders), tuple(norms), tuple(map(len, captions)))

    def _penalty(self, difference: int) -> float:
        distance = abs(difference)
        return self._penalties[distance] if distance < len(self._penalties) else 0.0


def cider_d(hypotheses: Mapping[str, Tokens], references: Mapping[str, Sequence[Tokens]]) -> dict[str, float]:
    """CIDEr-D of each picture, in [0, 10]; the set's is their mean.

    Args:
        hypotheses: one caption per picture.
        references: at least one caption for each of these pictures. Only theirs decide how much a word weighs.

    Raises:
        UsageError: a picture without references, or a text where its words are wanted.
    """
    missing = [name for name in hypotheses if name not in references]
    if missing:
        raise UsageError(f"There are no references for the picture '{shown(missing[0])}'.")
    scorer = CiderD({name: references[name] for name in hypotheses}, pictures_kept=0)  # each is scored once
    return {name: scorer.score(name, hypothesis) for name, hypothesis in hypotheses.items()}


def _check(references: Mapping[str, Iterable[Tokens]]) -> None:
    if not references:
        raise UsageError("CIDEr-D needs references. Give the captions of two pictures or more.")
    for name, captions in references.items():
        if isinstance(captions, str) or any(isinstance(caption, str) for caption in captions):
            raise UsageError(f"The references of '{shown(name)}' are text. Give them as lists of words.")
        if not captions:
            raise UsageError(f"The picture '{shown(name)}' has no references. Leave it out.")
