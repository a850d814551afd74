"""ROUGE-L (Lin 2004): how long a subsequence a caption shares with its references; as pycocoevalcap computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cvtool.caption.metrics.ngrams import Tokens

BETA = 1.2
"""How much more recall counts than precision."""


def rouge_l(hypotheses: Mapping[str, Tokens], references: Mapping[str, Sequence[Tokens]]) -> float:
    """The mean over pictures of the F measure of the longest common subsequence, in [0, 1].

    Precision and recall are each the best over the references, and need not come from the same one. A caption
    without words scores 0, also against a reference without words (pycocoevalcap says 1 there).

    Args:
        hypotheses: one caption per picture, one picture at least.
        references: at least one caption for each of these pictures; others are not looked at.
    """
    scores = [rouge_l_of(hypothesis, references[name]) for name, hypothesis in hypotheses.items()]
    return sum(scores) / len(scores)


def rouge_l_of(hypothesis: Tokens, references: Sequence[Tokens]) -> float:
    """ROUGE-L of one caption, in [0, 1]."""
    common = [(_common(hypothesis, each), len(each)) for each in references]
    precision = max(shared for shared, _ in common) / max(1, len(hypothesis))
    recall = max(shared / max(1, length) for shared, length in common)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(left: Tokens, right: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(right) + 1)  # row[j]: of what was seen of `left` and the first j words of `right`
    for word in left:
        diagonal = 0
        for j, other in enumerate(right, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return row[-1]
