"""A bristle brush: curved strokes that carry colour and thickness onto a canvas."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .noise import Array, Shape, fractal, lattice


@dataclass(frozen=True)
class Brush:
    """How a stroke looks. Lengths in pixels.

    `thick` is the height of the paint, `dry` (0 to 1) how early the brush runs out of it, `streak` how unevenly its two
    colours lie across the bristles, `ragged` how far single bristles run past the ends, `opacity` the cover of wet
    paint, `taper` how far the stroke narrows towards its ends (1: to a point; below 0 it swells).
    """

    length: float
    width: float
    thick: float = 1.0
    dry: float = 0.35
    streak: float = 0.8
    ragged: float = 8.0
    opacity: float = 0.96
    taper: float = 0.35


class Canvas:
    """A picture (`color`, (H, W, 3)) and the thickness of the paint on it (`height`, (H, W)).

    The texture under the strokes is drawn once from `rng`; every stroke looks at another piece of it.
    """

    def __init__(self, rng: np.random.Generator, ground: Array) -> None:
        self.color = ground.astype(np.float32).copy()
        self.height = np.zeros(ground.shape[:2], dtype=np.float32)
        self._rng = rng
        # Bristles: rows are hairs (fine across), columns follow the stroke (slow along).
        size = (1024, 2048)
        hairs = 0.55 * lattice(rng, size, 1.6, 90) + 0.5 * lattice(rng, size, 4.0, 160) + 0.3 * fractal(rng, size, 6, 3)
        self._hairs = np.clip(0.5 + 0.25 * hairs, 0, 1).astype(np.float32)
        self._loads = np.clip(0.5 + 0.4 * lattice(rng, size, 5.0, 240), 0, 1).astype(np.float32)

    @property
    def shape(self) -> Shape:
        """(H, W)."""
        return self.height.shape

    def stroke(self, brush: Brush, y: float, x: float, angle: float, bend: float, first: Array, second: Array) -> None:
        """Lay one stroke centred on (y, x): direction `angle` (radians), curvature `bend` (1 / pixels), two colours."""
        half, radius = brush.length / 2, brush.width / 2
        reach = half + radius + brush.ragged
        sag = min(abs(bend) * half * half / 2, half)
        along_x, along_y = abs(np.cos(angle)), abs(np.sin(angle))
        span_y = along_y * reach + (radius + sag) * along_x + 2
        span_x = along_x * reach + (radius + sag) * along_y + 2
        top, bottom = max(int(y - span_y), 0), min(int(y + span_y) + 1, self.shape[0])
        left, right = max(int(x - span_x), 0), min(int(x + span_x) + 1, self.shape[1])
        if top >= bottom or left >= right:
            return
        dy = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
        dx = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along = dx * cos + dy * sin
        # A parabola stands in for the circular arc: the same curvature, no trigonometry per pixel.
        across = (dy * cos - dx * sin - 0.5 * bend * along * along) / np.sqrt(1 + (bend * along) ** 2)
        hair, load = self._bristles(along, across)
        taper = radius * (1 - brush.taper * np.clip(np.abs(along) / half, 0, 1) ** (3.7 - 2 * brush.taper))
        side = np.clip(taper - np.abs(across) + 0.5 + 2.0 * (hair - 0.5), 0, 1)
        ends = np.clip((half - np.abs(along) + brush.ragged * 2 * (hair - 0.5)) / 3 + 0.5, 0, 1)
        left_on_brush = 1 - brush.dry * (along / brush.length + 0.5)
        cover = np.clip((hair - (1 - left_on_brush) * 0.9) * 6 + 1.0, 0, 1)
        alpha = side * ends * cover * brush.opacity
        share = np.clip(0.5 + (load - 0.5) * 2 * brush.streak, 0, 1)[..., None]
        paint = first + (second - first) * share + (hair[..., None] - 0.5) * 0.10
        rim = np.exp(-(((np.abs(across) - taper * 0.86) / (0.12 * brush.width + 0.6)) ** 2))
        body = brush.thick * (0.25 + 0.9 * hair + 0.5 * rim)
        window = np.s_[top:bottom, left:right]
        self.color[window] += alpha[..., None] * (paint - self.color[window])
        self.height[window] += alpha * (body + 0.25 * self.height[window] - self.height[window])

    def _bristles(self, along: Array, across: Array) -> tuple[Array, Array]:
        """Hair density and second-colour share in [0, 1] at stroke coordinates."""
        row, column = self._rng.integers(0, 1024), self._rng.integers(0, 2048)
        rows = (across * 1.3).astype(np.int32) + row & 1023
        columns = along.astype(np.int32) + column & 2047
        return self._hairs[rows, columns], self._loads[rows, columns]


def paint_layer(
    canvas: Canvas,
    rng: np.random.Generator,
    brush: Brush,
    points: Array,
    first: Array,
    second: Array,
    direction: Array,
    wobble: float = 0.12,
) -> None:
    """Lay a stroke at each of `points` (N, 2) along `direction` (H, W, radians), bent as the direction turns there.

    `first` and `second` (N, 3) are the colours each stroke is loaded with, `wobble` the hand's unsteadiness in radians.
    """
    height, width = canvas.shape
    sizes = np.exp(rng.normal(0, 0.22, len(points)))
    slips = rng.normal(0, wobble, len(points))
    for index, (y, x) in enumerate(points):
        row, column = int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))
        angle = float(direction[row, column])
        step = brush.length / 3
        ahead_y = int(np.clip(y + np.sin(angle) * step, 0, height - 1))
        ahead_x = int(np.clip(x + np.cos(angle) * step, 0, width - 1))
        # Directions are lines, not arrows: take the turn modulo half a circle.
        turn = (float(direction[ahead_y, ahead_x]) - angle + np.pi / 2) % np.pi - np.pi / 2
        bend = np.clip(turn / step, -1.4 / brush.length, 1.4 / brush.length)
        size = float(sizes[index])
        sized = replace(brush, length=brush.length * size, width=brush.width * size)
        canvas.stroke(sized, y, x, angle + float(slips[index]), float(bend), first[index], second[index])
