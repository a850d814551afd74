"""A drawing of robustness: how many pictures a change fools, against its size, one line per method."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cvtool.charts import round_up
from cvtool.codecs.rasters import unit
from cvtool.fool.options import Norm

WIDTH, HEIGHT = 1000, 540
LEFT, TOP, RIGHT, BOTTOM = 90, 50, 340, 80
"""Room around the axes; the names of the methods stand on the right."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
INK, GRID = (40, 40, 40), (225, 225, 225)
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b5a800")
"""Okabe and Ito's, which the colour-blind can tell apart; the yellow is darker, to be seen on white."""
THIN, THICK = 3, 11
DASH = 12
LINE = 40
"""Pixels from one method's name to the next, if there is room."""
TICKS = 6
AXES = {
    Norm.linf: ("largest change of a value, in 1/255", 255.0),
    Norm.l2: ("L2 of the change, of values 0 to 1", 1.0),
    Norm.l1: ("L1 of the change, of values 0 to 1", 1.0),
    Norm.l0: ("changed pixels", 1.0),
}
"""What is written at the axis, and how many of its units are 1."""


@dataclass(frozen=True)
class Curve:
    """How one method fared.

    Attributes:
        name: of the method.
        norm: that sizes are measured in.
        sizes: of the changes that fooled, of values in [0, 1].
        pictures: how many were tried.
        limit: the largest change that was allowed; None: any.
    """

    name: str
    norm: Norm
    sizes: tuple[float, ...]
    pictures: int
    limit: float | None


def draw_curves(curves: Sequence[Curve]) -> NDArray[np.float32]:
    """Curves → a drawing (H, W, 3) float32 in [0, 1]; each norm has axes of its own, one below the other."""
    norms = list(dict.fromkeys(curve.norm for curve in curves))
    panels = [_panel(norm, [curve for curve in curves if curve.norm is norm]) for norm in norms]
    return unit(np.concatenate([np.asarray(panel) for panel in panels]))


@dataclass(frozen=True)
class _Axes:
    """From sizes and shares to pixels."""

    most: float

    def x(self, size: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * size / self.most

    def y(self, share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _panel(norm: Norm, curves: Sequence[Curve]) -> Image.Image:
    label, units = AXES[norm]
    ends = [units * size for curve in curves for size in (*curve.sizes, curve.limit or 0)]
    step = nice_step(max(ends, default=0) or 1)
    axes = _Axes(step * math.ceil((max(ends, default=0) or 1) / step - 1e-3))
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    _draw_axes(draw, font, axes, step, label)
    line = min(LINE, (HEIGHT - TOP - LINE) // len(curves))
    for number, curve in enumerate(curves):
        # What lies on top is thinner, so that lines that coincide are all seen.
        width = min(THICK, THIN + 2 * (len(curves) - 1 - number))
        color, dashed = COLORS[number % len(COLORS)], number >= len(COLORS)
        corners = [(axes.x(size), axes.y(share)) for size, share in steps(curve, units, axes.most)]
        _draw_line(draw, corners, color, width, dashed)
        _draw_name(draw, font, curve, units, TOP + line * number, color, width, dashed)
    return image


def steps(curve: Curve, units: float, most: float) -> list[tuple[float, float]]:
    """The corners (size, share of the pictures that a change up to that size fools) from 0 to `most`."""
    corners, share = [(0.0, 0.0)], 0.0
    for number, size in enumerate(sorted(curve.sizes), start=1):
        corners.append((units * size, share))
        share = number / curve.pictures
        corners.append((units * size, share))
    return [*corners, (most, share)]


def nice_step(most: float) -> float:
    """1, 2 or 5 times a power of ten, so that at most `TICKS` of them reach `most`."""
    return round_up(most / TICKS)


def _draw_axes(draw: ImageDraw.ImageDraw, font: Font, axes: _Axes, step: float, label: str) -> None:
    for number in range(6):
        y = axes.y(number / 5)
        draw.line([(axes.x(0), y), (axes.x(axes.most), y)], GRID)
        draw.text((LEFT - 10, y), f"{20 * number} %", INK, font, anchor="rm")
    for number in range(round(axes.most / step) + 1):
        x = axes.x(number * step)
        draw.line([(x, axes.y(0)), (x, axes.y(0) + 6)], INK)
        draw.text((x, axes.y(0) + 10), f"{number * step:g}", INK, font, anchor="mt")
    draw.line([(axes.x(0), axes.y(1)), (axes.x(0), axes.y(0)), (axes.x(axes.most), axes.y(0))], INK)
    draw.text((axes.x(axes.most / 2), HEIGHT - 20), label, INK, font, anchor="ms")
    draw.text((10, TOP - 20), "pictures fooled", INK, font, anchor="ls")


def _draw_line(
    draw: ImageDraw.ImageDraw, corners: Sequence[tuple[float, float]], color: str, width: int, dashed: bool
) -> None:
    if not dashed:
        draw.line(list(corners), color, width)
        return
    for (x, y), (right, above) in pairwise(corners):
        length = abs(right - x) + abs(above - y)  # all pieces go right or up
        for start in np.arange(0, length, 2 * DASH):
            near, far = start / length, min(1.0, (start + DASH) / length)
            ends = [(x + (right - x) * share, y + (above - y) * share) for share in (near, far)]
            draw.line(ends, color, width)


def _draw_name(
    draw: ImageDraw.ImageDraw, font: Font, curve: Curve, units: float, y: int, color: str, width: int, dashed: bool
) -> None:
    left = WIDTH - RIGHT + 24
    _draw_line(draw, [(left, y), (left + 3 * DASH, y)], color, width, dashed)
    median = f", median {units * statistics.median(curve.sizes):.3g}" if curve.sizes else ""
    share = f"{len(curve.sizes)} of {curve.pictures}"
    draw.text((left + 4 * DASH, y), f"{curve.name}: {share}{median}", INK, font, anchor="lm")
