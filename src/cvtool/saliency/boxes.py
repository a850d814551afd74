"""The box around the strongest mass of a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.02
"""Standard deviation of the blur that joins single pixels, as a share of the longer side."""
LEVEL = 0.5
"""Where between the median and the maximum a pixel begins to belong to the mass."""


def strongest_box(map: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Map (H, W) → (x0, y0, x1, y1) in pixels, x1 and y1 exclusive: around the connected part with most mass.

    The positive part of the map is blurred and cut halfway between its median and its maximum: some maps, RISE's above
    all, are far from 0 everywhere. A map with nothing to cut gives the whole.
    """
    from scipy.ndimage import gaussian_filter, label

    height, width = map.shape
    smooth = gaussian_filter(np.maximum(map, 0).astype(np.float64), SMOOTHING * max(height, width))
    smooth -= np.median(smooth)
    if smooth.max() <= 0:
        return 0, 0, width, height
    parts, count = label(smooth >= LEVEL * smooth.max())
    masses = np.bincount(parts.ravel(), smooth.ravel().clip(0), minlength=count + 1)
    rows, columns = np.nonzero(parts == 1 + np.argmax(masses[1:]))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
