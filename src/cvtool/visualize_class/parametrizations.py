"""Pictures as functions of other variables: what the optimiser moves decides which pictures are near.

Steps along a pixel gradient give high frequencies and few colours. Steps along the gradient of a spectrum, divided by
the frequency, with the three colours made independent, move all scales and hues of natural pictures alike (Olah,
Mordvintsev, Schubert 2017, doi:10.23915/distill.00007).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.tensors import seeded

COLOR_FACTORS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""A square root of the covariance of ImageNet's colours, red, green and blue in the rows: Lucid's constants."""

SPECTRUM_DEVIATION, SOFTENING = 0.01, 4.0
"""Lucid's: deviation of the spectrum at the start, and what the pictures are divided by before the sigmoid."""

PIVOT = 8.0
"""Cycles per picture of what is neither coarse nor fine."""

CONTRAST_CLIP = 1e-3
"""How near a given picture may come to black or white: the sigmoid never reaches them."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """Pictures and the variable behind them.

    Attributes:
        variable: what the optimiser moves, a leaf (N, …).
        render: variable → pictures (N, 3, H, W) in [0, 1], or (N, 4, H, W) with the opacity last; differentiable.
    """

    variable: Tensor
    render: Callable[[Tensor], Tensor]

    def pictures(self) -> Tensor:
        """The pictures as they are now, (N, C, H, W), without a graph."""
        with torch.no_grad():
            return self.render(self.variable)


def color_matrix(like: Tensor) -> Tensor:
    """(3, 3): independent colours → red, green and blue; its longest column has length 1."""
    factors = torch.tensor(COLOR_FACTORS).to(like)
    longest: Tensor = factors.norm(dim=0).max()
    return factors / longest


def correlated(planes: Tensor) -> Tensor:
    """Independent colours (N, C ≥ 3, H, W) → correlated ones; channels after the third stay as they are."""
    colors = torch.einsum("ij,njhw->nihw", color_matrix(planes), planes[:, :3])
    return torch.cat([colors, planes[:, 3:]], 1) if planes.shape[1] > 3 else colors


def decorrelated(planes: Tensor) -> Tensor:
    """The inverse of `correlated`."""
    colors = torch.einsum("ij,njhw->nihw", torch.linalg.inv(color_matrix(planes)), planes[:, :3])
    return torch.cat([colors, planes[:, 3:]], 1) if planes.shape[1] > 3 else colors


def frequencies(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """(height, width // 2 + 1): cycles per pixel of each place of a real picture's spectrum."""
    fy = torch.fft.fftfreq(height, device=device)[:, None]
    fx = torch.fft.rfftfreq(width, device=device)[None]
    radius: Tensor = (fx**2 + fy**2).sqrt()
    return radius


def spectrum_scale(height: int, width: int, decay: float, device: torch.device | str = "cpu") -> Tensor:
    """(height, width // 2 + 1): 1 / frequency**decay; the mean counts as one cycle per longer side.

    All decays agree with 1 / frequency at `PIVOT` cycles per longer side, so they differ in sharpness more than in
    contrast.
    """
    longer = max(height, width)
    radius: Tensor = frequencies(height, width, device).clamp_min(1 / longer)
    return (radius * longer / PIVOT).pow(1 - decay) / radius


def fourier_canvas(
    seeds: Sequence[int],
    height: int,
    width: int,
    *,
    decay: float,
    device: torch.device | str = "cpu",
    start: Tensor | None = None,
    opacity: bool = False,
) -> Canvas:
    """Pictures as spectra, real and imaginary parts apart: the variable is (N, C, H, W // 2 + 1, 2).

    Args:
        seeds: of the noise that each of the N pictures starts with, so it does not depend on the others.
        height, width: H, W.
        decay: how fast natural pictures lose amplitude with frequency; 1 for what is usual.
        device: where.
        start: (N, 3, H, W) in [0, 1] to start from instead of noise.
        opacity: add a fourth channel.
    """
    channels = 4 if opacity else 3
    shape = (channels, height, width // 2 + 1, 2)
    noise = [torch.randn(shape, generator=seeded(seed)) for seed in seeds]
    spectrum = torch.stack(noise).to(device) * SPECTRUM_DEVIATION
    scale = spectrum_scale(height, width, decay, device)

    def planes(spectrum: Tensor) -> Tensor:
        waves = torch.view_as_complex(spectrum) * scale
        field: Tensor = torch.fft.irfft2(waves, s=(height, width), norm="ortho")
        return field / SOFTENING

    if start is not None:
        spectrum[:, :3] = fourier_spectrum(start, decay)
    return Canvas(spectrum.contiguous(), lambda spectrum: correlated(planes(spectrum)).sigmoid())


def fourier_spectrum(pictures: Tensor, decay: float) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1] → the variable (N, 3, H, W // 2 + 1, 2) that `fourier_canvas` renders them from.

    Values are kept `CONTRAST_CLIP` away from 0 and 1.
    """
    height, width = pictures.shape[2:]
    planes = decorrelated(pictures.clamp(CONTRAST_CLIP, 1 - CONTRAST_CLIP).logit()) * SOFTENING
    spectrum = torch.fft.rfft2(planes, norm="ortho") / spectrum_scale(height, width, decay, pictures.device)
    return torch.view_as_real(spectrum).contiguous()


def phase_canvas(
    seeds: Sequence[int], magnitude: Tensor, height: int, width: int, *, device: torch.device | str = "cpu"
) -> Canvas:
    """Pictures as phases under one fixed magnitude: the variable is (N, 3, H, W // 2 + 1), in radians.

    Fel et al. (2023), Unlocking feature visualization for deeper networks with magnitude constrained optimization,
    arXiv:2306.06805, with their normalisations: of the phases, and of each picture before its colours.

    Args:
        seeds: see `fourier_canvas`.
        magnitude: (3, H, W // 2 + 1) of independent colours; its scale does not matter.
        height, width: H, W.
        device: where.
    """
    shape = (3, height, width // 2 + 1)
    phases = [torch.rand(shape, generator=seeded(seed)) * 2 - 1 for seed in seeds]
    magnitude = magnitude.to(device)

    def render(variable: Tensor) -> Tensor:
        phase = standardized(variable)
        spectrum = torch.polar(magnitude.expand_as(phase).contiguous(), phase)
        planes = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
        return correlated(standardized(planes)).sigmoid()

    return Canvas(torch.stack(phases).to(device) * torch.pi, render)


def standardized(x: Tensor) -> Tensor:
    """(N, …) with mean 0 and deviation 1 for each of the N."""
    dims = tuple(range(1, x.ndim))
    centred = x - x.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True).sqrt() + 1e-5)


def usual_magnitude(height: int, width: int, decay: float) -> Tensor:
    """(3, H, W // 2 + 1): `spectrum_scale` for all colours, about what natural pictures have on average; no mean."""
    magnitude = spectrum_scale(height, width, decay)
    magnitude[0, 0] = 0
    return magnitude.expand(3, -1, -1).contiguous()


def magnitude_of(pictures: list[Tensor], height: int, width: int) -> Tensor:
    """(3, H, W // 2 + 1): mean magnitude of pictures (3, h, w) in [0, 1], in independent colours.

    They enter as the sigmoid's inverse, as they leave `phase_canvas`. Their spectra are taken at their largest central
    crop of the wanted aspect.
    """
    total = torch.zeros(3, height, width // 2 + 1)
    for picture in pictures:
        sized = F.interpolate(_central(picture, height / width)[None], (height, width), mode="area")
        planes = decorrelated(sized.clamp(CONTRAST_CLIP, 1 - CONTRAST_CLIP).logit())
        total += torch.fft.rfft2(planes - planes.mean((2, 3), keepdim=True), norm="ortho")[0].abs()
    return total / len(pictures)


def _central(picture: Tensor, aspect: float) -> Tensor:
    """The largest central part of (3, h, w) whose height is `aspect` times its width."""
    height, width = picture.shape[1:]
    h, w = min(height, max(1, round(width * aspect))), min(width, max(1, round(height / aspect)))
    top, left = (height - h) // 2, (width - w) // 2
    return picture[:, top : top + h, left : left + w]
