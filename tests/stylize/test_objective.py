"""The published recipes' losses as they run, against their formulas written out on what a network sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cvtool.hooks import features
from cvtool.models.loader import Model, load
from cvtool.stylize.extractor import Extractor
from cvtool.stylize.objective import Objective
from cvtool.stylize.options import Recipe
from cvtool.stylize.recipes import RECIPES

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, as the course has them."""


@pytest.fixture(scope="module")
def squeezenet() -> Model:
    """The course's network, with random weights."""
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torchvision.models.get_model("squeezenet1_1", weights=None).eval().requires_grad_(False)
    card = load("efficientnet-lite0").card
    card = replace(card, name="squeezenet1_1", mean=MEAN, std=DEVIATION, scale=1.0, style_layers=(), content_layers=())
    return Model(module, card, torch.device("cpu"), "random")


def picture(height: int, width: int, seed: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


CONTENT, STYLE, CURRENT = picture(40, 48, 0), picture(37, 60, 1), picture(40, 48, 2)


def found(model: Model, recipe: Recipe) -> tuple[Mapping[str, float], Tensor]:
    """The terms at `CURRENT` and strength 50, and the gradient."""
    spec = RECIPES[recipe]
    extractor = Extractor(model, spec.style_layers, spec.content_layers, spec.margin, "fp32")
    with torch.no_grad():
        target = extractor(STYLE).moments[0]
    objective = Objective(spec, extractor, content=CONTENT, targets=[target], strength=50, tv=spec.tv)
    x = CURRENT.clone().requires_grad_(True)
    terms = objective(x)
    terms["loss"].backward()
    return {name: value.item() for name, value in terms.items()}, x.grad


def compare(terms: Mapping[str, float], gradient: Tensor, x: Tensor, wanted: Mapping[str, Tensor]) -> None:
    """At strength 50 content and style count alike, and half each."""
    for name, value in wanted.items():
        assert terms[name] == pytest.approx(value.item(), rel=1e-4), name
    loss = sum(wanted.values()) / 2
    assert terms["loss"] == pytest.approx(loss.item(), rel=1e-4)
    (slope,) = torch.autograd.grad(loss, x)
    assert float((gradient - slope).norm() / slope.norm()) < 1e-4


def test_cs231n_is_the_courses(squeezenet: Model) -> None:
    def extract_features(pixels: Tensor) -> Sequence[Tensor]:
        x = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
        seen = []
        for layer in squeezenet.module.features:
            x = layer(x)
            seen.append(x.double())
        return seen

    def gram_matrix(maps: Tensor) -> Tensor:
        _, c, h, w = maps.shape
        flat = maps.reshape(c, h * w)
        return flat @ flat.T / (h * w * c)

    x = CURRENT.clone().requires_grad_(True)
    now, content, style = (extract_features(each) for each in (x, CONTENT, STYLE))
    weights = {1: 20000, 4: 500, 6: 12, 7: 1}
    across, down = (x[..., 1:] - x[..., :-1]).square().sum(), (x[..., 1:, :] - x[..., :-1, :]).square().sum()
    wanted = {
        "content": 6e-2 * ((now[3] - content[3]) ** 2).sum(),
        "style": sum(w * ((gram_matrix(now[i]) - gram_matrix(style[i])) ** 2).sum() for i, w in weights.items()),
        "tv": 5e-2 / 0.225**2 * (across + down),
    }
    compare(*found(squeezenet, Recipe.cs231n), x, wanted)


def test_total_variation_of_cs231n_weighs_what_it_does_in_the_course() -> None:
    """There it is that of pixels divided by ImageNet's deviations, which are .225 give or take 2 %."""
    normalized = CURRENT / torch.tensor(DEVIATION).view(3, 1, 1)
    theirs, ours = (
        (x[..., 1:] - x[..., :-1]).square().sum() + (x[..., 1:, :] - x[..., :-1, :]).square().sum()
        for x in (normalized, CURRENT)
    )
    assert RECIPES[Recipe.cs231n].tv * ours.item() == pytest.approx(5e-2 * theirs.item(), rel=0.02)


def test_gatys_is_means_on_a_normalised_network() -> None:
    model, spec = load("vgg19"), RECIPES[Recipe.gatys]
    x = CURRENT.clone().requires_grad_(True)
    now, content, style = (
        {name: maps.double() for name, maps in features(model.module, model.normalize(each), names).items()}
        for each in (x, CONTENT, STYLE)
        for names in [(*spec.style_layers, "relu4_2")]
    )
    scales = {name: 1 / maps.mean() for name, maps in content.items()}  # the mean activation over the content is 1

    def gram(maps: Tensor, scale: Tensor) -> Tensor:
        flat = scale * maps.flatten(2)[0]
        return flat @ flat.T / flat.shape[1]

    channels = {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256, "relu4_1": 512, "relu5_1": 512}
    wanted = {
        "content": ((now["relu4_2"] - content["relu4_2"]) * scales["relu4_2"]).square().mean(),
        "style": sum(
            1e3 / c**2 * (gram(now[name], scales[name]) - gram(style[name], scales[name])).square().mean()
            for name, c in channels.items()
        ),
        "tv": torch.zeros(()),
    }
    compare(*found(model, Recipe.gatys), x, wanted)
