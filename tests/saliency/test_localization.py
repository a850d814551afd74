"""Measures against boxes, on maps whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from cvtool.annotations import LabelledBox
from cvtool.saliency.localization import TOLERANCE, localization

LEFT_HALF = LabelledBox("thing", 0, 0, 0.5, 1)
CORNER = LabelledBox("thing", 0.9, 0.9, 1, 1)


def spot(row: int, column: int) -> np.ndarray:
    map = np.zeros((100, 200), dtype=np.float32)
    map[row, column] = 3
    return map


def test_a_spot_inside():
    found = localization(spot(50, 99), [LEFT_HALF])
    assert (found.pointing, found.energy_inside, found.box_area) == (1, 1, 0.5)


@pytest.mark.parametrize(("beside", "hit"), [(TOLERANCE - 1, 1), (TOLERANCE, 0)])
def test_a_spot_beside_is_forgiven_up_to_the_tolerance(beside: int, hit: int):
    found = localization(spot(0, 100 + beside), [LEFT_HALF])
    assert (found.pointing, found.energy_inside) == (hit, 0)


def test_any_of_the_boxes_counts_and_none_twice():
    found = localization(spot(95, 190), [LEFT_HALF, LEFT_HALF, CORNER])
    assert found.pointing == 1
    assert found.box_area == pytest.approx(0.5 + 0.01)


def test_an_even_map_has_the_energy_of_the_area_and_points_nowhere():
    found = localization(np.ones((100, 200), dtype=np.float32), [LEFT_HALF])
    assert (found.pointing, found.energy_inside) == (0, 0.5)


def test_negative_mass_does_not_count():
    map = spot(50, 10)
    map[:, 100:] = -5
    assert localization(map, [LEFT_HALF]).energy_inside == 1
    assert localization(-np.abs(map), [LEFT_HALF]).energy_inside == 0


def test_a_box_thinner_than_a_pixel_still_has_one():
    thin = LabelledBox("thing", 0.5, 0.5, 0.5001, 0.5001)
    assert localization(spot(50, 100), [thin]).energy_inside == 1
