"""Instant painting as a library call: sizes, strength, mixtures, style files, colours, tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cvtool.errors import BadInputError, UsageError
from cvtool.images import resize
from cvtool.models.loader import load
from cvtool.stylize import StylizeOptions, color
from cvtool.stylize.extractor import Extractor
from cvtool.stylize.grain import grain
from cvtool.stylize.instant import service
from cvtool.stylize.instant.checkpoint import Checkpoint, write_checkpoint
from cvtool.stylize.instant.network import Conditioned, Painter
from cvtool.stylize.instant.options import WEAKEST, PainterOptions
from cvtool.stylize.instant.painting import painted
from cvtool.stylize.instant.service import InstantPainter, load_painter
from cvtool.stylize.instant.statistics import LAYERS, statistics
from cvtool.stylize.instant.tiling import HALO, painted_by_tiles, tiles
from cvtool.stylize.losses import Moments, moment_distance, moments
from cvtool.stylize.options import Colors
from cvtool.stylize.style_files import StyleFile
from cvtool.tensors import to_tensor

OPTIONS = StylizeOptions(size=0)


def smooth(height: int, width: int, seed: int) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return np.clip(resize(chance.random((height // 8, width // 8, 3)).astype(np.float32), height, width), 0, 1)


CONTENT, STYLE, OTHER = smooth(56, 72, 0), smooth(64, 64, 1) ** 2, 1 - 0.5 * smooth(64, 48, 2)


def untrained() -> Painter:
    """Conditions that matter, colours that show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        painter = Painter(PainterOptions(width=8, embedding=8))
        for layer in painter.modules():
            if isinstance(layer, Conditioned):
                torch.nn.init.normal_(layer.condition.weight, std=0.1)
        torch.nn.init.normal_(painter.color.weight, std=0.05)
    return painter.eval()


@pytest.fixture(scope="module")
def painter() -> InstantPainter:
    return InstantPainter(untrained(), load("efficientnet-lite0"))


def test_the_result_has_the_size_that_is_asked_for(painter: InstantPainter) -> None:
    assert painter.paint(CONTENT, [STYLE], OPTIONS).pixels.shape == (56, 72, 3)
    result = painter.paint(CONTENT, [STYLE], StylizeOptions(size=97))
    assert result.pixels.shape == (75, 97, 3)
    assert result.pixels.dtype == np.float32
    assert 0 <= result.pixels.min() < result.pixels.max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (31, 33)])
def test_the_smallest_pictures_are_painted_too(painter: InstantPainter, shape: tuple[int, int]) -> None:
    tiny = np.full((*shape, 3), 0.5, np.float32)
    found = painter.paint(tiny, [np.full((3, 2, 3), 0.2, np.float32)], OPTIONS).pixels
    assert found.shape == tiny.shape
    assert np.isfinite(found).all()


def test_same_call_same_bytes_and_nothing_is_touched(painter: InstantPainter) -> None:
    before = CONTENT.copy(), STYLE.copy()
    one, other = (painter.paint(CONTENT, [STYLE], OPTIONS).pixels for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(CONTENT, before[0])
    np.testing.assert_array_equal(STYLE, before[1])


def test_strength_fades_from_the_content(painter: InstantPainter) -> None:
    def at(strength: float) -> np.ndarray:
        return painter.paint(CONTENT, [STYLE], replace(OPTIONS, strength=strength)).pixels

    np.testing.assert_array_equal(at(0), CONTENT)
    np.testing.assert_allclose(at(WEAKEST / 2), (CONTENT + at(WEAKEST)) / 2, atol=1e-6)
    assert np.abs(at(100) - at(WEAKEST)).max() > 0.01


def test_the_colors_become_the_styles(painter: InstantPainter) -> None:
    plain = Painter(PainterOptions(width=8, embedding=8))
    torch.nn.init.zeros_(plain.color.weight)  # gives back the recoloured content alone
    found = InstantPainter(plain.eval(), painter.model).paint(CONTENT, [OTHER], OPTIONS).pixels
    before, after = (moment_distance(moments(to_tensor(x)), moments(to_tensor(OTHER))) for x in (CONTENT, found))
    assert after < 0.25 * before


def test_weights_are_of_any_sum_and_mix_styles(painter: InstantPainter) -> None:
    def mixed(*weights: float) -> np.ndarray:
        return painter.paint(CONTENT, [STYLE, OTHER], replace(OPTIONS, style_weights=weights)).pixels

    np.testing.assert_array_equal(mixed(1, 3), mixed(0.25, 0.75))
    np.testing.assert_allclose(mixed(1, 0), painter.paint(CONTENT, [STYLE], OPTIONS).pixels, atol=1e-5)
    assert np.abs(mixed(1, 1) - mixed(1, 0)).max() > 0.01


def test_a_style_is_matched_to_each_content_anew(painter: InstantPainter) -> None:
    """Also where one content has the memory that another has left."""
    options = replace(OPTIONS, preserve_colors=Colors.match)
    seen = {}
    for shade in (0.2, 0.5, 0.8):
        # A copy of the right type is resized nowhere, so that it is freed after each round.
        seen[shade] = painter.paint((shade * CONTENT).astype(np.float32), [STYLE], options).pixels
    for shade, found in seen.items():
        fresh = InstantPainter(painter.painter, painter.model)
        np.testing.assert_array_equal(found, fresh.paint((shade * CONTENT).astype(np.float32), [STYLE], options).pixels)


def test_a_style_file_paints_like_its_picture(painter: InstantPainter) -> None:
    model = painter.model
    square = smooth(64, 64, 5)
    seen = Extractor(model, tuple(LAYERS), (), 16, "fp32")(to_tensor(square)).moments[0]
    file = StyleFile({64: seen}, tuple(LAYERS), model.card.name, model.fingerprint, (), {64: grain(to_tensor(square))})
    options = StylizeOptions(size=64)
    content = smooth(64, 64, 6)
    np.testing.assert_allclose(
        painter.paint(content, [file], options).pixels, painter.paint(content, [square], options).pixels, atol=2e-3
    )
    before_grain = painter.paint(content, [replace(file, grains={})], options).pixels
    assert np.abs(before_grain - painter.paint(content, [file], options).pixels).max() > 0.01
    both = replace(options, style_weights=(1.0, 1.0))
    mixed = painter.paint(content, [file, replace(file, grains={})], both).pixels
    np.testing.assert_allclose(mixed, before_grain, atol=1e-5, err_msg="a style without grain leaves it out")
    odd = [Moments(torch.zeros(5), torch.eye(5)), *seen[1:]]
    with pytest.raises(BadInputError, match="moments of other sizes"):
        painter.paint(content, [replace(file, moments={64: odd})], options)
    with pytest.raises(UsageError, match="no picture that could be recoloured"):
        painter.paint(content, [square, file], replace(both, preserve_colors=Colors.match))
    for other in (replace(file, model="vgg19"), replace(file, layers=("blocks.9",))):
        with pytest.raises(UsageError, match="cannot be painted at once"):
            painter.paint(content, [other], options)
    with pytest.raises(BadInputError, match="other weights of efficientnet-lite0"):
        painter.paint(content, [replace(file, fingerprint="another")], options)


def test_luminance_keeps_the_contents_chroma(painter: InstantPainter) -> None:
    options = replace(OPTIONS, preserve_colors=Colors.luminance)
    found = painter.paint(0.3 + 0.4 * CONTENT, [STYLE], options).pixels
    chroma = found - color.luminance(found)[..., None]
    expected = 0.3 + 0.4 * CONTENT
    expected = expected - color.luminance(expected)[..., None]
    agreement = (chroma * expected).sum() / np.sqrt((chroma**2).sum() * (expected**2).sum())
    assert agreement > 0.95


@pytest.mark.parametrize(
    ("change", "styles", "message"),
    [
        ({"strength": 101}, 1, "strength"),
        ({"style_scale": 0}, 1, "style scale"),
        ({"style_weights": (1.0,)}, 2, "weights"),
        ({"style_weights": (0.0, 0.0)}, 2, "above 0"),
        ({}, 0, "No style"),
    ],
)
def test_what_does_not_fit_is_refused(
    painter: InstantPainter, change: dict[str, object], styles: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        painter.paint(CONTENT, [STYLE] * styles, replace(OPTIONS, **change))


def test_another_network_is_refused() -> None:
    with pytest.raises(UsageError, match="--model"):
        InstantPainter(untrained(), load("vgg19"))


def test_tiles_cover_the_picture_once() -> None:
    count = np.zeros((500, 700), int)
    for inner, outer in tiles(500, 700, 256):
        count[inner] += 1
        assert all(o.start <= i.start < i.stop <= o.stop for i, o in zip(inner, outer, strict=True))
        assert all(i.start - o.start in (0, HALO) or o.start == 0 for i, o in zip(inner, outer, strict=True))
    assert (count == 1).all()


def test_tiles_show_no_seams_and_paint_what_one_pass_paints(painter: InstantPainter) -> None:
    """Along the border of two tiles neighbours differ no more than in one pass, and the pictures are alike."""
    content = to_tensor(smooth(288, 480, 7))
    encoder, network = painter.encoder, painter.painter
    with torch.inference_mode():
        style = statistics(encoder(to_tensor(STYLE)))
        at = torch.tensor([70.0])
        whole = painted(network, encoder, content, style, at)
        parts = painted_by_tiles(network, encoder, content, style, at, 240)
    assert float((whole - parts).abs().mean()) < 0.02
    step = (parts[..., 240] - parts[..., 239] - whole[..., 240] + whole[..., 239]).abs().mean()
    usual = (parts[..., 1:] - parts[..., :-1] - whole[..., 1:] + whole[..., :-1]).abs().mean()
    assert step < 2 * usual + 1e-3


def test_large_pictures_are_painted_by_tiles(painter: InstantPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "TILED_ABOVE", 64)
    monkeypatch.setattr(service, "TILE", 48)
    found = painter.paint(CONTENT, [STYLE], OPTIONS).pixels
    assert found.shape == CONTENT.shape
    assert not any(layer.held for layer in painter.painter.modules() if isinstance(layer, Conditioned))


def test_a_painter_is_loaded_from_its_file(tmp_path: Path, painter: InstantPainter) -> None:
    path = tmp_path / "painter.safetensors"
    write_checkpoint(path, Checkpoint(untrained()))
    found = load_painter(path).paint(CONTENT, [STYLE], OPTIONS).pixels
    np.testing.assert_array_equal(found, painter.paint(CONTENT, [STYLE], OPTIONS).pixels)
