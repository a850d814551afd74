"""Keep the content's colours: the two ways of Gatys et al. (2017), arXiv:1611.07865. NumPy only.

Light and dark are OKLab's lightness. Differs from the paper, which takes NTSC's YIQ: hue, chroma and lightness all stay
closer to what they should be when it is replaced, as other colour models judge it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cvtool import colorspaces

Pixels = NDArray[np.float32]
Plane = NDArray[np.float32]

DARK = 0.15
"""Lightness (level 11 of 255) below which the colour of a pixel is noise more and more, not to be lit up."""

ROWS = 256  # rows converted at a time in double precision: bounds the memory
HALVINGS = 12  # of the interval in which the largest chroma is searched


def luminance(pixels: Pixels) -> Plane:
    """Picture (H, W, 3) in [0, 1] → (H, W) in [0, 1], the value of the grey that is as light; a grey's is its own."""
    return _by_rows(lambda rows: colorspaces.grey_of(colorspaces.lightness(rows)), pixels)


def grey(pixels: Pixels) -> Pixels:
    """Picture (H, W, 3) → the same with its luminance in all three channels."""
    return np.repeat(luminance(pixels)[..., None], 3, axis=2)


def match_luminance(style: Pixels, content: Pixels) -> Pixels:
    """Grey `style` (H, W, 3) shifted and scaled to the luminance mean and deviation of `content` (any size)."""
    now, wanted = luminance(style), luminance(content)
    scale = wanted.std() / max(float(now.std()), 1e-6)
    matched = np.clip((now - now.mean()) * scale + wanted.mean(), 0, 1).astype(np.float32)
    return np.repeat(matched[..., None], 3, axis=2)


def with_luminance(colors: Pixels, new: Plane) -> Pixels:
    """Picture (H, W, 3) with the luminance replaced by `new` (H, W): same hue and chroma, less where sRGB has no such.

    Clipping RGB would shift luminance and hue; the largest chroma that stays inside [0, 1] keeps both. What was nearly
    black is lit up with less colour, see `DARK`.
    """
    return _by_rows(_relit, colors, np.clip(new, 0, 1))


def _relit(colors: NDArray[np.float64], grey: NDArray[np.float64]) -> NDArray[np.float64]:
    new = np.cbrt(colorspaces.linear_from_srgb(grey))
    now, a, b = np.moveaxis(colorspaces.oklab_from_srgb(colors), -1, 0)
    trust = np.clip(now / np.maximum(np.minimum(new, DARK), 1e-6), 0, 1)
    wanted = np.stack([new, trust * a, trust * b], axis=-1)
    linear = colorspaces.linear_from_oklab(wanted)
    outside = (linear < 0).any(axis=-1) | (linear > 1).any(axis=-1)
    linear[outside] = _into_gamut(wanted[outside])
    return colorspaces.srgb_from_linear(np.clip(linear, 0, 1))


def _into_gamut(oklab: NDArray[np.float64]) -> NDArray[np.float64]:
    """OKLab colours (N, 3) outside sRGB → linear light as light, of that hue, with all the chroma there is."""
    inside, outside = np.zeros((len(oklab), 1)), np.ones((len(oklab), 1))
    found = np.repeat(oklab[:, :1] ** 3, 3, axis=1)  # grey, for colours at the very ends, where only rounding fits
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        linear = colorspaces.linear_from_oklab(oklab * np.concatenate([np.ones_like(middle), middle, middle], axis=1))
        fits = ((linear >= 0) & (linear <= 1)).all(axis=1, keepdims=True)
        inside, outside = np.where(fits, middle, inside), np.where(fits, outside, middle)
        found = np.where(fits, linear, found)
    return found


def _by_rows(work: Callable[..., NDArray[np.float64]], *planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """`work` on arrays of the same height, some rows at a time."""
    tops = range(0, len(planes[0]), ROWS)
    parts = [work(*(plane[top : top + ROWS].astype(np.float64) for plane in planes)) for top in tops]
    return np.concatenate([part.astype(np.float32) for part in parts])


def match_colors(style: Pixels, content: Pixels) -> Pixels:
    """`style` (H, W, 3) recoloured so that mean and covariance of its colours are those of `content` (any size)."""
    return recolor(style, *mean_and_covariance(content))


def recolor(
    pixels: Pixels,
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    part: NDArray[np.float32] | None = None,
) -> Pixels:
    """Picture (H, W, 3) recoloured so that its colours have `mean` (3,) and `covariance` (3, 3).

    The map is ``Σ'^½ Σ^-½`` (the paper's "image analogies" form, by eigenvalues), clipped to [0, 1]. With `part`,
    (H, W) in [0, 1], the colours it has now are those of that part, which then is what takes on the new ones.
    """
    now, spread = mean_and_covariance(pixels, part)
    mapped = (pixels.reshape(-1, 3).astype(np.float64) - now) @ _power(spread, -0.5) @ _power(covariance, 0.5) + mean
    return np.asarray(np.clip(mapped, 0, 1).reshape(pixels.shape), dtype=np.float32)


def mean_and_covariance(
    pixels: Pixels, part: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the colours of a picture (H, W, 3), each pixel counting as much as it belongs to `part` (H, W)."""
    colors = pixels.reshape(-1, 3).astype(np.float64)
    weight = np.ones(len(colors)) if part is None else part.reshape(-1).astype(np.float64)
    weight = weight / max(float(weight.sum()), 1e-12)
    mean = weight @ colors
    centred = colors - mean
    return mean, np.asarray(centred.T @ (centred * weight[:, None]))


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """A power of a symmetric matrix; eigenvalues near 0 (a grey picture) count as 1e-5."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 1e-5) ** exponent) @ vectors.T)
