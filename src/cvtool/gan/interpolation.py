"""Walks through the space of noise, along which one picture becomes the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cvtool.errors import UsageError
from cvtool.gan.networks import Generator

_PARALLEL = 1e-6  # sine of the angle below which there is no arc to follow


@dataclass(frozen=True, eq=False)
class Walk:
    """Places on the way.

    Attributes:
        z: noise (N, latent).
        labels: weights of the classes (N, classes), or None.
        legs: which leg each place belongs to, (N,) from 0; a stop begins a leg.
    """

    z: Tensor
    labels: Tensor | None
    legs: tuple[int, ...]


def slerp(one: Tensor, other: Tensor, share: Tensor | float) -> Tensor:
    """Places on the arc from `one` to `other`, both (latent,), at shares (N,) in [0, 1] → (N, latent).

    Spherical interpolation (Shoemake 1985; White 2016, arXiv:1609.04468): normal noise of many numbers nearly has one
    length, and the straight line leaves it. Differs: the length goes from the one to the other in a straight line
    instead of bulging between vectors of unequal lengths. Vectors along one line have no arc; the line is taken.
    """
    shares = torch.as_tensor(share, dtype=torch.float64).reshape(-1, 1)
    a, b = one.double(), other.double()
    lengths = a.norm(), b.norm()
    if min(lengths) == 0:
        return (a + shares * (b - a)).to(one.dtype)
    a, b = a / lengths[0], b / lengths[1]
    # From both sides, as the arc cosine loses half of the digits near 0 and π.
    angle = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    if angle.sin() < _PARALLEL:
        return (one + shares * (other.double() - one)).to(one.dtype)
    turned = (((1 - shares) * angle).sin() * a + (shares * angle).sin() * b) / angle.sin()
    found: Tensor = turned * (lengths[0] + shares * (lengths[1] - lengths[0]))
    return found.to(one.dtype)


def walk(generator: Generator, stops: Tensor, labels: Tensor | None = None, *, frames: int, loop: bool = False) -> Walk:
    """`frames` places on the way from stop to stop, in equal steps as far as they can be.

    Args:
        generator: whose noise it is: normal noise is followed along arcs, evenly spread noise in straight lines, which
            do not leave its box.
        stops: noise (K, latent).
        labels: weights of the classes at each stop, (K, classes); they change in straight lines.
        frames: a place each, at least one for each leg; every stop is one of them.
        loop: go back to the first stop, and end one step before it, so that a repetition has no seam.

    Raises:
        UsageError: fewer than two stops, or too few frames.
    """
    count = len(stops)
    if count < 2:
        raise UsageError("A walk needs at least two pictures to go between. Give --seeds two or more numbers.")
    legs = count if loop else count - 1
    least = legs if loop else count
    if frames < least:
        raise UsageError(f"--frames {frames} are too few for {count} stops. Give {least} or more.")
    steps = frames if loop else frames - 1
    parts, weights, numbers = [], [], []
    for leg in range(legs):
        # Leg k takes the steps from ⌊k·steps/legs⌋ on: as equal as whole numbers allow.
        length = (leg + 1) * steps // legs - leg * steps // legs
        shares = torch.arange(length, dtype=torch.float64) / length
        if leg == legs - 1 and not loop:
            shares = torch.cat([shares, shares.new_ones(1)])
        here, there = leg, (leg + 1) % count
        parts.append(_between(generator, stops[here], stops[there], shares))
        if labels is not None:
            weights.append(labels[here] + shares.float()[:, None] * (labels[there] - labels[here]))
        numbers += [leg] * len(shares)
    return Walk(torch.cat(parts), torch.cat(weights) if labels is not None else None, tuple(numbers))


def _between(generator: Generator, here: Tensor, there: Tensor, shares: Tensor) -> Tensor:
    if generator.uniform:
        return (here + shares[:, None] * (there - here)).to(here.dtype)
    return slerp(here, there, shares)
