"""Resizing, and sizes that keep the aspect."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtool.errors import UsageError
from cvtool.images import fit_longer_side, resize

SMALL = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


class TestResize:
    def test_constant_stays_constant(self) -> None:
        for height, width in [(1, 1), (3, 100), (57, 23), (8, 8)]:
            result = resize(np.full((20, 30, 3), 0.3, dtype=np.float32), height, width)
            assert result.shape == (height, width, 3)
            assert result.dtype == np.float32
            assert np.abs(result - 0.3).max() < 1e-6

    def test_same_size_changes_nothing(self) -> None:
        pixels = np.random.default_rng(0).random((9, 7, 3), dtype=np.float32)
        assert np.array_equal(resize(pixels, 9, 7), pixels)

    def test_downscaling_averages_instead_of_skipping(self) -> None:
        checkerboard = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.float32)
        assert np.abs(resize(checkerboard, 16, 16) - 0.5).max() < 0.02

    def test_is_the_lanczos_filter(self) -> None:
        """One bright pixel, enlarged 4 times: the kernel sinc(x) sinc(x / 3), normalised, is what is seen."""
        spot = np.zeros((1, 21), dtype=np.float32)
        spot[0, 10] = 0.5
        got = resize(spot, 1, 84)[0]
        centres = (np.arange(84) + 0.5) / 4 - 0.5
        offsets = centres[:, None] - np.arange(21)[None]
        kernel = np.sinc(offsets) * np.sinc(offsets / 3) * (np.abs(offsets) < 3)
        expected = 0.5 * kernel[:, 10] / kernel.sum(axis=1)
        assert np.abs(got - np.clip(expected, 0, 1)).max() < 1e-5

    def test_overshoot_is_clipped(self) -> None:
        edge = np.zeros((16, 16), dtype=np.float32)
        edge[:, 8:] = 1
        result = resize(edge, 64, 64)
        assert result.min() == 0
        assert result.max() == 1

    def test_channels_are_independent(self) -> None:
        pixels = np.random.default_rng(0).random((12, 10, 3), dtype=np.float32)
        result = resize(pixels, 7, 21)
        for channel in range(3):
            assert np.array_equal(result[..., channel], resize(pixels[..., channel], 7, 21))

    @pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
    def test_refusals(self, size: tuple[int, int]) -> None:
        with pytest.raises(UsageError):
            resize(np.zeros((4, 4, 3), dtype=np.float32), *size)


class TestFitLongerSide:
    def test_known_answers(self) -> None:
        assert fit_longer_side(100, 200, 50) == (25, 50)
        assert fit_longer_side(200, 100, 50) == (50, 25)
        assert fit_longer_side(3, 5, 512) == (307, 512)  # 307.2
        assert fit_longer_side(1, 5000, 64) == (1, 64)
        assert fit_longer_side(1, 2, 5) == (3, 5)  # 2.5 is rounded up
        with pytest.raises(UsageError):
            fit_longer_side(4, 4, 0)

    @given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 4096))
    def test_aspect_is_kept_to_half_a_pixel(self, height: int, width: int, size: int) -> None:
        new_height, new_width = fit_longer_side(height, width, size)
        assert max(new_height, new_width) == size
        exact = min(height, width) * size / max(height, width)
        assert abs(min(new_height, new_width) - max(exact, 1)) <= 0.5
