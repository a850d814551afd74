"""Redirected ReLUs against a transcription of Lucid's TensorFlow code to NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvtool.rectifiers import Rerouted, redirected


def lucids(gradient: np.ndarray, x: np.ndarray, ceiling: float) -> np.ndarray:
    """`redirected_relu_grad` and `redirected_relu6_grad` of lucid/misc/redirected_relu_grad.py, example by example."""
    cut = np.logical_or(x < 0.0, x > ceiling)
    relu_grad = np.where(cut, 0, gradient)
    neg_pushing_lower = np.logical_and(x < 0.0, gradient > 0.0)
    pos_pushing_higher = np.logical_and(x > ceiling, gradient < 0.0)
    redirected_grad = np.where(np.logical_or(neg_pushing_lower, pos_pushing_higher), 0, gradient)
    magnitude = np.linalg.norm(relu_grad.reshape(len(x), -1), axis=1)
    return np.where((magnitude > 0).reshape(-1, *[1] * (x.ndim - 1)), relu_grad, redirected_grad)


@pytest.mark.parametrize("ceiling", [float("inf"), 6.0])
@pytest.mark.parametrize("offset", [0.0, -9.0, 12.0])
def test_as_lucid(ceiling: float, offset: float) -> None:
    random = np.random.default_rng(0)
    x, gradient = random.normal(size=(2, 4, 3, 5, 5)).astype(np.float32)
    x[1:3] += offset  # two of four examples are wholly below 0, or above 6
    found = redirected(torch.from_numpy(gradient), torch.from_numpy(x), ceiling)
    np.testing.assert_array_equal(found, lucids(gradient, x, ceiling))


class Activations(nn.Module):
    """All ways to write a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.ways = [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), F.relu, F.relu6, torch.relu, Tensor.relu]

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([way(x.clone()) for way in self.ways])


def test_every_relu_is_found_and_computes_the_same() -> None:
    module, x = Activations(), torch.linspace(-3, 9, 24).view(2, 12)
    with Rerouted(redirected) as rerouted:
        inside = module(x)
    assert rerouted.count == len(module.ways)
    torch.testing.assert_close(inside, module(x))


def test_a_dead_network_comes_back_to_life() -> None:
    """Minimising the loss must raise what is below 0, and an ordinary ReLU passes nothing."""
    x = torch.full((1, 4), -1.0, requires_grad=True)
    (plain,) = torch.autograd.grad(-F.relu(x).sum(), x)
    assert not plain.any()
    with Rerouted(redirected):
        loss = -F.relu(x).sum()
    (rescued,) = torch.autograd.grad(loss, x)
    assert torch.equal(rescued, torch.full((1, 4), -1.0))


def test_a_living_example_keeps_its_gradient() -> None:
    x = torch.tensor([[-1.0, 2.0], [-1.0, -2.0]], requires_grad=True)
    with Rerouted(redirected):
        loss = -F.relu(x).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.tolist() == [[0.0, -1.0], [-1.0, -1.0]]
