"""The slow twins of the distances on inputs whose answer is known."""

import numpy as np
import pytest
import scipy.linalg

from cvtool.reference import distances

RNG = np.random.default_rng(0)


def covariance_of(dimensions):
    factor = RNG.normal(size=(dimensions, dimensions))
    return factor @ factor.T + 0.1 * np.eye(dimensions)


def test_matrix_root_of_a_product_is_scipys():
    product = covariance_of(6) @ covariance_of(6)  # not symmetric
    root = distances.matrix_root(product)
    np.testing.assert_allclose(root @ root, product, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(root, scipy.linalg.sqrtm(product), rtol=1e-7, atol=1e-8)


def test_moments_are_numpys():
    features = RNG.normal(size=(7, 3))
    mean, covariance = distances.moments(features)
    np.testing.assert_allclose(mean, features.mean(0))
    np.testing.assert_allclose(covariance, np.cov(features.T))


def test_frechet_distance_in_one_dimension():
    # (μ₁ − μ₂)² + (σ₁ − σ₂)²
    found = distances.frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([3.0]), np.array([[25.0]]))
    assert found == pytest.approx(4 + 9)


def test_influence_in_one_dimension():
    # d/dε [(μ − m)² + (s − σ)²]: 2 (μ − m)(x − μ) + (1 − s/σ)((x − μ)² − σ²)
    features = RNG.normal(2.0, 3.0, size=(9, 1))
    mean, deviation = features.mean(), features.std(ddof=1)
    centred = features[:, 0] - mean
    expected = 2 * (mean - 1) * centred + (1 - 2 / deviation) * (centred**2 - deviation**2)
    found = distances.frechet_influence(np.array([1.0]), np.array([[4.0]]), features)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_kernel_distance_by_hand():
    # In one dimension k(x, y) = (xy + 1)³: pairs of {0, 1}: 1; of {1, 2}: 27; across: 1, 1, 8, 27.
    reference, samples = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert distances.kernel_distance(reference, samples) == pytest.approx(1 + 27 - 2 * 37 / 4)


LINE = np.arange(10.0)[:, None]


def test_radius_counts_only_others():
    assert distances.radius(LINE, 0, 1) == 1
    assert distances.radius(LINE, 0, 3) == 3
    assert distances.radius(LINE, 5, 2) == 1
    assert distances.radius(np.zeros((3, 2)), 0, 2) == 0


def test_precision_and_recall_on_a_line():
    # Half of the samples lie on the reference's left half, the rest far away; they reach no reference above 4 + 1.
    samples = np.concatenate([LINE[:5], LINE[:5] + 100])
    precision, recall = distances.precision_recall(LINE, samples, k=1)
    assert precision == 0.5
    assert recall == 0.6


def test_density_and_coverage_on_a_line():
    # k = 1: each ball reaches the next point. The two samples on 3 lie in the balls of 2, 3 and 4.
    density, coverage = distances.density_coverage(LINE, np.array([[3.0], [3.0], [50.0]]), k=1)
    assert density == pytest.approx(6 / 3)
    assert coverage == 0.3


def test_nearest_ratio_on_a_line():
    assert distances.nearest_ratio(LINE, LINE) == 0
    assert distances.nearest_ratio(LINE, LINE + 0.5) == pytest.approx(0.5)
