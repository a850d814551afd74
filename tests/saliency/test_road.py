"""ROAD against its peers' implementation, and on pictures whose filling is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cvtool.saliency import road
from cvtool.saliency.options import SaliencyOptions
from cvtool.saliency.question import Question

SIDES = (30, 20)
"""Of so many pixels that every tenth of them is a whole number."""


@pytest.fixture
def map() -> np.ndarray:
    return np.random.default_rng(3).permutation(np.arange(600, dtype=np.float32)).reshape(SIDES) / 600


def question_of(model, x: torch.Tensor, **options) -> Question:
    return Question(model, x, torch.tensor([1]), None, SaliencyOptions(**options))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_filled_pixels_are_the_peers(noise, share):
    """Also along the border, where pixels have fewer neighbours."""
    theirs = pytest.importorskip("pytorch_grad_cam.metrics.road")
    (picture,) = noise(1, 24)
    gone = np.random.default_rng(5).random((24, 24)) < share
    gone[:3], gone[10:14, 10:20] = True, True
    wanted = theirs.NoisyLinearImputer(noise=0)(picture, torch.from_numpy(~gone).float())
    found = road.filled(picture, gone, road.neighbours(24, 24))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert torch.equal(found[:, ~gone], picture[:, ~gone])


def test_a_slope_is_filled_in_as_if_nothing_had_been_removed():
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(9.0), indexing="ij")
    slope = torch.stack([rows, columns, 2 * rows - columns])
    gone = np.zeros((12, 9), dtype=bool)
    gone[2:9, 3:8] = True
    filled = road.filled(torch.where(torch.from_numpy(gone), torch.nan, slope), gone, road.neighbours(12, 9))
    torch.testing.assert_close(filled, slope)


def test_the_measure_is_the_peers(small, noise, map, in_pixels, monkeypatch):
    """Most and least relevant first; they tell differences to the whole picture, and name what stays, not what goes."""
    theirs = pytest.importorskip("pytorch_grad_cam.metrics.road")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    monkeypatch.setattr(road, "NOISE", 0)
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    x = noise(1)[:, :, : SIDES[0], : SIDES[1]].contiguous()
    question = question_of(small, x, batch=3)
    module, before = in_pixels(small), float(question.probabilities(x))
    percent = [round(100 * share) for share in road.SHARES]
    wanted = [
        float(peer(percent)(x, map[None], [targets.ClassifierOutputSoftmaxTarget(1)], module)[0])
        for peer in (theirs.ROADMostRelevantFirstAverage, theirs.ROADLeastRelevantFirstAverage)
    ]
    assert [each - before for each in road.road(question, map)] == pytest.approx(wanted, abs=1e-5)
    assert wanted[0] != pytest.approx(wanted[1], abs=1e-4)


class Keeping(torch.nn.Module):
    """Says nothing, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, x):
        self.shown.extend(x)
        return x.new_zeros(len(x), 2)


def shown(model, x: torch.Tensor, map: np.ndarray, **options) -> list[torch.Tensor]:
    card = replace(model.card, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), classes=2)
    keeping = Keeping()
    assert road.road(question_of(replace(model, module=keeping, card=card), x, **options), map) == (0.5, 0.5)
    return keeping.shown


def test_what_is_filled_in_is_a_little_noisy_and_the_rest_untouched(small, map):
    x = torch.full((1, 3, *SIDES), 0.5)
    first, again, other = (shown(small, x, map, seed=seed) for seed in (3, 3, 4))
    assert len(first) == 2 * len(road.SHARES)
    kept = torch.from_numpy(map)
    for number, one in enumerate(first):
        share, least = road.SHARES[number % len(road.SHARES)], number >= len(road.SHARES)
        gone = kept < share - 1e-4 if least else kept > 1 - share - 1e-3
        assert int(gone.sum()) == pytest.approx(share * 600, abs=1)
        assert (one - x[0])[:, ~gone].abs().max() <= 1e-6
        assert float((one - x[0])[:, gone].std()) == pytest.approx(road.NOISE, rel=0.15)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))
