"""Tiles: an exact cover, on the grid, with all that features see; and the slices of maps that go with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtool.stylize.tiles import Side, outer_pixels, plan_sides, plan_tiles

plans = st.tuples(
    st.integers(1, 700),
    st.integers(0, 400),
    st.integers(0, 120),
    st.sampled_from([1, 2, 3, 4, 8, 16, 32]),
)


@given(plans)
def test_inner_boxes_cover_every_pixel_once_on_the_grid_and_balanced(plan: tuple[int, int, int, int]) -> None:
    size, tile, halo, stride = plan
    sides = plan_sides(size, tile, halo, stride)
    assert [pixel for side in sides for pixel in range(side.inner_start, side.inner_stop)] == list(range(size))
    assert all(side.inner_start % stride == 0 for side in sides)
    assert [side.is_last for side in sides] == [False] * (len(sides) - 1) + [True]
    lengths = [side.inner_stop - side.inner_start for side in sides]
    assert max(lengths) <= max(tile // stride * stride, stride) or tile == 0
    # The last unit may be incomplete, so sizes differ by less than two units.
    assert max(lengths) - min(lengths) < 2 * stride
    assert len(sides) == (1 if tile == 0 else math.ceil(math.ceil(size / stride) / max(1, tile // stride)))


@given(plans)
def test_outer_boxes_hold_the_halo_and_leave_the_pictures_rest(plan: tuple[int, int, int, int]) -> None:
    size, tile, halo, stride = plan
    for side in plan_sides(size, tile, halo, stride):
        assert 0 <= side.outer_start <= side.inner_start < side.inner_stop <= side.outer_stop <= size
        assert side.outer_start % stride == 0
        assert (side.outer_stop - side.outer_start) % stride == size % stride
        for beyond, room in (
            (side.inner_start - side.outer_start, side.inner_start),
            (side.outer_stop - side.inner_stop, size - side.inner_stop),
        ):
            assert min(halo, room) <= beyond <= halo + stride - 1  # enough, and not a stride too much


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 50), st.integers(0, 20), st.sampled_from([1, 4, 8]))
def test_two_dimensions_paint_each_pixel_once(height: int, width: int, tile: int, halo: int, stride: int) -> None:
    painted = np.zeros((height, width), int)
    tiles = plan_tiles(height, width, tile, halo, stride)
    for each in tiles:
        rows, columns = each.rows, each.columns
        inner = slice(rows.inner_start, rows.inner_stop), slice(columns.inner_start, columns.inner_stop)
        painted[inner] += 1
        inside = np.zeros(each.outer_shape, int)
        inside[each.on_map(1)[0]] = 1
        whole = np.zeros((height, width), int)
        whole[each.outer] = inside
        expected = np.zeros((height, width), int)
        expected[inner] = 1
        assert (whole == expected).all()
    assert (painted == 1).all()
    areas = [np.zeros((height, width))[each.outer].size for each in tiles]
    assert outer_pixels(tiles) == sum(areas)


@given(plans, st.sampled_from([1, 2, 4]), st.data())
def test_maps_are_put_together_from_the_tiles_maps(
    plan: tuple[int, int, int, int], finer: int, data: st.DataObject
) -> None:
    """Every position once and in order, in maps as long as padding, valid and flooring networks make them."""
    size, tile, halo, stride = plan
    layer = stride // finer if stride % finer == 0 else stride
    lost = data.draw(st.integers(0, min(3, size // layer)))

    def network(pixels: range) -> list[int]:
        """Each position is the pixel it begins at."""
        return list(pixels[::layer])[: max(0, -(-len(pixels) // layer) - lost)]

    whole = network(range(size))
    got: list[int | None] = [None] * len(whole)
    low = data.draw(st.integers(0, len(whole)))
    window = (low, data.draw(st.integers(low, len(whole))))
    in_window: list[int | None] = [None] * (window[1] - window[0])
    for side in plan_sides(size, tile, halo + lost * layer, stride):
        maps = network(range(side.outer_start, side.outer_stop))
        here, there = side.on_map(layer)
        assert len(maps[here]) == len(got[there])
        got[there] = maps[here]
        here, there = side.on_map(layer, window)
        assert len(maps[here]) == len(in_window[there])
        in_window[there] = maps[here]
    assert got == whole
    assert in_window == whole[window[0] : window[1]]


def test_a_known_plan() -> None:
    assert plan_sides(1000, 400, 80, 16) == [
        Side(0, 424, 0, 336, False),
        Side(256, 760, 336, 672, False),
        Side(592, 1000, 672, 1000, True),
    ]


@pytest.mark.parametrize("wrong", [(0, 8, 0, 1), (8, 8, 0, 0), (8, -1, 0, 1), (8, 8, -1, 1)])
def test_nonsense_is_refused(wrong: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no tiles"):
        plan_sides(*wrong)
