"""Woodblock print: breaking seas under a red sun, cut in lines and printed in four inks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .noise import Array, blur, fractal, grid, lattice, smoothstep
from .palette import colors
from .press import cuts, ink, overprint, paper

SIZE = (768, 1024)
SUN = (235.0, 700.0, 108.0)  # y, x, radius
PAPER, PALE, DEEP, RED, OCHRE = colors("f3e6c8", "86b3c4", "14305f", "cf3b2a", "e8b96a")


@dataclass(frozen=True)
class Sea:
    """One range of waves: mean level y, and crests as (x, height, width, curl in radians)."""

    level: float
    crests: tuple[tuple[float, float, float, float], ...]
    spacing: float


SEAS = (
    Sea(430, ((130, 60, 90, 1.0), (480, 45, 80, -0.8), (930, 70, 100, -1.2)), 7.0),
    Sea(520, ((330, 150, 130, 1.9), (800, 95, 110, 1.5)), 8.5),
    Sea(630, ((60, 190, 150, 2.2), (600, 150, 140, 2.1), (1010, 130, 120, -1.6)), 10.0),
    Sea(740, ((320, 170, 150, -2.0), (820, 165, 150, 2.2)), 11.5),
)


def paint(rng: np.random.Generator) -> Array:
    """The picture (768, 1024, 3), sRGB in [0, 1]."""
    blocks = {"pale": np.zeros(SIZE, np.float32), "deep": np.zeros(SIZE, np.float32)}
    blocks["red"], blocks["ochre"] = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    _cut_sky(rng, blocks)
    for sea in SEAS:
        _cut_sea(rng, blocks, sea)
    page = paper(rng, SIZE, PAPER)
    # Blocks never lie quite true: each is printed a little off the others.
    for name, color, shift in (
        ("ochre", OCHRE, (0, 1)),
        ("red", RED, (1, -1)),
        ("pale", PALE, (-1, 2)),
        ("deep", DEEP, (0, 0)),
    ):
        page = overprint(page, ink(rng, np.roll(blocks[name], shift, (0, 1))), color)
    return page


def _cut_sky(rng: np.random.Generator, blocks: dict[str, Array]) -> None:
    """Rays from the sun, drifting bands of cloud, and a wash that deepens upwards."""
    y, x = grid(SIZE)
    away = np.hypot(y - SUN[0], x - SUN[1])
    turn = np.arctan2(y - SUN[0], x - SUN[1])
    drift = fractal(rng, SIZE, 150, 3, stretch=2.6)
    bank = 0.9 * drift + np.sin(y / 34 + 0.7 * drift) * 0.8
    cloud = smoothstep(0.55, 0.62, bank)
    rays = cuts(
        turn * 150 / (2 * np.pi) + 0.25 * lattice(rng, SIZE, 60), 0.60 - away / 1900 + 0.14 * lattice(rng, SIZE, 50)
    )
    waves = cuts((y + 26 * drift) / 8.0, 0.42 + 0.3 * smoothstep(330, 0, y) + 0.14 * lattice(rng, SIZE, 30, 120))
    disc = smoothstep(SUN[2] + 1, SUN[2] - 1, away)
    inside = cuts((y + 5 * lattice(rng, SIZE, 90)) / 9.0, 0.98 - 0.55 * smoothstep(SUN[0] - 30, SUN[0] + SUN[2], y))
    blocks["ochre"] += np.maximum(rays * (1 - cloud), 0.9 * disc)
    blocks["red"] += disc * inside
    contours = cuts(bank * 4.6, 0.34 + 0.1 * lattice(rng, SIZE, 60)) * cloud
    blocks["pale"] += (1 - disc) * np.maximum(waves * (1 - cloud) * smoothstep(520, 150, y + 40 * drift), contours)
    blocks["deep"] += (1 - disc) * waves * (1 - cloud) * smoothstep(190, -40, y + 60 * drift) * 0.9


def _cut_sea(rng: np.random.Generator, blocks: dict[str, Array], sea: Sea) -> None:
    """Cut one range of waves into all blocks, over whatever lies behind it."""
    depth, across = _depth(rng, sea)
    inside = smoothstep(-0.7, 0.7, depth)
    for name in blocks:
        blocks[name] *= 1 - inside
    scallops = 7 * np.abs(np.sin(across / 13 + 0.8 * lattice(rng, SIZE, 50))) + 4 * lattice(rng, SIZE, 14)
    foam = smoothstep(1, -1, depth - 17 - scallops)
    lines = cuts((depth + 4 * lattice(rng, SIZE, 45)) / sea.spacing, _tone(rng, depth))
    under = cuts((depth + 4 * lattice(rng, SIZE, 60)) / (sea.spacing * 2) + 0.3, 0.72 + 0.2 * lattice(rng, SIZE, 70))
    outline = smoothstep(3.4, 2.2, np.abs(depth - 2) + 0.6 * lattice(rng, SIZE, 20))
    lip = smoothstep(2.4, 1.2, np.abs(depth - 17 - scallops) + 0.5 * lattice(rng, SIZE, 16))
    flecks = smoothstep(1.25, 1.5, lattice(rng, SIZE, 5.5)) * (1 - foam) * smoothstep(80, 25, depth)
    hatch = cuts(across / 6.5 + 0.5 * lattice(rng, SIZE, 20), 0.34 - depth / 70 + 0.1 * lattice(rng, SIZE, 18)) * foam
    blocks["deep"] += inside * np.maximum(np.maximum(lines * (1 - foam) * (1 - flecks), outline), lip)
    blocks["pale"] += inside * np.maximum(np.maximum(under, 0.35) * (1 - foam) * (1 - flecks), 0.8 * hatch)


def _tone(rng: np.random.Generator, depth: Array) -> Array:
    """Share of deep blue: dark in the hollow below the crest, lighter on the swell, broken by the gouge."""
    hollow = 0.50 * np.exp(-(((depth - 44) / 26) ** 2))
    return 0.36 + hollow + 0.10 * lattice(rng, SIZE, 26, 90) + 0.12 * fractal(rng, SIZE, 110, 2)


def _depth(rng: np.random.Generator, sea: Sea) -> tuple[Array, Array]:
    """Distance below the surface (negative: above) and distance along it, in pixels, with the crests curled over.

    A crest is a plain hump whose surroundings are twisted about its tip, most at the tip; everything cut along the
    surface is twisted with it.
    """
    y, x = grid(SIZE)
    for at, height, _, turn in sea.crests:
        middle_y, middle_x = sea.level - 0.72 * height, at
        dy, dx = y - middle_y, x - middle_x
        angle = turn * np.exp(-(dx * dx + dy * dy) / (0.62 * height) ** 2)
        cos, sin = np.cos(angle), np.sin(angle)
        y, x = middle_y + dy * cos - dx * sin, middle_x + dy * sin + dx * cos
    surface = np.full(SIZE, sea.level, dtype=np.float32) + 7 * np.sin(x / 47 + sea.level)
    for at, height, width, _ in sea.crests:
        surface -= height / (1 + np.abs((x - at) / (0.55 * width)) ** 2.2)
    depth = y - surface
    slope_y, slope_x = np.gradient(depth)
    return depth / np.maximum(blur(np.hypot(slope_y, slope_x), 3), 0.5), x
