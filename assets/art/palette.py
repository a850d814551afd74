"""Colours: hex to RGB, mixing in OKLab (Ottosson 2020), gradients, and lighting of a painted relief.

Colours are float32 sRGB in [0, 1] with the channel last, unless a name says `lab`.
"""

from __future__ import annotations

import numpy as np

from .noise import Array, blur

_TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
_FROM_LMS, _FROM_LAB = np.linalg.inv(_TO_LMS), np.linalg.inv(_TO_LAB)


def colors(*codes: str) -> Array:
    """Hex codes such as "1b2a6b" → (N, 3)."""
    return np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes], dtype=np.float32)


def to_lab(rgb: Array) -> Array:
    """sRGB (..., 3) in [0, 1] → OKLab (..., 3): lightness in [0, 1], green–red, blue–yellow."""
    rgb = np.clip(rgb, 0.0, 1.0)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return (np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T).astype(np.float32)


def to_rgb(lab: Array) -> Array:
    """OKLab (..., 3) → sRGB (..., 3), clipped to [0, 1]."""
    linear = np.clip((lab @ _FROM_LAB.T) ** 3 @ _FROM_LMS.T, 0.0, 1.0)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)


def mix(first: Array, second: Array, amount: float | Array) -> Array:
    """Blend two RGB arrays in OKLab; `amount` (...) is the share of `second`."""
    share = np.clip(np.asarray(amount, dtype=np.float32), 0.0, 1.0)[..., None]
    return to_rgb(to_lab(first) * (1 - share) + to_lab(second) * share)


def gradient(stops: Array, position: Array) -> Array:
    """Colour ramp: `stops` (N, 3) evenly over [0, 1], looked up at `position` (...) → (..., 3)."""
    lab = to_lab(stops)
    places = np.linspace(0.0, 1.0, len(lab))
    return to_rgb(np.stack([np.interp(position, places, lab[:, c]) for c in range(3)], axis=-1))


def harmonize(rgb: Array, palette: Array, pull: float) -> Array:
    """Draw every colour (..., 3) by the share `pull` towards its nearest neighbour in `palette` (N, 3)."""
    lab, anchors = to_lab(rgb), to_lab(palette)
    nearest = np.argmin(((lab[..., None, :] - anchors) ** 2).sum(-1), axis=-1)
    return to_rgb(lab + pull * (anchors[nearest] - lab))


def vary(rng: np.random.Generator, rgb: Array, lightness: float, hue: float) -> Array:
    """Jitter each colour (N, 3): standard deviations in OKLab `lightness` and in its two colour axes `hue`."""
    jitter = np.clip(rng.standard_normal(rgb.shape), -2, 2)
    return to_rgb(to_lab(rgb) + jitter * np.array([lightness, hue, hue]))


def relief(rgb: Array, height: Array, strength: float, gloss: float = 0.0, soften: float = 0.6) -> Array:
    """Light a painting (H, W, 3) from the upper left over its paint thickness `height` (H, W, pixels of depth)."""
    slope_y, slope_x = np.gradient(blur(height, soften))
    lean = np.tanh(strength * (slope_x + slope_y))[..., None]
    light, shadow = np.maximum(lean, 0), np.maximum(-lean, 0)
    lit = (rgb + (1.0 - rgb) * 0.4 * light) * (1.0 - 0.5 * shadow)
    return np.clip(lit + gloss * np.maximum(light - 0.5, 0) ** 2, 0.0, 1.0).astype(np.float32)
