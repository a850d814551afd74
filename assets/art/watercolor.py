"""Watercolour: poppies, cornflowers and leaves in transparent washes that settle, bloom and dry with dark edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .noise import Array, fractal, grid, lattice, smoothstep
from .palette import colors, relief, to_lab, to_rgb
from .press import paper

SIZE = (768, 1024)
GROUND = colors("f7f1e3")[0]
DISTANCE = colors("9cc4dc", "b9b4dc", "f2c7b0", "f5dc9a", "a9cfae", "86aede")
GREENS = colors("3f6b3a", "6f8f3c", "2f5d52", "94a648", "4c7f6c", "27483c")
POPPY = colors("d8392b", "e5603a", "c32237", "ef8a4a")
CORNFLOWER = colors("2f4fae", "4a3f9c", "3b7cc9", "6a58b5")
COSMOS = colors("c9558f", "e391b0", "a83b86")
SUNNY = colors("f0b62f", "e89a2c", "f6d766")


@dataclass(frozen=True)
class Sheet:
    """Paper that takes paint: `absorbed` (H, W, 3) is the optical density so far, the rest are fields in the paper.

    `tooth` holds granulating pigment, `warp` (H, W, 2) is how wet edges wander (pixels), `pools` where water gathered.
    """

    absorbed: Array
    tooth: Array
    warp: Array
    pools: Array


def paint(rng: np.random.Generator) -> Array:
    """The picture (768, 1024, 3), sRGB in [0, 1]."""
    warp = np.stack([fractal(rng, SIZE, 34, 5, 0.55), fractal(rng, SIZE, 34, 5, 0.55)], axis=-1)
    sheet = Sheet(
        np.zeros((*SIZE, 3), np.float32), fractal(rng, SIZE, 3.2, 3, 0.8), warp, fractal(rng, SIZE, 70, 5, 0.6)
    )
    _distance(rng, sheet)
    _foliage(rng, sheet)
    for y, x, size, kind in _bouquet(rng):
        _flower(rng, sheet, y, x, size, kind)
    _splatter(rng, sheet)
    page = paper(rng, SIZE, GROUND, rough=0.02) * np.exp(-sheet.absorbed)
    return relief(page, sheet.tooth, strength=0.10)


def _wash(
    rng: np.random.Generator,
    sheet: Sheet,
    distance: Array,
    window: tuple[slice, slice],
    color: Array,
    strength: float,
    wet: float = 1.0,
) -> None:
    """Lay one wash into `window`: `distance` (h, w) pixels inside its outline; `wet` softens the edge and feeds blooms.

    Pigment is carried to the drying edge, sinks into the tooth and is pushed aside where water ran back.
    """
    warp, pools = sheet.warp[window], sheet.pools[window]
    inside = distance + 2.6 * warp[..., 0] + 1.2 * warp[..., 1]
    cover = smoothstep(-0.6 - 7 * (wet - 1), 0.9 + 7 * (wet - 1), inside)
    edge = np.exp(-np.maximum(inside, 0) / 1.7) + 0.45 * np.exp(-np.maximum(inside, 0) / 7)
    phase = float(rng.uniform(0, 2 * np.pi))
    runs = np.sin(2.1 * pools + phase + inside / 40)
    backrun = smoothstep(0.35, 0.5, runs) - 0.9 * smoothstep(0.42, 0.9, runs)
    density = 0.62 + 0.22 * pools * np.sign(np.cos(phase)) + 0.30 * backrun + 0.15 * sheet.tooth[window]
    density = np.clip(density + 0.85 * edge / wet**2, 0.06, 2.2) * cover * strength
    sheet.absorbed[window] += density[..., None] * -np.log(np.clip(color, 0.03, 0.99))


def _window(y: float, x: float, reach: float) -> tuple[tuple[slice, slice], Array, Array]:
    """The part of the sheet within `reach` of (y, x), and the coordinates of its pixels relative to that point."""
    top, bottom = int(np.clip(y - reach, 0, SIZE[0] - 1)), int(np.clip(y + reach, 1, SIZE[0]))
    left, right = int(np.clip(x - reach, 0, SIZE[1] - 1)), int(np.clip(x + reach, 1, SIZE[1]))
    rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
    return np.s_[top:bottom, left:right], rows - y, columns - x


def _choose(rng: np.random.Generator, tubes: Array) -> Array:
    """A mixture of two of `tubes` (N, 3), a little different every time."""
    first, second = tubes[rng.integers(len(tubes))], tubes[rng.integers(len(tubes))]
    lab = to_lab(first) + rng.uniform(0, 0.6) * (to_lab(second) - to_lab(first)) + rng.normal(0, 0.012, 3)
    return to_rgb(lab)


def _distance(rng: np.random.Generator, sheet: Sheet) -> None:
    """First washes, wet in wet, over the whole sheet: sky and far meadow melting into each other."""
    whole = np.s_[: SIZE[0], : SIZE[1]]
    rows, columns = grid(SIZE)
    for number in range(22):
        y, x = rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1])
        radius = rng.uniform(110, 240)
        away = np.hypot((rows - y) * 1.3, columns - x)
        distance = radius - away + 34 * lattice(rng, SIZE, 110)
        _wash(rng, sheet, distance, whole, DISTANCE[number % len(DISTANCE)], rng.uniform(0.45, 0.95), wet=2.6)


def _foliage(rng: np.random.Generator, sheet: Sheet) -> None:
    """Blades and leaves rising from below, pale ones first."""
    for number in range(140):
        depth = number / 140
        y, x = rng.uniform(240, SIZE[0] + 90), rng.uniform(-30, SIZE[1] + 30)
        y = y + (1 - depth) * 40
        length, width = rng.uniform(90, 240), rng.uniform(8, 21)
        lean, bend = rng.normal(0, 0.42), rng.normal(0, 0.003)
        window, dy, dx = _window(y, x, length * 0.62)
        along = -dy * np.cos(lean) + dx * np.sin(lean)
        across = dx * np.cos(lean) + dy * np.sin(lean) - 0.5 * bend * along**2
        share = np.clip(along / length + 0.5, 0, 1)
        half = width * np.sin(np.pi * share**0.8) ** 0.8
        distance = np.where(np.abs(along) < length / 2, half - np.abs(across), -50)
        _wash(rng, sheet, distance, window, _choose(rng, GREENS), (0.25 + 0.5 * depth) * rng.uniform(0.6, 1.1))


def _bouquet(rng: np.random.Generator) -> list[tuple[float, float, float, int]]:
    """Where the flowers stand: (y, x, radius, kind), far and small ones first, kept apart from each other."""
    placed: list[tuple[float, float, float, int]] = []
    for size in (*[96] * 40, *[72] * 120, *[48] * 240, *[30] * 400):
        y, x = rng.uniform(40, SIZE[0] - 20), rng.uniform(10, SIZE[1] - 10)
        radius = size * rng.uniform(0.85, 1.15)
        if all(np.hypot(y - other[0], x - other[1]) > 0.80 * (radius + other[2]) for other in placed):
            placed.append((y, x, radius, int(rng.choice(4, p=(0.42, 0.26, 0.2, 0.12)))))
    return sorted(placed, key=lambda flower: flower[2])


def _flower(rng: np.random.Generator, sheet: Sheet, y: float, x: float, size: float, kind: int) -> None:
    """One flower of petals that overlap, and its dark heart. Kinds: poppy, cornflower, cosmos, marigold."""
    tubes = (POPPY, CORNFLOWER, COSMOS, SUNNY)[kind]
    count, breadth = ((5, 0.50), (13, 0.17), (8, 0.26), (15, 0.18))[kind]
    squash, tilt = rng.uniform(0.6, 0.98), rng.uniform(0, np.pi)
    start = rng.uniform(0, 2 * np.pi)
    _lift(sheet, y, x, size, tilt, squash)
    for petal in rng.permutation(count):
        turn = start + 2 * np.pi * petal / count + rng.normal(0, 0.08)
        reach = size * rng.uniform(0.85, 1.1)
        window, dy, dx = _window(y, x, reach * 1.35)
        dy, dx = _squash(dy, dx, tilt, squash)
        along = dx * np.cos(turn) + dy * np.sin(turn)
        across = dy * np.cos(turn) - dx * np.sin(turn)
        share = np.clip(along / reach, 0, 1)
        half = reach * breadth * np.clip(share * (1.04 - share) * 4, 0, None) ** 0.55 * (0.55 + 0.6 * share)
        frill = 0.05 * reach * np.sin(across / reach * 26 + turn * 5)
        distance = np.where(
            (along > 0) & (along < reach + frill), np.minimum(half - np.abs(across), reach + frill - along), -60
        )
        _wash(rng, sheet, distance, window, _choose(rng, tubes), rng.uniform(0.5, 0.95), wet=rng.uniform(1.0, 1.18))
    _heart(rng, sheet, y, x, size * 0.3, tilt, squash, kind)


def _lift(sheet: Sheet, y: float, x: float, size: float, tilt: float, squash: float) -> None:
    """Take up most of the damp paint where a flower will stand, so that its colours stay clear."""
    window, dy, dx = _window(y, x, size * 1.4)
    dy, dx = _squash(dy, dx, tilt, squash)
    inside = size * 0.92 - np.hypot(dy, dx) + 5 * sheet.warp[window][..., 0]
    sheet.absorbed[window] *= (1 - 0.78 * smoothstep(-5, 7, inside))[..., None]


def _squash(dy: Array, dx: Array, tilt: float, squash: float) -> tuple[Array, Array]:
    """Coordinates in the plane of a flower that is turned away from us: shortened by `squash` across `tilt`."""
    along = dx * np.cos(tilt) + dy * np.sin(tilt)
    across = (dy * np.cos(tilt) - dx * np.sin(tilt)) / squash
    return along * np.sin(tilt) + across * np.cos(tilt), along * np.cos(tilt) - across * np.sin(tilt)


def _heart(
    rng: np.random.Generator, sheet: Sheet, y: float, x: float, radius: float, tilt: float, squash: float, kind: int
) -> None:
    """The dark middle, charged wet so that it creeps into the petals, and a ring of stamens."""
    dark = (colors("2a1a2e")[0], colors("241a52")[0], colors("c98a1e")[0], colors("8a4a18")[0])[kind]
    window, dy, dx = _window(y, x, radius * 3.2)
    dy, dx = _squash(dy, dx, tilt, squash)
    away = np.hypot(dy, dx)
    _wash(rng, sheet, radius * 1.15 - away, window, dark, 0.28, wet=1.5)
    _wash(rng, sheet, radius * 0.5 - away, window, dark, 0.75)
    if radius < 17:  # too small for the fine brush
        return
    turn = np.arctan2(dy, dx)
    # Distance from the nearest of 19 hairs, cut to a ring; no warp is wide enough to tear them.
    hairs = 2.4 - away * np.abs(np.sin(turn * 9.5 + radius)) / 9.5
    ring = 0.34 * radius - np.abs(away - radius)
    _wash(rng, sheet, np.minimum(hairs, ring) - 1.2, window, dark, 0.6)


def _splatter(rng: np.random.Generator, sheet: Sheet) -> None:
    """Drops flicked from the brush, and drops of clean water that pushed the paint aside."""
    tubes = np.concatenate([POPPY, CORNFLOWER, GREENS, SUNNY])
    for _ in range(320):
        y, x, radius = rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1]), 0.8 + rng.gamma(1.3, 1.5)
        window, dy, dx = _window(y, x, radius + 9)
        _wash(rng, sheet, radius - np.hypot(dy, dx), window, _choose(rng, tubes), rng.uniform(0.3, 0.9))
    for _ in range(46):
        y, x, radius = rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1]), rng.uniform(7, 30)
        window, dy, dx = _window(y, x, radius * 1.7 + 12)
        inside = radius - np.hypot(dy, dx) + 3.2 * sheet.warp[window][..., 0]
        lifted = 1 - 0.45 * smoothstep(-1, 4, inside) + 0.5 * np.exp(-((inside / 1.6) ** 2))
        sheet.absorbed[window] *= lifted[..., None]
