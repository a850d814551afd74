"""Means with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def mean_and_interval(values: Sequence[float], share: float = 0.95) -> tuple[float, float, float]:
    """The mean, and between which values it lies in `share` of the bootstrap's resamples (seeded)."""
    data = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(0).integers(len(data), size=(RESAMPLES, len(data)))
    low, high = np.quantile(data[draws].mean(1), [(1 - share) / 2, (1 + share) / 2])
    return float(data.mean()), float(low), float(high)
