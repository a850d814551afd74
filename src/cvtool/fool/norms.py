"""Lengths of changes (N, 3, H, W), the balls of those lengths, and the steepest step within them."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.fool.options import Norm

EPSILON = 1e-12


def per_picture(values: Tensor) -> Tensor:
    """(N,) → (N, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def length(change: Tensor, norm: Norm) -> Tensor:
    """(N, 3, H, W) → (N,). L0 counts pixels, not channels."""
    flat = change.flatten(1)
    if norm is Norm.l0:
        return change.ne(0).any(1).flatten(1).sum(1).to(change.dtype)
    if norm is Norm.linf:
        return flat.abs().amax(1)
    size: Tensor = torch.linalg.vector_norm(flat, ord=1 if norm is Norm.l1 else 2, dim=1)
    return size


def dual_length(gradient: Tensor, norm: Norm) -> Tensor:
    """(N,): how much the score rises at most, to first order, per unit of length of the change."""
    if norm is Norm.linf:
        return gradient.flatten(1).abs().sum(1)
    if norm is Norm.l2:
        return length(gradient, Norm.l2)
    if norm is Norm.l1:
        return gradient.flatten(1).abs().amax(1)
    return gradient.abs().sum(1).flatten(1).amax(1)  # L0: one pixel from one end of its range to the other


def unit(change: Tensor) -> Tensor:
    """Each picture's change at Euclidean length 1; one that is 0 stays so."""
    return change / per_picture(length(change, Norm.l2)).clamp_min(EPSILON)


def steepest(gradient: Tensor, norm: Norm, share: float = 0.01) -> Tensor:
    """The step of length 1 that raises the score most, to first order.

    L1: spread evenly over the `share` of values with the largest gradient, since a single value would soon be at the
    end of its range (Tramèr and Boneh 2019). L0: as L2.
    """
    if norm is Norm.linf:
        return gradient.sign()
    if norm is not Norm.l1:
        return unit(gradient)
    flat = gradient.flatten(1).abs()
    count = max(1, round(share * flat.shape[1]))
    threshold = flat.topk(count, 1).values[:, -1:].clamp_min(EPSILON)
    chosen = (flat >= threshold).view_as(gradient) * gradient.sign()
    return chosen / per_picture(chosen.flatten(1).abs().sum(1)).clamp_min(EPSILON)


def project(change: Tensor, norm: Norm, radius: Tensor) -> Tensor:
    """The nearest change (N, 3, H, W) whose length is at most `radius` (N,)."""
    limit = per_picture(radius)
    if norm is Norm.linf:
        return torch.minimum(torch.maximum(change, -limit), limit)
    if norm is Norm.l2:
        return change * (limit / per_picture(length(change, norm)).clamp_min(EPSILON)).clamp_max(1)
    if norm is Norm.l1:
        return _onto_simplex(change, radius)
    strength = change.square().sum(1).flatten(1)
    order = strength.argsort(1, descending=True).argsort(1)
    return change * (order < radius[:, None]).view(len(change), 1, *change.shape[2:])


def _onto_simplex(change: Tensor, radius: Tensor) -> Tensor:
    """Onto the L1 ball: shrink all magnitudes by the same amount (Duchi et al. 2008)."""
    size = change.flatten(1).abs()
    ordered = size.sort(1, descending=True).values
    surplus = ordered.cumsum(1) - radius[:, None]
    counts = torch.arange(1, size.shape[1] + 1, device=change.device, dtype=change.dtype)
    last = (ordered * counts > surplus).sum(1, keepdim=True).clamp_min(1)
    cut = (surplus.gather(1, last - 1) / last).clamp_min(0)
    inside = size.sum(1, keepdim=True) <= radius[:, None]
    smaller = torch.where(inside, size, (size - cut).clamp_min(0))
    return change.sign() * smaller.view_as(change)
