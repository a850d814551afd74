"""Voronoi cells without scipy: every seed only ever looks at the pixels near it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .noise import Array, Shape


@dataclass(frozen=True)
class Cells:
    """A division of the picture into the neighbourhoods of its seeds.

    `owner` (H, W) is the index of the nearest seed, `border` (H, W) the distance in pixels to the line that parts it
    from the second nearest, `offset` (H, W, 2) the way from the seed to the pixel as (y, x).
    """

    owner: Array
    border: Array
    offset: Array


def voronoi(shape: Shape, seeds: Array, reach: Array) -> Cells:
    """Cells of `seeds` (N, 2) as (y, x); `reach` (N,) bounds in pixels how far a seed can be one of the two nearest."""
    first = np.full(shape, np.inf, dtype=np.float32)
    second = np.full(shape, np.inf, dtype=np.float32)
    owner = np.zeros(shape, dtype=np.int32)
    rival = np.zeros(shape, dtype=np.int32)
    for index, ((y, x), radius) in enumerate(zip(seeds, reach, strict=True)):
        top, bottom = max(int(y - radius), 0), min(int(y + radius) + 2, shape[0])
        left, right = max(int(x - radius), 0), min(int(x + radius) + 2, shape[1])
        if top >= bottom or left >= right:
            continue
        window = np.s_[top:bottom, left:right]
        dy = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
        dx = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)
        distance = dy * dy + dx * dx
        nearest = distance < first[window]
        runner_up = (distance < second[window]) & ~nearest
        rival[window] = np.where(nearest, owner[window], np.where(runner_up, index, rival[window]))
        second[window] = np.where(nearest, first[window], np.where(runner_up, distance, second[window]))
        owner[window] = np.where(nearest, index, owner[window])
        first[window] = np.where(nearest, distance, first[window])
    gap = np.linalg.norm(seeds[owner] - seeds[rival], axis=-1)
    border = np.where(np.isfinite(second), (second - first) / np.maximum(2 * gap, 1e-3), 1e3)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    offset = np.stack([rows - seeds[owner, 0], columns - seeds[owner, 1]], axis=-1)
    return Cells(owner, border.astype(np.float32), offset.astype(np.float32))
