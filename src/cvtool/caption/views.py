"""Where a captioner looked, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvtool.grids import sheet
from cvtool.images import resize

Pixels = NDArray[np.float32]

COLUMNS = 5
DARKEST = 0.15
"""Brightness where the captioner did not look."""


def attention_sheet(pixels: Pixels, attention: NDArray[np.float32], words: Sequence[str], cell: int = 256) -> Pixels:
    """The picture (H, W, 3), then once for each word, lit where the captioner looked, in rows.

    Args:
        pixels: sRGB in [0, 1].
        attention: (T, h, w) weights of T words, summing to 1 over the places.
        words: the T words.
        cell: longer side of each picture, in pixels.
    """
    cells = [("", pixels), *((word, lit(pixels, look)) for word, look in zip(words, attention, strict=True))]
    return sheet(cells, COLUMNS, cell)


def lit(pixels: Pixels, look: NDArray[np.float32]) -> Pixels:
    """The picture, bright where the weights (h, w) are high; the highest leaves it as it is."""
    height, width = pixels.shape[:2]
    light = resize(np.repeat((look / max(float(look.max()), 1e-12))[..., None], 3, 2), height, width, "bicubic")
    found: Pixels = (pixels * (DARKEST + (1 - DARKEST) * np.clip(light, 0, 1))).astype(np.float32)
    return found
