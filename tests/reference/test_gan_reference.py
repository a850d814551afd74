"""The hand-derived gradients of the GAN reference against central differences, and values known otherwise."""

import math

import numpy as np
import pytest
from numeric import central_difference, frozen

from cvtool.reference import gan

RNG = np.random.default_rng(0)
REAL, FAKE = 2 * frozen(RNG, 7), 2 * frozen(RNG, 7)
POINTS, INNER, OUTER = frozen(RNG, 5, 4), frozen(RNG, 3, 4), frozen(RNG, 3)


@pytest.mark.parametrize("name", gan.LOSSES)
@pytest.mark.parametrize("side", gan.Terms._fields)
def test_gradients_of_losses(name, side):
    def term(real, fake):
        return getattr(gan.LOSSES[name](real, fake, 0.1), side)

    found = term(REAL, FAKE)
    np.testing.assert_allclose(found.real, central_difference(lambda x: term(x, FAKE).loss, REAL), atol=1e-9)
    np.testing.assert_allclose(found.fake, central_difference(lambda x: term(REAL, x).loss, FAKE), atol=1e-9)


@pytest.mark.shared
def test_values_of_the_course(shared_data):
    with np.load(shared_data / "cs231n" / "gan-checks-tf.npz") as course:
        real, fake = course["logits_real"][:, 0], course["logits_fake"][:, 0]
        for loss, names in (
            (gan.bce, ("d_loss_true", "g_loss_true")),
            (gan.lsgan, ("d_loss_lsgan_true", "g_loss_lsgan_true")),
        ):
            terms = loss(real, fake)
            values = [terms.discriminator.loss, terms.generator.loss]
            np.testing.assert_allclose(values, [course[name] for name in names], rtol=1e-14)


def test_losses_where_they_can_be_done_by_hand():
    """All logits at ln 3, where σ is ¾, or one beyond each margin."""
    at = np.full(4, math.log(3))
    assert gan.bce(at, at).discriminator.loss == pytest.approx(math.log(4 / 3) + math.log(4))
    assert gan.bce(at, at).generator.loss == pytest.approx(math.log(4 / 3))
    assert gan.bce(at, at, 0.25).discriminator.loss == pytest.approx(  # the entropy of ¾, the least there is
        0.75 * math.log(4 / 3) + 0.25 * math.log(4) + math.log(4)
    )
    assert gan.r3gan(at, 0 * at).discriminator.loss == pytest.approx(math.log(4 / 3))
    assert gan.r3gan(at, 0 * at).generator.loss == pytest.approx(math.log(4))
    real, fake = np.array([-1.0, 3.0]), np.array([-4.0, 2.0])
    assert gan.hinge(real, fake).discriminator.loss == (2 + 0) / 2 + (0 + 3) / 2
    assert gan.lsgan(real, fake).discriminator.loss == (4 + 4) / 4 + (16 + 4) / 4
    assert gan.lsgan(real, fake, 0.5).discriminator.loss == (2.25 + 6.25) / 4 + (16 + 4) / 4
    assert gan.wgan(real, fake).discriminator.loss == -1 - 1
    assert gan.wgan(real, fake).generator.loss == gan.hinge(real, fake).generator.loss == 1


def test_softplus_of_large_numbers():
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_array_equal(gan.softplus(np.array([-1e4, 1e4])), [0, 1e4])


def test_slopes_of_the_critic():
    def critic(x):
        return float(OUTER @ np.tanh(INNER @ x))

    numeric = [central_difference(critic, point) for point in POINTS]
    np.testing.assert_allclose(gan.critic_slopes(POINTS, INNER, OUTER), numeric, atol=1e-9)


@pytest.mark.parametrize("penalty", [gan.zero_centred, gan.one_centred])
def test_gradients_of_penalties(penalty):
    found = penalty(POINTS, INNER, OUTER)
    inner = central_difference(lambda w: penalty(POINTS, w, OUTER).loss, INNER)
    outer = central_difference(lambda v: penalty(POINTS, INNER, v).loss, OUTER)
    np.testing.assert_allclose(found.inner, inner, atol=1e-8)
    np.testing.assert_allclose(found.outer, outer, atol=1e-8)


def test_kl_divergence_is_the_integral():
    """∫ p log(p / q), done numerically for each of two latents."""
    mean, variance = np.array([[0.7, -1.2]]), np.array([[0.3, 2.5]])
    z = np.linspace(-20, 20, 200_001)
    expected = 0.0
    for m, v in zip(mean[0], variance[0], strict=True):
        density = np.exp(-((z - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        logarithm = -((z - m) ** 2) / (2 * v) - math.log(v) / 2 + z**2 / 2
        expected += float(np.sum(density * logarithm) * (z[1] - z[0]))
    assert gan.kl_divergence(mean, np.log(variance))[0] == pytest.approx(expected, rel=1e-9)


def test_gradients_of_the_auto_encoder():
    mean, log_variance, noise, upstream = (frozen(RNG, 3, 4) for _ in range(4))
    _, d_mean, d_log = gan.kl_divergence(mean, log_variance)
    np.testing.assert_allclose(
        d_mean, central_difference(lambda m: gan.kl_divergence(m, log_variance)[0], mean), atol=1e-9
    )
    np.testing.assert_allclose(
        d_log, central_difference(lambda v: gan.kl_divergence(mean, v)[0], log_variance), atol=1e-9
    )
    _, d_mean, d_log = gan.reparametrized(mean, log_variance, noise, upstream)

    def drawn(m, v):
        return float(np.sum(upstream * gan.reparametrized(m, v, noise, upstream)[0]))

    np.testing.assert_allclose(d_mean, central_difference(lambda m: drawn(m, log_variance), mean), atol=1e-9)
    np.testing.assert_allclose(d_log, central_difference(lambda v: drawn(mean, v), log_variance), atol=1e-9)


def test_reconstruction():
    logits, pictures = frozen(RNG, 2, 1, 3, 3), RNG.random((2, 1, 3, 3))
    loss, gradient = gan.reconstruction(logits, pictures)
    probabilities = 1 / (1 + np.exp(-logits))
    terms = pictures * np.log(probabilities) + (1 - pictures) * np.log(1 - probabilities)
    assert loss == pytest.approx(-np.sum(terms) / 2)
    numeric = central_difference(lambda x: gan.reconstruction(x, pictures)[0], logits)
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)
