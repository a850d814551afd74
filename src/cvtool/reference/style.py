"""Style transfer's losses in plain NumPy, with hand-derived gradients for the textbook ones.

Written to be read beside the papers, not to be fast. `cvtool.stylize.losses` has the same functions for torch.
Arrays are float64; a feature map is (C, H, W), an image is (C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def content_loss(current: Array, target: Array, weight: float = 1.0) -> tuple[float, Array]:
    """``w Σ (F − P)²`` → (loss, d loss / d F)."""
    difference = current - target
    return float(weight * np.sum(difference**2)), 2 * weight * difference


def gram_matrix(features: Array, normalize: bool = True) -> Array:
    """``G_ij = Σ_k F_ik F_jk``, divided by C·H·W if `normalize` → (C, C)."""
    c, h, w = features.shape
    gram = np.zeros((c, c))
    for i in range(c):
        for j in range(c):
            gram[i, j] = np.sum(features[i] * features[j])
    return gram / (c * h * w) if normalize else gram


def style_loss(
    features: Sequence[Array], targets: Sequence[Array], weights: Sequence[float]
) -> tuple[float, list[Array]]:
    """``Σ_l w_l Σ (G_l − A_l)²`` → (loss, d loss / d F_l for each layer).

    With E = G − A symmetric and G = F Fᵀ / n: dL/dF = w · 2E · 2F / n.
    """
    loss = 0.0
    gradients = []
    for feature, target, weight in zip(features, targets, weights, strict=True):
        c, h, w = feature.shape
        error = gram_matrix(feature) - target
        loss += weight * float(np.sum(error**2))
        flat = feature.reshape(c, h * w)
        gradients.append((4 * weight / (c * h * w) * error @ flat).reshape(c, h, w))
    return loss, gradients


def tv_loss(image: Array, weight: float = 1.0) -> tuple[float, Array]:
    """``w Σ (differences of neighbours)²`` → (loss, d loss / d image)."""
    c, h, w = image.shape
    loss = 0.0
    gradient = np.zeros_like(image)
    for k in range(c):
        for y in range(h):
            for x in range(w):
                for dy, dx in ((1, 0), (0, 1)):
                    if y + dy < h and x + dx < w:
                        difference = image[k, y + dy, x + dx] - image[k, y, x]
                        loss += weight * float(difference**2)
                        gradient[k, y + dy, x + dx] += 2 * weight * difference
                        gradient[k, y, x] -= 2 * weight * difference
    return loss, gradient


def moments(features: Array) -> tuple[Array, Array]:
    """Mean (C,) and covariance (C, C) of the feature vectors over all positions."""
    c = features.shape[0]
    vectors = features.reshape(c, -1).T
    mean = sum(vectors) / len(vectors)
    covariance = sum(np.outer(v - mean, v - mean) for v in vectors) / len(vectors)
    return np.asarray(mean), np.asarray(covariance)


def moment_distance(features: Array, target_mean: Array, target_covariance: Array) -> float:
    """``√( (‖Σ−Σ*‖² + v‖μ−μ*‖²) / (‖Σ*‖² + v‖μ*‖²) )``, v = mean of Σ*'s diagonal."""
    mean, covariance = moments(features)
    v = np.trace(target_covariance) / len(target_mean)
    error = np.linalg.norm(covariance - target_covariance) ** 2 + v * np.linalg.norm(mean - target_mean) ** 2
    size = np.linalg.norm(target_covariance) ** 2 + v * np.linalg.norm(target_mean) ** 2
    return float(np.sqrt(error / size))


def self_similarity(features: Array) -> Array:
    """Cosine distances of all pairs of centred feature vectors (P, P); each column sums to 1."""
    c = features.shape[0]
    vectors = features.reshape(c, -1).T
    vectors = vectors - vectors.mean(0)
    count = len(vectors)
    distances = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            norms = np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j])
            distances[i, j] = 1 - vectors[i] @ vectors[j] / norms
    return np.asarray(distances / distances.sum(0))
