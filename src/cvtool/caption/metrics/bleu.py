"""BLEU of a whole set of captions (Papineni et al. 2002), number for number as pycocoevalcap computes it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from cvtool.caption.metrics.ngrams import LONGEST, NGram, Tokens, ngrams

_SMALL = 1e-9
_TINY = 1e-15
"""pycocoevalcap's guards: without any run of some length the precision is 1e-6, not 0/0."""


def bleu(
    hypotheses: Mapping[str, Tokens], references: Mapping[str, Sequence[Tokens]]
) -> tuple[float, float, float, float]:
    """BLEU-1, -2, -3 and -4 of a set, each in [0, 1].

    The counts of all pictures are summed before anything is divided, so this is no mean over pictures. The brevity
    penalty uses the reference closest in length, the shorter of two that are equally close.

    Args:
        hypotheses: one caption per picture; may be empty.
        references: at least one caption for each of these pictures; others are not looked at.
    """
    correct, guessed = [0] * LONGEST, [0] * LONGEST
    length = reference_length = 0
    for name, hypothesis in hypotheses.items():
        others = references[name]
        length += len(hypothesis)
        reference_length += _closest(len(hypothesis), others)
        for k in range(LONGEST):
            counts = ngrams(hypothesis, k + 1)
            guessed[k] += counts.total()
            correct[k] += (counts & _most(others, k + 1)).total()
    penalty = _brevity_penalty(length, reference_length)
    scores = []
    product = 1.0
    for k in range(LONGEST):
        product *= (correct[k] + _TINY) / (guessed[k] + _SMALL)
        scores.append(product ** (1 / (k + 1)) * penalty)
    return scores[0], scores[1], scores[2], scores[3]


def _closest(length: int, references: Sequence[Tokens]) -> int:
    return min((abs(len(each) - length), len(each)) for each in references)[1]


def _most(references: Sequence[Tokens], length: int) -> Counter[NGram]:
    """The largest count of each run in any one reference: a repeated word counts no more often than that."""
    most: Counter[NGram] = Counter()
    for each in references:
        most |= ngrams(each, length)
    return most


def _brevity_penalty(length: int, reference_length: int) -> float:
    ratio = (length + _TINY) / (reference_length + _SMALL)
    return math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
