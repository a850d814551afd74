"""Spectra, colours and phases against NumPy and against Lucid's published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cvtool.visualize_class import parametrizations as P

SIZES = [(8, 8), (9, 7), (7, 10), (16, 12)]


@pytest.mark.parametrize("size", SIZES)
def test_frequencies_are_numpys(size: tuple[int, int]) -> None:
    height, width = size
    expected = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    np.testing.assert_allclose(P.frequencies(height, width), expected, atol=1e-7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("decay", [1.0, 1.5])
def test_the_spectrum_is_divided_by_the_frequency(size: tuple[int, int], decay: float) -> None:
    """One coefficient set to 1 renders, before the sigmoid, as the wave that NumPy makes of it."""
    height, width = size
    canvas = P.fourier_canvas([0], height, width, decay=decay)
    spectrum = torch.zeros_like(canvas.variable)
    spectrum[0, :, 2, 1, 0] = 1.0
    wave = np.zeros((height, width // 2 + 1), complex)
    frequency = np.hypot(np.fft.fftfreq(height)[2], np.fft.rfftfreq(width)[1])
    wave[2, 1] = (frequency * max(size) / P.PIVOT) ** (1 - decay) / frequency
    plane = np.fft.irfft2(wave, s=(height, width), norm="ortho") / 4
    colors = np.asarray(P.COLOR_FACTORS).sum(1) / np.linalg.norm(P.COLOR_FACTORS, axis=0).max()
    expected = 1 / (1 + np.exp(-colors[:, None, None] * plane))
    np.testing.assert_allclose(canvas.render(spectrum)[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_comes_back_from_its_spectrum(size: tuple[int, int]) -> None:
    pictures = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(3)) * 0.9 + 0.05
    canvas = P.fourier_canvas([0, 1], *size, decay=1.0, start=pictures)
    torch.testing.assert_close(canvas.pictures(), pictures, atol=1e-5, rtol=0)


def test_black_and_white_come_back_nearly() -> None:
    pictures = torch.zeros(1, 3, 8, 8)
    pictures[..., 4:] = 1
    canvas = P.fourier_canvas([0], 8, 8, decay=1.0, start=pictures)
    torch.testing.assert_close(canvas.pictures(), pictures, atol=1.1 * P.CONTRAST_CLIP, rtol=0)


def test_colors_are_lucids() -> None:
    """Lucid's `color_correlation_normalized`: the square root of the covariance over its longest column."""
    published = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    expected = published / np.max(np.linalg.norm(published, axis=0))
    np.testing.assert_allclose(P.color_matrix(torch.zeros(())), expected, rtol=1e-6)
    planes = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    as_lucid = np.matmul(planes.transpose(0, 2, 3, 1), expected.T).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(P.correlated(torch.from_numpy(planes)), as_lucid, rtol=1e-4, atol=1e-6)


def test_decorrelated_is_the_inverse_and_leaves_opacity_alone() -> None:
    planes = torch.randn((2, 4, 3, 3), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(P.decorrelated(P.correlated(planes)), planes, atol=1e-4, rtol=1e-4)
    assert torch.equal(P.correlated(planes)[:, 3], planes[:, 3])


def test_each_picture_has_a_seed_of_its_own() -> None:
    both = P.fourier_canvas([5, 6], 8, 8, decay=1.0)
    second = P.fourier_canvas([6], 8, 8, decay=1.0)
    assert torch.equal(both.variable[1], second.variable[0])
    assert not torch.equal(both.variable[0], both.variable[1])


def test_opacity_is_a_fourth_channel() -> None:
    assert P.fourier_canvas([0], 8, 6, decay=1.0, opacity=True).pictures().shape == (1, 4, 8, 6)


@pytest.mark.parametrize("size", SIZES)
def test_phases_keep_the_magnitude(size: tuple[int, int]) -> None:
    """Undoing sigmoid and colours gives back the magnitude, but for one factor, whatever the phases are."""
    height, width = size
    magnitude = P.usual_magnitude(height, width, 1.0)
    canvas = P.phase_canvas([2], magnitude, height, width)
    planes = P.decorrelated(canvas.pictures().double().logit())[0]
    found = np.abs(np.fft.rfft2(planes.numpy(), norm="ortho"))
    inner = np.s_[:, 1 : (height - 1) // 2 + 1, 1 : (width - 1) // 2 + 1]  # elsewhere a real picture ties the phases
    ratio = found[inner] / magnitude.numpy()[inner]
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=2e-3)


def test_the_phases_decide() -> None:
    magnitude = P.usual_magnitude(16, 16, 1.3)
    first, other = (P.phase_canvas([seed], magnitude, 16, 16).pictures() for seed in (0, 1))
    assert (first - other).abs().mean() > 0.05


def test_the_magnitude_of_pictures_is_numpys() -> None:
    picture = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    logits = picture.logit().double().numpy()
    matrix = np.asarray(P.COLOR_FACTORS) / np.linalg.norm(P.COLOR_FACTORS, axis=0).max()
    planes = np.einsum("ij,jhw->ihw", np.linalg.inv(matrix), logits)
    planes -= planes.mean((1, 2), keepdims=True)
    expected = np.abs(np.fft.rfft2(planes, norm="ortho"))
    np.testing.assert_allclose(P.magnitude_of([picture], 12, 10), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(P.magnitude_of([picture, picture], 12, 10), expected, rtol=1e-3, atol=1e-3)


def test_pictures_of_other_sizes_and_aspects_have_a_magnitude_too() -> None:
    pictures = [torch.rand(3, 40, 20), torch.rand(3, 9, 64)]
    found = P.magnitude_of(pictures, 16, 16)
    assert found.shape == (3, 16, 9)
    assert torch.isfinite(found).all()
