"""Oil: dusk over a bay, laid in with thousands of bristle strokes that follow wind, water and grass."""

from __future__ import annotations

import numpy as np

from .brush import Brush, Canvas, paint_layer
from .noise import Array, Shape, blur, curl, fractal, grid, lattice, smoothstep, spread
from .palette import colors, gradient, harmonize, mix, relief, vary

SIZE = (768, 1024)
SUN = (0.40, 0.66)  # y, x as shares of the picture
HORIZON = 0.60

SKY = colors("16205e", "22409b", "3f6fc4", "7f8fd0", "d98aa0", "f59a5b", "fbc65a", "fde7a0")
PAINTS = colors(
    "10163f", "1d2f7a", "2a56b0", "4f8fd0", "8fc3d8", "5a3f86", "9a6bb0", "d98aa0", "e2573a", "f0883a",
    "f8bd3e", "fdeaa6", "0f3d3a", "1f6b52", "5d9a45", "b8b83c", "c22f2c", "f6f0dc",
)  # fmt: skip


def paint(rng: np.random.Generator) -> Array:
    """The picture (768, 1024, 3), sRGB in [0, 1]."""
    target, direction = _compose(rng, SIZE)
    ground = np.broadcast_to(colors("6a3b2e")[0], (*SIZE, 3))
    canvas = Canvas(rng, ground)
    layers = [
        (Brush(150, 40, thick=1.0, dry=0.25), 26, 12.0, 0.05, 0.016),
        (Brush(84, 19, thick=1.3, dry=0.35), 15, 5.0, 0.05, 0.018),
        (Brush(52, 10, thick=1.6, dry=0.5), 9.5, 2.0, 0.05, 0.018),
    ]
    for brush, spacing, softness, lightness, hue in layers:
        scene = blur(target, softness)
        points = spread(rng, SIZE, spacing, 0.7, margin=brush.width)
        first, second = _mixtures(rng, scene, points, lightness, hue)
        paint_layer(canvas, rng, brush, points, first, second, direction)
    _accents(rng, canvas, target, direction)
    return relief(canvas.color, canvas.height, strength=0.75, gloss=0.5)


def _compose(rng: np.random.Generator, shape: Shape) -> tuple[Array, Array]:
    """What the painter sees: colours (H, W, 3) and the direction of the strokes (H, W)."""
    y, x = grid(shape)
    v, u = y / shape[0], x / shape[1]
    distance = np.hypot((v - SUN[0]) * 0.75, u - SUN[1])
    wind = 1.3 * fractal(rng, shape, 230, 3, 0.4) + 6.0 * np.exp(-distance * 5) + 3.5 * v
    flow = curl(blur(wind, 4))
    sky = _sky(rng, shape, v, distance, wind)
    picture = sky
    shore = HORIZON + 0.004 * lattice(rng, shape, 90)
    # Three ranges of hills, the far ones bluer and paler.
    ranges = [
        (0.545, 0.050, 210, "8a76b8", "c88fa6"),
        (0.575, 0.040, 150, "46509c", "7f6fae"),
        (0.60, 0.035, 110, "16264f", "2f5f74"),
    ]
    for base, swing, cell, dark, light in ranges:
        ridge = base - swing * (0.6 + lattice(rng, (1, shape[1]), 2, cell)[0] * 0.5) + 0.02 * np.cos(u * 5 + base * 90)
        inside = (v > ridge)[..., None] & (v < shore)[..., None]
        shade = 0.5 + 0.4 * fractal(rng, shape, 50, 3) - 8 * (v - ridge)
        picture = np.where(inside, mix(colors(dark)[0], colors(light)[0], shade), picture)
    water, ripple = _water(rng, shape, sky, v, u)
    picture = np.where((v >= shore)[..., None], water, picture)
    bank = 0.83 - 0.13 * smoothstep(0.45, 0.0, u) + 0.05 * np.sin(u * 4.2 + 0.4) + 0.008 * lattice(rng, shape, 24)
    picture = np.where((v > bank)[..., None], _meadow(rng, shape, v - bank), picture)
    slope = 0.25 * lattice(rng, shape, 60, 160)
    direction = np.where(v > 0.60 - 0.055, slope, flow)
    direction = np.where(v > shore, ripple, direction)
    lean = -np.pi / 2 + 0.45 * lattice(rng, shape, 120) + 0.25
    direction = np.where(v > bank, lean, direction)
    return picture, direction.astype(np.float32)


def _sky(rng: np.random.Generator, shape: Shape, v: Array, distance: Array, wind: Array) -> Array:
    """Ultramarine above, fire near the sun, and clouds drawn out along the wind."""
    bands = 0.10 * np.sin(wind * 5.5 + fractal(rng, shape, 90, 2))
    tone = 0.78 * smoothstep(0.0, 0.62, v + 0.10 * bands) + 0.45 * np.exp(-((distance / 0.20) ** 2)) + bands - 0.02
    sky = gradient(SKY, np.clip(tone, 0, 1))
    clouds = smoothstep(0.35, 1.5, np.sin(wind * 3.1 + 0.8) + 0.55 * fractal(rng, shape, 120, 4))
    lit = gradient(colors("6f86cf", "c79ac4", "f7b08a", "fee3a6"), np.clip(1.25 - distance * 2.0, 0, 1))
    sky = mix(sky, lit, 0.85 * clouds)
    rings = 0.5 + 0.5 * np.cos(distance * 210)
    halo = np.exp(-((distance / 0.13) ** 2))
    sky = mix(sky, colors("fff3bf")[0], halo * (0.35 + 0.45 * rings))
    return mix(sky, colors("fff6cf")[0], smoothstep(0.056, 0.044, distance))


def _water(rng: np.random.Generator, shape: Shape, sky: Array, v: Array, u: Array) -> tuple[Array, Array]:
    """The sky upside down, broken by ripples, with the sun's path; and the ripples' direction."""
    waves = lattice(rng, shape, 7, 60) * 0.6 + lattice(rng, shape, 16, 150)
    mirror = np.clip((2 * HORIZON - v) * 0.9 + 0.03 * waves, 0, HORIZON - 0.005)
    rows = (mirror * shape[0]).astype(np.int32)
    columns = np.clip(u * shape[1] + 10 * waves, 0, shape[1] - 1).astype(np.int32)
    water = mix(sky[rows, columns], colors("17397f")[0], 0.40 + 0.16 * waves + 0.5 * np.maximum(v - 0.66, 0))
    path = np.exp(-(((u - SUN[1]) / (0.035 + 0.25 * np.maximum(v - HORIZON, 0))) ** 2))
    glitter = path * smoothstep(-0.2, 0.9, waves + 0.6 * lattice(rng, shape, 5, 26))
    water = mix(water, colors("e2705a")[0], 0.55 * path)
    water = mix(water, colors("ffc861")[0], 0.95 * glitter)
    return water, 0.16 * lattice(rng, shape, 26, 110)


def _meadow(rng: np.random.Generator, shape: Shape, depth: Array) -> Array:
    """Grass in deep greens that catches the last light at its upper edge, with drifts of flowers."""
    tone = 0.45 + 0.22 * lattice(rng, shape, 40, 9) + 0.2 * fractal(rng, shape, 90, 3) - 1.6 * depth
    grass = gradient(colors("0b2430", "0f4038", "2c6b45", "7d9a3c", "e0b04a"), np.clip(tone, 0, 1))
    for code, threshold in (("d8342a", 1.15), ("f28a2e", 1.5), ("7f6fd0", 1.55), ("fbe9b0", 1.9)):
        drift = smoothstep(threshold - 0.12, threshold, 0.75 * lattice(rng, shape, 9) + 0.8 * lattice(rng, shape, 110))
        grass = mix(grass, colors(code)[0], drift)
    return grass


def _mixtures(
    rng: np.random.Generator, scene: Array, points: Array, lightness: float, hue: float
) -> tuple[Array, Array]:
    """Two like mixtures (N, 3) for the stroke at each point: what is seen there, drawn to the tubes on the palette."""
    rows = np.clip(points[:, 0], 0, scene.shape[0] - 1).astype(int)
    columns = np.clip(points[:, 1], 0, scene.shape[1] - 1).astype(int)
    seen = harmonize(vary(rng, scene[rows, columns], lightness, hue), PAINTS, 0.38)
    return seen, vary(rng, seen, lightness * 1.3, hue * 1.3)


def _accents(rng: np.random.Generator, canvas: Canvas, target: Array, direction: Array) -> None:
    """Last touches with a small loaded brush where the scene changes fastest: edges, glitter, flowers."""
    sharp = np.abs(target - blur(target, 7)).sum(-1)
    points = spread(rng, SIZE, 6.5, 0.7)
    rows = np.clip(points[:, 0], 0, SIZE[0] - 1).astype(int)
    columns = np.clip(points[:, 1], 0, SIZE[1] - 1).astype(int)
    chosen = points[sharp[rows, columns] > rng.uniform(0.10, 0.45, len(points))]
    first, second = _mixtures(rng, blur(target, 0.8), chosen, 0.05, 0.016)
    paint_layer(canvas, rng, Brush(24, 6, thick=2.2, dry=0.3, ragged=4), chosen, first, second, direction, 0.2)
