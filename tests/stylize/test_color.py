"""Colour keeping: what must stay does."""

import numpy as np
import pytest
from skimage.color import rgb2lab, xyz2rgb

from cvtool import colorspaces
from cvtool.stylize import color

RNG = np.random.default_rng(2)


def picture(h=12, w=9):
    return RNG.random((h, w, 3)).astype(np.float32)


def hue_and_chroma(pixels):
    """In CIELAB, by scikit-image."""
    lab = rgb2lab(pixels.astype(np.float64))
    return np.arctan2(lab[..., 2], lab[..., 1]), np.hypot(lab[..., 1], lab[..., 2])


def test_luminance_of_primaries():
    """L of red, lime and blue as CSS Color 4 lists them, and what L³ of linear light is in sRGB by scikit-image."""
    found = color.luminance(np.eye(3, dtype=np.float32)[None])[0]
    light = np.array([0.62796, 0.86644, 0.45201])[:, None] ** 3
    d65 = np.array([0.95047, 1.0, 1.08883])
    np.testing.assert_allclose(found, xyz2rgb(light * d65).mean(1), atol=1e-3)


def test_the_luminance_of_a_grey_is_its_value():
    values = np.linspace(0, 1, 30, dtype=np.float32)
    np.testing.assert_allclose(color.luminance(np.repeat(values[None, :, None], 3, axis=2))[0], values, atol=1e-5)


def test_grey_has_the_same_luminance():
    colors = picture()
    made = color.grey(colors)
    np.testing.assert_allclose(color.luminance(made), color.luminance(colors), atol=1e-6)
    assert (made[..., 0] == made[..., 2]).all()


def test_new_luminance_with_old_hue():
    colors, new = picture(), RNG.random((12, 9)).astype(np.float32)
    result = color.with_luminance(colors, new)
    assert result.min() >= 0
    assert result.max() <= 1
    np.testing.assert_allclose(color.luminance(result), new, atol=1e-4)
    before, after = colorspaces.oklab_from_srgb(colors)[..., 1:], colorspaces.oklab_from_srgb(result)[..., 1:]
    cross = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    np.testing.assert_allclose(cross, 0, atol=1e-4)  # parallel: the same hue
    kept = np.hypot(*after.transpose(2, 0, 1)) / np.hypot(*before.transpose(2, 0, 1))
    assert kept.max() < 1 + 1e-3
    assert (kept > 0.999).mean() > 0.3, "chroma is given up only where there is no such colour"


def test_another_colour_model_sees_the_same_hue():
    """CIELAB is no relative of OKLab. Adding the same to all channels and clipping turns hues much farther."""
    colors = picture(60, 60)
    new = np.clip(color.luminance(colors) + RNG.uniform(-0.3, 0.3, (60, 60)), 0.05, 0.95).astype(np.float32)
    hue, chroma = hue_and_chroma(colors)

    def turned(result):
        change = np.abs(np.angle(np.exp(1j * (hue_and_chroma(result)[0] - hue))))
        return np.average(np.degrees(change), weights=chroma)

    result = color.with_luminance(colors, new)
    lift = color.grey(result).mean(2, keepdims=True) - color.grey(colors).mean(2, keepdims=True)
    assert turned(result) < 2
    assert turned(np.clip(colors + lift, 0, 1)) > 1.5 * turned(result)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_black_and_white_are_reached_from_any_colour(end):
    colors = np.concatenate([picture(), np.zeros((12, 1, 3)), np.ones((12, 1, 3))], axis=1).astype(np.float32)
    np.testing.assert_allclose(color.with_luminance(colors, np.full((12, 11), end, np.float32)), end, atol=1e-3)


def test_noise_in_the_dark_is_not_lit_up():
    """Levels about 4 of 255 hold no colour; OKLab makes much of their differences."""
    dark = np.clip(np.rint(4 + RNG.normal(0, 2, (60, 60, 3))), 0, 255).astype(np.float32) / 255
    _, before = hue_and_chroma(dark)
    _, lit = hue_and_chroma(color.with_luminance(dark, np.full((60, 60), 0.6, np.float32)))
    assert lit.mean() < 3.5 * before.mean()


def test_rows_are_done_some_at_a_time(monkeypatch):
    colors, new = picture(50, 9), RNG.random((50, 9)).astype(np.float32)
    whole = color.with_luminance(colors, new)
    monkeypatch.setattr(color, "ROWS", 7)
    np.testing.assert_array_equal(color.with_luminance(colors, new), whole)


def test_the_same_luminance_gives_the_picture_back():
    colors = picture()
    np.testing.assert_allclose(color.with_luminance(colors, color.luminance(colors)), colors, atol=1e-5)


def test_matched_colors_have_mean_and_covariance_of_the_content():
    style, content = 0.3 + 0.3 * picture(40, 40), 0.4 + 0.2 * picture(30, 50)[..., ::-1]
    matched = color.match_colors(style, content)
    assert 0 < matched.min() < matched.max() < 1  # nothing clipped, so the moments must be exact
    np.testing.assert_allclose(matched.mean((0, 1)), content.mean((0, 1)), atol=1e-5)
    np.testing.assert_allclose(np.cov(matched.reshape(-1, 3).T), np.cov(content.reshape(-1, 3).T), atol=1e-4)


def test_grey_styles_and_contents_do_not_explode():
    grey = np.repeat(RNG.random((8, 8, 1)), 3, axis=2).astype(np.float32)
    assert np.isfinite(color.match_colors(grey, picture())).all()
    assert np.isfinite(color.match_colors(picture(), grey)).all()


def test_matched_luminance():
    style, content = 0.4 + 0.2 * picture(40, 40), 0.3 + 0.1 * picture(20, 20)
    matched = color.match_luminance(style, content)
    wanted = color.luminance(content)
    assert color.luminance(matched).mean() == pytest.approx(wanted.mean(), abs=1e-4)
    assert color.luminance(matched).std() == pytest.approx(wanted.std(), abs=1e-4)
    assert (matched[..., 0] == matched[..., 2]).all()
