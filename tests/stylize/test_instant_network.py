"""The painter's network: shapes, what the style decides, any size."""

from __future__ import annotations

import pytest
import torch

from cvtool.models.loader import load
from cvtool.stylize.instant.network import Conditioned, Painter, style_numbers
from cvtool.stylize.instant.options import PainterOptions
from cvtool.stylize.instant.painting import moved, painted
from cvtool.stylize.instant.statistics import COLORS, Encoder, raw_moments, statistics
from cvtool.stylize.transport import covariance


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(load("efficientnet-lite0"))


def small(seed: int = 0) -> Painter:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Painter(PainterOptions(width=8, embedding=8))


def test_a_conditioned_layer_has_the_mean_and_deviation_it_is_told() -> None:
    layer = Conditioned(4, 6, 3)
    with torch.no_grad():
        layer.condition.bias.copy_(torch.arange(12.0))  # scales 1 + 0..5, shifts 6..11
        found = layer(torch.randn(2, 4, 20, 20), torch.zeros(2, 3))
    for channel in range(6):
        torch.testing.assert_close(found[:, channel].mean((1, 2)), torch.full((2,), 6.0 + channel), atol=1e-3, rtol=0)
        deviation = found[:, channel].std((1, 2), correction=0)
        torch.testing.assert_close(deviation, torch.full((2,), 1.0 + channel), atol=0, rtol=2e-3)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 64), (32, 160)])
def test_any_size_goes_in_and_comes_out(encoder: Encoder, height: int, width: int) -> None:
    content, style = torch.rand(1, 3, height, width), statistics(encoder(torch.rand(1, 3, 32, 32)))
    with torch.no_grad():
        found = painted(small(), encoder, content, style, torch.tensor([50.0]))
    assert found.shape == content.shape
    assert found.isfinite().all()


def test_a_style_is_described_by_as_many_numbers_as_promised(encoder: Encoder) -> None:
    numbers = small().numbers(statistics(encoder(torch.rand(2, 3, 32, 32))))
    assert numbers.shape == (2, style_numbers())
    assert numbers.isfinite().all()


def test_a_flat_style_is_described_by_finite_numbers(encoder: Encoder) -> None:
    assert small().numbers(statistics(encoder(torch.zeros(1, 3, 32, 32)))).isfinite().all()


def test_the_content_enters_with_the_styles_colors(encoder: Encoder) -> None:
    content = 0.3 + 0.4 * torch.rand(1, 3, 32, 32)
    wanted = raw_moments(0.4 + 0.1 * torch.rand(1, 3, 64, 64))
    style = {**statistics(encoder(torch.rand(1, 3, 32, 32))), COLORS: wanted}
    full = moved(encoder(content), style, torch.tensor([70.0]))[COLORS]
    half = moved(encoder(content), style, torch.tensor([25.0]))[COLORS]
    torch.testing.assert_close(covariance(raw_moments(full)), covariance(wanted), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(half, (content + full) / 2)


def test_strength_and_style_both_change_the_picture(encoder: Encoder) -> None:
    painter = small()
    generator = torch.Generator().manual_seed(3)
    for layer in painter.modules():
        if isinstance(layer, Conditioned):
            torch.nn.init.normal_(layer.condition.weight, generator=generator)
    content = torch.rand(1, 3, 32, 32)
    styles = [statistics(encoder(torch.rand(1, 3, 32, 32) ** power)) for power in (1, 3)]
    with torch.no_grad():
        one, other = (painted(painter, encoder, content, style, torch.tensor([60.0])) for style in styles)
        stronger = painted(painter, encoder, content, styles[0], torch.tensor([90.0]))
    assert (one - other).abs().max() > 0.01
    assert (one - stronger).abs().max() > 1e-4


def test_units_of_the_maps_are_measured(encoder: Encoder) -> None:
    painter, maps = small(), encoder(torch.rand(4, 3, 48, 48))
    painter.measure(statistics(maps))
    for name, each in maps.items():
        if name != COLORS:
            scaled = painter._normalized(name, each)
            torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(each.shape[1]), atol=1e-3, rtol=0)
            varies = each.std((0, 2, 3)) > 0.1 * each.std((0, 2, 3)).median()  # some channels sleep
            deviations = scaled.std((0, 2, 3), correction=0)
            torch.testing.assert_close(deviations[varies], torch.ones(int(varies.sum())), atol=1e-2, rtol=0)
            assert float(deviations.max()) < 1.01
