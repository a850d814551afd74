"""Grain: patches against NumPy's windows, the filter against patches that are moved one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from cvtool.images import resize
from cvtool.stylize import grain as grains
from cvtool.stylize.grain import SIDE, SPACINGS, grain, grained
from cvtool.stylize.losses import moment_distance
from cvtool.tensors import to_tensor


def smooth(height: int, width: int, seed: int) -> np.ndarray:
    """Blots of colours, eight pixels wide."""
    coarse = np.random.default_rng(seed).random((max(1, height // 8), max(1, width // 8), 3)).astype(np.float32)
    return np.clip(resize(coarse, height, width), 0, 1)


PICTURE = smooth(48, 40, 1)


def windows(pixels: np.ndarray, spacing: int) -> np.ndarray:
    """(H, W, 3) → (H * W, 75): patches around every pixel, borders mirrored, in the order colour, row, column."""
    margin = SIDE // 2 * spacing
    wide = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    reach = (SIDE - 1) * spacing + 1
    found = sliding_window_view(wide, (reach, reach), axis=(0, 1))[..., ::spacing, ::spacing]
    return found.reshape(pixels.shape[0] * pixels.shape[1], -1)


@pytest.fixture
def all_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grains, "POSITIONS", 10**9)


def bricks(height: int, width: int, seed: int) -> np.ndarray:
    """Colours in rows of three pixels: far from what `smooth` makes, and not the same upright as lying."""
    rows = np.random.default_rng(seed).random((-(-height // 3), -(-width // 7), 3))
    return np.kron(rows, np.ones((3, 7, 1)))[:height, :width].astype(np.float32)


@pytest.mark.usefixtures("all_positions")
def test_moments_are_those_of_all_patches() -> None:
    for spacing, found in zip(SPACINGS, grain(to_tensor(PICTURE)), strict=True):
        patches = windows(PICTURE.astype(np.float64), spacing)
        np.testing.assert_allclose(found.mean, patches.mean(0), rtol=1e-5)
        np.testing.assert_allclose(found.second, patches.T @ patches / len(patches), rtol=1e-4)


def test_few_positions_tell_nearly_what_all_do(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = to_tensor(bricks(240, 320, 3))
    some = grain(picture)
    monkeypatch.setattr(grains, "POSITIONS", 10**9)
    for few, every in zip(some, grain(picture), strict=True):
        assert float(moment_distance(few, every)) < 0.05


@pytest.mark.usefixtures("all_positions")
def test_the_filter_is_every_patch_moved_and_their_mean() -> None:
    """Each patch by the closed form in NumPy, put back where it was, and divided by how often."""
    other = bricks(44, 52, 2)
    spacing, margin = 1, SIDE // 2
    found = grains._filtered(to_tensor(PICTURE), grain(to_tensor(other))[SPACINGS.index(spacing)], spacing)
    here, there = (windows(each.astype(np.float64), spacing) for each in (PICTURE, other))

    def root(matrix: np.ndarray, power: float) -> np.ndarray:
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * values.clip(values.mean() * 1e-3) ** power) @ vectors.T

    own, wanted = np.cov(here.T, bias=True), np.cov(there.T, bias=True)
    values, vectors = np.linalg.eigh(own)
    half = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    middle_values, middle_vectors = np.linalg.eigh(half @ wanted @ half)
    middle = (middle_vectors * np.sqrt(middle_values.clip(0))) @ middle_vectors.T
    matrix = root(own, -0.5) @ middle @ root(own, -0.5)
    moved = (here - here.mean(0)) @ matrix + there.mean(0)
    height, width = PICTURE.shape[:2]
    patches = moved.reshape(height, width, 3, SIDE, SIDE)
    total, count = np.zeros((height + 2 * margin, width + 2 * margin, 3)), np.zeros((height + 2 * margin, width + 4, 1))
    for row in range(SIDE):
        for column in range(SIDE):
            total[row : row + height, column : column + width] += patches[..., row, column]
            count[row : row + height, column : column + width] += 1
    expected = (total / count)[margin:-margin, margin:-margin]
    inside = slice(2 * margin, -2 * margin)
    np.testing.assert_allclose(found[0].permute(1, 2, 0)[inside, inside], expected[inside, inside], atol=2e-3)


def test_a_picture_gets_the_grain_that_is_wanted() -> None:
    noise = np.random.default_rng(3).random((160, 200, 3)).astype(np.float32)
    content, wanted = to_tensor(0.7 * smooth(160, 200, 2) + 0.3 * noise), grain(to_tensor(bricks(200, 240, 4)))
    after = grain(grained(content, wanted))
    for before, now, there in zip(grain(content), after, wanted, strict=True):
        assert float(moment_distance(now, there)) < 0.55 * float(moment_distance(before, there))


def test_directions_are_kept_apart() -> None:
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    lying = bricks(63, 63, 6)
    for pixels, rougher in ((lying, 2), (lying.transpose(1, 0, 2), 3)):
        found = grained(noise, grain(to_tensor(np.ascontiguousarray(pixels))))
        change = {axis: float(found.diff(dim=axis).abs().mean()) for axis in (2, 3)}
        assert change[rougher] > 1.2 * change[5 - rougher]


def test_its_own_grain_changes_nothing_and_a_share_goes_part_of_the_way() -> None:
    content = to_tensor(bricks(40, 50, 7) * 0.5 + 0.5 * smooth(40, 50, 8))
    assert float((grained(content, grain(content)) - content).abs().max()) < 0.02
    wanted = grain(to_tensor(bricks(60, 90, 4)))
    torch.testing.assert_close(grained(content, wanted, 0.0), content)
    steps = [float((grained(content, wanted, share) - content).abs().mean()) for share in (0.3, 0.6, 1.0)]
    assert steps == sorted(steps)


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (3, 2), (20, 20)])
def test_small_and_flat_pictures_stay_finite(shape: tuple[int, int]) -> None:
    wanted = grain(to_tensor(bricks(30, 30, 9)))
    for pixels in (smooth(*shape, 1), np.full((*shape, 3), 0.5, np.float32)):
        found = grained(to_tensor(pixels), wanted)
        assert found.shape == (1, 3, *shape)
        assert found.isfinite().all()
        assert grained(to_tensor(bricks(30, 30, 9)), grain(to_tensor(pixels))).isfinite().all()
