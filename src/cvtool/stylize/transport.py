"""The linear map that takes features from one mean and covariance to another and moves them least."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.stylize.losses import Moments
from cvtool.tensors import doubled

FLOOR = 1e-3
"""Eigenvalues of a covariance below this share of their mean count as that: rounding must not be amplified."""


def covariance(moments: Moments) -> Tensor:
    """Of raw moments of a batch, (N, C, C)."""
    return moments.second - moments.mean[:, :, None] * moments.mean[:, None, :]


def transport(own: Moments, wanted: Moments) -> Tensor:
    """Optimal transport between Gaussians, ``T = Σ^-½ (Σ^½ Σ* Σ^½)^½ Σ^-½``; Lu et al. (2019), arXiv:1906.00668.

    Args:
        own: raw moments of what is moved, (N or 1, C) and (N or 1, C, C).
        wanted: those it shall have.

    Returns:
        Symmetric matrices (N or 1, C, C), float64, on the CPU: ``T (f - mean) + mean*`` has the wanted moments.
    """
    # A GPU takes ten times as long for the eigenvectors of so small a matrix.
    here, there = (doubled(covariance(each).cpu()) for each in (own, wanted))
    root, inverse = _roots(here)
    middle, _ = _roots(root @ there @ root)
    return inverse @ middle @ inverse


def _roots(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric float64 matrices (N, C, C) without negative eigenvalues → their square roots, and those' inverses."""
    values, vectors = torch.linalg.eigh(matrices)
    floor = (values.clamp_min(0).mean(-1, keepdim=True) * FLOOR).clamp_min(1e-10)
    roots = values.clamp_min(0).sqrt()
    safe = values.maximum(floor).sqrt()
    back = vectors.transpose(1, 2)
    return (vectors * roots[:, None, :]) @ back, (vectors / safe[:, None, :]) @ back
