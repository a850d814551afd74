"""Printing from carved blocks: line work with tapering cuts, uneven ink, paper."""

from __future__ import annotations

import numpy as np

from .noise import Array, Shape, blur, fractal, lattice


def cuts(phase: Array, tone: Array) -> Array:
    """Cover (H, W) in [0, 1] of lines along the whole numbers of `phase`; `tone` in [0, 1] is the inked share.

    Where the tone sinks below 0 a line runs out to a point, where it passes 1 the ink closes.
    """
    slope_y, slope_x = np.gradient(phase)
    # Folded distance has slope 2 per period: dividing by it makes every edge one pixel soft.
    softness = np.maximum(2 * np.hypot(slope_y, slope_x), 1e-4)
    ridge = np.abs((phase % 1.0) * 2 - 1)
    return np.clip((ridge - (1 - tone)) / softness + 0.5, 0, 1) * np.clip(tone / softness * 2, 0, 1)


def ink(rng: np.random.Generator, cover: Array, salt: float = 0.5, grain: float = 0.16) -> Array:
    """How the block prints: the cover with worn edges, wood grain and the white specks of a dry spot."""
    shape = cover.shape
    worn = np.clip((blur(cover, 0.7) - 0.5 + 0.16 * fractal(rng, shape, 4, 2)) * 2.6 + 0.5, 0, 1)
    wood = lattice(rng, shape, 2.2, 260) * 0.6 + lattice(rng, shape, 5, 420) * 0.6
    specks = np.clip((fractal(rng, shape, 3, 2) + 0.5 * fractal(rng, shape, 60, 2) - 1.75) * 2, 0, 1)
    density = 0.92 + grain * 0.5 * wood + 0.06 * fractal(rng, shape, 120, 3) - salt * specks
    return np.clip(worn * density, 0, 1)


def overprint(page: Array, cover: Array, color: Array) -> Array:
    """Print a translucent ink: `page` (H, W, 3) darkened by `color` (3,) where `cover` (H, W) is 1."""
    return page * (1 - cover[..., None] * (1 - color))


def paper(rng: np.random.Generator, shape: Shape, color: Array, rough: float = 0.035) -> Array:
    """Handmade paper (H, W, 3): `color` (3,) with long fibres, tooth and slight stains."""
    fibres = np.maximum(lattice(rng, shape, 1.6, 26), lattice(rng, shape, 24, 1.6))
    tooth = fractal(rng, shape, 3, 2, 0.7)
    stain = fractal(rng, shape, 200, 4)
    tone = 1 + rough * (0.5 * tooth - 0.45 * np.maximum(fibres - 0.7, 0)) + 0.014 * stain
    warm = np.stack([np.ones(shape), 1 - 0.008 * stain, 1 - 0.02 * stain], axis=-1)
    return np.clip(color * tone[..., None] * warm, 0, 1).astype(np.float32)
