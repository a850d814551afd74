"""Stickers: where they lie, and whether they hold elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cvtool.errors import UsageError
from cvtool.fool import FoolOptions, fool
from cvtool.fool.attacks.patch import SCALES, TURNS, Placement, draw, put, seen_part
from cvtool.fool.options import Method
from cvtool.models.framing import classify, frame_for, lens


@pytest.fixture
def sticker() -> np.ndarray:
    rows, columns = np.mgrid[:40, :40] / 39
    return np.stack([rows, columns, 1 - rows * columns], axis=2).astype(np.float32)


@pytest.fixture
def picture() -> np.ndarray:
    return np.full((120, 160, 3), 0.25, dtype=np.float32)


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1))[None]


def laid(sticker: np.ndarray, picture: np.ndarray, placement: Placement) -> np.ndarray:
    return put(tensor(sticker), tensor(picture), placement)[0].numpy().transpose(1, 2, 0)


def test_unturned_it_is_pasted(sticker, picture):
    pasted = picture.copy()
    pasted[30:70, 50:90] = sticker
    np.testing.assert_allclose(laid(sticker, picture, Placement(50, 70, 1.0, 0.0)), pasted, atol=1e-4)


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 20.0), (1.3, -15.0), (0.8, 0.0), (1.2, 90.0)])
def test_turned_and_larger_as_pillow_does(sticker, picture, scale, degrees):
    """Pillow turns and resizes the same sticker; only the soft edges differ."""
    side = round(40 * scale)
    image = Image.fromarray((255 * sticker).astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR)
    turned = image.convert("RGBA").rotate(-degrees, Image.Resampling.BILINEAR, expand=True)
    wanted = Image.fromarray((255 * picture).astype(np.uint8))
    wanted.paste(turned, (round(80 - turned.width / 2), round(60 - turned.height / 2)), turned)
    found = laid(sticker, picture, Placement(60, 80, scale, math.radians(degrees)))
    difference = np.abs(found - np.asarray(wanted) / 255).max(2)
    assert np.quantile(difference, 0.97) < 0.03
    assert np.abs(found - picture).max() > 0.5


def test_placements_lie_within_what_is_seen():
    """And everywhere there: some nearly touch each of its four sides."""
    drawn = draw(200, 40, (10, 20, 90, 100), torch.Generator().manual_seed(0))
    reaches = np.array([20 * each.scale * (abs(math.cos(each.angle)) + abs(math.sin(each.angle))) for each in drawn])
    rows, columns = np.array([each.row for each in drawn]), np.array([each.column for each in drawn])
    for middles, first, last in ((rows, 10, 100), (columns, 20, 120)):
        assert first - 1e-6 <= (middles - reaches).min() < first + 2
        assert last - 2 < (middles + reaches).max() <= last + 1e-6
    assert max(abs(each.angle) for each in drawn) == pytest.approx(math.radians(TURNS), rel=0.05)
    assert (min(each.scale for each in drawn), max(each.scale for each in drawn)) == pytest.approx(SCALES, rel=0.05)


def test_the_part_that_is_seen(bumpy):
    card = replace(bumpy.model.card, crop=0.875, input_size=24)
    frame = frame_for(40, 64, card, FoolOptions().resize, False)
    box = frame.source
    found = seen_part(lens(frame, card), torch.zeros(1, 3, 40, 64))
    assert found == (box.top, box.left, box.height, box.width)


class Reddest(nn.Module):
    """Sees class 1 where a twentieth of the picture is red, wherever, else class 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red = (x[:, 0] - x[:, 1] - x[:, 2]).flatten(1).mean(1)  # grey: -0.5
        return torch.stack([torch.zeros_like(red), 400 * (red + 0.42)], 1)


class Corner(nn.Module):
    """Sees class 1 where the upper left eighth of the picture is red: no sticker helps elsewhere."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red = (x[:, 0] - x[:, 1])[:, :8, :8].flatten(1).mean(1)
        return torch.stack([torch.zeros_like(red), 40 * (red - 0.1)], 1)


@pytest.mark.parametrize(("module", "least", "most"), [(Reddest(), 0.9, 1.0), (Corner(), 0.0, 0.35)])
def test_how_often_it_holds(make_victim, module, least, most):
    victim = make_victim(module, 2, side=64)
    grey = np.full((64, 64, 3), 128 / 255, dtype=np.float32)
    (found,) = fool([grey], victim, FoolOptions(method=Method.patch, patch_robust=True, steps=30, patch=0.35), target=1)
    assert found.sticker is not None
    assert found.success
    assert least <= found.sticker.holds <= most


def test_the_rate_is_that_of_the_saved_sticker(bumpy, greys):
    """Placed again by hand at fresh places, it fools about as often as is said; and more often than a plain one."""
    how = FoolOptions(method=Method.patch, patch=0.5, steps=40, confidence=0.6)
    robust, plain = (fool(greys(), bumpy, replace(how, patch_robust=each)) for each in (True, False))
    shares = {}
    for name, results in (("robust", robust), ("plain", plain)):
        fooled = []
        for before, result in zip(greys(), results, strict=True):
            part = (0, 0, *before.shape[:2])
            side = len(result.sticker.pixels)
            np.testing.assert_array_equal(
                result.sticker.pixels,
                result.pixels[result.sticker.top :, result.sticker.left :][:side, :side],
            )
            for placement in draw(60, side, part, torch.Generator().manual_seed(77)):
                placed = np.rint(255 * laid(result.sticker.pixels, before, placement)) / 255
                logits = classify(placed.astype(np.float32), bumpy.model, how.resize, bumpy.any_size)
                fooled.append(int(logits.argmax()) != result.label)
        shares[name] = np.mean(fooled)
    assert shares["robust"] == pytest.approx(np.mean([result.sticker.holds for result in robust]), abs=0.15)
    assert shares["robust"] > shares["plain"]
    assert all(result.sticker.holds is None for result in plain)


def test_anywhere_and_a_mask_contradict_each_other(bumpy, greys):
    how = FoolOptions(method=Method.patch, patch_robust=True)
    with pytest.raises(UsageError, match="contradict"):
        fool(greys(1), bumpy, how, masks=[np.ones((24, 24), dtype=np.float32)])
