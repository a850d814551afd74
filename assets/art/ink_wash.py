"""Ink wash (sumi-e): a bamboo grove in mist under the moon, on warm paper with a red seal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .brush import Brush, Canvas
from .noise import Array, blur, fractal, grid, lattice, sample, smoothstep
from .palette import colors
from .press import paper

SIZE = (768, 1024)
PAPER, INK, SMOKE, TEA, SEAL = colors("f3e0b8", "121015", "4a4f58", "9a7448", "b3261e")
MOON = (205.0, 705.0, 92.0)  # y, x, radius


@dataclass(frozen=True)
class Grove:
    """One depth of the grove: number of canes, width (pixels), strength of ink, bleeding (pixels), mist (0 to 1)."""

    canes: int
    width: float
    ink: float
    bleed: float
    mist: float


GROVES = (
    Grove(15, 13, 0.42, 5.0, 0.34),
    Grove(11, 20, 0.62, 2.2, 0.30),
    Grove(7, 29, 0.90, 0.5, 0.16),
    Grove(4, 40, 1.05, 0.0, 0.0),
)


def paint(rng: np.random.Generator) -> Array:
    """The picture (768, 1024, 3), sRGB in [0, 1]."""
    tooth = fractal(rng, SIZE, 3.0, 3, 0.8)
    sheet = paper(rng, SIZE, PAPER, rough=0.04)
    canvas = Canvas(rng, sheet * _washes(rng, tooth))
    for grove in GROVES:
        _plant(rng, canvas, grove)
        _bleed(rng, canvas, grove)
    _ground(rng, canvas)
    _splash(rng, canvas)
    _seal(rng, canvas)
    return np.clip(canvas.color * (1 + 0.030 * tooth)[..., None], 0, 1)


def _washes(rng: np.random.Generator, tooth: Array) -> Array:
    """How much light (H, W, 3) three washes of thin ink let through; the moon is left out of them."""
    y, x = grid(SIZE)
    through = np.ones((*SIZE, 3), dtype=np.float32)
    away = np.hypot(y - MOON[0], x - MOON[1]) + 2.2 * fractal(rng, SIZE, 30, 4)
    moon = smoothstep(MOON[2] + 2, MOON[2] - 2, away)
    for color, strength, cell in ((TEA, 0.55, 300), (SMOKE, 0.50, 240), (SMOKE, 0.42, 150)):
        cloud = fractal(rng, SIZE, cell, 6, 0.55, stretch=1.3)
        pools = fractal(rng, SIZE, 80, 5, 0.6)
        edges = sum(np.exp(-(((cloud - level) / 0.05) ** 2)) for level in (-0.9, 0.0, 0.8))
        backrun = smoothstep(0.55, 0.68, np.sin(2.4 * pools)) - 0.85 * smoothstep(0.62, 0.98, np.sin(2.4 * pools))
        density = 0.36 + 0.30 * cloud + 0.16 * edges + 0.26 * backrun + 0.16 * tooth + 0.09 * pools
        density += 0.45 * smoothstep(560, 790, y + 60 * cloud) + 0.40 * smoothstep(120, -60, y + 40 * cloud)
        halo = 0.5 * np.exp(-(((away - MOON[2]) / 46) ** 2))
        density = np.clip(density + halo, 0.03, 2) * (1 - 0.93 * moon) * strength
        through *= np.exp(-density[..., None] * (1 - color) * 1.25)
    return through


def _plant(rng: np.random.Generator, canvas: Canvas, grove: Grove) -> None:
    """Paint the canes of one depth from the ground up, then their twigs and leaves."""
    places = (np.arange(grove.canes) + rng.uniform(0.1, 0.9, grove.canes)) * SIZE[1] / grove.canes
    for x in places:
        joints = _cane(rng, canvas, grove, float(x))
        for y, at in joints:
            if rng.random() < 0.74:
                _twig(rng, canvas, grove, y, at)


def _tone(rng: np.random.Generator, ink: float) -> Array:
    """Ink (3,) diluted to the strength `ink`, cooler when thin."""
    strength = float(np.clip(ink * rng.uniform(0.78, 1.06), 0, 1))
    dark = SMOKE + (INK - SMOKE) * strength
    return PAPER * 0.92 + (dark - PAPER * 0.92) * strength


def _cane(rng: np.random.Generator, canvas: Canvas, grove: Grove, x: float) -> list[tuple[float, float]]:
    """One cane, a pressed and lifted stroke for each segment; returns its joints as (y, x)."""
    width = grove.width * rng.uniform(0.7, 1.15)
    lean, sway = rng.normal(0, 0.07), rng.normal(0, 0.010)
    y, joints = SIZE[0] + rng.uniform(0, 60), []
    length = width * rng.uniform(3.0, 4.0)
    while y > -40:
        angle = -np.pi / 2 + lean
        middle_y, middle_x = y + np.sin(angle) * length / 2, x + np.cos(angle) * length / 2
        dark, pale = _tone(rng, grove.ink), _tone(rng, grove.ink * 0.5)
        body = Brush(length - 2.5, width, dry=0.62, streak=1.3, ragged=5, opacity=0.93, taper=-0.12)
        canvas.stroke(body, middle_y, middle_x, angle, 0.0, dark, pale)
        collar = Brush(width * 1.35, max(width * 0.16, 1.6), dry=0.4, ragged=3, opacity=0.95)
        canvas.stroke(collar, y, x, 0.04, 0.010, _tone(rng, grove.ink * 1.15), dark)
        joints.append((y, x))
        y, x = y + np.sin(angle) * length, x + np.cos(angle) * length
        lean += sway
        length *= 1.05
    return joints


def _twig(rng: np.random.Generator, canvas: Canvas, grove: Grove, y: float, x: float) -> None:
    """A thin bough that leaves the joint (y, x) upwards and hangs out, with clusters of leaves."""
    side = rng.choice((-1.0, 1.0))
    reach = (46 + 2.6 * grove.width) * rng.uniform(0.6, 1.2)
    angle = -np.pi / 2 + side * rng.uniform(0.5, 1.1)
    stem = Brush(reach, max(grove.width * 0.09, 1.3), dry=0.5, ragged=4, opacity=0.9, taper=0.6)
    middle_y, middle_x = y + np.sin(angle) * reach / 2, x + np.cos(angle) * reach / 2
    canvas.stroke(stem, middle_y, middle_x, angle, side * 0.5 / reach, _tone(rng, grove.ink), _tone(rng, grove.ink))
    for share in rng.uniform(0.4, 1.05, 4):
        tip_y, tip_x = y + np.sin(angle) * reach * share, x + np.cos(angle) * reach * share
        _leaves(rng, canvas, grove, tip_y, tip_x, side)


def _leaves(rng: np.random.Generator, canvas: Canvas, grove: Grove, y: float, x: float, side: float) -> None:
    """Three to six leaves that fall from one point, set down, pressed and drawn out to a tip."""
    for _ in range(rng.integers(3, 7)):
        length = (30 + 1.9 * grove.width) * rng.uniform(0.65, 1.25)
        angle = np.pi / 2 - side * rng.normal(0.62, 0.42)
        tone = _tone(rng, grove.ink * rng.uniform(0.85, 1.2))
        leaf = Brush(length, length * rng.uniform(0.14, 0.22), dry=0.38, streak=1.0, ragged=5, opacity=0.96, taper=1.0)
        middle_y, middle_x = y + np.sin(angle) * length / 2, x + np.cos(angle) * length / 2
        canvas.stroke(leaf, middle_y, middle_x, angle, rng.normal(0, 0.35) / length, tone, _tone(rng, grove.ink * 0.82))


def _bleed(rng: np.random.Generator, canvas: Canvas, grove: Grove) -> None:
    """Let the wet ink creep along the fibres, then lay mist in drifts before the next depth is painted."""
    if grove.bleed:
        y, x = grid(SIZE)
        creep = grove.bleed * 0.9
        y, x = y + creep * fractal(rng, SIZE, 9, 3), x + creep * fractal(rng, SIZE, 9, 3)
        wet = blur(sample(canvas.color, y, x), grove.bleed)
        share = smoothstep(-0.6, 0.9, fractal(rng, SIZE, 120, 3))[..., None]
        # Ink spreads and also settles: the darker of sharp and blurred keeps its body.
        canvas.color += share * (np.minimum(wet, 0.5 * wet + 0.5 * canvas.color) - canvas.color)
    y, _ = grid(SIZE)
    drift = fractal(rng, SIZE, 190, 5, 0.55, stretch=2.2)
    mist = grove.mist * smoothstep(-0.5, 1.6, drift + 1.5 * smoothstep(200, 640, y) - 0.5)
    canvas.color += (PAPER * 0.97 - canvas.color) * mist[..., None]


def _ground(rng: np.random.Generator, canvas: Canvas) -> None:
    """Stones and moss at the foot: sweeps of a half-dry flat brush, and grass flicked upwards."""
    for _ in range(70):
        y, x = rng.uniform(690, 790), rng.uniform(-20, SIZE[1] + 20)
        sweep = Brush(rng.uniform(90, 220), rng.uniform(10, 26), dry=0.95, ragged=26, opacity=0.75)
        canvas.stroke(sweep, y, x, rng.normal(0, 0.10), rng.normal(0, 0.002), _tone(rng, 0.75), _tone(rng, 0.4))
    for _ in range(420):
        y, x = rng.uniform(690, 790), rng.uniform(0, SIZE[1])
        blade = Brush(rng.uniform(22, 70), rng.uniform(2.0, 4.2), dry=0.5, ragged=4, opacity=0.9, taper=0.9)
        canvas.stroke(
            blade, y, x, -np.pi / 2 + rng.normal(0, 0.4), rng.normal(0, 0.008), _tone(rng, 0.9), _tone(rng, 0.6)
        )


def _splash(rng: np.random.Generator, canvas: Canvas) -> None:
    """Drops that fell from the loaded brush."""
    for _ in range(150):
        y, x, radius = rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1]), 0.9 + rng.gamma(1.1, 1.1)
        drop = Brush(radius * 2.2, radius * 2, dry=0.0, ragged=1, opacity=rng.uniform(0.3, 0.85), taper=0.9)
        canvas.stroke(drop, y, x, rng.uniform(0, np.pi), 0.0, _tone(rng, 0.85), _tone(rng, 0.85))


def _seal(rng: np.random.Generator, canvas: Canvas) -> None:
    """A square seal in red paste, cut with an invented mark, unevenly pressed."""
    top, left, side = 640, 66, 62
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    worn = 0.02 * lattice(rng, (side, side), 5)
    frame = smoothstep(0.0, 0.05, np.minimum(np.minimum(y, 1 - y), np.minimum(x, 1 - x)) + worn)
    stalk = np.abs(x - 0.5 + worn) < 0.05
    leaf = np.abs(np.abs(x - 0.5) - 0.9 * np.abs(y % 0.34 - 0.05)) < 0.055
    border = np.abs(np.maximum(np.abs(x - 0.5), np.abs(y - 0.5)) - 0.42) < 0.025
    mark = ((stalk | leaf) & (np.maximum(np.abs(x - 0.5), np.abs(y - 0.5)) < 0.36)) | border
    press = np.clip(0.80 + 0.22 * fractal(rng, (side, side), 6, 3), 0, 0.97)
    window = np.s_[top : top + side, left : left + side]
    canvas.color[window] += (frame * ~mark * press)[..., None] * (SEAL - canvas.color[window])
