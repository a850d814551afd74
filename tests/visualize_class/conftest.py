"""Small networks whose best pictures are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cvtool.models.cards import CARDS
from cvtool.models.loader import Model


class SmallNet(nn.Module):
    """Two convolutions with batch norms, ReLU6 and ReLU, and a classifier."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.act1 = nn.ReLU6()
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(12)
        self.act2 = nn.ReLU()
        self.head = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


class LinearNet(nn.Module):
    """Logits are weighted sums of pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weights.flatten(1).T


def as_model(module: nn.Module, classes: int, side: int = 32, **facts: object) -> Model:
    """A `Model` with ImageNet's usual normalisation, unless `facts` say otherwise."""
    usual = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "scale": 1.0}
    card = replace(
        CARDS["efficientnet-lite0"],
        **{"name": "small", "input_size": side, "classes": classes, **usual, **facts},  # type: ignore[arg-type]
    )
    return Model(module.eval().requires_grad_(False), card, torch.device("cpu"), "0" * 12)


@pytest.fixture(scope="session")
def small() -> Model:
    """Random weights; its batch norms remember noise."""
    generator = torch.Generator().manual_seed(0)
    module = SmallNet().train()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
            if name in ("bn1.weight", "bn2.weight"):
                parameter.abs_().add_(0.5)
        module.bn1.momentum = module.bn2.momentum = 1.0
        for _ in range(2):
            module(torch.randn((16, 3, 32, 32), generator=generator))
    return as_model(module, 5)


@pytest.fixture(scope="session")
def linear() -> Model:
    """Two classes on 24 × 24 pixels: brightness of the left half, blue of the right half against its red."""
    weights = torch.zeros(2, 3, 24, 24)
    weights[0, :, :, :12] = 1 / 86
    weights[1, 2, :, 12:] = 1 / 29
    weights[1, 0, :, 12:] = -1 / 29
    return as_model(LinearNet(weights), 2, 24, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
