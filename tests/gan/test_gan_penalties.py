"""Penalties on critics whose slopes are known, against NumPy twins, and against finite differences."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from cvtool.gan import penalties
from cvtool.reference import gan as reference

PICTURES = (6, 3, 4, 5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pictures():
    real, fake = torch.randn(2, *PICTURES, dtype=torch.float64, generator=seeded())
    return real, fake


def penalized(name, discriminator, real, fake, labels=None, seed=1):
    """Any penalty, by name."""
    if name in ("r1", "r2"):
        return getattr(penalties, name)(discriminator, real if name == "r1" else fake, labels)
    if name == "dragan":
        return penalties.dragan(discriminator, real, labels, seeded(seed))
    return penalties.gradient_penalty(discriminator, real, fake, labels, seeded(seed))


ALL = ["r1", "r2", "gradient_penalty", "dragan"]


@pytest.mark.parametrize("name", ALL)
def test_linear_critic(name, pictures):
    """D = w·x has the slope w everywhere: ‖w‖² or (‖w‖ − 1)², and the gradient for w follows."""
    w = torch.randn(PICTURES[1:], dtype=torch.float64, generator=seeded(2)).requires_grad_()
    loss = penalized(name, lambda x, labels: (x * w).sum((1, 2, 3)), *pictures)
    length = w.detach().norm()
    centred = name in ("r1", "r2")
    assert loss.shape == ()
    torch.testing.assert_close(loss.detach(), length**2 if centred else (length - 1) ** 2)
    (gradient,) = torch.autograd.grad(loss, w)
    torch.testing.assert_close(gradient, 2 * w.detach() * (1 if centred else 1 - 1 / length))


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_zero_centred_penalties_are_taken_at_the_pictures(name, pictures):
    """D = ½‖x‖² has the slope x."""
    at = pictures[0] if name == "r1" else pictures[1]
    loss = penalized(name, lambda x, labels: x.square().sum((1, 2, 3)) / 2, *pictures)
    torch.testing.assert_close(loss, at.square().sum() / len(at))


class Watched:
    """The critic ``v · tanh(W x)``, which remembers where it was asked."""

    def __init__(self):
        inner, outer = torch.randn(7, 60, generator=seeded(3)) / 4, torch.randn(7, generator=seeded(4))
        self.inner, self.outer = inner.double().requires_grad_(), outer.double().requires_grad_()

    def __call__(self, x, labels):
        self.points, self.labels = x.detach(), labels
        return torch.tanh(x.flatten(1) @ self.inner.T) @ self.outer


@pytest.mark.parametrize("name", ALL)
def test_twins(name, pictures):
    """Value and second-order gradients of a critic with one hidden layer, at the points that were drawn."""
    critic = Watched()
    loss = penalized(name, critic, *pictures)
    gradients = torch.autograd.grad(loss, (critic.inner, critic.outer))
    twin = reference.zero_centred if name in ("r1", "r2") else reference.one_centred
    expected = twin(critic.points.flatten(1).numpy(), critic.inner.detach().numpy(), critic.outer.detach().numpy())
    assert loss.item() == pytest.approx(expected.loss, rel=1e-12)
    np.testing.assert_allclose(gradients[0], expected.inner, atol=1e-12)
    np.testing.assert_allclose(gradients[1], expected.outer, atol=1e-12)


def test_gradient_penalty_is_taken_between_the_pictures(pictures):
    """At one place on each line from a real picture to its fake, another place on every line."""
    real, fake = pictures
    critic = Watched()
    penalties.gradient_penalty(critic, real, fake, None, seeded())
    shares = ((critic.points - real) / (fake - real)).flatten(1)
    share = shares.mean(1)
    torch.testing.assert_close(shares, share[:, None].expand_as(shares))
    assert bool(((share >= 0) & (share < 1)).all())
    assert len(share.unique()) == len(real)


def test_dragan_is_taken_near_real_pictures():
    """Moved by α ½ std u: never down, at most half a deviation, on average ⅛ of a deviation (½ · ½ · ½)."""
    real = 3 * torch.randn(400, 1, 6, 6, generator=seeded())
    seen = []

    def critic(x, labels):
        seen.append(x.detach())
        return x.sum((1, 2, 3))

    penalties.dragan(critic, real, None, seeded(5))
    moved = (seen[0] - real) / real.std(correction=0)
    assert -1e-6 <= moved.min() < moved.max() <= 0.5 + 1e-6
    assert moved.mean().item() == pytest.approx(0.125, abs=0.01)
    share = 2 * moved.flatten(1).mean(1) / 0.5  # uniform over pictures, as the mean of u is known
    assert share.std().item() == pytest.approx(12**-0.5, abs=0.03)


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_seeds(name, pictures):
    def drawn(seed):
        critic = Watched()
        penalized(name, critic, *pictures, seed=seed)
        return critic.points

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("name", ALL)
def test_labels_reach_the_critic_and_pictures_get_no_gradient(name, pictures):
    critic = Watched()
    real, fake = (each.requires_grad_() for each in pictures)
    labels = torch.arange(len(real))
    penalized(name, critic, real, fake, labels).backward()
    assert critic.labels is labels
    assert real.grad is None
    assert fake.grad is None
    assert critic.inner.grad is not None


@pytest.mark.parametrize("name", ALL)
def test_flat_critic(name, pictures):
    """No slope at all: the loss is 0 or 1, and its gradient is 0 instead of NaN."""
    w = torch.zeros(PICTURES[1:], dtype=torch.float64, requires_grad=True)
    loss = penalized(name, lambda x, labels: (x * w).sum((1, 2, 3)), *pictures)
    loss.backward()
    assert loss.item() == (0 if name in ("r1", "r2") else 1)
    assert bool((w.grad == 0).all())


def test_fakes_of_a_generator_under_autocast(pictures):
    """Its bfloat16 pictures go together with float32 data."""
    real, fake = pictures[0].float(), pictures[1].bfloat16()
    critic = Watched()
    critic.inner, critic.outer = critic.inner.float(), critic.outer.float()
    found = penalties.gradient_penalty(critic, real, fake, None, seeded())
    torch.testing.assert_close(found, penalties.gradient_penalty(critic, real, fake.float(), None, seeded()))


def test_shapes_must_match(pictures):
    with pytest.raises(ValueError, match="as many fakes"):
        penalties.gradient_penalty(Watched(), pictures[0], pictures[1][:2], None, seeded())


def convolutional(dtype=torch.float64):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.Softplus(), nn.Conv2d(8, 8, 3, stride=2), nn.Tanh(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(16, 1)).to(dtype)


@pytest.mark.parametrize("name", ALL)
def test_finite_differences_through_convolutions(name, pictures):
    """The gradient of the penalty for some of the first layer's weights, numerically."""
    network = convolutional()
    weight = network[0].weight.detach()

    def loss(first):
        weights = {"0.weight": torch.cat([first, weight[2:]])}
        return penalized(name, lambda x, labels: functional_call(network, weights, x)[:, 0], *pictures)

    assert torch.autograd.gradcheck(loss, weight[:2].clone().requires_grad_(), eps=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_autocast(name, pictures):
    """Under bfloat16 autocast: float32, near the exact value, and twice differentiable with about the same gradient."""
    network = convolutional(torch.float32)
    real, fake = (each.float() for each in pictures)

    def critic(x, labels):
        return network(x)[:, 0]

    exact = penalized(name, critic, real, fake)
    expected = torch.autograd.grad(exact, network[0].weight)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert critic(real, None).dtype == torch.bfloat16  # else nothing is tested here
        loss = penalized(name, critic, real, fake)
    (gradient,) = torch.autograd.grad(loss, network[0].weight)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.03)
    assert torch.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0) > 0.99


def test_squares_are_summed_in_float32():
    """12,288 slopes of 1: adding ones in bfloat16 ends at 256, as 257 is none of its numbers; 12,289 is none either."""
    pictures = torch.zeros(2, 3, 64, 64, dtype=torch.bfloat16)
    assert penalties.r1(lambda x, labels: x.sum((1, 2, 3)), pictures, None).item() == 3 * 64 * 64
    odd = torch.zeros(2, 1, 1, 12289, dtype=torch.bfloat16)
    assert penalties.r1(lambda x, labels: x.sum((1, 2, 3)), odd, None).item() == 12289


def test_clip_weights():
    weights = [torch.tensor([-3.0, 0.005], requires_grad=True), torch.tensor([[0.2], [-0.01]], requires_grad=True)]
    penalties.clip_weights(weights, 0.01)
    torch.testing.assert_close(weights[0].detach(), torch.tensor([-0.01, 0.005]))
    torch.testing.assert_close(weights[1].detach(), torch.tensor([[0.01], [-0.01]]))
    assert weights[0].requires_grad


def test_both_zero_centred_penalties_in_one_batch(pictures):
    network = convolutional()
    both = torch.cat(pictures).requires_grad_()
    together = penalties.r1_and_r2(network(both)[:, 0], both)
    apart = [penalized(name, lambda x, labels: network(x)[:, 0], *pictures) for name in ("r1", "r2")]
    torch.testing.assert_close(2 * together, apart[0] + apart[1])
