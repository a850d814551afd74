"""Pictures of maps whose look is known."""

from __future__ import annotations

import numpy as np
import pytest

from cvtool.colormaps import colored
from cvtool.saliency.views import heatmap, masked, overlay, panel, scale_of

RAMP = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)


def test_the_lowest_is_dark_and_the_highest_bright_wherever_they_lie():
    for offset, factor in ((0, 1), (40, 1), (0.2, 1e-6), (-3, 2)):
        map = offset + factor * RAMP
        drawn = heatmap(map, scale_of([map], signed=False))
        np.testing.assert_allclose(drawn[0, 0], colored("inferno", np.zeros((1, 1), np.float32))[0, 0], atol=0.02)
        np.testing.assert_allclose(drawn[-1, -1], colored("inferno", np.ones((1, 1), np.float32))[0, 0], atol=0.02)


def test_zero_of_a_signed_map_is_the_middle():
    map = RAMP * 3 - 1  # more above than below
    scale = scale_of([map], signed=True)
    middle = colored("coolwarm", np.full((1, 1), 0.5, np.float32))[0, 0]
    zero = heatmap(np.zeros((2, 2), np.float32), scale)
    np.testing.assert_allclose(zero, np.broadcast_to(middle, (2, 2, 3)), atol=0.01)
    red, blue = heatmap(np.array([[2.0, -2.0]], np.float32), scale)[0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_one_scale_covers_all_maps():
    scale = scale_of([RAMP, RAMP * 10 + 1], signed=False)
    assert (scale.low, scale.high) == (
        0,
        pytest.approx(np.percentile(np.r_[RAMP.ravel(), RAMP.ravel() * 10 + 1], 99.5)),
    )


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0])
@pytest.mark.parametrize("signed", [True, False])
def test_a_flat_map_can_be_drawn(value, signed):
    map, pixels = np.full((6, 10), value, np.float32), np.full((6, 10, 3), 0.5, np.float32)
    scale = scale_of([map], signed)
    for drawn in (heatmap(map, scale), overlay(pixels, map, scale), masked(pixels, map, scale)):
        assert np.isfinite(drawn).all()
        assert drawn.shape == (6, 10, 3)


def test_masked_keeps_what_speaks_for_the_class():
    pixels = np.zeros((6, 10, 3), np.float32)
    drawn = masked(pixels, RAMP, scale_of([RAMP], signed=False))
    assert drawn[0, 0].tolist() == [1, 1, 1]
    assert drawn[-1, -1].tolist() == [0, 0, 0]


def test_a_panel_has_three_pictures():
    pixels = np.full((60, 100, 3), 0.5, np.float32)
    drawn = panel(pixels, np.resize(RAMP, (60, 100)), scale_of([RAMP], signed=False), ["a", "b", "c"])
    assert drawn.shape[1] > 3 * 160
