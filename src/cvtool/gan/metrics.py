"""How far one set of pictures is from another, given what a network sees in them: pure functions on features.

Features are tensors (N, D) float32 on any device, one row per picture. "Reference" are real pictures, "samples" are
what is judged. The slow twins in `cvtool.reference.distances` read like the papers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cvtool.errors import BadInputError
from cvtool.tensors import doubled

_BLOCK = 1024
"""Rows of a matrix of pairs that exist at a time."""

_NO_VARIANCE = 1e-7
"""Share of the largest standard deviation below which a direction counts as one without variance."""

CONFIDENCE = 0.95
RESAMPLES = 500


@dataclass(frozen=True)
class Estimate:
    """A number and the interval in which it falls for `CONFIDENCE` of equally good sets of samples.

    The reference stays as it is: the interval says how much is luck of these samples, not of the reference.
    """

    value: float
    low: float
    high: float


def check_features(features: Tensor) -> None:
    """Refuse what no distance can be computed from.

    Raises:
        BadInputError: not a matrix, fewer than two rows, or numbers that are not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise BadInputError(f"A distance needs features of at least 2 pictures; these are {_shape(features)}.")
    if not bool(torch.isfinite(features).all()):
        raise BadInputError(
            "The features of some pictures are not finite numbers. Check the network and its precision."
        )


def _shape(features: Tensor) -> str:
    return " × ".join(map(str, features.shape)) or "a number"


# --- Fréchet distance -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (D,) and covariance (D, D), float64, of `count` feature vectors; the covariance divides by count − 1."""

    mean: Tensor
    covariance: Tensor
    count: int

    @cached_property
    def root(self) -> Tensor:
        """The symmetric square root of the covariance, (D, D)."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return root


def moments(features: Tensor) -> Moments:
    """Mean and covariance of features (N, D), N ≥ 2.

    Raises:
        BadInputError: see `check_features`.
    """
    check_features(features)
    x = doubled(features)
    mean = x.mean(0)
    centred = x - mean
    return Moments(mean, centred.T @ centred / (len(x) - 1), len(x))


def frechet_distance(reference: Moments, samples: Moments) -> float:
    """``‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½)``, ≥ 0 (Heusel et al. 2017, arXiv:1706.08500).

    The trace of the root is the sum of the roots of the eigenvalues of ``Σ₁^½ Σ₂ Σ₁^½``, which is symmetric: no general
    matrix root with its imaginary parts. Biased upwards for few pictures: compare only equal numbers of them.
    """
    _same_length(reference.mean, samples.mean)
    product = reference.root @ samples.covariance @ reference.root
    roots = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt()
    return _frechet(reference, samples, float(roots.sum()))


def frechet_influences(reference: Moments, features: Tensor) -> tuple[float, Tensor]:
    """`frechet_distance` of samples (N, D), and how it changes with the weight of each of them, (N,) float64, mean 0.

    With M = Σ₁^½ Σ₂ Σ₁^½ the distance's derivative by Σ₂ is 1 − Σ₁^½ M^−½ Σ₁^½, by μ₂ it is 2 (μ₂ − μ₁).

    Raises:
        BadInputError: see `check_features`.
    """
    samples = moments(features)
    _same_length(reference.mean, samples.mean)
    product = reference.root @ samples.covariance @ reference.root
    values, vectors = torch.linalg.eigh((product + product.T) / 2)
    roots = values.clamp(min=0).sqrt()
    centred = doubled(features) - samples.mean
    seen = centred @ (reference.root @ vectors)
    # Where a root is 0 all samples lie in the plane that `seen` is 0 in: 0 / ∞ stands for 0 / 0.
    safe = torch.where(roots > roots[-1] * _NO_VARIANCE, roots, torch.inf)
    influences = 2 * centred @ (samples.mean - reference.mean)
    influences += centred.square().sum(1) - (seen.square() / safe).sum(1)
    return _frechet(reference, samples, float(roots.sum())), influences - influences.mean()


def frechet_estimate(reference: Moments, features: Tensor, generator: torch.Generator) -> Estimate:
    """The Fréchet distance of samples (N, D) with its interval.

    The bootstrap resamples the pictures' influences on the distance. Resampling the pictures themselves would push the
    distance up, as drawing twice lowers the rank of their covariance, and take an eigenvalue problem each time.

    Raises:
        BadInputError: see `check_features`.
    """
    value, influences = frechet_influences(reference, features)
    drawn = torch.randint(len(influences), (RESAMPLES, len(influences)), generator=generator)
    return _interval(value, value + influences.cpu()[drawn].mean(1), lowest=0.0)


def _frechet(one: Moments, other: Moments, root_trace: float) -> float:
    means = float((one.mean - other.mean).square().sum())
    traces = float(one.covariance.trace() + other.covariance.trace())
    return max(0.0, means + traces - 2 * root_trace)


# --- Kernel distance --------------------------------------------------------------------------------------------------


def cubic_kernel(one: Tensor, other: Tensor) -> Tensor:
    """``k(x, y) = (x·y / D + 1)³`` of rows (N, D), (M, D) → (N, M) (Bińkowski et al. 2018, arXiv:1801.01401)."""
    return (one @ other.T / one.shape[1] + 1) ** 3


def within_kernel(features: Tensor) -> float:
    """Mean of the kernel over all pairs of different rows of features (N, D)."""
    check_features(features)
    total = 0.0
    for start, block in _blocks(features):
        kernel = cubic_kernel(block, features)
        total += float(doubled(kernel).sum() - doubled(kernel.diagonal(start)).sum())
    return total / (len(features) * (len(features) - 1))


def kernel_distance(reference: Tensor, samples: Tensor) -> float:
    """The unbiased squared maximum mean discrepancy of all rows, cubic kernel; about 0, also below, for equal sets.

    Raises:
        BadInputError: see `check_features`.
    """
    _same_length(reference, samples)
    across = 0.0
    for _, block in _blocks(samples):
        across += float(doubled(cubic_kernel(block, reference)).sum())
    across /= len(samples) * len(reference)
    return within_kernel(reference) + within_kernel(samples) - 2 * across


def kernel_estimate(reference: Tensor, within: float, samples: Tensor, generator: torch.Generator) -> Estimate:
    """`kernel_distance` with its interval, by bootstrap over the samples.

    A picture that is drawn twice is not paired with itself, which would push the distance up.

    Args:
        reference: (M, D).
        within: `within_kernel` of it.
        samples: (N, D).
        generator: on the CPU, draws the resamples.

    Raises:
        BadInputError: see `check_features`.
    """
    check_features(samples)
    _same_length(reference, samples)
    count = len(samples)
    counts = _counts(count, generator).to(samples.device)
    counts = torch.cat([torch.ones_like(counts[:1]), counts])  # the first "resample" is the samples as they are
    paired, across = counts.new_zeros(len(counts)), counts.new_zeros(len(counts))
    for start, block in _blocks(samples):
        rows = slice(start, start + len(block))
        # Constants cancel in the distance; without this one float32 has its digits where they count.
        kernel = cubic_kernel(block, samples) - within
        kernel.diagonal(start).zero_()
        paired += ((counts[:, rows] @ kernel) * counts).sum(1)
        across += counts[:, rows] @ (cubic_kernel(block, reference) - within).mean(1)
    paired, across, counts = doubled(paired), doubled(across), doubled(counts)
    pairs = counts.sum(1).square() - counts.square().sum(1)
    values = (paired / pairs.clamp(min=1) - 2 * across / count).cpu()
    return _interval(float(values[0]), values[1:])


# --- Precision, recall, density, coverage -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Neighbourhood:
    """How samples lie among reference pictures in feature space.

    Attributes:
        precision: share of samples inside the manifold of the reference (fidelity).
        recall: share of reference pictures inside the manifold of the samples (variety).
        density: samples in the balls around reference pictures, against the number expected; may exceed 1.
        coverage: share of reference pictures with a sample in their ball.
        nearest: median distance from a sample to the nearest reference picture, divided by the same from one reference
            picture to the next: about 1 for new pictures of the same kind, towards 0 for copies of the reference.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    nearest: float


@dataclass(frozen=True, eq=False)
class Balls:
    """Features (N, D) with squared distances (N,) to each row's first, `k_small`-th and `k_large`-th neighbour."""

    features: Tensor
    first: Tensor
    small: Tensor
    large: Tensor
    k_large: int


def balls(features: Tensor, *, k_small: int = 3, k_large: int = 5) -> Balls:
    """Radii of the balls around each row of features (N, D); k is lowered to N − 1 where there are too few rows.

    `k_small` serves precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), `k_large` density and coverage
    (Naeem et al. 2020, arXiv:2002.09797).

    Raises:
        BadInputError: see `check_features`.
    """
    check_features(features)
    most = len(features) - 1
    small, large = min(k_small, most), min(k_large, most)
    nearest = []
    for start, block in _blocks(features):
        squared = squared_distances(block, features)
        squared.diagonal(start).fill_(torch.inf)  # a row is not its own neighbour
        nearest.append(squared.topk(max(small, large), largest=False).values)
    found = torch.cat(nearest)
    return Balls(features, found[:, 0], found[:, small - 1], found[:, large - 1], large)


def neighbourhood(reference: Balls, samples: Balls) -> Neighbourhood:
    """Precision, recall, density, coverage and distance to the nearest, from one pass over all pairs."""
    _same_length(reference.features, samples.features)
    precise, inside = 0, 0
    recalled = torch.zeros_like(reference.first, dtype=torch.bool)
    closest_to_reference = torch.full_like(reference.first, torch.inf)
    closest_to_sample = []
    for start, block in _blocks(samples.features):
        squared = squared_distances(block, reference.features)
        radii = samples.small[start : start + len(block), None]
        precise += int((squared <= reference.small).any(1).sum())
        recalled |= (squared <= radii).any(0)
        inside += int((squared <= reference.large).sum())
        closest_to_reference = torch.minimum(closest_to_reference, squared.amin(0))
        closest_to_sample.append(squared.amin(1))
    count = len(samples.features)
    among = float(reference.first.sqrt().median())
    to_nearest = float(torch.cat(closest_to_sample).sqrt().median())
    return Neighbourhood(
        precision=precise / count,
        recall=float(doubled(recalled).mean()),
        density=inside / (reference.k_large * count),
        coverage=float(doubled(closest_to_reference <= reference.large).mean()),
        nearest=to_nearest / among if among > 0 else float(to_nearest > 0),
    )


def nearest(samples: Tensor, reference: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """The `count` nearest rows of reference (M, D) for each of samples (N, D) → indices, distances (N, count)."""
    _same_length(reference, samples)
    distances, indices = [], []
    for _, block in _blocks(samples):
        found = squared_distances(block, reference).topk(min(count, len(reference)), largest=False)
        distances.append(found.values.sqrt())
        indices.append(found.indices)
    return torch.cat(indices), torch.cat(distances)


def squared_distances(one: Tensor, other: Tensor) -> Tensor:
    """``‖x − y‖²`` of rows (N, D), (M, D) → (N, M), by one product of matrices; at least 0."""
    centre = other.mean(0)  # closer to 0 fewer digits cancel
    one, other = one - centre, other - centre
    squared = torch.addmm(other.square().sum(1)[None], one, other.T, alpha=-2)
    return squared.add_(one.square().sum(1)[:, None]).clamp_(min=0)


# --- Shared -----------------------------------------------------------------------------------------------------------


def _blocks(features: Tensor) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(features), _BLOCK):
        yield start, features[start : start + _BLOCK]


def _same_length(one: Tensor, other: Tensor) -> None:
    if one.shape[-1] != other.shape[-1]:
        raise BadInputError(
            f"Features of {one.shape[-1]} and {other.shape[-1]} numbers are of different networks. Compute both anew."
        )


def _counts(rows: int, generator: torch.Generator) -> Tensor:
    """How often each of `rows` is drawn, for each resample: (RESAMPLES, rows) float32 on the CPU."""
    drawn = torch.randint(rows, (RESAMPLES, rows), generator=generator)
    return torch.zeros(RESAMPLES, rows).scatter_add_(1, drawn, torch.ones(RESAMPLES, rows))


def _interval(value: float, draws: Tensor, lowest: float = float("-inf")) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = torch.quantile(draws, draws.new_tensor([tail, 1 - tail])).tolist()
    return Estimate(value, max(lowest, low), high)
