"""How alike two pictures are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]


def ssim(one: Pixels, other: Pixels) -> float:
    """Structural similarity (Wang et al. 2004) of two pictures (H, W) or (H, W, 3) in [0, 1]; 1: the same."""
    from skimage.metrics import structural_similarity

    side = min(7, *one.shape[:2])
    side -= 1 - side % 2
    if side < 3:  # nothing to compare structures in
        return float(np.array_equal(one, other))
    axis = 2 if one.ndim == 3 else None
    return float(structural_similarity(one, other, data_range=1.0, win_size=side, channel_axis=axis))


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal to noise of two pictures in [0, 1], in dB; infinite if they are the same."""
    error = float(np.square(one.astype(np.float64) - other).mean())
    return math.inf if error == 0 else -10 * math.log10(error)
