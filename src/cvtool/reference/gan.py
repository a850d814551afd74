"""Losses of GANs and of the variational auto-encoder in plain NumPy, with hand-derived gradients.

Written to be read beside the papers, not to be fast. `cvtool.gan.losses` and `cvtool.gan.penalties` have the same for
torch. Arrays are float64; logits are (N,), of real pictures and of as many fakes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvtool.reference.recurrent import sigmoid

Array = NDArray[np.float64]


class Term(NamedTuple):
    """What one side makes small, and its gradient with respect to the logits (N,) of both kinds."""

    loss: float
    real: Array
    fake: Array


class Terms(NamedTuple):
    """Both sides of one game."""

    discriminator: Term
    generator: Term


def softplus(x: Array) -> Array:
    """``log(1 + eˣ)``, without overflow; its derivative is the sigmoid."""
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def cross_entropy(logits: Array, labels: Array | float) -> tuple[float, Array]:
    """``mean −y log σ(x) − (1 − y) log(1 − σ(x))`` → (loss, d loss / d x = (σ(x) − y) / N)."""
    loss = labels * softplus(-logits) + (1 - labels) * softplus(logits)
    return float(np.mean(loss)), (sigmoid(logits) - labels) / logits.size


def bce(real: Array, fake: Array, smoothing: float = 0.0) -> Terms:
    """Goodfellow et al. (2014), non-saturating. D: real is 1 − smoothing, fake is 0; G: fake is 1."""
    truth, d_real = cross_entropy(real, 1 - smoothing)
    lie, d_fake = cross_entropy(fake, 0.0)
    wish, g_fake = cross_entropy(fake, 1.0)
    return Terms(Term(truth + lie, d_real, d_fake), Term(wish, np.zeros_like(real), g_fake))


def lsgan(real: Array, fake: Array, smoothing: float = 0.0) -> Terms:
    """Mao et al. (2017). D: ½ mean (r − 1 + smoothing)² + ½ mean f²; G: ½ mean (f − 1)²."""
    n = len(real)
    label = 1 - smoothing
    discriminator = float(np.sum((real - label) ** 2) + np.sum(fake**2)) / (2 * n)
    generator = float(np.sum((fake - 1) ** 2)) / (2 * n)
    return Terms(
        Term(discriminator, (real - label) / n, fake / n), Term(generator, np.zeros_like(real), (fake - 1) / n)
    )


def wgan(real: Array, fake: Array, smoothing: float = 0.0) -> Terms:
    """Arjovsky et al. (2017). D: mean f − mean r; G: −mean f. There is no label to smooth."""
    n = len(real)
    each = np.ones_like(real) / n
    return Terms(
        Term(float(np.mean(fake) - np.mean(real)), -each, each), Term(-float(np.mean(fake)), np.zeros_like(real), -each)
    )


def hinge(real: Array, fake: Array, smoothing: float = 0.0) -> Terms:
    """Lim and Ye (2017). D: mean max(0, 1 − r) + mean max(0, 1 + f); G: −mean f. There is no label to smooth."""
    n = len(real)
    loss = float(np.mean(np.maximum(0, 1 - real)) + np.mean(np.maximum(0, 1 + fake)))
    discriminator = Term(loss, -(real < 1).astype(float) / n, (fake > -1).astype(float) / n)
    return Terms(discriminator, wgan(real, fake).generator)


def r3gan(real: Array, fake: Array, smoothing: float = 0.0) -> Terms:
    """Huang et al. (2024). D: mean log(1 + e^(f − r)); G: mean log(1 + e^(r − f)). There is no label to smooth."""
    n = len(real)
    lead = real - fake
    d = sigmoid(-lead) / n
    g = sigmoid(lead) / n
    return Terms(Term(float(np.mean(softplus(-lead))), -d, d), Term(float(np.mean(softplus(lead))), g, -g))


LOSSES: dict[str, Callable[[Array, Array, float], Terms]] = {
    "bce": bce,
    "dragan": bce,
    "hinge": hinge,
    "lsgan": lsgan,
    "r3gan": r3gan,
    "wgan": wgan,
    "wgan-gp": wgan,
}
"""The same names as `cvtool.gan.losses.LOSSES`."""


class Penalty(NamedTuple):
    """A penalty on the slopes of the critic ``D(x) = v · tanh(W x)``, with its gradient for both weights."""

    loss: float
    inner: Array
    outer: Array


def zero_centred(points: Array, inner: Array, outer: Array) -> Penalty:
    """``mean ‖∇ₓ D‖²`` (R1 and R2) at points (N, I), for W (H, I) and v (H,)."""
    slopes = critic_slopes(points, inner, outer)
    return _through_slopes(points, inner, outer, float(np.sum(slopes**2)) / len(points), 2 * slopes / len(points))


def one_centred(points: Array, inner: Array, outer: Array) -> Penalty:
    """``mean (‖∇ₓ D‖ − 1)²`` (WGAN-GP and DRAGAN) at points (N, I), for W (H, I) and v (H,)."""
    slopes = critic_slopes(points, inner, outer)
    lengths = np.sqrt(np.sum(slopes**2, axis=1, keepdims=True))
    upstream = 2 * (lengths - 1) * slopes / lengths / len(points)
    return _through_slopes(points, inner, outer, float(np.mean((lengths - 1) ** 2)), upstream)


def critic_slopes(points: Array, inner: Array, outer: Array) -> Array:
    """``∇ₓ D = Wᵀ (v ⊙ (1 − tanh²(W x)))`` at points (N, I) → (N, I)."""
    hidden = np.tanh(points @ inner.T)
    return np.asarray((outer * (1 - hidden**2)) @ inner)


def _through_slopes(points: Array, inner: Array, outer: Array, loss: float, upstream: Array) -> Penalty:
    """The second pass backwards: from the gradient for the slopes (N, I) to that for the weights.

    slopes = s W with s = v ⊙ t, t = 1 − h², h = tanh a, a = x Wᵀ: W is met twice, once in a.
    """
    hidden = np.tanh(points @ inner.T)  # h (N, H)
    steepness = 1 - hidden**2  # t
    d_s = upstream @ inner.T
    d_a = d_s * outer * (-2 * hidden) * steepness  # dt/da = −2 h (1 − h²)
    d_inner = (outer * steepness).T @ upstream + d_a.T @ points
    return Penalty(loss, np.asarray(d_inner), np.asarray(np.sum(d_s * steepness, axis=0)))


def kl_divergence(mean: Array, log_variance: Array) -> tuple[float, Array, Array]:
    """``½ Σ (μ² + σ² − 1 − log σ²)`` from N(μ, σ²) to N(0, 1), over the number of pictures (Kingma and Welling 2014).

    Mean and log σ² are (N, Z) → (loss, d loss / d μ, d loss / d log σ²).
    """
    n = len(mean)
    variance = np.exp(log_variance)
    loss = 0.5 * float(np.sum(mean**2 + variance - 1 - log_variance)) / n
    return loss, mean / n, (variance - 1) / (2 * n)


def reconstruction(logits: Array, pictures: Array) -> tuple[float, Array]:
    """Cross-entropy of logits (N, …) with pictures in [0, 1], summed over a picture, over the number of pictures.

    → (loss, d loss / d logits).
    """
    values = logits.size / len(logits)
    loss, gradient = cross_entropy(logits, pictures)
    return loss * values, gradient * values


def reparametrized(mean: Array, log_variance: Array, noise: Array, upstream: Array) -> tuple[Array, Array, Array]:
    """``z = μ + σ ε`` → (z, and from the gradient for z those for μ and for log σ²), all (N, Z)."""
    spread = np.exp(log_variance / 2) * noise
    return mean + spread, upstream, upstream * spread / 2
