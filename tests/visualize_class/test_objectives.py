"""Scores, likeness and statistics against sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cvtool.errors import UnknownNameError, UsageError
from cvtool.models.loader import Model
from cvtool.visualize_class import statistics
from cvtool.visualize_class.objectives import Question, class_scores, likeness_of, unit_scores
from cvtool.visualize_class.options import Target, Unit


def question(model: Model, *targets: Target, compare: bool = False) -> Question:
    return Question.of(model, targets, compare=compare, precision="fp32")


def views(count: int, side: int = 32) -> torch.Tensor:
    return torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(0))


def test_the_score_of_a_class_is_its_logit(small: Model) -> None:
    """Two rounds over three pictures: the rows are picture 0, 1, 2, 0, 1, 2."""
    x = views(6)
    logits = small.module(small.normalize(x))
    seen = question(small, Target(index=4), Target(index=0), Target(index=2)).look(x)
    expected = torch.stack([logits[row, (4, 0, 2)[row % 3]] for row in range(6)])
    torch.testing.assert_close(seen.scores, expected, atol=1e-4, rtol=1e-4)
    assert seen.likeness == 0
    assert seen.strangeness == 0


def test_class_scores_take_rounds_in_order() -> None:
    logits = torch.arange(12.0).view(4, 3)
    assert class_scores(logits, [Target(index=2), Target(index=0)]).tolist() == [2.0, 3.0, 8.0, 9.0]


def test_units(small: Model) -> None:
    x = views(4)
    maps = F.relu(
        small.module.bn2(small.module.conv2(F.relu6(small.module.bn1(small.module.conv1(small.normalize(x))))))
    )
    channels = [Target(layer="act2", number=3), Target(layer="act2", number=7)]
    found = question(small, *channels).look(x).scores
    expected = torch.stack([maps[0, 3].mean(), maps[1, 7].mean(), maps[2, 3].mean(), maps[3, 7].mean()])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    neuron = question(small, Target(layer="act2", unit=Unit.neuron, number=3)).look(x).scores
    torch.testing.assert_close(neuron, maps[:, 3, 4, 4], atol=1e-4, rtol=1e-4)
    whole = question(small, Target(layer="act2")).look(x).scores
    torch.testing.assert_close(whole, maps.square().mean((1, 2, 3)), atol=1e-4, rtol=1e-4)
    numbers = tuple(np.linspace(-1, 2, 12))
    direction = question(small, Target(layer="act2", direction=numbers)).look(x).scores
    unit = torch.tensor(numbers, dtype=torch.float32) / np.linalg.norm(numbers)
    torch.testing.assert_close(direction, (maps.mean((2, 3)) @ unit), atol=1e-4, rtol=1e-4)


def test_units_of_tokens_and_vectors() -> None:
    output = torch.arange(24.0).view(2, 3, 4)
    assert unit_scores(output, [Target(layer="x", number=1)]).tolist() == [5.0, 17.0]
    assert unit_scores(output, [Target(layer="x", unit=Unit.neuron, number=1)]).tolist() == [5.0, 17.0]
    assert unit_scores(output[:, 0], [Target(layer="x", number=3)]).tolist() == [3.0, 15.0]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (Target(layer="act2", number=12), "12, counted from 0"),
        (Target(layer="act2", direction=(1.0, 2.0)), "one number per channel"),
        (Target(layer="act3", number=0), "No layer 'act3'"),
        (Target(), "what to visualise"),
        (Target(index=1, layer="act2"), "what to visualise"),
        (Target(index=5), "No class 5"),
    ],
)
def test_what_does_not_exist(small: Model, target: Target, says: str) -> None:
    with pytest.raises((UsageError, UnknownNameError), match=says):
        question(small, target).look(views(1))


def test_likeness_is_the_product_of_grams() -> None:
    """Written out as in Lucid: for each picture the sum over all others, averaged."""
    maps = torch.randn((6, 4, 5, 5), generator=torch.Generator().manual_seed(2))
    expected = 0.0
    for first in (0, 3):  # two rounds over three pictures
        grams = []
        for row in range(first, first + 3):
            flat = maps[row].flatten(1).double()
            gram = flat @ flat.T
            grams.append(gram / gram.norm())
        expected += sum(float((grams[i] * grams[j]).sum()) for i in range(3) for j in range(3) if i != j) / 3 / 2
    assert float(likeness_of(maps, 3)) == pytest.approx(expected, rel=1e-4)


def test_equal_pictures_are_alike(small: Model) -> None:
    x = views(1).expand(3, -1, -1, -1)
    seen = question(small, *[Target(index=0)] * 3, compare=True).look(x)
    assert float(seen.likeness) == pytest.approx(2.0, abs=1e-4)


def test_what_the_network_was_trained_on_is_not_strange() -> None:
    """Batch norms that have just seen these pictures find nothing strange in them, and something in darker ones."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))
    x = torch.rand((16, 3, 24, 24), generator=generator)
    module.train()
    for norm in (module[1], module[4]):
        norm.momentum = 1.0
    for _ in range(2):
        module(x)
    module.eval()
    norms = {"0": module[1], "3": module[4]}
    usual = statistics.usual_statistics(module, norms, folded=False)
    assert list(usual) == ["0"]  # the one that looks around

    def strangeness(pictures: torch.Tensor) -> float:
        with torch.no_grad(), statistics.watched(module, usual, 1) as distances:
            module(pictures)
        return float(sum(distances))

    assert strangeness(x) < 1e-3
    assert strangeness(x * 0.3) > 0.1
    assert not module[0]._forward_hooks


def test_folding_does_not_change_what_is_usual(small: Model) -> None:
    """Asked on the folded network, strangeness is what the batch norms' own inputs say."""
    x = views(2)
    asked = question(small, Target(index=0))
    inputs = []
    handles = [
        norm.register_forward_pre_hook(lambda module, args: inputs.append((module, args[0])))
        for norm in (small.module.bn1, small.module.bn2)
    ]
    small.module(small.normalize(x))
    for handle in handles:
        handle.remove()
    expected = 0.0
    for norm, given in inputs:
        deviation = (norm.running_var + norm.eps).sqrt()
        shift = (given.mean((0, 2, 3)) - norm.running_mean) / deviation
        stretch = given.var((0, 2, 3), correction=0).sqrt() / deviation - 1
        expected += float((shift.square() + stretch.square()).mean())
    assert float(asked.look(x, strangeness=True).strangeness) == pytest.approx(expected, rel=1e-2)


def test_each_picture_has_statistics_of_its_own(small: Model) -> None:
    x = views(4)
    together = question(small, Target(index=0), Target(index=0)).look(x, strangeness=True).strangeness
    one = question(small, Target(index=0))
    apart = [float(one.look(x[rows], strangeness=True).strangeness) for rows in ([0, 2], [1, 3])]
    assert float(together) == pytest.approx(sum(apart) / 2, rel=1e-4)


def test_the_moments_have_the_gradients_of_what_they_compute() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    center = torch.randn(5, generator=generator, dtype=torch.float64)
    mean, square = statistics._Moments.apply(x, center)
    torch.testing.assert_close(mean, x.mean((0, 2)) - center)
    torch.testing.assert_close(square, (x - center).square().mean((0, 2)))
    assert torch.autograd.gradcheck(lambda each: statistics._Moments.apply(each, center), x)
