"""Networks and pictures for the methods: the bundled one, small ones, a vision transformer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cvtool.bundled import find_asset
from cvtool.images import read_picture
from cvtool.models.cards import CARDS, Resize
from cvtool.models.framing import frame_for, shown
from cvtool.models.loader import Model, load
from cvtool.saliency.methods import METHODS
from cvtool.saliency.options import Method, SaliencyOptions
from cvtool.saliency.question import Question
from cvtool.saliency.service import Explainer
from cvtool.tensors import to_tensor


class Small(nn.Module):
    """A network of ReLUs: one as a module, one a function, one in place."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.act = nn.ReLU()
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv1(x))
        x = nn.functional.relu(self.conv2(x))
        x = self.conv3(x).relu_()
        return self.head(x.mean((2, 3)))


class SmallOfModules(Small):
    """The same function with modules only, as the libraries that serve as oracles need it."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__(classes)
        self.act2, self.act3 = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv1(x))
        x = self.act2(self.conv2(x))
        x = self.act3(self.conv3(x))
        return self.head(x.mean((2, 3)))


def as_model(module: nn.Module, classes: int, side: int = 32) -> Model:
    """A `Model` with ImageNet's usual normalisation."""
    card = replace(
        CARDS["efficientnet-lite0"],
        name="small",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        scale=1.0,
        input_size=side,
        classes=classes,
    )
    return Model(module.eval().requires_grad_(False), card, torch.device("cpu"), "0" * 12)


def weights_of(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that do not depend on the global generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 1 / max(1, parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale * 1.5)
    return module


@pytest.fixture(scope="session")
def small() -> Model:
    return as_model(weights_of(Small()), 5)


@pytest.fixture(scope="session")
def small_of_modules(small: Model) -> Model:
    module = SmallOfModules()
    module.load_state_dict(small.module.state_dict())
    return as_model(module, 5)


@pytest.fixture(scope="session")
def vit() -> Model:
    """Torchvision's vision transformer, tiny: 3 blocks, 16 patches and a class token."""
    from torchvision.models import VisionTransformer

    module = VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
    )
    return as_model(weights_of(module), 5)


@pytest.fixture(scope="session")
def lite() -> Explainer:
    return Explainer.of(load("efficientnet-lite0"))


@pytest.fixture(scope="session")
def cat() -> np.ndarray:
    return read_picture(find_asset("cat").path).pixels


@pytest.fixture(scope="session")
def cat_tensor(lite: Explainer, cat: np.ndarray) -> Tensor:
    """(1, 3, 224, 224), the middle of the picture."""
    card = lite.model.card
    return to_tensor(shown(cat, frame_for(*cat.shape[:2], card, Resize.crop, True), card))


@pytest.fixture(scope="session")
def noise() -> Callable[..., Tensor]:
    """Pictures (count, 3, side, side) of noise."""

    def draw(count: int = 3, side: int = 32, seed: int = 1) -> Tensor:
        return torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(seed))

    return draw


@pytest.fixture(scope="session")
def ask() -> Callable[..., Tensor]:
    """ask(method, model, pictures, targets, contrast, **options) → (attribution, question)."""

    def answer(
        method: str, model: Model, x: Tensor, targets: list[int], contrast: list[int] | None = None, **options: object
    ) -> tuple[Tensor, Question]:
        other = None if contrast is None else torch.tensor(contrast)
        question = Question(model, x, torch.tensor(targets), other, SaliencyOptions(**options))  # type: ignore[arg-type]
        return METHODS[Method(method)].explain(question).detach(), question

    return answer


@pytest.fixture(scope="session")
def in_pixels() -> type[nn.Module]:
    """Makes of a `Model` a module that takes pixels in [0, 1], as the oracles get it."""
    return InPixels


class InPixels(nn.Module):
    """A network that takes pixels in [0, 1], as the oracles get it."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.inner = model, model.module

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.model.normalize(x))
