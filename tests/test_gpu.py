"""Every technique on a GPU: it finds what it finds on the CPU, as near as float32 can tell. ``pytest -m gpu`` runs it.

Tolerances: both devices sum in float32, in another order. What that does was measured on a CPU with all weights changed
by 1e-5 of themselves at random, which is more than any order of sums does. Samples and pictures painted in one pass
keep their 8-bit levels but for one in a thousand; captions keep their words, and their log-probabilities to 0.0005;
losses of a GAN stay within 0.0005 of themselves for a dozen steps; maps of gradients change by 1.6 % as a whole, since
an activation that near 0 is on here and off there. The bounds below are two to twenty times that. Searches that follow
signs of gradients go other ways, and are held to what they are for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cvtool import replay
from cvtool.bundled import asset_folder, find_asset
from cvtool.caption import Describer, bundled_checkpoint, describe
from cvtool.fool import FoolOptions, fool
from cvtool.fool.options import Method as Attack
from cvtool.fool.options import Norm
from cvtool.gan.checkpoint import read_checkpoint
from cvtool.gan.datasets import Pictures
from cvtool.gan.options import Arch, NetworkOptions, TrainOptions
from cvtool.gan.sampling import latents, sample
from cvtool.gan.training import prepare
from cvtool.images import read_picture
from cvtool.models.imagenet import find_class
from cvtool.models.loader import Model, load
from cvtool.saliency import SaliencyOptions, explain
from cvtool.saliency.options import Method
from cvtool.stylize import StylizeOptions
from cvtool.stylize.instant.service import load_painter
from cvtool.visualize_class import Target, VisualizeOptions, visualize

pytestmark = pytest.mark.gpu

GPU = "cuda"
"""``cpu`` here tries the tests themselves, on a machine without."""
LEVEL = 1 / 255


@pytest.fixture(autouse=True)
def float32_as_the_command_has_it() -> Iterator[None]:
    """cuDNN's TF32 keeps ten bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def picture(name: str) -> np.ndarray:
    return read_picture(find_asset(name).path).pixels


@pytest.fixture(scope="module")
def on_cpu() -> Model:
    return load("efficientnet-lite0")


@pytest.fixture(scope="module")
def on_gpu() -> Model:
    return load("efficientnet-lite0", device=GPU)


@pytest.mark.parametrize("method", ["gradient", "integrated-gradients"])
def test_saliency(on_cpu: Model, on_gpu: Model, method: str) -> None:
    options = SaliencyOptions(method=Method(method), steps=16, precision="fp32")
    (expected,), (found,) = (explain([picture("cat")], model, options) for model in (on_cpu, on_gpu))
    assert found.target.index == expected.target.index
    assert found.target.probability == pytest.approx(expected.target.probability, abs=1e-4)
    assert np.linalg.norm(found.map - expected.map) < 0.05 * np.linalg.norm(expected.map)


def test_fool(on_cpu: Model, on_gpu: Model) -> None:
    cat, eps = picture("cat"), 4 * LEVEL
    (found,) = fool([cat], on_gpu, FoolOptions(method=Attack("pgd"), norm=Norm.linf, eps=eps, steps=10))
    assert found.success
    assert 0 < found.linf <= eps + 1e-6  # of whole levels, in float32
    # The steps follow signs of gradients, so the CPU finds another picture; but this one fools it as well.
    (seen,) = explain([found.pixels], on_cpu)
    assert seen.predictions[0].index != found.label


def test_visualize_class(on_gpu: Model) -> None:
    flamingo = find_class("flamingo").index
    (found,) = visualize([Target(index=flamingo)], on_gpu, VisualizeOptions(steps=60, size=128, precision="fp32"))
    assert np.isfinite(found.pixels).all()
    assert found.score > found.score_of_start
    assert found.of_target is not None
    assert found.of_target.probability > 0.1  # 0.98 on a CPU, by chance 0.001


def test_caption_describe() -> None:
    pictures = [picture(name) for name in ("astronaut", "cameraman", "cat", "coffee", "galaxies", "rocket")]
    expected, found = (
        describe(pictures, Describer.of(bundled_checkpoint(), device=device, precision="fp32"))
        for device in ("cpu", GPU)
    )
    assert [each.best.caption for each in found] == [each.best.caption for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.best.log_probability == pytest.approx(other.best.log_probability, abs=1e-3)


class Pooled:
    """Features that need no network: means of 2 by 2 pixels."""

    name = "pooled"

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def features(self, pictures: np.ndarray, **_: object) -> np.ndarray:
        n, h, w, c = pictures.shape
        return pictures.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4)).reshape(n, -1).astype(np.float32) / 255


def bars(count: int = 200, side: int = 16) -> Pictures:
    """Upright bars and level ones on black, at random places."""
    chance = np.random.default_rng(0)
    pixels, labels = np.zeros((count, side, side, 1), np.uint8), chance.integers(0, 2, count)
    for image, label, place in zip(pixels, labels, chance.integers(0, side - 2, count), strict=True):
        (image if label else image.transpose(1, 0, 2))[place : place + 2] = 230
    return Pictures.of(pixels, labels, ("upright", "level"), "bars")


def test_gan_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the CPU's random numbers on both, which cannot be recorded; recordings have tests of their own."""
    monkeypatch.setattr(replay, "WARM_UP", 10**6)
    networks = NetworkOptions(arch=Arch.dcgan, width=8, latent=8)
    options = TrainOptions(steps=12, every=3, batch=16, samples=100, precision="fp32")
    seen = []
    for device in ("cpu", GPU):
        checks: list = []
        run = prepare(bars(), networks, options, Pooled(device))  # type: ignore[arg-type]
        run._chance = torch.Generator()
        run.run(on_check=checks.append)
        seen.append(checks)
    expected, found = seen
    assert [check.step for check in found] == [3, 6, 9, 12]
    assert all(np.isfinite(value) for check in found for value in check.facts.values())
    for name in ("loss_g", "loss_d"):
        assert found[0].facts[name] == pytest.approx(expected[0].facts[name], rel=1e-2)


def test_gan_sample() -> None:
    generator = read_checkpoint(asset_folder() / "generator.safetensors").generator
    noise = latents(generator, range(16))
    labels = torch.arange(16) % generator.shape.classes
    expected, found = (sample(generator, noise, labels, device) for device in ("cpu", GPU))
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1  # a value at the border of two levels may fall to either
    assert (difference > 0).mean() < 0.01


def test_stylize_instant() -> None:
    options = StylizeOptions(size=256, precision="fp32")
    content, style = picture("cat"), picture("marbling")
    expected, found = (load_painter(device=device).paint(content, [style], options).pixels for device in ("cpu", GPU))
    # What it adds of the style's grain is drawn from the same seed on both.
    assert np.abs(found - expected).mean() < LEVEL


def test_stylize_at_the_command_line(tmp_path: Path) -> None:
    words = ["stylize", "asset:cat", "asset:marbling", "--size", "64", "--steps", "2", "--json"]
    command = [sys.executable, "-m", "cvtool", *words, "--device", GPU, "-o", str(tmp_path / "out.png")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    (told,) = map(json.loads, ran.stdout.splitlines())
    assert told["device"].partition(":")[0] == GPU
    assert read_picture(tmp_path / "out.png").pixels.shape[1] == 64
