"""sRGB ↔ linear light ↔ OKLab, the space in which equal steps look alike. NumPy only, float64 inside.

Ottosson (2020), A perceptual color space for image processing, https://bottosson.github.io/posts/oklab/. Lightness L is
0 for black and 1 for white; a and b are 0 for greys, their angle is the hue and their length the chroma.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Grey from sRGB as in Rec. ITU-R BT.601, which Pillow and the usual data sets use."""

# Constants as published there: linear sRGB → responses of the cones → (after the cube root) L, a, b.
LINEAR_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
CONES_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
# The published inverses are rounded; these ones make the way there and back exact.
CONES_TO_LINEAR = np.linalg.inv(LINEAR_TO_CONES)
OKLAB_TO_CONES = np.linalg.inv(CONES_TO_OKLAB)

TOE = 0.0031308
"""Linear light up to which sRGB's curve is a straight line."""


def linear_from_srgb(encoded: NDArray[np.floating[Any]]) -> Values:
    """sRGB values of any shape → linear light (IEC 61966-2-1); below 0 the curve is continued by its mirror image."""
    values = np.asarray(encoded, dtype=np.float64)
    size = np.abs(values)
    curve = np.where(size <= 12.92 * TOE, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.copysign(curve, values))


def srgb_from_linear(linear: NDArray[np.floating[Any]]) -> Values:
    """Linear light of any shape → sRGB values, the inverse of `linear_from_srgb`; nothing is clipped."""
    values = np.asarray(linear, dtype=np.float64)
    size = np.abs(values)
    curve = np.where(size <= TOE, 12.92 * size, 1.055 * np.maximum(size, TOE) ** (1 / 2.4) - 0.055)
    return np.asarray(np.copysign(curve, values))


def oklab_from_srgb(encoded: NDArray[np.floating[Any]]) -> Values:
    """sRGB (…, 3) → OKLab (…, 3)."""
    cones = linear_from_srgb(encoded) @ LINEAR_TO_CONES.T
    return np.asarray(np.cbrt(cones) @ CONES_TO_OKLAB.T)


def linear_from_oklab(oklab: NDArray[np.floating[Any]]) -> Values:
    """OKLab (…, 3) → linear light in sRGB's primaries (…, 3)."""
    cones = (np.asarray(oklab, dtype=np.float64) @ OKLAB_TO_CONES.T) ** 3
    return np.asarray(cones @ CONES_TO_LINEAR.T)


def lightness(encoded: NDArray[np.floating[Any]]) -> Values:
    """sRGB (…, 3) → OKLab's L (…)."""
    return np.asarray(oklab_from_srgb(encoded)[..., 0])


def grey_of(lightness: NDArray[np.floating[Any]]) -> Values:
    """OKLab's L (…) in [0, 1] → the sRGB value of the grey that is as light."""
    return srgb_from_linear(np.asarray(lightness, dtype=np.float64) ** 3)
