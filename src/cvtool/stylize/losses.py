"""The losses of style transfer as pure functions of features and pixels.

`content_loss` and `tv_loss` are the textbook ones, exactly, and so are the Gram matrices of `objective.Terms`; the rest
is what the default recipe uses instead. Slow twins, written like the papers, are in `cvtool.reference.style`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.tensors import doubled

EPSILON = 1e-6
"""Keeps the square root of a distance differentiable where the distance is 0."""

MAX_POSITIONS = 400
"""Self-similarity compares at most this many positions: a matrix of 0.6 MB, whatever the size of the picture."""


def content_loss(current: Tensor, target: Tensor, weight: float = 1.0) -> Tensor:
    """``weight · Σ (F − P)²`` of two feature maps (1, C, H, W) → scalar. Gatys et al. (2016), without their ½."""
    return weight * torch.sum((current - target) ** 2)


def tv_loss(image: Tensor, weight: float = 1.0) -> Tensor:
    """Total variation of an image (N, C, H, W): `weight` times the squared differences of neighbours, a plain sum.

    Its weight therefore depends on the size of the picture; `mean_variation` does not.
    """
    down = torch.sum((image[:, :, 1:] - image[:, :, :-1]) ** 2)
    right = torch.sum((image[..., 1:] - image[..., :-1]) ** 2)
    return weight * (down + right)


def mean_variation(image: Tensor) -> Tensor:
    """`tv_loss` divided by the number of values, so that it means the same at every size."""
    return tv_loss(image) / image.numel()


class Moments(NamedTuple):
    """Raw moments of features over positions; they blend linearly between pictures.

    Attributes:
        mean: E[f], (C,).
        second: E[f fᵀ], (C, C).
    """

    mean: Tensor
    second: Tensor

    def covariance(self) -> Tensor:
        """E[f fᵀ] − E[f] E[f]ᵀ, (C, C)."""
        return self.second - torch.outer(self.mean, self.mean)


def moments(features: Tensor, share: Tensor | None = None) -> Moments:
    """Features (1, C, H, W) of any float type → their raw moments in float32.

    Args:
        features: what is averaged over positions.
        share: how much each position counts (H, W), with sum 1, or less for a part of a picture; None for all alike.
    """
    # (positions, channels) is how channels_last lies in memory: no copy.
    flat = features.float().permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    if share is None:
        return Moments(flat.mean(0), flat.T @ flat / len(flat))
    weight = share.reshape(-1)
    return Moments(weight @ flat, flat.T @ (flat * weight[:, None]))


def mix_moments(several: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """Raw moments blend linearly, as those of a picture made of parts do: `weights` has sum 1.

    Negative weights take a style away. What no picture can have then (a negative variance) becomes 0.
    """
    mean, second = (
        torch.stack([weight * part for part, weight in zip(parts, weights, strict=True)]).sum(0)
        for parts in zip(*several, strict=True)
    )
    if min(weights) >= 0:
        return Moments(mean, second)
    values, vectors = torch.linalg.eigh(doubled(Moments(mean, second).covariance()))
    covariance = (vectors * values.clamp_min(0)) @ vectors.T
    return Moments(mean, covariance.float().to(mean.device) + torch.outer(mean, mean))


def moment_distance(current: Moments, target: Moments) -> Tensor:
    """How far the statistics are from the target's, relative to the target: 0 = equal, about 1 = unrelated.

    ``√( (‖Σ−Σ*‖² + v‖μ−μ*‖²) / (‖Σ*‖² + v‖μ*‖²) )`` with v the target's mean variance, which gives means and
    covariances the same unit. Differs from Gatys et al. (2016): a Gram matrix fixes neither mean nor contrast
    (Risser et al., arXiv:1701.08893); and a relative distance, not a squared one, weighs the same for every layer,
    network and size, and keeps pulling when it is small.
    """
    covariance = target.covariance()
    variance = covariance.diagonal().mean()
    error = (current.covariance() - covariance).square().sum() + variance * (current.mean - target.mean).square().sum()
    size = covariance.square().sum() + variance * target.mean.square().sum()
    return (error / size.clamp_min(1e-12) + EPSILON).sqrt()


def feature_distance(current: Tensor, target: Tensor) -> Tensor:
    """Root mean square difference of two feature maps (1, C, H, W), relative to the target's deviation: scalar ≥ 0."""
    target = target.float()
    error = (current.float() - target).square().mean()
    return (error / target.var(correction=0).clamp_min(1e-6) + EPSILON).sqrt()


def self_similarity(features: Tensor) -> Tensor:
    """Features (1, C, H, W) → cosine distances of all pairs of positions (P, P), each column divided by its sum.

    Features are centred and, above `MAX_POSITIONS` positions, averaged over cells first.
    """
    features = features.float()
    height, width = features.shape[2:]
    shrink = (MAX_POSITIONS / (height * width)) ** 0.5
    if shrink < 1:
        features = F.adaptive_avg_pool2d(features, (max(1, int(height * shrink)), max(1, int(width * shrink))))
    flat = features.flatten(2)[0]
    unit = F.normalize(flat - flat.mean(1, keepdim=True), dim=0, eps=1e-6)
    distances = (1 - unit.T @ unit).clamp_min(0)
    return distances / distances.sum(0, keepdim=True).clamp_min(1e-6)


def similarity_distance(current: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two self-similarities (P, P), summed over rows: 0 = same structure, at most 2.

    Kolkin et al. (2019), arXiv:1904.12785, eq. 7: it keeps what lies where, and leaves colours and texture free.
    """
    return (current - target).abs().sum(0).mean()
