"""Marbled paper: drops of ink floated one after another, then drawn out with combs (Lu, Jaffer and others 2012).

Every step moves the floating ink by a map with a closed inverse, so each pixel of the sheet is followed backwards
through the steps to the drop it came from.
"""

from __future__ import annotations

import numpy as np

from .noise import Array, blur, fractal, grid, lattice, resize, sample, smoothstep
from .palette import colors, relief, to_lab, to_rgb
from .press import paper

SIZE = (768, 1024)
FINE = 1.5  # followed on a finer grid, then reduced: the veins are thinner than a pixel
INKS = colors("f1e3c2", "1b2c5e", "b23a2a", "e0a03a", "14595e", "f6efe0", "23161c", "7f1f2e", "5fa3a0", "d9c7a0")
SHARES = (0.12, 0.19, 0.15, 0.12, 0.12, 0.08, 0.07, 0.06, 0.06, 0.03)


def paint(rng: np.random.Generator) -> Array:
    """The picture (768, 1024, 3), sRGB in [0, 1]."""
    fine = (round(SIZE[0] * FINE), round(SIZE[1] * FINE))
    y, x = grid(fine)
    y, x = _unrake((y / FINE).ravel(), (x / FINE).ravel(), rng)
    owner, rim = _follow_drops(rng, y, x)
    lab = to_lab(INKS)[owner]
    # Surfactant drives the pigment to the rim of its drop.
    lab[:, 0] += 0.035 - 0.075 * rim
    sheet = to_rgb(lab).reshape(*fine, 3)
    sheet = np.stack([resize(blur(sheet[..., c], 0.55), SIZE) for c in range(3)], axis=-1)
    return _finish(rng, sheet)


def _unrake(y: Array, x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Where the ink at (y, x) lay before the combs: a wave of the hand, stylus swirls, a fine comb, a wide rake."""
    for center_y, center_x, turn, size in (
        (250, 300, 2.6, 70), (520, 690, -3.0, 80), (150, 800, -2.4, 58), (640, 180, -2.2, 60), (400, 960, 2.4, 55),
        (380, 520, 2.0, 48), (700, 470, 2.3, 52), (60, 520, 2.2, 50), (60, 60, -2.0, 60), (700, 930, 2.2, 60),
    ):  # fmt: skip
        dy, dx = y - center_y, x - center_x
        angle = turn * np.exp(-(dy * dy + dx * dx) / (1.3 * size) ** 2)
        cos, sin = np.cos(angle), np.sin(angle)
        y, x = center_y + dy * cos - dx * sin, center_x + dy * sin + dx * cos
    y = y + 16 * np.sin(x / 88 + 0.6) + 5 * np.sin(x / 31)
    y, x = _comb(y, x, spacing=34.0, pull=60.0, sharp=5.5)
    x, y = _comb(x, y, spacing=104.0, pull=-86.0, sharp=22.0)
    return y, x


def _comb(along: Array, across: Array, spacing: float, pull: float, sharp: float) -> tuple[Array, Array]:
    """Undo tines `spacing` apart that dragged the ink by `pull` along, less with the distance to the tine."""
    apart = np.abs((across / spacing) % 1.0 - 0.5) * spacing
    return along - pull * sharp / (sharp + apart), across


def _follow_drops(rng: np.random.Generator, y: Array, x: Array, count: int = 620) -> tuple[Array, Array]:
    """Ink index (N,) at each point and how near (N,) in [0, 1] it lies to the rim of its drop.

    A drop of radius r pushes what was at distance d out to √(d² + r²); going back, the last drop comes first.
    """
    owner = np.zeros(y.size, dtype=np.int32)
    rim = np.zeros(y.size, dtype=np.float32)
    open_points = np.arange(y.size)
    y, x = y.astype(np.float32), x.astype(np.float32)
    inks = rng.choice(len(INKS), count, p=SHARES)
    radii = 9 + 32 * rng.beta(1.2, 3.0, count)
    places = rng.uniform((-220, -220), (SIZE[0] + 220, SIZE[1] + 220), (count, 2))
    for number in range(count):
        dy, dx = y - np.float32(places[number, 0]), x - np.float32(places[number, 1])
        squared = np.maximum(dy * dy + dx * dx, 1e-6)
        area = np.float32(radii[number] ** 2)
        inside = squared < area
        owner[open_points[inside]] = inks[number]
        rim[open_points[inside]] = (squared[inside] / area) ** 3
        outside = ~inside
        open_points, squared = open_points[outside], squared[outside]
        shrink = np.sqrt(1 - area / squared)
        y = places[number, 0].astype(np.float32) + dy[outside] * shrink
        x = places[number, 1].astype(np.float32) + dx[outside] * shrink
    # The bath under all drops carries stone marbling of its own.
    owner[open_points] = inks[(np.abs(y / 37 + 3 * np.sin(x / 61)).astype(int)) % count]
    return owner, rim


def _finish(rng: np.random.Generator, sheet: Array) -> Array:
    """Lift the ink onto paper: slight spread, granules, skips along the fibres and a polished tooth."""
    y, x = grid(SIZE)
    y, x = y + 1.1 * lattice(rng, SIZE, 9), x + 1.1 * lattice(rng, SIZE, 9)
    sheet = sample(sheet, y, x)
    lab = to_lab(sheet)
    lab[..., 0] += 0.018 * fractal(rng, SIZE, 4, 2, 0.8) + 0.016 * fractal(rng, SIZE, 110, 3)
    sheet = to_rgb(lab)
    ground = paper(rng, SIZE, colors("f4ead2")[0])
    skips = 0.55 * smoothstep(2.1, 3.0, fractal(rng, SIZE, 5, 3) + 0.3 * lattice(rng, SIZE, 2, 30))
    sheet = sheet + (ground - sheet) * skips[..., None]
    return relief(sheet * (0.94 + 0.06 * ground), fractal(rng, SIZE, 3, 2), strength=0.10)
