"""The page of worst and best captions: one HTML file with the pictures inside, which needs no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvtool.caption.metrics.scoring import Metrics
from cvtool.errors import UsageError
from cvtool.pages import preview, render

THUMBNAIL = 320
"""Longer side of a picture on the page, in pixels; smaller ones stay as they are."""

BARS = 20
"""Bars of the histogram."""

LABELS = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr-D",
    "mean_length": "Words per caption",
}
"""What people call the measures of captions."""
_LABELS = {
    "images": "Pictures",
    **LABELS,
    "distinct_words": "Different words",
    "novelty": "Captions not in the training set",
}


@dataclass(frozen=True)
class Described:
    """A picture with what was said of it.

    Attributes:
        name: of the picture.
        caption: the caption judged.
        references: what people said.
        cider: CIDEr-D of `caption`, in [0, 10].
        pixels: (H, W, 3) float32 in [0, 1], of any size; None where there is only the name.
    """

    name: str
    caption: str
    references: Sequence[str]
    cider: float
    pixels: NDArray[np.float32] | None = None


def worst_and_best(cider_each: Mapping[str, float], count: int) -> tuple[list[str], list[str]]:
    """The `count` pictures of lowest CIDEr-D, lowest first, and those of highest, highest first; no picture is in both.

    With fewer than 2 · `count` pictures the half with the higher scores is the best. Ties go by name.

    Raises:
        UsageError: `count` below 1.
    """
    if count < 1:
        raise UsageError(f"A page of {count} pictures makes no sense. Ask for at least 1.")
    ranked = sorted(cider_each, key=lambda name: (cider_each[name], name))
    best = min(count, (len(ranked) + 1) // 2)
    return ranked[: min(count, len(ranked) - best)], ranked[::-1][:best]


def page(
    title: str,
    metrics: Metrics,
    settings: Mapping[str, object],
    worst: Sequence[Described],
    best: Sequence[Described],
) -> str:
    """The page as HTML text, to be written as UTF-8; the same arguments give the same text.

    Args:
        title: heading and name of the page.
        metrics: its numbers as a table, its notes, and the histogram of `cider_each`.
        settings: how the captions came to be, name → value, in this order.
        worst, best: the pictures to show, in this order; see `worst_and_best`.
    """
    return render(
        "cvtool.caption",
        "captions.html.j2",
        title=title,
        numbers=[(_LABELS[name], _shown_number(name, value)) for name, value in metrics.numbers().items()],
        notes=metrics.notes,
        settings=settings,
        bars=_bars(list(metrics.cider_each.values())),
        groups=[("Worst", [_card(each) for each in worst]), ("Best", [_card(each) for each in best])],
    )


@dataclass(frozen=True)
class _Bar:
    start: float
    end: float
    count: int
    share: float  # of the highest bar


def _bars(scores: Sequence[float]) -> list[_Bar]:
    """How many pictures have which CIDEr-D, in `BARS` steps up to the highest, rounded up to a half."""
    if not scores:
        return []
    top = max(0.5, math.ceil(max(scores) * 2) / 2)
    counts, edges = np.histogram(scores, bins=BARS, range=(0, top))
    return [
        _Bar(float(edges[i]), float(edges[i + 1]), int(count), float(count / counts.max()))
        for i, count in enumerate(counts)
    ]


def _card(described: Described) -> dict[str, object]:
    return {
        "name": described.name,
        "caption": described.caption,
        "references": described.references,
        "cider": f"{described.cider:.3f}",
        "picture": None if described.pixels is None else preview(described.pixels, THUMBNAIL),
    }


def _shown_number(name: str, value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if name == "novelty":
        return f"{value:.1%}"
    return f"{value:.2f}" if name == "mean_length" else f"{value:.4f}"
