"""Measures of maps on cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cvtool.saliency import evaluation
from cvtool.saliency.options import Method, SaliencyOptions
from cvtool.saliency.question import Question
from cvtool.saliency.service import Explainer, explain
from cvtool.saliency.statistics import mean_and_interval


class ShareOfWhite(nn.Module):
    """Probability of class 0 = the share of white pixels, exactly."""

    def forward(self, x):
        share = x.mean((1, 2, 3)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([share.log(), (1 - share).log()], 1)


@pytest.fixture
def counting(small):
    card = replace(small.card, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), classes=2)
    return replace(small, module=ShareOfWhite(), card=card)


def test_areas_by_hand():
    assert evaluation.area(np.array([0.0, 1.0])) == 0.5
    assert evaluation.area(np.array([1.0, 1.0, 0.0])) == 0.75
    assert evaluation.area(np.array([0.0, 0.5, 1.0])) == 0.5


def test_the_curve_takes_pixels_in_order(counting):
    """A picture that is white in its left half: deleting that half first empties it after half of the steps."""
    x = torch.zeros(1, 3, 10, 10)
    x[..., :5] = 1
    question = Question(counting, x, torch.tensor([0]), None, SaliencyOptions(batch=7))
    best_first = np.argsort(-x[0, 0].numpy(), axis=None, kind="stable")
    curve = evaluation.curve(question, x, torch.zeros_like(x), best_first, steps=10)
    np.testing.assert_allclose(curve, [0.5, 0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0, 0, 0], atol=1e-5)
    assert evaluation.area(curve) == pytest.approx(0.125, abs=1e-5)
    worst_first = best_first[::-1]
    curve = evaluation.curve(question, x, torch.zeros_like(x), worst_first, steps=10)
    np.testing.assert_allclose(curve, [0.5] * 6 + [0.4, 0.3, 0.2, 0.1, 0], atol=1e-5)


def test_correlation_and_similarity():
    rising = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert evaluation.rank_correlation(rising, rising**3) == pytest.approx(1)
    assert evaluation.rank_correlation(rising, -rising) == pytest.approx(-1)
    assert evaluation.rank_correlation(rising, np.zeros_like(rising)) == 0
    assert evaluation.similarity(rising, rising) == pytest.approx(1)
    assert evaluation.similarity(rising, rising.T[::-1]) < 0.5


def test_shuffling_keeps_the_values_and_the_original(lite):
    before = {name: tensor.clone() for name, tensor in lite.model.module.state_dict().items()}
    other = evaluation.shuffled(lite.model).module.state_dict()
    after = lite.model.module.state_dict()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name])
    name = "conv_head.weight"
    assert not torch.equal(other[name], before[name])
    torch.testing.assert_close(other[name].flatten().sort().values, before[name].flatten().sort().values)


def test_the_bundled_network(lite, cat):
    """Grad-CAM rests on what was learned; the tabby's pixels matter: insertion is far above deletion."""
    forgetful = replace(lite, model=evaluation.shuffled(lite.model))
    (found,) = explain([cat], lite, SaliencyOptions(method=Method.grad_cam))
    measured = evaluation.evaluate(found, lite, forgetful)
    assert measured.insertion_auc > measured.deletion_auc + 0.1
    assert measured.road_lerf > measured.road_morf + 0.1
    assert measured.stability == 1
    assert measured.completeness_error is None
    assert "learned" in measured.verdict


def test_an_edge_detector_is_found_out(small, noise):
    """A map that is the same whatever the weights: the verdict says that it follows the edges."""
    picture = noise(1)[0].permute(1, 2, 0).numpy()
    explainer = Explainer(small)
    (found,) = explain([picture], explainer)
    measured = evaluation.evaluate(found, explainer, explainer)
    assert measured.sanity_correlation == pytest.approx(1)
    assert "edges" in measured.verdict


def test_intervals():
    mean, low, high = mean_and_interval([1.0] * 10)
    assert mean == low == high == 1
    values = np.random.default_rng(1).normal(5, 1, 400)
    mean, low, high = mean_and_interval(values.tolist())
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)
