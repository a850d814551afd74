"""Where a run of training is, and what it came to at a check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvtool.gan.evaluation import Evaluation


@dataclass
class Position:
    """Where a run is; with the game's state and the average, all that is needed to go on exactly.

    Attributes:
        step: that comes next, from 0.
        total: steps of the run; 0 while a budget is not yet a number of steps.
        every: steps between checks; 0 likewise.
        best: smallest Fréchet distance so far.
        recoveries: how often the run went back.
        scale: of the learning rates, smaller after each of them.
        sums: of each of the facts since the last check, and of how many reports.
        seconds: spent so far.
        step_seconds: of them on steps alone.
        cut: the time was up before all steps were done. Rates and noise had fallen as planned for all of them, so
            `total` stays: only a run of as many steps goes through the same states.
    """

    step: int = 0
    total: int = 0
    every: int = 0
    best: float = math.inf
    recoveries: int = 0
    scale: float = 1.0
    sums: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    step_seconds: float = 0.0
    cut: bool = False


@dataclass(frozen=True, eq=False)
class Check:
    """What a run came to between two checks.

    Attributes:
        step: done so far.
        epoch: times that all real pictures were seen.
        facts: means of what the game reported.
        evaluation: of the averaged generator.
        pictures_per_second: real pictures learned from, while it was not checked.
        seconds: since the start of the run.
        is_best: no check had a smaller Fréchet distance.
        trouble: why the run goes back or ends, in words.
        grid: pictures (GRID², S, S, C) uint8 of noise that stays the same through the run, row by row.
    """

    step: int
    epoch: float
    facts: Mapping[str, float]
    evaluation: Evaluation | None
    pictures_per_second: float
    seconds: float
    is_best: bool
    trouble: str | None
    grid: NDArray[np.uint8]

    def record(self) -> dict[str, Any]:
        """As a line of metrics; JSON knows no numbers that are not finite, so they become None."""
        found = {
            "step": self.step,
            "epoch": round(self.epoch, 2),
            **self.facts,
            **({} if self.evaluation is None else self.evaluation.facts()),
            "pictures_per_second": round(self.pictures_per_second, 1),
            "seconds": round(self.seconds, 2),
            "is_best": self.is_best,
            **({} if self.trouble is None else {"trouble": self.trouble}),
        }
        return {name: None if isinstance(n, float) and not math.isfinite(n) else n for name, n in found.items()}
