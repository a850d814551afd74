"""Distances between sets of features: known answers, the slow twins, and other people's implementations."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cvtool.errors import BadInputError
from cvtool.gan import metrics
from cvtool.reference import distances
from cvtool.tensors import seeded

D = 6


def drawn(count, seed=0, dimensions=D, shift=0.0, scale=1.0):
    """Correlated features (count, dimensions) float32."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dimensions, dimensions)) / dimensions**0.5
    return torch.from_numpy((rng.normal(size=(count, dimensions)) @ mixing * scale + shift).astype(np.float32))


REAL, FAKE = drawn(60), drawn(50, seed=1, shift=0.4, scale=1.3)


def frechet(one, other):
    return metrics.frechet_distance(metrics.moments(one), metrics.moments(other))


def gaussian(mean, covariance):
    return metrics.Moments(torch.as_tensor(mean).double(), torch.as_tensor(covariance).double(), 1000)


# --- Fréchet distance


def test_frechet_distance_of_shifted_unit_gaussians_is_the_number_of_dimensions():
    zeros, ones, unit = torch.zeros(2048), torch.ones(2048), torch.eye(2048)
    assert metrics.frechet_distance(gaussian(zeros, unit), gaussian(ones, unit)) == pytest.approx(2048, abs=1e-9)


def test_frechet_distance_of_covariances_that_commute():
    one, other = torch.tensor([1.0, 4.0, 0.0]), torch.tensor([9.0, 4.0, 25.0])
    found = metrics.frechet_distance(gaussian(torch.zeros(3), one.diag()), gaussian(torch.zeros(3), other.diag()))
    assert found == pytest.approx((1 - 3) ** 2 + 0 + 5**2)


def test_frechet_distance_is_that_by_scipys_matrix_root():
    one, other = REAL.double().numpy(), FAKE.double().numpy()
    first, second = np.cov(one.T), np.cov(other.T)
    root = scipy.linalg.sqrtm(first @ second)
    expected = np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(first + second - 2 * root.real)
    assert frechet(REAL, FAKE) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_is_its_twins():
    one, other = (distances.moments(x.double().numpy()) for x in (REAL, FAKE))
    assert frechet(REAL, FAKE) == pytest.approx(distances.frechet_distance(*one, *other), rel=1e-8)


def test_frechet_distance_with_fewer_pictures_than_dimensions():
    # tr (Σ₁Σ₂)^½ is the nuclear norm of X₁ X₂ᵀ, both centred and divided by the root of n − 1.
    one, other = drawn(8, dimensions=40), drawn(9, seed=3, dimensions=40, shift=0.2)
    first, second = ((x - x.mean(0)).double() / (len(x) - 1) ** 0.5 for x in (one, other))
    nuclear = float(torch.linalg.svdvals(first @ second.T).sum())
    means = float((one.double().mean(0) - other.double().mean(0)).square().sum())
    expected = means + float(first.square().sum() + second.square().sum()) - 2 * nuclear
    assert frechet(one, other) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 1000), st.floats(-3, 3))
def test_frechet_distance_is_a_distance(count, other_count, seed, shift):
    one, other = drawn(count, seed), drawn(other_count, seed + 1, shift=shift)
    assert frechet(one, one) == pytest.approx(0, abs=1e-5)
    assert frechet(one, other) >= 0
    assert frechet(one, other) == pytest.approx(frechet(other, one), rel=1e-4, abs=1e-5)
    turn = torch.linalg.qr(drawn(D, seed=5).double()).Q.float()
    assert frechet(one @ turn + 2, other @ turn + 2) == pytest.approx(frechet(one, other), rel=1e-3, abs=1e-3)


def test_influences_on_the_frechet_distance_are_differences_of_the_twin():
    value, influences = metrics.frechet_influences(metrics.moments(REAL), FAKE)
    expected = distances.frechet_influence(*distances.moments(REAL.double().numpy()), FAKE.double().numpy())
    assert value == pytest.approx(frechet(REAL, FAKE))
    np.testing.assert_allclose(influences, expected - expected.mean(), rtol=1e-4, atol=1e-5)


def test_influences_are_finite_where_features_do_not_vary():
    dead = FAKE.clone()
    dead[:, 2:4] = 0
    _, influences = metrics.frechet_influences(metrics.moments(REAL), dead)
    assert torch.isfinite(influences).all()
    assert influences.abs().max() < 100


def test_equal_samples_have_a_distance():
    black = torch.zeros(20, D)
    estimate = metrics.frechet_estimate(metrics.moments(REAL), black, seeded(0))
    expected = REAL.double().mean(0).square().sum() + REAL.double().var(0).sum()
    assert estimate.value == pytest.approx(float(expected))
    assert estimate.low == estimate.high == pytest.approx(estimate.value)


def spread(estimate, sets=150):
    """Width of the interval, averaged, against that in which 95 % of independent sets fall."""
    found = [estimate(drawn(200, seed=100 + i, shift=0.4, scale=1.3), seeded(i)) for i in range(sets)]
    values = np.array([each.value for each in found])
    widths = np.mean([each.high - each.low for each in found])
    assert all(each.low <= each.value <= each.high for each in found)
    return widths / (2 * 1.96 * values.std(ddof=1))


def test_the_interval_of_the_frechet_distance_is_as_wide_as_independent_sets_scatter():
    reference = metrics.moments(drawn(500))
    assert spread(lambda x, generator: metrics.frechet_estimate(reference, x, generator)) == pytest.approx(1, abs=0.2)


def test_the_interval_of_the_kernel_distance_is_as_wide_as_independent_sets_scatter():
    reference = drawn(500)
    within = metrics.within_kernel(reference)
    found = spread(lambda x, generator: metrics.kernel_estimate(reference, within, x, generator))
    assert found == pytest.approx(1, abs=0.2)


# --- Kernel distance


def test_kernel_distance_is_its_twins():
    expected = distances.kernel_distance(REAL.double().numpy(), FAKE.double().numpy())
    assert metrics.kernel_distance(REAL, FAKE) == pytest.approx(expected, rel=1e-4)
    estimate = metrics.kernel_estimate(REAL, metrics.within_kernel(REAL), FAKE, seeded(0))
    assert estimate.value == pytest.approx(expected, rel=1e-4)


def test_kernel_distance_is_unbiased():
    found = np.array([metrics.kernel_distance(drawn(20, seed=i), drawn(25, seed=1000 + i)) for i in range(400)])
    assert abs(found.mean()) < 3 * found.std() / 400**0.5
    assert found.min() < 0


# --- Neighbourhoods


def neighbourhood(real, fake, **k):
    return metrics.neighbourhood(metrics.balls(real, **k), metrics.balls(fake, **k))


def test_neighbourhoods_are_their_twins():
    found = neighbourhood(REAL, FAKE)
    real, fake = REAL.double().numpy(), FAKE.double().numpy()
    assert (found.precision, found.recall) == pytest.approx(distances.precision_recall(real, fake))
    assert (found.density, found.coverage) == pytest.approx(distances.density_coverage(real, fake))
    assert found.nearest == pytest.approx(distances.nearest_ratio(real, fake), rel=1e-4)
    assert 0 < found.precision < 1  # so that the comparison says something
    assert 0 < found.recall < 1


def test_neighbourhoods_on_a_line():
    line = torch.arange(10.0)[:, None]
    found = neighbourhood(line, torch.cat([line[:5], line[:5] + 100]), k_small=1, k_large=1)
    assert found.precision == 0.5
    assert found.recall == pytest.approx(0.6)
    assert found.density == pytest.approx(14 / 10)  # the sample on 0 lies in 2 balls, those on 1 to 4 in 3
    assert found.coverage == pytest.approx(0.6)


def test_a_dropped_mode_lowers_recall_and_coverage_only():
    modes = torch.cat([drawn(200), drawn(200, seed=2) + 50])
    whole = neighbourhood(modes, torch.cat([drawn(200, seed=1), drawn(200, seed=3) + 50]))
    half = neighbourhood(modes, drawn(400, seed=1))
    assert half.precision == pytest.approx(whole.precision, abs=0.05)
    assert half.recall < 0.6 * whole.recall
    assert half.coverage < 0.6 * whole.coverage


def test_copies_of_the_reference_are_noticed():
    assert neighbourhood(REAL, REAL[:20]).nearest < 0.01
    assert neighbourhood(drawn(500), drawn(500, seed=1)).nearest == pytest.approx(1, abs=0.15)


def test_one_picture_again_and_again():
    found = neighbourhood(REAL, FAKE[:1].repeat(30, 1))
    assert found.recall == 0
    assert found.coverage <= 10 / 60


def test_a_reference_of_equal_pictures_gives_numbers():
    same = torch.ones(12, D)
    assert neighbourhood(same, same).nearest == 0
    assert neighbourhood(same, FAKE).nearest == 1


def test_nearest_gives_rows_in_order():
    reference = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    indices, lengths = metrics.nearest(torch.tensor([[0.0, 0.0], [3.0, 4.5]]), reference, count=2)
    assert indices.tolist() == [[0, 2], [1, 2]]
    np.testing.assert_allclose(lengths, [[0, 1], [0.5, 24.25**0.5]], atol=1e-3)


def test_blocks_change_nothing(monkeypatch):
    def all_of_it():
        estimate = metrics.kernel_estimate(REAL, metrics.within_kernel(REAL), FAKE, seeded(0))
        place = neighbourhood(REAL, FAKE)
        numbers = [estimate.value, estimate.low, estimate.high, metrics.kernel_distance(REAL, FAKE)]
        numbers += [place.precision, place.recall, place.density, place.coverage, place.nearest]
        return numbers, metrics.nearest(FAKE, REAL)[0].tolist()

    whole, rows = all_of_it()
    monkeypatch.setattr(metrics, "_BLOCK", 7)
    parts, rows_of_parts = all_of_it()
    assert parts == pytest.approx(whole, rel=1e-4)
    assert rows_of_parts == rows


# --- Bad input


@pytest.mark.parametrize("features", [torch.zeros(1, 4), torch.zeros(4), torch.full((3, 4), torch.nan)])
@pytest.mark.parametrize("function", [metrics.moments, metrics.within_kernel, metrics.balls])
def test_features_without_a_distance_are_refused(features, function):
    with pytest.raises(BadInputError):
        function(features)


def test_features_of_different_networks_are_refused():
    other = torch.zeros(9, D + 1)
    for call in (
        lambda: frechet(REAL, other),
        lambda: metrics.kernel_distance(REAL, other),
        lambda: neighbourhood(REAL, other),
        lambda: metrics.nearest(other, REAL),
    ):
        with pytest.raises(BadInputError, match="different networks"):
            call()


# --- Other people's implementations


def test_prdc_agrees():
    prdc = pytest.importorskip("prdc")
    for k in (3, 5):
        expected = prdc.compute_prdc(REAL.numpy(), FAKE.numpy(), nearest_k=k)
        found = neighbourhood(REAL, FAKE, k_small=k, k_large=k)
        for name, value in expected.items():
            assert getattr(found, name) == pytest.approx(value), name


def test_torch_fidelity_agrees():
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    real, fake = REAL[:50].double(), FAKE.double()
    expected = kid.kid_features_to_metric(real, fake, kid_subsets=1, kid_subset_size=50, rng_seed=0, verbose=False)
    found = metrics.kernel_distance(REAL[:50], FAKE)
    assert found == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    statistics = [{"mu": x.numpy().mean(0), "sigma": np.cov(x.numpy().T)} for x in (real, fake)]
    distance = fid.fid_statistics_to_metric(*statistics, verbose=False)
    assert frechet(REAL[:50], FAKE) == pytest.approx(next(iter(distance.values())), rel=1e-6)
