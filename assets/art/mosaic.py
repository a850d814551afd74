"""Mosaic: two fish circling in a whirl of water, tesserae laid in rows along the contours (Hausner 2001)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .noise import Array, Shape, blur, fractal, grid, lattice, smoothstep, spread
from .palette import colors, gradient, mix, to_lab, to_rgb

SIZE = (768, 1024)
COARSE = 2  # tesserae are set out on a grid this much coarser
TILE = 11.5  # side of a tessera, pixels
GROUT = colors("5a5046")[0]
WATER = colors("0c2340", "123f73", "1668a0", "2a98b5", "6cc3bd", "c7e3cf", "efe9cf")
FISH_SKIN = colors("fbe9c0", "f8c24a", "f0872a", "d9481f", "a5231c", "5b1220")
LEAF = colors("12372a", "1f6a45", "5c9a3c", "b9b843")


@dataclass(frozen=True)
class Fish:
    """A bent fish: middle (y, x), heading (radians), curvature (1 / pixels), half length and half width (pixels)."""

    y: float
    x: float
    heading: float
    bend: float
    half_length: float
    half_width: float


SHOAL = (
    Fish(214, 455, np.pi - 0.16, -0.0030, 212, 80),
    Fish(566, 600, -0.16, -0.0030, 212, 80),
)


def paint(rng: np.random.Generator) -> Array:
    """The picture (768, 1024, 3), sRGB in [0, 1]."""
    scene, direction = _draw(rng)
    seeds, angles = _lay(rng, direction)
    owner, near, gap = _nearest(SIZE, seeds, angles, TILE * 1.7)
    return _set(rng, scene, seeds, angles, owner, near, gap)


def _fish_frame(fish: Fish, y: Array, x: Array) -> tuple[Array, Array]:
    """Position along the fish (−1 tail root, 1 nose) and across it (pixels, positive left of the heading)."""
    dy, dx = y - fish.y, x - fish.x
    cos, sin = np.cos(fish.heading), np.sin(fish.heading)
    along = dx * cos + dy * sin
    across = dy * cos - dx * sin - 0.5 * fish.bend * along**2
    return along / fish.half_length, across / np.sqrt(1 + (fish.bend * along) ** 2)


def _fish_edge(fish: Fish, along: Array, across: Array) -> Array:
    """About the distance in pixels inside the outline (negative: outside) of body, tail fin and side fins."""
    body = fish.half_width * np.clip(1 - np.abs(along - 0.22) ** 2.2 / np.where(along > 0.22, 0.62, 1.9), 0, 1) ** 0.72
    tail = fish.half_width * np.clip((-0.62 - along) * 2.3, 0, 1.05) * (along > -1.22)
    notch = fish.half_width * np.clip((-0.98 - along) * 1.6, 0, 1)
    inside_tail = np.where(along < -0.6, np.minimum(tail - np.abs(across), np.abs(across) - notch), -1e3)
    fin_shape = fish.half_width * (0.98 + 0.5 * np.clip(1 - ((along - 0.06) / 0.26) ** 2, 0, 1))
    fins = np.where(np.abs(along - 0.06) < 0.26, fin_shape - np.abs(across), -1e3)
    inside_body = np.where((along > -1) & (along < 1), body - np.abs(across), -1e3)
    return np.maximum(np.maximum(inside_body, inside_tail), fins)


def _draw(rng: np.random.Generator) -> tuple[Array, Array]:
    """The cartoon: colours (H, W, 3) and the direction (H, W, radians) of the rows."""
    y, x = grid(SIZE)
    # The water turns about the middle of the ring that the fish swim in.
    away = np.hypot((y - 392) * 1.25, x - 528)
    turn = np.arctan2((y - 392) * 1.25, x - 528)
    level = away + 16 * lattice(rng, SIZE, 190) + 10 * np.sin(3 * turn)
    ripple = np.sin(level / 15.0 + 1.2 * turn) + 0.5 * fractal(rng, SIZE, 90, 2)
    depth = 0.42 + 0.19 * ripple + 0.16 * np.sin(level / 95) - 0.10 * smoothstep(300, 620, away)
    scene = gradient(WATER, np.clip(depth, 0, 1))
    scene = mix(scene, colors("f4d98a")[0], 0.85 * smoothstep(1.15, 1.35, ripple))
    scene = _leaves(rng, scene, y, x)
    for fish in SHOAL:
        along, across = _fish_frame(fish, y, x)
        edge = _fish_edge(fish, along, across)
        skin = _skin(rng, fish, along, across)
        scene = mix(scene, colors("071427")[0], smoothstep(-15, -8, edge) * 0.9)
        scene = np.where((edge > -2)[..., None], skin, scene)
        # Rows run along the body: its own coordinate takes the place of the water's.
        level = np.where(edge > -24, across, level)
    slope_y, slope_x = np.gradient(blur(level, 1.0))
    # Double angles average without regard to sign, so rows turn smoothly from one field into the next.
    angle = np.arctan2(slope_y, slope_x)
    cos2, sin2 = blur(np.cos(4 * angle), 7), blur(np.sin(4 * angle), 7)
    return scene, (np.arctan2(sin2, cos2) / 4).astype(np.float32)


def _leaves(rng: np.random.Generator, scene: Array, y: Array, x: Array) -> Array:
    """Lily pads and their flowers in the corners."""
    pads = (
        (90, 90, 120),
        (690, 110, 135),
        (80, 930, 130),
        (700, 960, 120),
        (395, 530, 78),
        (420, 1010, 62),
        (380, 20, 55),
    )
    for center_y, center_x, radius in pads:
        away = np.hypot(y - center_y, x - center_x) / radius
        turn = np.arctan2(y - center_y, x - center_x)
        veins = 0.5 + 0.5 * np.cos(14 * turn)
        leaf = gradient(LEAF, np.clip(0.85 - 0.75 * away + 0.25 * veins + 0.08 * lattice(rng, SIZE, 40), 0, 1))
        slit = np.abs(np.angle(np.exp(1j * (turn - center_x)))) < 0.16
        scene = np.where(((away < 1) & ~slit)[..., None], leaf, scene)
        scene = np.where((np.abs(away - 1) < 0.07)[..., None] & ~slit[..., None], colors("d9c25a")[0], scene)
        bloom = away / (0.34 + 0.13 * np.cos(7 * turn))
        petals = gradient(colors("fff3b0", "f7d04a", "f5a3b5", "d94f82", "8f2158"), np.clip(bloom, 0, 1))
        scene = np.where((bloom < 1)[..., None], petals, scene)
    return scene


def _skin(rng: np.random.Generator, fish: Fish, along: Array, across: Array) -> Array:
    """Scales in rows, a pale belly, dark back patches, gill and eye."""
    rows = across / 13.0
    scales = np.sin(np.pi * (along * fish.half_length / 15.0 + np.floor(rows) % 2)) * np.cos(np.pi * (rows % 1 - 0.5))
    patches = fractal(rng, SIZE, 85, 2)
    tone = 0.40 + 0.14 * scales + 0.22 * patches + 0.30 * np.abs(across / fish.half_width) ** 1.5
    tone = np.where(along < -0.62, 0.30 + 0.25 * np.cos(across / 5.0) - 0.4 * (along + 0.62), tone)
    tone = np.where((np.abs(across) > fish.half_width * 0.93), 0.25 + 0.3 * np.cos(along * 45), tone)
    skin = gradient(FISH_SKIN, np.clip(tone, 0, 1))
    gill = np.abs(along - 0.62 + 0.10 * (across / fish.half_width) ** 2) < 0.024
    skin = np.where(gill[..., None], FISH_SKIN[5], skin)
    for side in (-1, 1):
        eye = np.hypot((along - 0.74) * fish.half_length, across - side * fish.half_width * 0.42)
        skin = np.where((eye < 20)[..., None], colors("fdf6dd")[0], skin)
        skin = np.where((eye < 10)[..., None], colors("0a0d18")[0], skin)
    return skin


def _nearest(shape: Shape, seeds: Array, angles: Array, reach: float) -> tuple[Array, Array, Array]:
    """Owner (H, W), distance to it and lead over the runner-up, in the square metric turned by each tessera's angle."""
    first = np.full(shape, 1e6, dtype=np.float32)
    second = np.full(shape, 1e6, dtype=np.float32)
    owner = np.zeros(shape, dtype=np.int32)
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    for index, (y, x) in enumerate(seeds.astype(np.float32)):
        top, bottom = max(int(y - reach), 0), min(int(y + reach) + 2, shape[0])
        left, right = max(int(x - reach), 0), min(int(x + reach) + 2, shape[1])
        if top >= bottom or left >= right:
            continue
        dy = np.arange(top, bottom, dtype=np.float32)[:, None] - y
        dx = np.arange(left, right, dtype=np.float32)[None, :] - x
        cos, sin = cosines[index], sines[index]
        distance = np.maximum(np.abs(dx * cos + dy * sin), np.abs(dy * cos - dx * sin))
        window = np.s_[top:bottom, left:right]
        best = first[window]
        nearer = distance < best
        second[window] = np.minimum(second[window], np.maximum(distance, best))
        owner[window][nearer] = index
        first[window] = np.minimum(distance, best)
    return owner, first, second - first


def _lay(rng: np.random.Generator, direction: Array, rounds: int = 14) -> tuple[Array, Array]:
    """Seeds (N, 2) and angles (N,): Lloyd's rounds move every tessera to the middle of what it covers."""
    shape = (SIZE[0] // COARSE, SIZE[1] // COARSE)
    angle_of = direction[::COARSE, ::COARSE]
    side = TILE / COARSE
    seeds = spread(rng, shape, side * 1.07, 0.25)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for _ in range(rounds):
        owner, _, _ = _nearest(shape, seeds, _look_up(angle_of, seeds), side * 1.7)
        counts = np.bincount(owner.ravel(), minlength=len(seeds))
        total_y = np.bincount(owner.ravel(), rows.ravel(), len(seeds))
        total_x = np.bincount(owner.ravel(), columns.ravel(), len(seeds))
        kept = counts > 2
        seeds = np.stack([total_y[kept] / counts[kept], total_x[kept] / counts[kept]], axis=1)
    seeds = (seeds + 0.5) * COARSE - 0.5
    return seeds, _look_up(direction, seeds)


def _look_up(field: Array, points: Array) -> Array:
    """Value of `field` (H, W, ...) at the pixel nearest to each of `points` (N, 2)."""
    rows = np.clip(np.rint(points[:, 0]), 0, field.shape[0] - 1).astype(int)
    columns = np.clip(np.rint(points[:, 1]), 0, field.shape[1] - 1).astype(int)
    return field[rows, columns]


def _set(
    rng: np.random.Generator, scene: Array, seeds: Array, angles: Array, owner: Array, near: Array, gap: Array
) -> Array:
    """Press the tesserae into the mortar: each its own colour, tilt, bevel and chips."""
    count = len(seeds)
    lab = to_lab(_look_up(scene, seeds)) + rng.standard_normal((count, 3)) * (0.045, 0.012, 0.014)
    tile = lab[owner]
    ragged = 0.35 * lattice(rng, SIZE, 4)
    inset = np.minimum(gap / 2, TILE * 0.56 - near) + ragged
    cover = smoothstep(0.5, 1.7, inset)
    rows, columns = grid(SIZE)
    dy, dx = rows - seeds[owner, 0], columns - seeds[owner, 1]
    tilt = rng.normal(0, 1, (2, count))[:, owner]
    tile[..., 0] += 0.0075 * (tilt[0] * dy + tilt[1] * dx) + 0.022 * (tilt[0] + tilt[1])
    tile[..., 0] += 0.022 * fractal(rng, SIZE, 5, 3, 0.7)
    tile[..., 1:] *= 1.12
    tone = to_rgb(tile)
    dome = 2.2 * (1 - np.exp(-np.maximum(inset, 0) / 1.3)) * cover
    slope_y, slope_x = np.gradient(blur(dome, 0.55))
    lean = np.tanh(0.75 * (slope_x + slope_y))[..., None]
    tone = np.clip(tone + (1 - tone) * 0.42 * np.maximum(lean, 0), 0, 1) * (1 + 0.45 * np.minimum(lean, 0))
    glint = (
        smoothstep(1.5, 2.6, tilt[0] + tilt[1])[..., None] * np.exp(-((dy + 2) ** 2 + (dx + 2) ** 2) / 14)[..., None]
    )
    tone = tone + (1 - tone) * 0.55 * glint
    sand = GROUT * (1 + 0.16 * fractal(rng, SIZE, 3, 2, 0.8) + 0.10 * fractal(rng, SIZE, 80, 3))[..., None]
    sand = sand * (1 - 0.45 * blur(cover, 2.0)[..., None])
    return np.clip(sand * (1 - cover[..., None]) + tone * cover[..., None], 0, 1)
