"""Pictures of maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvtool.colormaps import colored
from cvtool.grids import strip

Pixels = NDArray[np.float32]
Map = NDArray[np.float32]

BRIGHTEST = 99.5
"""Percentile of the magnitudes that gets the brightest colour: single pixels must not darken all others."""

COLORS = {False: "inferno", True: "coolwarm"}


def scale_of(maps: Sequence[Map]) -> float:
    """The magnitude that gets the brightest colour in all of these maps."""
    magnitudes = np.concatenate([np.abs(each).ravel() for each in maps])
    return max(float(np.percentile(magnitudes, BRIGHTEST)), float(np.finfo(np.float32).tiny))


def heatmap(map: Map, signed: bool, scale: float) -> Pixels:
    """Map (H, W) → colours (H, W, 3) in [0, 1]: dark to bright, or for a signed map blue, white, red."""
    values = np.clip(map / scale, -1, 1)
    return colored(COLORS[signed], (values + 1) / 2 if signed else np.clip(values, 0, 1))


def overlay(pixels: Pixels, map: Map, signed: bool, scale: float) -> Pixels:
    """The heat map over the picture in grey; the colour is the stronger the larger the magnitude."""
    grey = np.repeat((pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None], 3, axis=2)
    weight = 0.2 + 0.65 * np.clip(np.abs(map) / scale, 0, 1)[..., None] ** 0.7
    mixed: Pixels = (grey * (1 - weight) + heatmap(map, signed, scale) * weight).astype(np.float32)
    return mixed


def masked(pixels: Pixels, map: Map, scale: float) -> Pixels:
    """The picture where the map speaks for the class; the rest fades to white."""
    weight = np.clip(map / scale, 0, 1)[..., None] ** 0.5
    faded: Pixels = (pixels * weight + 1 - weight).astype(np.float32)
    return faded


def panel(pixels: Pixels, map: Map, signed: bool, scale: float, labels: Sequence[str]) -> Pixels:
    """Original | map | overlay, each under its label."""
    row = [pixels, heatmap(map, signed, scale), overlay(pixels, map, signed, scale)]
    return strip(row, labels, min(512, max(160, *pixels.shape[:2])))


def sheet(cells: Sequence[tuple[str, Pixels]], columns: int = 5, cell: int = 256) -> Pixels:
    """Labelled pictures, `columns` a row."""
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    width = min(columns, len(cells))
    strips = []
    for row in rows:
        rest = width - len(row)
        pictures = [*(picture for _, picture in row), *[None] * rest]
        strips.append(strip(pictures, [*(label for label, _ in row), *[""] * rest], cell))
    return np.concatenate(strips)
