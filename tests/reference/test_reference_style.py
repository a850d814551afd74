"""The hand-derived gradients of the reference against central differences."""

import numpy as np
import pytest

from cvtool.reference import style

RNG = np.random.default_rng(0)
EPSILON = 1e-5


def central_difference(function, array):
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        up, down = array.copy(), array.copy()
        up[index] += EPSILON
        down[index] -= EPSILON
        gradient[index] = (function(up) - function(down)) / (2 * EPSILON)
    return gradient


def test_content_gradient():
    current, target = RNG.normal(size=(2, 3, 4, 5))
    _, gradient = style.content_loss(current, target, 0.7)
    np.testing.assert_allclose(
        gradient, central_difference(lambda x: style.content_loss(x, target, 0.7)[0], current), rtol=1e-6, atol=1e-8
    )


def test_style_gradient():
    feature = RNG.normal(size=(3, 4, 5))
    target = style.gram_matrix(RNG.normal(size=(3, 6, 2)))
    _, (gradient,) = style.style_loss([feature], [target], [3.0])
    numeric = central_difference(lambda x: style.style_loss([x], [target], [3.0])[0], feature)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-8)


def test_tv_gradient():
    image = RNG.normal(size=(2, 4, 3))
    _, gradient = style.tv_loss(image, 0.3)
    np.testing.assert_allclose(gradient, central_difference(lambda x: style.tv_loss(x, 0.3)[0], image), rtol=1e-6)


def test_gram_of_two_known_channels():
    feature = np.array([[[1.0, 2.0]], [[3.0, -1.0]]])  # (2, 1, 2)
    np.testing.assert_array_equal(style.gram_matrix(feature, normalize=False), [[5, 1], [1, 10]])
    np.testing.assert_array_equal(style.gram_matrix(feature), np.array([[5, 1], [1, 10]]) / 4)


def test_self_similarity_of_opposites():
    """Two pairs of equal vectors, opposite to each other: distance 0 inside, 2 across."""
    feature = np.array([[[1.0, 1.0, -1.0, -1.0]], [[2.0, 2.0, -2.0, -2.0]]])
    np.testing.assert_allclose(style.self_similarity(feature)[0], [0, 0, 0.5, 0.5], atol=1e-12)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_moment_distance_of_scaled_features(scale):
    """Scaling features scales means by s and covariances by s²: the distance follows from two norms."""
    feature = RNG.normal(size=(3, 4, 4)) + 1
    mean, covariance = style.moments(feature)
    v = np.trace(covariance) / 3
    a, b = np.linalg.norm(covariance) ** 2, v * np.linalg.norm(mean) ** 2
    expected = np.sqrt(((scale**2 - 1) ** 2 * a + (scale - 1) ** 2 * b) / (a + b))
    assert style.moment_distance(feature * scale, mean, covariance) == pytest.approx(expected)
