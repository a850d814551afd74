"""Networks whose answers are known, and the bundled one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cvtool.bundled import find_asset
from cvtool.fool.service import Victim
from cvtool.images import read_picture, resize
from cvtool.models.cards import CARDS
from cvtool.models.loader import Model, load

SIDE = 24


def as_victim(module: nn.Module, classes: int, side: int = SIDE) -> Victim:
    """A network that takes pixels as they are."""
    card = replace(
        CARDS["efficientnet-lite0"],
        name="small",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        scale=1.0,
        input_size=side,
        classes=classes,
        crop=1.0,
    )
    return Victim(Model(module.eval().requires_grad_(False), card, torch.device("cpu"), "0" * 12), any_size=False)


class Linear(nn.Module):
    """Logits W · pixels + b: the smallest change that crosses a border is known."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, 3 * SIDE * SIDE, generator=generator))
        self.bias = nn.Parameter(-self.weight.sum(1) / 2 + 0.3 * torch.randn(classes, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Bumpy(nn.Module):
    """A small network of ReLUs."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Linear(400, classes)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in self.parameters():
                scale = 2 / max(1, parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)

    def forward(self, x: Tensor) -> Tensor:
        return 5 * self.head(self.layers(x))


@pytest.fixture(scope="session")
def make_victim() -> Callable[..., Victim]:
    return as_victim


@pytest.fixture(scope="session")
def linear() -> Victim:
    return as_victim(Linear(), 6)


@pytest.fixture(scope="session")
def undecided() -> Callable[[np.ndarray], Victim]:
    """For a picture (24, 24, 3): a network that all but sees another class in it."""

    def make(pixels: np.ndarray) -> Victim:
        network = Linear()
        (first, second), (_, other) = network(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].topk(2)
        with torch.no_grad():
            network.bias[other] += first - second - 1e-3
        return as_victim(network, 6)

    return make


@pytest.fixture(scope="session")
def bumpy() -> Victim:
    return as_victim(Bumpy(), 6)


@pytest.fixture(scope="session")
def lite() -> Victim:
    return Victim.of(load("efficientnet-lite0"))


@pytest.fixture(scope="session")
def cat() -> np.ndarray:
    """The bundled cat, 160 pixels wide."""
    pixels = read_picture(find_asset("cat").path).pixels
    return resize(pixels, round(160 * pixels.shape[0] / pixels.shape[1]), 160)


@pytest.fixture(scope="session")
def greys() -> Callable[..., list[np.ndarray]]:
    """Pictures (side, side, 3) around middle grey, on the levels of 8 bits."""

    def draw(count: int = 3, seed: int = 1, side: int = SIDE) -> list[np.ndarray]:
        random = np.random.default_rng(seed)
        return [
            (np.rint(255 * (0.35 + 0.3 * random.random((side, side, 3)))) / 255).astype(np.float32)
            for _ in range(count)
        ]

    return draw
