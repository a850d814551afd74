"""Colour keeping: what must stay does."""

import numpy as np
import pytest

from cvtool.stylize import color

RNG = np.random.default_rng(2)


def picture(h=12, w=9):
    return RNG.random((h, w, 3)).astype(np.float32)


def test_luminance_of_primaries_is_ntsc():
    assert color.luminance(np.eye(3, dtype=np.float32)[None])[0] == pytest.approx([0.299, 0.587, 0.114])


def test_new_luminance_with_old_hue():
    colors, new = picture(), RNG.random((12, 9)).astype(np.float32)
    result = color.with_luminance(colors, new)
    assert result.min() >= 0
    assert result.max() <= 1
    np.testing.assert_allclose(color.luminance(result), new, atol=1e-5)
    chroma = colors - color.luminance(colors)[..., None]
    after = result - color.luminance(result)[..., None]
    cross = np.cross(chroma, after)  # parallel: the same hue
    np.testing.assert_allclose(cross, 0, atol=1e-5)


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
    assert matched[..., 0].mean() == pytest.approx(color.luminance(content).mean(), abs=1e-4)
    assert matched[..., 0].std() == pytest.approx(color.luminance(content).std(), abs=1e-4)
    assert (matched[..., 0] == matched[..., 2]).all()
