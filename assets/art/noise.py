"""Smooth random fields and the small array helpers every painting needs. Fields are float32 arrays (H, W)."""

from __future__ import annotations

import numpy as np
from PIL import Image

Array = np.ndarray
Shape = tuple[int, int]


def resize(field: Array, shape: Shape) -> Array:
    """Field (h, w) float → (H, W) float32, bicubic."""
    picture = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float32)


def lattice(rng: np.random.Generator, shape: Shape, cell_y: float, cell_x: float | None = None) -> Array:
    """Smooth noise (H, W), mean 0 and variance about 1, whose bumps are `cell_y` × `cell_x` pixels large."""
    cell_x = cell_y if cell_x is None else cell_x
    # One spare cell on each side keeps the resize filter's border effect outside the picture.
    rows, columns = int(shape[0] / cell_y) + 4, int(shape[1] / cell_x) + 4
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    full = resize(grid, (round(rows * cell_y), round(columns * cell_x)))
    top, left = int(cell_y), int(cell_x)
    field = full[top : top + shape[0], left : left + shape[1]]
    return field / max(float(field.std()), 1e-6)


def fractal(
    rng: np.random.Generator, shape: Shape, cell: float, octaves: int = 5, gain: float = 0.5, stretch: float = 1.0
) -> Array:
    """Sum of `octaves` lattices (H, W), each half as coarse as the last and `gain` its weight; mean 0, deviation 1.

    `stretch` > 1 makes the bumps that many times longer along x.
    """
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        total += gain**octave * lattice(rng, shape, size, size * stretch)
    total -= total.mean()
    return total / float(total.std())


def grid(shape: Shape) -> tuple[Array, Array]:
    """Pixel coordinates (y, x), each (H, W) float32."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return y, x


def smoothstep(low: float | Array, high: float | Array, value: Array) -> Array:
    """0 below `low`, 1 above `high`, the cubic 3t² − 2t³ between (GLSL's smoothstep; `low` > `high` runs downhill)."""
    t = np.clip((value - low) / (np.asarray(high, dtype=np.float32) - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def blur(field: Array, sigma: float) -> Array:
    """Gaussian blur of (H, W) or (H, W, C) with mirrored borders."""
    if field.ndim == 3:
        return np.stack([blur(field[..., c], sigma) for c in range(field.shape[2])], axis=-1)
    pad = min(int(3 * sigma) + 1, min(field.shape) - 1)
    padded = np.pad(field, pad, mode="reflect")
    frequency_y = np.fft.fftfreq(padded.shape[0])[:, None]
    frequency_x = np.fft.rfftfreq(padded.shape[1])[None, :]
    gain = np.exp(-2.0 * (np.pi * sigma) ** 2 * (frequency_y**2 + frequency_x**2))
    smooth = np.fft.irfft2(np.fft.rfft2(padded) * gain, s=padded.shape)
    return smooth[pad:-pad, pad:-pad].astype(np.float32)


def sample(field: Array, y: Array, x: Array) -> Array:
    """Bilinear look-up of field (H, W) or (H, W, C) at float coordinates; beyond the border the edge value holds."""
    height, width = field.shape[:2]
    y = np.clip(y, 0, height - 1.001)
    x = np.clip(x, 0, width - 1.001)
    top, left = y.astype(np.int32), x.astype(np.int32)
    fy, fx = y - top, x - left
    if field.ndim == 3:
        fy, fx = fy[..., None], fx[..., None]
    upper = field[top, left] * (1 - fx) + field[top, left + 1] * fx
    lower = field[top + 1, left] * (1 - fx) + field[top + 1, left + 1] * fx
    return upper * (1 - fy) + lower * fy


def curl(potential: Array) -> Array:
    """Direction (H, W), radians, of the divergence-free flow along the level lines of `potential`."""
    slope_y, slope_x = np.gradient(potential)
    return np.arctan2(-slope_x, slope_y).astype(np.float32)


def spread(rng: np.random.Generator, shape: Shape, spacing: float, jitter: float = 0.5, margin: float = 0.0) -> Array:
    """Points (N, 2) as (y, x): a staggered grid `spacing` apart, moved by up to `jitter` of it, in random order."""
    rows = np.arange(-margin, shape[0] + margin + spacing, spacing * 0.87, dtype=float)
    columns = np.arange(-margin, shape[1] + margin + spacing, spacing, dtype=float)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    x[1::2] += spacing / 2
    points = np.stack([y.ravel(), x.ravel()], axis=1)
    points += rng.uniform(-jitter, jitter, points.shape) * spacing
    return rng.permutation(points)
