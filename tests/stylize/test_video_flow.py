"""Flow, visibility and warping against motions that are known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from cvtool.stylize.video.flow import Motion, flicker, followed, motion, warp
from cvtool.stylize.video.shots import Shot, find_shots, is_cut, shots_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def make_clip() -> ModuleType:
    """The script that makes the clip whose motion is known."""
    spec = importlib.util.spec_from_file_location("make_clip", ROOT / "assets" / "make_clip.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_clip"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def texture(seed: int, height: int = 96, width: int = 128, blur: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


def test_warp_takes_pixels_from_where_the_flow_points() -> None:
    image = texture(0)
    back = np.zeros((96, 128, 2), np.float32)
    back[..., 0], back[..., 1] = 3, -2  # each pixel was 3 to the right and 2 above
    for sharp in (False, True):
        warped = warp(image, back, sharp=sharp)
        np.testing.assert_allclose(warped[2:, :-3], image[:-2, 3:], atol=1e-6)
        np.testing.assert_allclose(warped[2:, -1], warped[2:, -2], atol=1e-6)  # beyond the border: its nearest pixel


def test_sharp_warping_keeps_detail_over_many_frames() -> None:
    image = texture(1)
    half = np.full((96, 128, 2), 0.5, np.float32)
    there, blurred = image, image
    for number in range(20):
        back = half if number % 2 else -half
        there, blurred = warp(there, back, sharp=True), warp(blurred, back)
    inside = np.s_[12:-12, 12:-12]
    assert np.abs(there - image)[inside].mean() < 0.15 * np.abs(blurred - image)[inside].mean()


@pytest.mark.parametrize("shift", [(4, -3), (0, 0), (-7, 5)])
def test_a_shift_is_found(shift: tuple[int, int]) -> None:
    dx, dy = shift
    large = texture(2, 160, 200)
    before, now = large[30:126, 30:158], large[30 - dy : 126 - dy, 30 - dx : 158 - dx]  # everything moved by (dx, dy)
    found = motion(before, now)
    inside = np.s_[12:-12, 12:-12]
    error = np.linalg.norm(found.back - np.array([-dx, -dy]), axis=-1)[inside]
    assert error.mean() < 0.1
    assert found.visible[inside].mean() > 0.97
    outside = ~found.visible
    if dx > 0:
        assert outside[:, : dx - 1].mean() > 0.9  # came in from the left


def test_what_a_moving_thing_uncovers_is_not_visible() -> None:
    background, thing = texture(3), texture(4)[:40, :40]
    before, now = background.copy(), background.copy()
    before[20:60, 20:60], now[20:60, 26:66] = thing, thing
    found = motion(before, now)
    assert found.visible[23:57, 21:25].mean() < 0.25  # the strip that it left
    assert found.visible[26:54, 32:60].mean() > 0.9  # the thing
    assert found.visible[70:, 10:-10].mean() > 0.95  # what stood still
    np.testing.assert_allclose(found.back[30:50, 36:56].mean((0, 1)), [-6, 0], atol=0.3)


def test_flow_of_the_clip_is_the_true_one(make_clip: ModuleType) -> None:
    scene = make_clip.Scene(192)
    before, now = (scene.frame(number).astype(np.float32) / 255 for number in (40, 41))
    true, visible = scene.flow_back(41)
    # The truth itself: what it calls visible is where it says.
    still = np.abs(before - now)[visible].mean()
    assert np.abs(warp(before, true) - now)[visible].mean() < 0.55 * still
    found = motion(before, now)
    error = np.linalg.norm(found.back - true, axis=-1)
    assert error[found.visible].mean() < 0.15
    assert (found.visible & visible).sum() > 0.9 * visible.sum()


def test_changed_colours_are_not_carried_on() -> None:
    before = texture(5)
    now = before.copy()
    now[30:60, 30:60] = 1 - now[30:60, 30:60]
    assert motion(before, now).visible[34:56, 34:56].mean() < 0.4


def test_flow_does_not_depend_on_threads() -> None:
    before, now = texture(6), np.roll(texture(6), 3, 1)
    threads = cv2.getNumThreads()
    found = []
    for count in (1, 3):
        cv2.setNumThreads(count)
        found.append(motion(before, now).back)
        assert cv2.getNumThreads() == count
    cv2.setNumThreads(threads)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("size", [(8, 200), (17, 23), (64, 64)])
def test_small_and_narrow_frames(size: tuple[int, int]) -> None:
    frame = texture(7, *size)
    found = motion(frame, frame)
    assert found.back.shape == (*size, 2)
    assert np.abs(found.back).max() < 0.5
    assert found.visible.mean() > 0.9
    np.testing.assert_allclose(followed(frame, found), frame, atol=0.05)


def test_large_frames_are_searched_smaller() -> None:
    large = cv2.resize(texture(8, 60, 160), (1600, 600), interpolation=cv2.INTER_CUBIC)
    moved = np.roll(large, 16, axis=1)
    found = motion(large, moved)
    inside = found.back[60:-60, 120:-120]
    np.testing.assert_allclose(inside.mean((0, 1)), [-16, 0], atol=0.3)


def test_flicker_is_the_difference_left_after_motion() -> None:
    picture = texture(9)
    here = Motion(np.zeros((96, 128, 2), np.float32), np.ones((96, 128), bool))
    assert flicker(picture, picture, here) == 0
    assert flicker(picture, picture + np.float32(0.1), here) == pytest.approx(0.1, rel=1e-4)
    half = Motion(here.back, np.arange(128)[None].repeat(96, 0) < 64)
    changed = picture.copy()
    changed[:, 64:] = 0
    assert flicker(picture, changed, half) == 0
    assert np.isnan(flicker(picture, picture, Motion(here.back, ~here.visible)))


# shots


def test_cuts_are_found_where_they_are(make_clip: ModuleType) -> None:
    scene = make_clip.Scene(128)
    coffee = [scene.frame(n) / np.float32(255) for n in range(5)]
    later = [scene.frame(n)[:, ::-1] / np.float32(255) for n in range(100, 103)]  # the same palette
    noise = [texture(10), texture(10)]
    frames = [*coffee, *later, *noise, coffee[0]]
    assert find_shots(frames) == (Shot(0, 5), Shot(5, 8), Shot(8, 10), Shot(10, 11))


def test_motion_noise_and_light_are_no_cuts(make_clip: ModuleType) -> None:
    scene = make_clip.Scene(128)
    frames = [scene.frame(n) / np.float32(255) for n in range(0, 120, 12)]  # half a second apart
    assert len(find_shots(frames)) == 1
    rng = np.random.default_rng(0)
    grainy = [np.clip(frames[0] + rng.normal(0, 0.05, frames[0].shape), 0, 1).astype(np.float32) for _ in range(3)]
    assert len(find_shots(grainy)) == 1
    assert not is_cut(frames[0], frames[0] * np.float32(0.85))
    fade = [frames[0] * np.float32(1 - t) + texture(11, 72) * np.float32(t) for t in np.linspace(0, 1, 13)]
    assert len(find_shots(fade)) == 1


def test_shots_cover_all_frames() -> None:
    assert shots_of([0, 3], 7) == (Shot(0, 3), Shot(3, 7))
    assert find_shots([texture(12)]) == (Shot(0, 1),)
    assert Shot(3, 7).frames == 4
