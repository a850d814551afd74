"""Pictures of a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvtool.grids import strip

if TYPE_CHECKING:
    from cvtool.fool.results import FoolResult

Pixels = NDArray[np.float32]

GAIN = 10
"""How many times a difference is enlarged to be seen."""


def difference(before: Pixels, after: Pixels) -> Pixels:
    """(after − before) × `GAIN` around middle grey."""
    shown: Pixels = np.clip(0.5 + GAIN * (after - before), 0, 1).astype(np.float32)
    return shown


def panel(before: Pixels, after: Pixels, result: FoolResult) -> Pixels:
    """Original | difference | result, each under what the network sees or how far it was changed."""
    first, last = result.original.predictions[0], result.adversarial.predictions[0]
    labels = [
        f"{first.name} {first.probability:.0%}",
        f"difference x{GAIN}, L2 {result.l2:.2f}",
        f"{last.name} {last.probability:.0%}",
    ]
    return strip([before, difference(before, after), after], labels)
