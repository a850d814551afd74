"""Keep the content's colours: the two ways of Gatys et al. (2017), arXiv:1611.07865. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]

# NTSC's YIQ, as the paper uses it; rows sum to 1, 0, 0, so that grey has no chroma.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


def luminance(pixels: Pixels) -> NDArray[np.float32]:
    """Picture (H, W, 3) in [0, 1] → luminance Y (H, W) in [0, 1]."""
    return np.asarray(pixels @ _YIQ[0], dtype=np.float32)


def grey(pixels: Pixels) -> Pixels:
    """Picture (H, W, 3) → the same with its luminance in all three channels."""
    return np.repeat(luminance(pixels)[..., None], 3, axis=2)


def match_luminance(style: Pixels, content: Pixels) -> Pixels:
    """Grey `style` (H, W, 3) shifted and scaled to the luminance mean and deviation of `content` (any size)."""
    from_y, to_y = luminance(style), luminance(content)
    scale = to_y.std() / max(float(from_y.std()), 1e-6)
    matched = (from_y - from_y.mean()) * scale + to_y.mean()
    return np.repeat(np.clip(matched, 0, 1).astype(np.float32)[..., None], 3, axis=2)


def with_luminance(colors: Pixels, new: NDArray[np.float32]) -> Pixels:
    """Picture (H, W, 3) with the luminance replaced by `new` (H, W): same hue, chroma reduced where RGB would clip.

    Clipping RGB alone would shift luminance and hue; the largest factor ≤ 1 on the chroma that stays inside [0, 1]
    keeps both.
    """
    new = np.clip(new, 0, 1)[..., None]
    chroma = colors - luminance(colors)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(chroma > 0, (1 - new) / chroma, np.where(chroma < 0, -new / chroma, np.inf))
    factor = np.clip(room.min(axis=2, keepdims=True), 0, 1)
    return np.asarray(np.clip(new + factor * chroma, 0, 1), dtype=np.float32)


def match_colors(style: Pixels, content: Pixels) -> Pixels:
    """`style` (H, W, 3) recoloured so that mean and covariance of its colours are those of `content` (any size).

    The map is ``Σc^½ Σs^-½`` (the paper's "image analogies" form, by eigenvalues), clipped to [0, 1].
    """
    s, c = (picture.reshape(-1, 3).astype(np.float64) for picture in (style, content))
    to_white = _power(_covariance(s), -0.5)
    to_content = _power(_covariance(c), 0.5)
    mapped = (s - s.mean(0)) @ to_white @ to_content + c.mean(0)
    return np.asarray(np.clip(mapped, 0, 1).reshape(style.shape), dtype=np.float32)


def _covariance(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = colors - colors.mean(0)
    return np.asarray(centred.T @ centred / len(colors))


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """A power of a symmetric matrix; eigenvalues near 0 (a grey picture) count as 1e-5."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 1e-5) ** exponent) @ vectors.T)
