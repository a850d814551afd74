"""Arrays and derivatives for tests of gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def spaced(ends: tuple[float, float], *shape: int) -> np.ndarray:
    """Evenly from one end to the other along the flattened array, as the course fills its arrays."""
    return np.linspace(*ends, num=int(np.prod(shape))).reshape(shape)


def frozen(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal random numbers that nobody may change: who writes into an argument raises ValueError."""
    array = rng.standard_normal(shape)
    array.setflags(write=False)
    return array


def central_difference(function: Callable[[np.ndarray], float], array: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    """The gradient of `function` at `array`, one element at a time."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        up, down = array.copy(), array.copy()
        up[index] += epsilon
        down[index] -= epsilon
        gradient[index] = (function(up) - function(down)) / (2 * epsilon)
    return gradient
