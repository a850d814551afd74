"""Torch's losses against the slow twins, golden numbers and inputs whose answer is known."""

import numpy as np
import pytest
import torch
from PIL import Image

from cvtool.reference import style as reference
from cvtool.stylize import losses

RNG = np.random.default_rng(1)


def double(array):
    return torch.from_numpy(np.asarray(array))[None].requires_grad_(True)


def test_tv_of_a_checkerboard():
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 3, 2, 2)
    assert losses.tv_loss(board) == 4 * 3  # four edges, each 1, three channels


def test_tv_of_constant_is_zero():
    assert losses.tv_loss(torch.full((1, 3, 5, 7), 0.3)) == 0


def test_mean_variation_means_the_same_at_every_size():
    stripes = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 3, 64, 64)
    small = stripes[..., :16, :16]
    assert losses.mean_variation(stripes) == pytest.approx(losses.mean_variation(small).item(), rel=0.06)


@pytest.mark.shared
def test_tv_golden_value_of_the_course(shared_data):
    """The assignment prints 303.47 for Tübingen at 192 px, normalised by ImageNet's mean and deviation."""
    golden = np.load(shared_data / "cs231n" / "style-transfer-checks.npz")["tv_out"]
    picture = Image.open(shared_data / "pictures" / "content" / "tubingen.jpg").convert("RGB").resize((256, 192), 2)
    x = (np.asarray(picture, dtype=np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    image = torch.from_numpy(x.astype(np.float32).transpose(2, 0, 1))[None]
    assert losses.tv_loss(image, 2e-2).item() == pytest.approx(float(golden), rel=1e-5)


@pytest.mark.parametrize("weight", [1.0, 0.05])
def test_content_loss_and_gradient_equal_the_twin(weight):
    current, target = RNG.normal(size=(2, 3, 4, 5))
    loss, gradient = reference.content_loss(current, target, weight)
    x = double(current)
    ours = losses.content_loss(x, double(target).detach(), weight)
    ours.backward()
    assert ours.item() == pytest.approx(loss)
    np.testing.assert_allclose(x.grad[0], gradient, rtol=1e-10)


def test_tv_loss_and_gradient_equal_the_twin():
    image = RNG.normal(size=(3, 5, 4))
    loss, gradient = reference.tv_loss(image, 0.2)
    x = double(image)
    ours = losses.tv_loss(x, 0.2)
    ours.backward()
    assert ours.item() == pytest.approx(loss)
    np.testing.assert_allclose(x.grad[0], gradient, rtol=1e-10)


def test_moment_distance_equals_the_twin():
    current, target = RNG.gamma(2, size=(5, 6, 7)), RNG.gamma(3, size=(5, 4, 4))
    expected = reference.moment_distance(current, *reference.moments(target))
    ours = losses.moment_distance(losses.moments(double(current)), losses.moments(double(target)))
    assert ours.item() == pytest.approx(expected, rel=1e-4)


def test_moment_distance_to_itself_is_almost_zero():
    moments = losses.moments(double(RNG.gamma(2, size=(5, 6, 7))))
    assert losses.moment_distance(moments, moments).item() <= losses.EPSILON**0.5 * 1.001


def test_moments_of_a_mixture_blend_linearly():
    """Two pictures side by side have the mean of their raw moments, which is what mixing styles relies on."""
    a, b = RNG.gamma(2, size=(2, 3, 4, 4))
    together = losses.moments(double(np.concatenate([a, b], axis=2)))
    for both, one, other in zip(together, losses.moments(double(a)), losses.moments(double(b)), strict=True):
        torch.testing.assert_close(both, (one + other) / 2)


def test_self_similarity_equals_the_twin():
    feature = RNG.normal(size=(4, 3, 5))
    np.testing.assert_allclose(
        losses.self_similarity(double(feature)).detach(), reference.self_similarity(feature), rtol=1e-4, atol=1e-6
    )


def test_self_similarity_has_bounded_size():
    assert losses.self_similarity(torch.rand(1, 3, 100, 300)).shape[0] <= losses.MAX_POSITIONS


@pytest.mark.parametrize("cell", [2, 3])
def test_self_similarity_of_large_maps_is_that_of_the_means_of_cells(cell):
    """As many cells as are allowed: 20 × 20, and 10 × 40, each the mean of `cell` × `cell` positions."""
    for height, width in ((20, 20), (10, 40)):
        feature = RNG.normal(size=(4, cell * height, cell * width))
        means = feature.reshape(4, height, cell, width, cell).mean((2, 4))
        found = losses.self_similarity(double(feature)).detach()
        np.testing.assert_allclose(found, reference.self_similarity(means), rtol=1e-4, atol=1e-6)


def test_similarity_ignores_colour_and_sees_structure():
    """Scaling features changes nothing; moving them does."""
    feature = torch.rand(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    same = losses.self_similarity(feature * 3)
    moved = losses.self_similarity(feature.roll(2, dims=3))
    base = losses.self_similarity(feature)
    assert losses.similarity_distance(same, base) < 1e-5
    assert losses.similarity_distance(moved, base) > 0.05


def test_feature_distance_is_relative():
    target = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    near = losses.feature_distance(target + 0.1 * noise, target)
    assert losses.feature_distance(100 * (target + 0.1 * noise), 100 * target).item() == pytest.approx(
        near.item(), rel=1e-3
    )


@pytest.mark.parametrize("kind", ["moments", "features", "similarity"])
def test_gradients_are_finite_on_constant_maps(kind):
    """A blank picture has features without variance: nothing may divide by zero."""
    x = torch.full((1, 4, 5, 5), 0.5, requires_grad=True)
    blank = torch.full((1, 4, 5, 5), 0.5)
    if kind == "moments":
        loss = losses.moment_distance(losses.moments(x), losses.moments(blank))
    elif kind == "features":
        loss = losses.feature_distance(x, blank)
    else:
        loss = losses.similarity_distance(losses.self_similarity(x), losses.self_similarity(blank))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()
