"""Seeing by tiles is seeing the whole picture: the same moments, maps and gradients, whatever the network."""

import numpy as np
import pytest
import torch
from torch import nn

from cvtool.errors import UsageError
from cvtool.models.loader import load
from cvtool.stylize.extractor import EVERYWHERE, Extractor, share
from cvtool.stylize.objective import Objective
from cvtool.stylize.options import Recipe
from cvtool.stylize.recipes import RECIPES
from cvtool.stylize.styles import StyleBook

CASES = [
    ("efficientnet-lite0", Recipe.default, (200, 260), 1),
    ("efficientnet-lite0", Recipe.default, (187, 153), 2),
    ("efficientnet-lite0", Recipe.cs231n, (187, 153), 1),
    ("vgg19", Recipe.gatys, (75, 100), 1),
]


def pair_of_objectives(name, recipe, content, guides, tile):
    """The same objective twice: on the whole picture, and by tiles."""
    model, spec = load(name), RECIPES[recipe]
    layers = model.card.style_layers[:4], model.card.content_layers
    style = np.random.default_rng(0).random((90, 110, 3)).astype(np.float32)
    for side in (None, tile):
        extractor = Extractor(model, *layers, spec.margin, "fp32", side)
        target = StyleBook().moments(style, None, 128, extractor)
        targets = [target] * len(guides)
        yield Objective(spec, extractor, content=content, targets=targets, guides=guides, strength=50, tv=0.5)


def halves(height, width):
    guide = torch.zeros(1, 1, height, width)
    guide[..., : width // 2] = 1
    return [guide, 1 - 0.5 * guide]


@pytest.mark.parametrize(("name", "recipe", "size", "regions"), CASES)
def test_the_gradient_is_that_of_the_whole_picture(name, recipe, size, regions):
    generator = torch.Generator().manual_seed(1)
    content = torch.rand(1, 3, *size, generator=generator) * 0.5 + torch.linspace(0, 0.5, size[1])
    picture = torch.rand(1, 3, *size, generator=generator)
    guides = halves(*size) if regions == 2 else EVERYWHERE
    found = []
    for objective in pair_of_objectives(name, recipe, content, guides, 64):
        x = picture.clone().requires_grad_(True)
        terms = objective(x)
        terms["loss"].backward()
        found.append((x.grad, {name: float(value.detach()) for name, value in terms.items()}))
    (whole, whole_terms), (tiled, tiled_terms) = found
    assert tiled_terms == pytest.approx(whole_terms, rel=1e-4)
    assert float((tiled - whole).norm() / whole.norm()) < 1e-4


def test_maps_and_moments_are_those_of_the_whole_picture():
    model = load("efficientnet-lite0")
    picture = torch.rand(1, 3, 150, 210, generator=torch.Generator().manual_seed(0))
    layers = model.card.style_layers, model.card.content_layers
    with torch.no_grad():
        whole, tiled = (Extractor(model, *layers, 16, "fp32", tile)(picture) for tile in (None, 48))
    for name, maps in whole.maps.items():
        torch.testing.assert_close(tiled.maps[name], maps, rtol=1e-4, atol=1e-4)
    for one, other in zip(whole.moments[0], tiled.moments[0], strict=True):
        torch.testing.assert_close(other.second, one.second, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(other.mean, one.mean, rtol=1e-4, atol=1e-5)


def test_a_tile_as_large_as_the_picture_is_the_picture():
    model = load("efficientnet-lite0")
    picture = torch.rand(1, 3, 60, 64)
    one, other = (Extractor(model, model.card.style_layers, (), 16, "fp32", tile)(picture) for tile in (None, 64))
    assert all(torch.equal(a.second, b.second) for a, b in zip(one.moments[0], other.moments[0], strict=True))


def test_moments_of_regions_are_those_of_their_pixels():
    """With layers that see one pixel each, a region's moments are those of a picture of just these pixels."""
    model = load("efficientnet-lite0")
    extractor = Extractor(model, (), (), 0, "fp32")
    picture = torch.rand(1, 3, 20, 30)
    left = torch.zeros(1, 1, 20, 30)
    left[..., :10] = 1
    both = extractor(picture, [left, 1 - left])
    alone = extractor(picture[..., :10].contiguous())
    torch.testing.assert_close(both.moments[0][0].second, alone.moments[0][0].second)
    torch.testing.assert_close(both.moments[0][0].mean, picture[..., :10].mean((0, 2, 3)))
    torch.testing.assert_close(both.moments[1][0].mean, picture[..., 10:].mean((0, 2, 3)))


def test_shares_sum_to_one_at_every_size():
    guide = torch.rand(1, 1, 40, 50).round()
    for size in ((40, 50), (20, 25), (5, 7), (1, 1)):
        assert float(share(guide, torch.empty(1, 4, *size)).sum()) == pytest.approx(1, abs=1e-5)


def test_a_network_that_sees_everything_cannot_work_on_tiles():
    class Gated(nn.Module):
        """A convolution gated by the mean of all positions, as squeeze and excitation does."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.out = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.out(y * torch.sigmoid(y.mean((2, 3), keepdim=True)))

    model = load("efficientnet-lite0")
    extractor = Extractor(model, ("out",), (), 0, "fp32", 32)
    extractor.module = Gated().eval()
    with pytest.raises(UsageError, match="tile"):
        extractor(torch.rand(1, 3, 64, 64))
