"""From pictures to what networks see, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cvtool.models.cards import CARDS, Resize
from cvtool.models.framing import Box, all_shown, back, frame_for, lens, shown

CARD = CARDS["efficientnet-lite0"]
SIZES = [(224, 224), (100, 400), (400, 100), (1, 1), (1, 5000), (5000, 1), (333, 500), (33, 31)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", list(Resize))
@pytest.mark.parametrize("any_size", [True, False])
def test_every_picture_fits(size, how, any_size):
    frame = frame_for(*size, CARD, how, any_size)
    seen = shown(np.random.default_rng(0).random((*size, 3), dtype=np.float32), frame, CARD)
    assert seen.shape == (*frame.canvas, 3)
    assert any_size or frame.canvas == (224, 224)
    assert 0.9 < frame.canvas[0] * frame.canvas[1] / 224**2 < 1.1, "a network sees about as many pixels as it knows"
    assert back(seen[..., 0], frame).shape == size


def test_fit_does_not_distort():
    frame = frame_for(300, 600, CARD, Resize.fit, True)
    assert frame.place.width / frame.place.height == pytest.approx(2, rel=0.02)
    assert frame.place == Box(0, 0, *frame.canvas), "all of what a network of any size sees is picture"
    square = frame_for(300, 600, CARD, Resize.fit, False)
    assert square.place == Box(56, 0, 112, 224)


def test_crop_is_the_central_part():
    frame = frame_for(400, 800, CARD, Resize.crop, True)
    assert frame.source == Box(25, 225, 350, 350)


@pytest.mark.parametrize("how", list(Resize))
def test_a_spot_comes_back_where_it_was(how):
    pixels = np.zeros((300, 450, 3), dtype=np.float32)
    pixels[140:160, 290:310] = 1
    frame = frame_for(300, 450, CARD, how, False)
    map = back(shown(pixels, frame, CARD)[..., 0], frame)
    map = np.where(map > 0.9, map, 0)
    rows, columns = np.nonzero(map)
    assert rows.mean() == pytest.approx(149.5, abs=1.5)
    assert columns.mean() == pytest.approx(299.5, abs=1.5)


def test_what_is_not_picture_is_the_networks_mean():
    frame = frame_for(100, 400, CARD, Resize.fit, False)
    seen = shown(np.zeros((100, 400, 3), dtype=np.float32), frame, CARD)
    assert seen[0, 0] == pytest.approx(127 / 255)
    assert seen[112, 112] == pytest.approx(0)


def test_a_lens_made_without_gradients_serves_where_there_are():
    frame = frame_for(50, 70, CARD, Resize.fit, True)
    with torch.inference_mode():
        lens(frame, CARD)
    picture = torch.rand(1, 3, 50, 70, requires_grad=True)
    lens(frame, CARD)(picture).sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0


def test_pictures_shown_together_keep_their_order():
    random = np.random.default_rng(0)
    pictures = [random.random((height, 40, 3), dtype=np.float32) for height in (30, 50, 40, 30)]
    frames = [frame_for(*each.shape[:2], CARD, Resize.crop, True) for each in pictures]
    for seen, pixels, frame in zip(all_shown(pictures, frames, CARD), pictures, frames, strict=True):
        assert np.array_equal(seen, shown(pixels, frame, CARD))
