"""Where a captioner's run is, and what each of its epochs came to. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cvtool.caption.metrics.scoring import Metrics


@dataclass
class Position:
    """Where a run is; with the weights and the optimiser's state, all that is needed to go on exactly.

    Attributes:
        epoch: that is running, from 0; the self-critical ones follow the others.
        batch: of the epoch that comes next.
        best: the best CIDEr-D so far.
        best_epoch: that had it.
        sums: of losses and words of the running epoch.
        seconds: spent so far.
    """

    epoch: int = 0
    batch: int = 0
    best: float = -1.0
    best_epoch: int = -1
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        epoch, step: counted from 1.
        phase: ``words`` or ``self-critical``.
        loss: mean per caption, as the notes define it; of the self-critical epochs the mean reward, negative.
        perplexity: of a word on the development split, by teacher forcing.
        metrics: of greedy captions on the development split; these two by the weights that are kept.
        seconds: since the start of the run.
        tokens_per_second: of training alone.
        is_best: no epoch had a better CIDEr-D.
        captions: the greedy captions, by the names of their pictures; of a group only the first process has them.
    """

    epoch: int
    step: int
    phase: str
    loss: float
    perplexity: float
    metrics: Metrics
    seconds: float
    tokens_per_second: float
    is_best: bool
    captions: Mapping[str, str] = field(default_factory=dict, repr=False)
