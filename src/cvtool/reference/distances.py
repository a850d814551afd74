"""Distances between sets of feature vectors in plain NumPy, written to be read beside the papers, not to be fast.

Features are float64 (N, D), one row per picture. `cvtool.gan.metrics` has the same functions for torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def moments(features: Array) -> tuple[Array, Array]:
    """Mean (D,) and covariance (D, D), divided by N − 1."""
    mean = np.sum(features, axis=0) / len(features)
    covariance = np.zeros((features.shape[1], features.shape[1]))
    for row in features:
        covariance += np.outer(row - mean, row - mean)
    return np.asarray(mean), covariance / (len(features) - 1)


def matrix_root(matrix: Array) -> Array:
    """The principal square root of a matrix whose eigenvalues are positive, by Denman and Beavers (1976).

    Y ← (Y + Z⁻¹) / 2 and Z ← (Z + Y⁻¹) / 2 from Y = A and Z = 1: Y → A^½, Z → A^−½. No eigenvalues are used.
    """
    y, z = matrix, np.eye(len(matrix))
    while True:
        previous = y
        y, z = (y + np.linalg.inv(z)) / 2, (z + np.linalg.inv(y)) / 2
        if np.linalg.norm(y - previous) <= 1e-12 * np.linalg.norm(y):
            return y


def frechet_distance(mean_1: Array, covariance_1: Array, mean_2: Array, covariance_2: Array) -> float:
    """``‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)`` for regular covariances (Heusel et al. 2017)."""
    root = matrix_root(covariance_1 @ covariance_2)
    return float(np.sum((mean_1 - mean_2) ** 2) + np.trace(covariance_1 + covariance_2 - 2 * root))


def frechet_influence(mean_1: Array, covariance_1: Array, features: Array, step: float = 1e-6) -> Array:
    """How the Fréchet distance from (μ₁, Σ₁) to `features` changes with the weight of each row (N,), by differences.

    The derivative at ε = 0 when the row's distribution becomes (1 − ε) that of `features` + ε that row alone.
    """
    mean, covariance = moments(features)
    changes = np.zeros(len(features))
    for i, row in enumerate(features):
        ends = []
        for weight in (step, -step):
            moved_mean = (1 - weight) * mean + weight * row
            moved = (1 - weight) * covariance + weight * (1 - weight) * np.outer(row - mean, row - mean)
            ends.append(frechet_distance(mean_1, covariance_1, moved_mean, moved))
        changes[i] = (ends[0] - ends[1]) / (2 * step)
    return changes


def cubic_kernel(one: Array, other: Array) -> float:
    """``k(x, y) = (x·y / D + 1)³`` of two vectors (D,)."""
    return float((np.dot(one, other) / len(one) + 1) ** 3)


def kernel_distance(reference: Array, samples: Array) -> float:
    """Equation 4 of Bińkowski et al. (2018): the unbiased estimate of the squared maximum mean discrepancy."""
    m, n = len(reference), len(samples)
    within_reference = sum(cubic_kernel(reference[i], reference[j]) for i in range(m) for j in range(m) if i != j)
    within_samples = sum(cubic_kernel(samples[i], samples[j]) for i in range(n) for j in range(n) if i != j)
    across = sum(cubic_kernel(x, y) for x in reference for y in samples)
    return within_reference / (m * (m - 1)) + within_samples / (n * (n - 1)) - 2 * across / (m * n)


def radius(features: Array, i: int, k: int) -> float:
    """Distance from row i to its k-th nearest other row."""
    others = sorted(float(np.linalg.norm(features[i] - features[j])) for j in range(len(features)) if j != i)
    return others[k - 1]


def in_manifold(point: Array, features: Array, k: int) -> bool:
    """Whether a point lies in the ball of any row (Kynkäänniemi et al. 2019, equation 1)."""
    return any(np.linalg.norm(point - features[i]) <= radius(features, i, k) for i in range(len(features)))


def precision_recall(reference: Array, samples: Array, k: int = 3) -> tuple[float, float]:
    """Shares of samples in the manifold of the reference, and the other way round (equation 2)."""
    precision = float(np.mean([in_manifold(y, reference, k) for y in samples]))
    recall = float(np.mean([in_manifold(x, samples, k) for x in reference]))
    return precision, recall


def density_coverage(reference: Array, samples: Array, k: int = 5) -> tuple[float, float]:
    """Naeem et al. (2020), equations 3 and 4."""
    inside, covered = 0, 0
    for i, x in enumerate(reference):
        ball = radius(reference, i, k)
        found = sum(float(np.linalg.norm(x - y)) <= ball for y in samples)
        inside += found
        covered += found > 0
    return inside / (k * len(samples)), covered / len(reference)


def nearest_ratio(reference: Array, samples: Array) -> float:
    """Median distance from a sample to the nearest reference row over the median from one reference row to the next.

    Differs from `statistics.median` for even counts, where the lower of the two middle values is taken.
    """
    to_reference = sorted(min(float(np.linalg.norm(y - x)) for x in reference) for y in samples)
    among = sorted(radius(reference, i, 1) for i in range(len(reference)))
    return to_reference[(len(to_reference) - 1) // 2] / among[(len(among) - 1) // 2]
