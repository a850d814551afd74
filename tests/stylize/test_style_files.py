"""Styles as files: raw moments that blend linearly, with no picture left."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cvtool.errors import BadInputError, UsageError
from cvtool.images import fit_longer_side, resize
from cvtool.models.loader import load
from cvtool.stylize import StylizeOptions, stylize
from cvtool.stylize.extractor import Extractor
from cvtool.stylize.grain import SPACINGS
from cvtool.stylize.losses import Moments, mix_moments, moments
from cvtool.stylize.service import save_style
from cvtool.stylize.style_files import SIZES, StyleFile, read_style, write_style
from cvtool.stylize.styles import StyleBook

RNG = np.random.default_rng(5)
CONTENT = RNG.random((40, 48, 3)).astype(np.float32)
ONE, OTHER = (resize(RNG.random((9, 9, 3)).astype(np.float32), 70, 90) for _ in range(2))


@pytest.fixture(scope="module")
def model():
    return load("efficientnet-lite0")


@pytest.fixture
def few_sizes(monkeypatch):
    """Only what is looked at: the larger sizes take their time."""
    monkeypatch.setattr("cvtool.stylize.styles.SIZES", (64, 128))


@pytest.fixture(scope="module")
def style(model):
    return save_style([ONE], [{"name": "one.png", "sha256": "00"}], model, StylizeOptions(precision="fp32"))


def test_it_comes_back_from_its_file(style, tmp_path):
    write_style(tmp_path / "s.safetensors", style, "{}")
    back = read_style(tmp_path / "s.safetensors")
    assert (back.layers, back.model, back.fingerprint, back.pictures) == (
        style.layers,
        style.model,
        style.fingerprint,
        ({"name": "one.png", "sha256": "00", "weight": 1.0},),
    )
    for size in SIZES:
        kept, read = ((*each.at(size), *each.grain_at(size)) for each in (style, back))
        assert len(read) == len(style.layers) + 1 + len(SPACINGS)
        for a, b in zip(read, kept, strict=True):
            assert torch.equal(a.mean, b.mean)
            assert torch.equal(a.second, b.second)


def test_it_holds_what_the_picture_has_at_its_sizes(model, style):
    extractor = Extractor(model, style.layers, (), 16, "fp32")
    for size in (64, 128, 256):
        picture = StyleBook().moments(ONE, None, size, extractor)
        for a, b in zip(style.at(size), picture, strict=True):
            torch.testing.assert_close(a.second, b.second, rtol=1e-4, atol=1e-5)


def test_between_two_sizes_it_is_near_the_picture(model, style):
    extractor = Extractor(model, style.layers, (), 16, "fp32")
    for a, b in zip(style.at(150), StyleBook().moments(ONE, None, 150, extractor), strict=True):
        assert float((a.second - b.second).norm() / b.second.norm()) < 0.1
    assert style.at(1) == list(style.moments[64])
    assert style.at(10**6) == list(style.moments[2048])


def test_it_paints_what_the_picture_paints(model, style):
    options = StylizeOptions(size=0, steps=(12,), precision="fp32")
    by_file = stylize(CONTENT, [style], model, options)
    by_picture = stylize(CONTENT, [ONE], model, options)
    assert by_file.style_loss == pytest.approx(by_picture.style_loss, rel=0.1)
    assert np.abs(by_file.pixels - by_picture.pixels).mean() < 0.05


@pytest.mark.usefixtures("few_sizes")
def test_a_mixture_has_the_moments_of_a_picture_made_of_both(model):
    """Colours see one pixel each: half of one picture and half of the other has the mean of their moments."""
    options = StylizeOptions(style_weights=(3.0, 1.0), precision="fp32")
    mixed = save_style([ONE, OTHER], [{}, {}], model, options).at(64)[-1]
    tiles = [resize(picture, *fit_longer_side(70, 90, 64)) for picture in (ONE, ONE, ONE, OTHER)]
    whole = torch.from_numpy(np.concatenate(tiles)).permute(2, 0, 1)[None]
    torch.testing.assert_close(mixed.second, moments(whole).second, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("few_sizes")
def test_mixing_files_is_mixing_pictures(model):
    plain = StylizeOptions(precision="fp32")
    files = [save_style([picture], [{}], model, plain) for picture in (ONE, OTHER)]
    weights = StylizeOptions(style_weights=(1.0, 2.0), precision="fp32")
    of_files, of_pictures = (save_style(styles, [{}, {}], model, weights) for styles in (files, [ONE, OTHER]))
    for at in (StyleFile.at, StyleFile.grain_at):
        for a, b in zip(at(of_files, 128), at(of_pictures, 128), strict=True):
            torch.testing.assert_close(a.second, b.second, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("few_sizes")
def test_a_file_from_before_grain_was_kept_is_read_and_mixed_without(model, style, tmp_path):
    write_style(tmp_path / "s.safetensors", replace(style, grains={}))
    old = read_style(tmp_path / "s.safetensors")
    assert old.grain_at(128) == []
    mixed = save_style([old, ONE], [{}, {}], model, StylizeOptions(style_weights=(1.0, 1.0), precision="fp32"))
    assert mixed.grains == {}
    torch.testing.assert_close(mixed.at(128)[0].second, style.at(128)[0].second, rtol=1e-4, atol=1e-5)


def test_taking_a_style_away_leaves_moments_that_a_picture_can_have():
    a, b = (moments(torch.rand(1, 5, 8, 9, generator=torch.Generator().manual_seed(seed))) for seed in (0, 1))
    taken = mix_moments([a, Moments(b.mean, 9 * b.second)], (1.5, -0.5))
    assert float(torch.linalg.eigvalsh(taken.covariance()).min()) > -1e-5
    torch.testing.assert_close(taken.mean, 1.5 * a.mean - 0.5 * b.mean)


def test_moments_of_other_sizes_than_the_network_are_refused(model, style):
    """Of a stranger's file that says it was made with this network."""
    odd = Moments(torch.zeros(5), torch.eye(5))
    file = replace(style, moments={size: [odd, *each[1:]] for size, each in style.moments.items()})
    for styles in ([file], [ONE, file]):
        with pytest.raises(BadInputError, match="moments of other sizes than efficientnet-lite0"):
            stylize(CONTENT, styles, model, StylizeOptions(steps=(1,), size=32))
    with pytest.raises(BadInputError, match="moments of other sizes"):
        save_style([file], [{}], model, StylizeOptions())


def test_what_does_not_fit_is_refused(model, style):
    with pytest.raises(UsageError, match="--model efficientnet-lite0"):
        stylize(CONTENT, [style], load("efficientnet-lite1"), StylizeOptions(steps=(1,)))
    with pytest.raises(UsageError, match="--style-layers"):
        stylize(CONTENT, [style], model, StylizeOptions(steps=(1,), style_layers=("blocks.0",)))


@pytest.mark.parametrize("how", ["cut", "text", "other", "shape", "nan", "missing", "channels", "colors", "grain"])
def test_broken_files_are_refused(style, tmp_path, how):
    path = tmp_path / "s.safetensors"
    write_style(path, style)
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "text":
        path.write_text("not a style")
    else:
        from safetensors.torch import load as load_tensors
        from safetensors.torch import save_file

        tensors = load_tensors(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if how == "other":
            header = {"generator": "{}"}
        if how == "shape":
            tensors["64/colors/second"] = torch.zeros(2, 2)
        for name, where, length in (
            ("channels", f"64/{style.layers[0]}", 5),
            ("colors", "64/colors", 4),
            ("grain", "64/grain 8", 3),
        ):
            if how == name:
                tensors[f"{where}/mean"], tensors[f"{where}/second"] = torch.zeros(length), torch.eye(length)
        if how == "nan":
            tensors["64/colors/mean"][0] = float("nan")
        save_file(tensors, path, header)
    with pytest.raises(BadInputError):
        read_style(path)
