"""A picture cut into tiles: inner boxes that cover it exactly once, outer boxes with all that their features see.

A network computes the same on a tile as on the whole picture where three things hold. The tile begins at a multiple of
the network's stride; its size leaves the same rest, divided by the stride, as the picture's (padding of the kind
``SAME`` depends on that rest); and what is computed is at least `halo` pixels from a border of the tile that is not one
of the picture. No torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

Slices = tuple[slice, slice]
"""Rows and columns."""

Window = tuple[tuple[int, int], tuple[int, int]]
"""(first, behind the last) row and column of a map that are looked at."""


@dataclass(frozen=True)
class Side:
    """A tile in one dimension, in pixels of the picture; `stop` is behind the last one.

    Attributes:
        outer_start, outer_stop: what the network is given.
        inner_start, inner_stop: what this tile answers for.
        is_last: nothing of the picture lies behind this tile.
    """

    outer_start: int
    outer_stop: int
    inner_start: int
    inner_stop: int
    is_last: bool

    def on_map(self, stride: int, window: tuple[int, int] | None = None) -> tuple[slice, slice]:
        """As `Tile.on_map`, for one dimension."""
        first, end = self.inner_start // stride, self.inner_stop // stride
        offset = self.outer_start // stride
        if window is None:
            # The last tile takes all there is: without padding, a map has fewer positions than size / stride.
            stop = None if self.is_last else end
            return slice(first - offset, None if stop is None else stop - offset), slice(first, stop)
        start = max(first, window[0])
        stop = max(start, window[1] if self.is_last else min(end, window[1]))
        return slice(start - offset, stop - offset), slice(start - window[0], stop - window[0])


@dataclass(frozen=True)
class Tile:
    """One tile.

    Attributes:
        rows, columns: where it lies.
    """

    rows: Side
    columns: Side

    @property
    def outer(self) -> Slices:
        """What the network is given: ``picture[..., *tile.outer]``."""
        return slice(self.rows.outer_start, self.rows.outer_stop), slice(
            self.columns.outer_start, self.columns.outer_stop
        )

    @property
    def outer_shape(self) -> tuple[int, int]:
        """Height and width of `outer`."""
        return self.rows.outer_stop - self.rows.outer_start, self.columns.outer_stop - self.columns.outer_start

    def on_map(self, stride: int, window: Window | None = None) -> tuple[Slices, Slices]:
        """Which positions of a layer with `stride` pixels per position this tile answers for.

        Args:
            stride: of the layer; must divide the stride that the tiles were planned with.
            window: only positions in this part of the whole picture's map count, e.g. without a margin.

        Returns:
            Slices of the map of the outer box, and of the whole picture's map (of its window, if there is one). Where
            the tile has nothing in the window, both are empty.
        """
        rows = self.rows.on_map(stride, None if window is None else window[0])
        columns = self.columns.on_map(stride, None if window is None else window[1])
        return (rows[0], columns[0]), (rows[1], columns[1])


def plan_tiles(height: int, width: int, tile: int, halo: int, stride: int) -> list[Tile]:
    """Tiles that cover height × width pixels, row by row.

    Args:
        height, width: of what the network is given, margin included.
        tile: longest side of an inner box in pixels, rounded down to a multiple of `stride` (and up to `stride`);
            0 makes one tile of everything. Sizes are balanced: no thin rest at the end.
        halo: pixels that a feature sees around its own; see `receptive.receptive_field`.
        stride: inner boxes begin at multiples of it.
    """
    rows = plan_sides(height, tile, halo, stride)
    columns = plan_sides(width, tile, halo, stride)
    return [Tile(row, column) for row in rows for column in columns]


def plan_sides(size: int, tile: int, halo: int, stride: int) -> list[Side]:
    """As `plan_tiles`, for one dimension."""
    if min(size, stride) < 1 or min(tile, halo) < 0:
        raise ValueError(f"no tiles of {tile} with halo {halo} and stride {stride} for {size} pixels")
    units = -(-size // stride)  # the last one may be incomplete
    most = max(1, tile // stride) if tile else units
    count = -(-units // most)
    edges = [units * i // count * stride for i in range(count)] + [size]
    return [
        Side(
            max(0, (start - halo) // stride * stride),
            _outer_stop(stop + halo, size, stride),
            start,
            stop,
            stop == size,
        )
        for start, stop in itertools.pairwise(edges)
    ]


def _outer_stop(least: int, size: int, stride: int) -> int:
    """The first end from `least` on that leaves the same rest as the picture's, or the picture's end."""
    return size - max(0, size - least) // stride * stride


def outer_pixels(tiles: Iterable[Tile]) -> int:
    """Pixels that the network is given in all, halos included: what a step over the tiles costs."""
    return sum(height * width for height, width in (tile.outer_shape for tile in tiles))
