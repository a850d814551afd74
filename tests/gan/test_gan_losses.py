"""The losses in torch: against their NumPy twins, the course's values, and what must hold for any logits."""

import math

import numpy as np
import pytest
import torch

from cvtool.errors import UsageError
from cvtool.gan.losses import LOSSES
from cvtool.gan.options import Loss
from cvtool.reference import gan as reference


@pytest.fixture
def logits():
    rng = np.random.default_rng(0)
    return 3 * rng.standard_normal(9), 3 * rng.standard_normal(9)


def test_every_loss_of_the_options_is_there():
    assert {loss.value for loss in Loss} == set(LOSSES) == set(reference.LOSSES)
    assert all(loss.name == name and loss.paper for name, loss in LOSSES.items())


@pytest.mark.parametrize(
    ("name", "smoothing"),
    [(name, smoothing) for name, loss in LOSSES.items() for smoothing in (0.0, 0.1) if loss.smooths or not smoothing],
)
def test_twins(name, smoothing, logits):
    """Values and gradients of both sides with respect to both kinds of logits."""
    real, fake = (torch.tensor(each, requires_grad=True) for each in logits)
    expected = reference.LOSSES[name](*logits, smoothing)
    found = LOSSES[name](real, fake, smoothing)
    for term, twin in zip(found, expected, strict=True):
        assert term.shape == ()
        assert term.item() == pytest.approx(twin.loss, rel=1e-12)
        gradients = torch.autograd.grad(term, (real, fake), materialize_grads=True)
        np.testing.assert_allclose(gradients[0].detach(), twin.real, atol=1e-14)
        np.testing.assert_allclose(gradients[1].detach(), twin.fake, atol=1e-14)


@pytest.mark.shared
def test_values_of_the_course(shared_data):
    with np.load(shared_data / "cs231n" / "gan-checks-tf.npz") as course:
        real, fake = (torch.from_numpy(course[name][:, 0]) for name in ("logits_real", "logits_fake"))
        for name, middle in (("bce", ""), ("lsgan", "lsgan_")):
            expected = [float(course[f"{side}_loss_{middle}true"]) for side in "dg"]
            assert [term.item() for term in LOSSES[name](real, fake)] == pytest.approx(expected, rel=1e-14)
    computed_elsewhere = {"hinge": [2.6015332533], "r3gan": [1.1459500896, 0.6252827042]}  # of hinge D's only
    for name, expected in computed_elsewhere.items():
        found = [term.item() for term in LOSSES[name](real, fake)]
        assert found[: len(expected)] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("bce", 2 * math.log(2), math.log(2)),
        ("dragan", 2 * math.log(2), math.log(2)),
        ("lsgan", 0.5, 0.5),
        ("wgan", 0, 0),
        ("wgan-gp", 0, 0),
        ("hinge", 2, 0),
        ("r3gan", math.log(2), math.log(2)),
    ],
)
def test_before_anything_is_learnt(name, discriminator, generator):
    nothing = torch.zeros(5)
    assert [term.item() for term in LOSSES[name](nothing, nothing)] == pytest.approx([discriminator, generator])


@pytest.mark.parametrize("name", LOSSES)
def test_who_is_hopelessly_behind_still_learns(name):
    """Logits of ± 1000: σ is 0 or 1 in any float type, yet losses are finite and the loser's gradient is not 0."""
    high, low = (torch.full((4,), logit, requires_grad=True) for logit in (1000.0, -1000.0))
    for real, fake, loser, pulls in ((high, low, "generator", (low,)), (low, high, "discriminator", (low, high))):
        terms = LOSSES[name](real, fake)
        assert all(torch.isfinite(term) for term in terms)
        for gradient in torch.autograd.grad(getattr(terms, loser), pulls):
            assert bool((gradient.abs() >= 0.25).all())


@pytest.mark.parametrize("name", LOSSES)
def test_the_sides_pull_apart(name):
    """From the middle D wants larger logits for real pictures and smaller ones for fakes; G larger ones for fakes."""
    real, fake = (torch.full((4,), LOSSES[name].boundary or 0.0, requires_grad=True) for _ in range(2))
    terms = LOSSES[name](real, fake)
    d_real, d_fake = torch.autograd.grad(terms.discriminator, (real, fake))
    (g_fake,) = torch.autograd.grad(terms.generator, fake)
    assert bool((d_real < 0).all() and (d_fake > 0).all() and (g_fake < 0).all())


@pytest.mark.parametrize("name", ["wgan", "wgan-gp", "r3gan"])
def test_only_differences_count_without_a_boundary(name, logits):
    real, fake = (torch.tensor(each) for each in logits)
    assert LOSSES[name].boundary is None
    moved = LOSSES[name](real + 5, fake + 5).discriminator
    torch.testing.assert_close(moved, LOSSES[name](real, fake).discriminator)


@pytest.mark.parametrize("name", LOSSES)
def test_only_paired_generators_look_at_real_pictures(name, logits):
    real, fake = (torch.tensor(each) for each in logits)
    same = torch.equal(LOSSES[name](real, fake).generator, LOSSES[name](real + 1, fake).generator)
    assert same is not LOSSES[name].paired


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_averaged_in_float32(name, dtype):
    """2048 logits that are exact in bfloat16, whose mean is not."""
    rng = np.random.default_rng(1)
    real, fake = rng.integers(-64, 65, (2, 2048)) / 32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = LOSSES[name](torch.tensor(real, dtype=dtype), torch.tensor(fake, dtype=dtype))
    expected = reference.LOSSES[name](real, fake, 0.0)
    for term, twin in zip(terms, expected, strict=True):
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(twin.loss, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_columns_are_refused(name):
    """(N, 1) against (N,) would be (N, N)."""
    with pytest.raises(ValueError, match=r"\(N,\)"):
        LOSSES[name](torch.zeros(4, 1), torch.zeros(4))


def test_pairs_need_partners():
    with pytest.raises(ValueError, match=r"\(4,\) and \(3,\)"):
        LOSSES["r3gan"](torch.zeros(4), torch.zeros(3))
    assert LOSSES["bce"](torch.zeros(4), torch.zeros(3)).generator.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("name", ["wgan", "wgan-gp", "hinge", "r3gan"])
def test_smoothing_without_labels(name):
    with pytest.raises(UsageError, match=f"'{name}' has no labels"):
        LOSSES[name](torch.zeros(2), torch.zeros(2), 0.1)


def test_smoothing_has_its_minimum_at_the_label():
    """With labels of 0.9 the best logit is ln 9 for BCE and 0.9 for least squares."""
    for name, best in (("bce", math.log(9)), ("lsgan", 0.9)):
        real = torch.full((3,), best, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(LOSSES[name](real, torch.zeros(3), 0.1).discriminator, real)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)


def test_accuracy():
    real, fake = torch.tensor([2.0, 0.6, 0.4, -1.0]), torch.tensor([-3.0, 0.7])
    assert LOSSES["bce"].accuracy(real, fake).item() == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert LOSSES["lsgan"].accuracy(real, fake).item() == pytest.approx((2 / 4 + 1 / 2) / 2)  # the middle is ½
    assert LOSSES["wgan"].accuracy(real, fake).item() == pytest.approx((4 + 1) / 8)  # pairs in the right order
