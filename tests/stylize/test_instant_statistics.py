"""The closed-form part of the instant painter: statistics, their transport, and the encoder's maps without a frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg

from cvtool.hooks import features
from cvtool.models.loader import Model, load
from cvtool.stylize.instant.statistics import (
    COLORS,
    LAYERS,
    STRIDE,
    Encoder,
    raw_moments,
    transported,
)
from cvtool.stylize.losses import moments
from cvtool.stylize.transport import covariance
from cvtool.tensors import mirrored


@pytest.fixture(scope="module")
def model() -> Model:
    return load("efficientnet-lite0")


def maps(seed: int, channels: int = 5, height: int = 30, width: int = 40) -> torch.Tensor:
    """Correlated features, each picture of the batch with its own statistics."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(2, channels, channels, generator=generator) + 2 * torch.eye(channels)
    plain = torch.randn(2, channels, height, width, generator=generator)
    return torch.einsum("ncd,ndhw->nchw", mixing, plain) + torch.randn(2, channels, 1, 1, generator=generator)


def test_moments_of_a_batch_are_those_of_its_pictures() -> None:
    batch = maps(0)
    found = raw_moments(batch)
    for i in range(2):
        one = moments(batch[i : i + 1])
        torch.testing.assert_close(found.mean[i], one.mean)
        torch.testing.assert_close(found.second[i], one.second)


def test_transport_gives_the_wanted_statistics() -> None:
    here, there = maps(1), maps(2, height=20, width=20)
    moved = raw_moments(transported(here, raw_moments(here), raw_moments(there)))
    torch.testing.assert_close(moved.mean, raw_moments(there).mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(covariance(moved), covariance(raw_moments(there)), atol=1e-3, rtol=1e-3)


def test_transport_is_the_one_that_moves_least() -> None:
    """The mean squared way is the Wasserstein distance between the two Gaussians, by SciPy's matrix square root."""
    here, there = maps(3), maps(4)
    moved = transported(here, raw_moments(here), raw_moments(there))
    for i in range(2):
        a, b = (covariance(raw_moments(each))[i].double().numpy() for each in (here, there))
        means = (raw_moments(here).mean[i] - raw_moments(there).mean[i]).square().sum().item()
        root = linalg.sqrtm(a)
        least = means + np.trace(a + b - 2 * linalg.sqrtm(root @ b @ root).real)
        way = (moved[i] - here[i]).square().sum(0).mean().item()
        assert way == pytest.approx(least, rel=1e-3)


def test_transport_to_itself_changes_nothing() -> None:
    here = maps(5)
    own = raw_moments(here)
    torch.testing.assert_close(transported(here, own, own), here, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("here", [torch.zeros(1, 3, 4, 4), torch.full((1, 3, 1, 1), 0.5)], ids=["flat", "one pixel"])
def test_transport_of_what_does_not_vary_is_finite(here: torch.Tensor) -> None:
    there = raw_moments(maps(6, channels=3))
    wanted = type(there)(there.mean[:1], there.second[:1])
    moved = transported(here, raw_moments(here), wanted)
    assert moved.isfinite().all()
    torch.testing.assert_close(raw_moments(moved).mean, wanted.mean, atol=1e-4, rtol=1e-4)


def test_layers_have_the_channels_and_strides_that_are_promised(model: Model) -> None:
    found = Encoder(model)(torch.rand(2, 3, 48, 64))
    assert {name: (each.shape[1], 48 // each.shape[2]) for name, each in found.items() if name != COLORS} == LAYERS
    assert all(48 * each.shape[3] == 64 * each.shape[2] for each in found.values())


def test_maps_are_those_of_the_network_on_the_mirrored_picture(model: Model) -> None:
    x = torch.rand(1, 3, 48, 64)
    wider = mirrored(x, (STRIDE,) * 4)
    plain = features(model.module, model.normalize(wider), [*LAYERS])
    for name, (_, stride) in LAYERS.items():
        m = STRIDE // stride
        expected = plain[name][:, :, m : m + 48 // stride, m : m + 64 // stride]
        found = Encoder(model)(x)[name]
        assert (found - expected).norm() < 1e-4 * expected.norm()


def test_small_pictures_are_continued_too() -> None:
    x = torch.rand(1, 3, 5, 7)
    assert mirrored(x, (16, 16, 16, 16)).shape == (1, 3, 37, 39)
    assert torch.equal(mirrored(x, (0, 1, 0, 0))[..., -1], x[..., -2])


def test_half_precision_around_does_not_reach_the_statistics() -> None:
    here, there = maps(7) + 20, maps(8)
    plain = transported(here, raw_moments(here), raw_moments(there))
    with torch.autocast("cpu", torch.bfloat16):
        inside = transported(here, raw_moments(here), raw_moments(there))
    assert torch.equal(inside, plain)
