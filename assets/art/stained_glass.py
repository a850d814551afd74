"""Stained glass: three rosettes, set out like sunflower heads, in a stream of blue and green panes."""

from __future__ import annotations

import numpy as np

from .cells import Cells, voronoi
from .noise import Array, blur, fractal, grid, lattice, sample, smoothstep
from .palette import colors, gradient, mix, to_lab, to_rgb

SIZE = (768, 1024)
# Rosettes: centre y, x, radius (pixels), number of panes, twist of the petals.
ROSETTES = ((330.0, 400.0, 268.0, 190, 8), (120.0, 890.0, 170.0, 110, 6), (690.0, 850.0, 205.0, 120, 7))
GOLDEN_ANGLE = np.pi * (3 - 5**0.5)
WARM = colors("fff0a8", "ffd23f", "ff9a1f", "f0561d", "c8102e", "96103f", "5c1460", "33146b")
COOL = colors("0b1550", "11308f", "1757b8", "1690c4", "18b0a6", "1d9a62", "86b83a", "2a6fc0", "3a2a94")


def paint(rng: np.random.Generator) -> Array:
    """The picture (768, 1024, 3), sRGB in [0, 1]."""
    seeds, room = _set_out(rng)
    bends = np.stack([lattice(rng, SIZE, 70), lattice(rng, SIZE, 70)], axis=-1) * 3.0
    cells = _bend(voronoi(SIZE, seeds, room * 3.2), bends)
    panes = _choose_colors(rng, seeds)
    glass = _glass(rng, cells, panes)
    return _lead(rng, cells, glass)


def _set_out(rng: np.random.Generator) -> tuple[Array, Array]:
    """Seeds (N, 2) as (y, x) of all panes, and the room (N,) in pixels each has to itself."""
    points, rooms = [], []
    for y, x, radius, count, _ in ROSETTES:
        order = np.arange(count)
        # A power above 1/2 makes the panes grow outwards.
        away = radius * ((order + 0.6) / count) ** 0.68
        turn = order * GOLDEN_ANGLE
        points.append(np.stack([y + away * np.sin(turn), x + away * np.cos(turn)], axis=1))
        rooms.append(10 + 26 * away / radius)
    accepted = np.concatenate(points)
    spacing = np.clip(36 + 9 * lattice(rng, SIZE, 150), 22, 56)
    for candidate in rng.uniform((-40, -40), (SIZE[0] + 40, SIZE[1] + 40), (9000, 2)):
        in_rosette = any(np.hypot(candidate[0] - y, candidate[1] - x) < r + 12 for y, x, r, _, _ in ROSETTES)
        row, column = np.clip(candidate, 0, np.array(SIZE) - 1).astype(int)
        if not in_rosette and ((accepted - candidate) ** 2).sum(1).min() > spacing[row, column] ** 2:
            accepted = np.vstack([accepted, candidate])
    return accepted, np.concatenate([*rooms, np.full(len(accepted) - sum(map(len, points)), 50.0)])


def _bend(cells: Cells, bends: Array) -> Cells:
    """The same cells with gently curved borders: hand-cut glass is never straight. `bends` (H, W, 2) in pixels."""
    y, x = grid(SIZE)
    y, x = y + bends[..., 0], x + bends[..., 1]
    rows = np.clip(np.rint(y), 0, SIZE[0] - 1).astype(int)
    columns = np.clip(np.rint(x), 0, SIZE[1] - 1).astype(int)
    return Cells(cells.owner[rows, columns], sample(cells.border, y, x), cells.offset[rows, columns])


def _choose_colors(rng: np.random.Generator, seeds: Array) -> Array:
    """Colour (N, 3) of each pane: fire in the rosettes, a stream of water and leaves around them."""
    rows = np.clip(seeds[:, 0], 0, SIZE[0] - 1).astype(int)
    columns = np.clip(seeds[:, 1], 0, SIZE[1] - 1).astype(int)
    stream = fractal(rng, SIZE, 260, 2, stretch=1.6)[rows, columns]
    tone = 0.5 + 0.34 * np.sin(2.2 * stream + seeds[:, 1] / 210 - seeds[:, 0] / 330) + rng.normal(0, 0.10, len(seeds))
    panes = gradient(COOL, np.clip(tone, 0, 1))
    first = 0
    for y, x, radius, count, petals in ROSETTES:
        mine = slice(first, first + count)
        away = np.hypot(seeds[mine, 0] - y, seeds[mine, 1] - x) / radius
        turn = np.arctan2(seeds[mine, 0] - y, seeds[mine, 1] - x)
        wave = 0.13 * np.sin(petals * turn + 5 * away) * smoothstep(0.15, 0.5, away)
        panes[mine] = gradient(WARM, np.clip(away * 0.98 + wave + rng.normal(0, 0.035, count), 0, 1))
        first += count
    lab = to_lab(panes) + rng.normal(0, 1, panes.shape) * (0.035, 0.012, 0.012)
    return to_rgb(lab)


def _glass(rng: np.random.Generator, cells: Cells, panes: Array) -> Array:
    """Light through mouth-blown glass: streaks, bubbles and waves, other ones in every pane."""
    count = len(panes)
    # Every pane is cut from another place of one sheet, far enough from its rim.
    angle = rng.uniform(0, np.pi, count)
    shift_y, shift_x = rng.uniform(90, SIZE[0] - 90, count), rng.uniform(90, SIZE[1] - 90, count)
    cos, sin = np.cos(angle)[cells.owner], np.sin(angle)[cells.owner]
    dy, dx = cells.offset[..., 0], cells.offset[..., 1]
    y = dy * cos - dx * sin + shift_y[cells.owner]
    x = dy * sin + dx * cos + shift_x[cells.owner]
    streaks = sample(fractal(rng, SIZE, 16, 4, 0.6, stretch=5.0), y, x)
    ripples = sample(fractal(rng, SIZE, 9, 3, 0.7), y, x)
    lamp_y, lamp_x = rng.normal(0, 10, count)[cells.owner], rng.normal(0, 10, count)[cells.owner]
    glow = np.exp(-((dy - lamp_y) ** 2 + (dx - lamp_x) ** 2) / 900)
    lab = to_lab(panes)[cells.owner]
    light = 0.055 * streaks + 0.014 * ripples + 0.15 * (glow - 0.5) - 0.10 * np.exp(-cells.border / 6)
    lab[..., 0] = np.clip(lab[..., 0] + light, 0.10, 0.95)
    # Where the glass is thick it is deeper in colour; a hot spot stays just short of white.
    lab[..., 1:] *= (1.12 - 0.05 * np.clip(streaks, -2, 2) - 0.10 * glow)[..., None]
    lab[..., 2] += 0.012 * streaks
    glass = to_rgb(lab)
    bubbles = blur(smoothstep(2.2, 2.9, lattice(rng, SIZE, 4.5)), 0.7)
    glass = mix(glass, np.ones(3, dtype=np.float32), 0.35 * bubbles)
    slope_y, slope_x = np.gradient(blur(streaks + 0.35 * ripples, 1.3))
    return np.clip(glass * (1 + 0.36 * np.tanh(1.6 * (slope_x + slope_y)))[..., None], 0, 1)


def _lead(rng: np.random.Generator, cells: Cells, glass: Array) -> Array:
    """Lay the cames, round and dull, dirt in the corners beside them, and let bright glass bleed over their edges."""
    uneven = lattice(rng, SIZE, 22)
    half = 2.9 + 0.55 * uneven
    for y, x, radius, _, _ in ROSETTES:
        rows, columns = grid(SIZE)
        half = np.where(np.abs(np.hypot(rows - y, columns - x) - radius - 4) < 16, half + 0.9, half)
    cover = smoothstep(half + 0.8, half - 0.8, cells.border)
    dirt = np.exp(-np.maximum(cells.border - half, 0) / 3.2) * (0.55 + 0.2 * fractal(rng, SIZE, 12, 3))
    glass = glass * (1 - 0.55 * np.clip(dirt, 0, 1))[..., None]
    dome = np.sqrt(np.clip(1 - (cells.border / half) ** 2, 0, 1)) * half
    slope_y, slope_x = np.gradient(blur(dome, 0.7))
    grain = fractal(rng, SIZE, 5, 3, 0.7)
    metal = 0.10 + 0.022 * grain + 0.16 * np.clip(slope_x + slope_y, 0, 2) - 0.03 * np.clip(-slope_x - slope_y, 0, 2)
    lead = np.clip(metal, 0.01, 1)[..., None] * np.array([0.95, 0.98, 1.08])
    window = glass * (1 - cover[..., None]) + lead * cover[..., None]
    bloom = blur(window**2.2, 5) * 0.20 + blur(window**2.2, 22) * 0.16
    return 1 - (1 - np.clip(window, 0, 1)) * (1 - np.clip(bloom, 0, 1))
