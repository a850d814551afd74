"""Whether a map lies on the object: measures against boxes that people drew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvtool.annotations import LabelledBox

TOLERANCE = 15
"""How far beside the box the maximum may lie, in pixels of the picture (Zhang et al. 2016)."""


@dataclass(frozen=True)
class Localization:
    """Measures of one map against the boxes of its picture.

    Attributes:
        pointing: 1 if the map's maximum lies in a box or at most `TOLERANCE` pixels beside it, else 0: the pointing
            game, Zhang et al. (2016), arXiv:1608.00507.
        energy_inside: share of the map's positive mass that lies inside the boxes: the energy-based pointing game,
            Wang et al. (2020), arXiv:1910.01279.
        box_area: share of the picture that they cover, which is the `energy_inside` of a map that knows nothing.
    """

    pointing: float
    energy_inside: float
    box_area: float


def localization(map: NDArray[np.float32], boxes: Sequence[LabelledBox]) -> Localization:
    """Map (H, W) of the whole picture, its boxes (at least one) → how well the two agree."""
    height, width = map.shape
    inside, near = np.zeros(map.shape, dtype=bool), np.zeros(map.shape, dtype=bool)
    for box in boxes:
        left, right = round(box.x0 * width), round(box.x1 * width)
        top, bottom = round(box.y0 * height), round(box.y1 * height)
        inside[top : max(bottom, top + 1), left : max(right, left + 1)] = True
        near[max(0, top - TOLERANCE) : bottom + TOLERANCE, max(0, left - TOLERANCE) : right + TOLERANCE] = True
    mass = np.maximum(map, 0).astype(np.float64)
    energy = float(mass[inside].sum() / mass.sum()) if mass.any() else 0.0
    hit = bool(near.flat[int(np.argmax(map))]) and bool(map.max() > map.min())  # a flat map points nowhere
    return Localization(float(hit), energy, float(inside.mean()))
