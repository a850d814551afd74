"""What a painter is trained for is the optimiser's own loss."""

from __future__ import annotations

import pytest
import torch

from cvtool.models.loader import Model, load
from cvtool.stylize.extractor import Extractor
from cvtool.stylize.instant.loss import CONTENT_LAYERS, OUTSIDE, RECIPE, painting_loss
from cvtool.stylize.instant.statistics import LAYERS, Encoder, statistics
from cvtool.stylize.objective import Objective


@pytest.fixture(scope="module")
def model() -> Model:
    return load("efficientnet-lite0")


def test_layers_are_those_that_the_optimiser_looks_at(model: Model) -> None:
    assert tuple(LAYERS) == model.card.style_layers
    assert model.card.content_layers == CONTENT_LAYERS


@pytest.mark.parametrize("strength", [30.0, 50.0, 80.0, 100.0])
def test_it_is_the_mean_of_the_optimisers_loss(model: Model, strength: float) -> None:
    generator = torch.Generator().manual_seed(0)
    painted, content, style = (torch.rand(2, 3, 64, 64, generator=generator) for _ in range(3))
    encoder = Encoder(model)
    found = painting_loss(
        encoder, painted, encoder(content, 0), statistics(encoder(style, 0)), torch.full((2,), strength)
    )
    extractor = Extractor(model, tuple(LAYERS), CONTENT_LAYERS, 0, "fp32")
    expected = []
    for i in range(2):
        target = extractor(style[i : i + 1]).moments
        objective = Objective(
            RECIPE, extractor, content=content[i : i + 1], targets=target, strength=strength, tv=RECIPE.tv
        )
        expected.append(objective(painted[i : i + 1]))
    for name in ("loss", "style", "content", "tv"):
        mean = torch.stack([each[name] for each in expected]).mean()
        assert float(found[name]) == pytest.approx(float(mean), rel=1e-4)


def test_what_leaves_the_range_costs(model: Model) -> None:
    encoder, x = Encoder(model), torch.rand(1, 3, 32, 32)
    maps, style, strength = encoder(x, 0), statistics(encoder(x, 0)), torch.tensor([50.0])
    inside = painting_loss(encoder, x.clamp(0, 1), maps, style, strength)["loss"]
    beyond = x.clone()
    beyond[0, 0, 0, 0] = 3.0
    clipped = x.clone()
    clipped[0, 0, 0, 0] = 1.0
    outside = painting_loss(encoder, beyond, maps, style, strength)["loss"]
    there = painting_loss(encoder, clipped, maps, style, strength)["loss"]
    assert float(outside - there) == pytest.approx(OUTSIDE * 2.0 / x.numel(), rel=1e-2)
    assert inside < there


def test_gradients_reach_every_picture_of_the_batch(model: Model) -> None:
    encoder = Encoder(model)
    painted = torch.rand(3, 3, 32, 32, requires_grad=True)
    other = torch.rand(3, 3, 32, 32)
    painting_loss(encoder, painted, encoder(other, 0), statistics(encoder(other, 0)), torch.full((3,), 50.0))[
        "loss"
    ].backward()
    assert painted.grad is not None
    assert all(float(each.abs().sum()) > 0 for each in painted.grad)
