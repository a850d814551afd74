"""Pictures of maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvtool.colormaps import colored
from cvtool.colorspaces import LUMA
from cvtool.grids import strip

Pixels = NDArray[np.float32]
Map = NDArray[np.float32]

BRIGHTEST = 99.5
"""Percentile of the magnitudes that gets the brightest colour: single pixels must not darken all others."""

COLORS = {False: "inferno", True: "coolwarm"}


@dataclass(frozen=True)
class Scale:
    """Which values get which colours.

    Attributes:
        signed: from −high, blue, over 0, white, to high, red; else from low, dark, to high, bright.
        low, high: values of the map.
    """

    signed: bool
    low: float
    high: float

    def of(self, map: Map) -> Map:
        """Map → [−1, 1] if signed, else [0, 1]."""
        values = (map - self.low) / max(self.high - self.low, float(np.finfo(np.float32).tiny))
        clipped: Map = np.clip(values, -1 if self.signed else 0, 1).astype(np.float32)
        return clipped


def scale_of(maps: Sequence[Map], signed: bool) -> Scale:
    """One scale for all of these maps. Maps without a sign start at their lowest value: RISE's are far from 0."""
    values = np.concatenate([each.ravel() for each in maps])
    high = float(np.percentile(np.abs(values) if signed else values, BRIGHTEST))
    return Scale(signed, 0.0 if signed else float(values.min()), high)


def heatmap(map: Map, scale: Scale) -> Pixels:
    """Map (H, W) → colours (H, W, 3) in [0, 1]: dark to bright, or for a signed map blue, white, red."""
    values = scale.of(map)
    return colored(COLORS[scale.signed], (values + np.float32(1)) / np.float32(2) if scale.signed else values)


def overlay(pixels: Pixels, map: Map, scale: Scale) -> Pixels:
    """The heat map over the picture in grey; the colour is the stronger the larger the magnitude."""
    grey = np.repeat((pixels @ LUMA)[..., None], 3, axis=2)
    weight = 0.2 + 0.65 * np.abs(scale.of(map))[..., None] ** 0.7
    mixed: Pixels = (grey * (1 - weight) + heatmap(map, scale) * weight).astype(np.float32)
    return mixed


def masked(pixels: Pixels, map: Map, scale: Scale) -> Pixels:
    """The picture where the map speaks for the class; the rest fades to white."""
    weight = np.clip(scale.of(map), 0, 1)[..., None] ** 0.5
    faded: Pixels = (pixels * weight + 1 - weight).astype(np.float32)
    return faded


def panel(pixels: Pixels, map: Map, scale: Scale, labels: Sequence[str]) -> Pixels:
    """Original | map | overlay, each under its label."""
    row = [pixels, heatmap(map, scale), overlay(pixels, map, scale)]
    return strip(row, labels)
