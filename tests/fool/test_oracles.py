"""Parts of attacks against formulas written out, derivatives by differences, and searches without cleverness."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import twins
import twins_of_pixels
from watching import cases_of, pictures, watched

from cvtool.errors import UsageError
from cvtool.fool.attacks import ATTACKS
from cvtool.fool.attacks.apgd import _checkpoints
from cvtool.fool.attacks.boundary import _to_border
from cvtool.fool.attacks.decoupled import cosine, farthest
from cvtool.fool.attacks.lagrangian import _scaled_lead, _slope
from cvtool.fool.attacks.patch import Placement, draw, holding, put
from cvtool.fool.attacks.sparse import _take_back
from cvtool.fool.goal import Goal, check_confidence
from cvtool.fool.norms import dual_length, length, project, steepest, unit
from cvtool.fool.options import Method, Norm
from cvtool.fool.problem import Best, Spot
from cvtool.fool.rounding import step_over_rounding

NORMS = list(Norm)


def changes(count: int = 4) -> torch.Tensor:
    return torch.randn((count, 3, 14, 11), generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize("norm", NORMS)
def test_lengths_and_steps_are_the_twins(norm):
    gradient = changes()
    gradient[0, :, :5] = 0
    gradient[1] = 0
    for one, far, most, step in zip(
        gradient.numpy(),
        length(gradient, norm),
        dual_length(gradient, norm),
        steepest(gradient, norm).numpy(),
        strict=True,
    ):
        assert float(far) == pytest.approx(twins.size(one, norm.value))
        assert float(most) == pytest.approx(twins.dual_size(one, norm.value))
        np.testing.assert_allclose(step, twins.steep(one, norm.value), atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_the_nearest_change_in_a_ball_is_the_twins(norm):
    change = changes()
    radius = torch.tensor([0.3, 1.0, 20.0, 1e4], dtype=torch.float64)
    for one, limit, found in zip(change.numpy(), radius.tolist(), project(change, norm, radius).numpy(), strict=True):
        np.testing.assert_allclose(found, twins.nearest(one, norm.value, limit), atol=1e-9)
    assert not project(change, norm, torch.zeros(4, dtype=torch.float64)).any()


def test_a_change_of_nothing_has_no_direction():
    assert not unit(torch.zeros(1, 3, 4, 4)).any()
    assert not steepest(torch.zeros(1, 3, 4, 4), Norm.l1).any()


@pytest.mark.parametrize("norm", NORMS)
def test_the_farthest_picture_is_at_the_ends_of_the_range(norm):
    x = pictures(2)
    for one, found in zip(x.numpy(), farthest(x, norm), strict=True):
        ends = np.where(one > 0.5, 0, 1)  # which is further away
        assert float(found) == pytest.approx(twins.size(ends - one, norm.value))


def test_half_a_cosine():
    assert [cosine(done, 8, 3.0, 1.0) for done in (0, 4, 8)] == pytest.approx([3, 2, 1])
    assert cosine(2, 8, 3.0, 1.0) == pytest.approx(2 + math.sqrt(0.5))


def test_checkpoints_are_those_of_the_paper():
    """Croce and Hein (2020), section 3.2: pieces of 22, 19, 16, 13, 10, 7, 6, 6 % of all steps."""
    percent = [22, 41, 57, 70, 80, 87, 93, 99]
    assert _checkpoints(100)[:8] == percent
    assert _checkpoints(1000)[:8] == [10 * share for share in percent]
    assert _checkpoints(10)[:8] == [3, 5, 6, 7, 8, 9, 10, 10]


def penalty(missing: float, weight: float, multiplier: float) -> float:
    """P2 of Birgin et al. (2005), as Rony et al. (2021), table 1, write it."""
    if missing >= 0:
        return multiplier * missing + multiplier * weight * missing**2 + weight**2 * missing**3 / 6
    return multiplier * missing / (1 - weight * missing)


@pytest.mark.parametrize(("weight", "multiplier"), [(1.0, 1.0), (1.44, 0.3), (2.0, 1e-3)])
def test_the_slope_is_that_of_the_penalty(weight, multiplier):
    missing, h = torch.tensor([-2.0, -0.3, -1e-3, 1e-3, 0.4, 3.0], dtype=torch.float64), 1e-6
    full = torch.full_like(missing, weight), torch.full_like(missing, multiplier)
    wanted = [
        (penalty(at + h, weight, multiplier) - penalty(at - h, weight, multiplier)) / (2 * h) for at in missing.tolist()
    ]
    assert _slope(missing, *full).tolist() == pytest.approx(wanted, rel=1e-6)
    assert float(_slope(torch.zeros(1), full[0][:1], full[1][:1])) == pytest.approx(multiplier)


def test_a_lead_in_units_of_the_spread():
    logits = torch.tensor([[7.0, 3.0, 1.0, 2.0, 0.0]], dtype=torch.float64)
    for label, target, lead in ((0, None, 3 - 7), (1, None, 7 - 3), (0, 3, 2 - 7)):
        goal = Goal(torch.tensor([label]), None if target is None else torch.tensor([target]))
        assert float(_scaled_lead(goal, logits)) == pytest.approx((lead - 1e-3) / (7 - 2))
    flat = torch.ones(1, 5, dtype=torch.float64)
    assert float(_scaled_lead(Goal(torch.tensor([0]), None), flat)) == pytest.approx(-1e-3 / 1e-6)


LOGITS = torch.tensor([[2.0, -1.0, 0.5, 1.5, 0.2], [0.3, 0.1, 4.0, -2.0, 3.5]], dtype=torch.float64)


@pytest.mark.parametrize("target", [None, [1, 4]])
def test_goals_are_their_formulas(target):
    label = [0, 2]
    goal = Goal(torch.tensor(label), None if target is None else torch.tensor(target))
    for row, z in enumerate(LOGITS.tolist()):
        order, y, chances = sorted(z, reverse=True), label[row], np.exp(z) / np.exp(z).sum()
        other = max(value for k, value in enumerate(z) if k != y)
        if target is None:
            wanted = [-math.log(chances[y]), -z[y], (other - z[y]) / (order[0] - order[2])]
            lead = other - z[y]
        else:
            t = target[row]
            ratio = (z[t] - z[y]) / (order[0] - (order[2] + order[3]) / 2)
            wanted = [math.log(chances[t]), z[t], ratio]
            lead = z[t] - max(value for k, value in enumerate(z) if k != t)
        found = [goal.cross_entropy(LOGITS), goal.logit(LOGITS), goal.logits_ratio(LOGITS), goal.lead(LOGITS)]
        assert [float(each[row]) for each in found] == pytest.approx([*wanted, lead - 1e-3])


@pytest.mark.parametrize(("chance", "reached"), [(0.69, False), (0.71, True)])
def test_a_sure_goal_misses_what_the_odds_miss(chance, reached):
    goal = Goal(torch.tensor([0]), torch.tensor([1]), 0.7)
    logits = torch.tensor([[0.2 * (1 - chance), chance, 0.8 * (1 - chance)]], dtype=torch.float64).log()
    odds = math.log(chance / (1 - chance)) - math.log(0.7 / 0.3)
    assert float(goal.lead(logits)) == pytest.approx(odds - 1e-3)
    assert bool(goal.reached(logits)) == reached


@pytest.mark.parametrize("confidence", [None, 0.6])
def test_a_goal_is_reached_in_front_only(confidence):
    """A tie is not in front, and 0.55 is not 0.6."""
    chances = torch.tensor([[0.8, 0.2], [0.5, 0.5], [0.45, 0.55], [0.3, 0.7]], dtype=torch.float64)
    found = Goal(torch.zeros(4, dtype=torch.long), None, confidence).reached(chances.log())
    assert found.dtype is torch.bool
    assert found.tolist() == [False, False, confidence is None, True]


@pytest.mark.parametrize(("confidence", "possible"), [(None, True), (0.5, True), (0.0, False), (1.0, False)])
def test_a_confidence_is_between_nothing_and_certainty(confidence, possible):
    with nullcontext() if possible else pytest.raises(UsageError, match="between 0 and 1"):
        check_confidence(confidence)


def test_iterations_unless_told_otherwise():
    steps = {method.value: spec.steps for method, spec in ATTACKS.items()}
    assert steps == {
        **dict.fromkeys(["auto", "ascent", "apgd", "ddn", "fmn"], 100),
        **dict.fromkeys(["bim", "mi-fgsm", "boundary"], 10),
        **dict.fromkeys(["alma", "cw"], 300),
        **dict.fromkeys(["jsma", "patch"], 200),
        **{"fgsm": 1, "pgd": 40, "square": 1000, "deepfool": 50, "universal": 20},
    }


def test_a_hair_in_front_is_in_front():
    """Attacks go a thousandth of a logit further, files need not."""
    goal = Goal(torch.tensor([0]), None)
    hair = torch.tensor([[0.0, 5e-4]], dtype=torch.float64)
    assert goal.reached(hair).tolist() == [True]
    assert float(goal.lead(hair)) == pytest.approx(-5e-4)


def test_with_three_classes_the_ratio_is_the_margin():
    goal = Goal(torch.tensor([0]), None)
    assert float(goal.logits_ratio(torch.tensor([[3.0, 1.0, 2.0]]))) == -1
    assert float(goal.logits_ratio(torch.tensor([[4.0, 4.0, 4.0, 4.0]]))) == 0


def test_goals_for_some_pictures_and_several_rounds():
    goal = Goal(torch.tensor([0, 2, 1]), torch.tensor([3, 4, 0]), 0.8)
    some, more = goal.only(torch.tensor([2, 0])), goal.repeated(2)
    assert (some.label.tolist(), some.target.tolist(), some.confidence) == ([1, 0], [0, 3], 0.8)
    assert (more.label.tolist(), more.target.tolist()) == ([0, 2, 1] * 2, [3, 4, 0] * 2)
    assert goal.repeated(1) is goal


def test_the_border_is_found_to_a_4096th_of_the_way(linear):
    """Along a line a linear network changes its mind at a place that can be computed."""
    problem = watched(linear, pictures(1), Method.boundary, norm=Norm.l2, eps=math.inf, steps=1, aimed=False)
    label = int(problem.goal.label)
    weight, bias = problem.model.module.weight, problem.model.module.bias
    for other in [k for k in range(6) if k != label][:2]:
        outside = problem.x + 0.05 * (weight[other] - weight[label]).sign().view_as(problem.x)
        ends = [(weight @ x.flatten() + bias) for x in (problem.x, outside)]
        gaps = [float(z[[k for k in range(6) if k != label]].max() - z[label]) for z in ends]
        assert gaps[0] < 0 < gaps[1]
        share = float(((_to_border(problem, outside) - problem.x) / (outside - problem.x)).mean())
        shares = np.arange(1, 4097) / 4096
        tries = torch.stack([problem.x[0] + at * (outside - problem.x)[0] for at in shares])
        fools = (problem.goal.repeated(4096).lead(problem.model.module(tries)) >= 0).numpy()
        assert share == pytest.approx(shares[fools.argmax()])


@pytest.mark.parametrize("seed", range(4))
def test_as_few_pixels_as_fool_are_kept(make_victim, linear, seed):
    """On two classes and a linear network, where each pixel helps, a linear search finds how many are needed."""
    victim = make_victim(type(linear.model.module)(2), 2)
    problem = watched(victim, pictures(1), Method.jsma, norm=Norm.l0, eps=math.inf, steps=1, aimed=False)
    module, label = problem.model.module, int(problem.goal.label)
    gradient = (module.weight[1 - label] - module.weight[label]).view_as(problem.x).detach()
    random = torch.rand((1, 1, 24, 24), generator=torch.Generator().manual_seed(seed)) < 0.4
    x = torch.where(random, (gradient > 0).double(), problem.x)
    worth = (gradient * (x - problem.x)).sum(1, keepdim=True)
    order = worth.masked_fill(~random, -1).flatten().argsort(descending=True)
    tried, needed = problem.x.clone(), 0
    while float(problem.goal.lead(module(tried))) < 0:
        at = int(order[needed])
        tried[0, :, at // 24, at % 24] = x[0, :, at // 24, at % 24]
        needed += 1
    assert 0 < needed < int(random.sum())
    _take_back(problem, x, worth)
    assert int(problem.best.distance) == needed
    torch.testing.assert_close(problem.best.picture, tried)


def test_over_rounding_in_ever_longer_steps(bumpy):
    """Half a level of one value, then half as much again each time, until the picture is fooled."""
    x = (pictures(2) * 255).round() / 255
    problem = watched(bumpy, x, Method.ddn, norm=Norm.l2, eps=math.inf, steps=1, aimed=False)
    problem = replace(problem, options=replace(problem.options, levels=256))
    step_over_rounding(problem)
    for row, case in enumerate(cases_of(problem)):
        _, gradient = case.look(case.x, case.gap)
        change, wanted = 0.51 / 255 * gradient / np.abs(gradient).max(), [case.x]
        for number in range(len(problem.shown[row]) - 1):
            wanted.append(np.clip(case.x + 1.5**number * change, 0, 1))
        assert len(problem.shown[row]) > 1
        np.testing.assert_allclose(problem.shown[row], wanted, atol=1e-9)
    fooled = problem.best.found
    assert bool(fooled.all())
    still = replace(problem, best=Best(x, problem.best.logits), mask=torch.zeros_like(x[:, :1]))
    still.shown.clear()
    step_over_rounding(still)
    assert len(still.shown[0]) == 1 + 16


@pytest.mark.parametrize(("levels_away", "tried"), [(1.4, True), (1.6, False)])
def test_only_pictures_that_hardly_moved_are_sent_over_the_rounding(bumpy, levels_away, tried):
    x = (pictures(1) * 255).round() / 255
    problem = watched(bumpy, x, Method.ddn, norm=Norm.l2, eps=math.inf, steps=1, aimed=False)
    problem = replace(problem, options=replace(problem.options, levels=256))
    problem.best.picture[0, 1, 2, 3] += levels_away / 255
    step_over_rounding(problem)
    assert bool(problem.shown[0]) == tried


def test_random_placements_are_the_twins():
    drawn = draw(5, 20, (3, 4, 60, 30), torch.Generator().manual_seed(2))
    wanted = twins_of_pixels.placements(5, 20, (60, 30), torch.Generator().manual_seed(2))
    for one, (row, column, scale, angle) in zip(drawn, wanted, strict=True):
        assert (one.row - 3, one.column - 4, one.scale, one.angle) == pytest.approx((row, column, scale, angle))


def test_a_sticker_is_tried_at_a_hundred_fresh_places(bumpy):
    problem = watched(bumpy, pictures(2)[1:], Method.patch, norm=Norm.l0, eps=math.inf, steps=1, aimed=False, batch=8)
    sticker = torch.zeros((1, 3, 14, 14), dtype=torch.float64)
    found = holding(problem, sticker)
    fooled = 0
    for where in twins_of_pixels.placements(100, 14, (24, 24), torch.Generator().manual_seed(2**32)):
        logits = problem.model.module(put(sticker, problem.x, Placement(*where)))
        fooled += int(logits.argmax()) != int(problem.goal.label)
    assert 0 < fooled < 100
    assert found == fooled / 100


def test_a_spot_is_cut_where_it_is():
    picture = torch.arange(3 * 8 * 9).view(3, 8, 9)
    assert torch.equal(Spot(2, 3, 4).of(picture), picture[:, 2:6, 3:7])


@pytest.mark.parametrize(
    ("norm", "eps", "minimize", "wanted"),
    [
        (Norm.linf, 0.1, False, ["apgd"]),
        (Norm.l2, 1.0, False, ["apgd"]),
        (Norm.l1, 9.0, False, ["pgd"]),
        (Norm.l0, 9.0, False, ["fmn"]),
        (Norm.linf, math.inf, False, ["fmn"]),
        (Norm.l0, math.inf, True, ["fmn"]),
        (Norm.l2, math.inf, True, ["ddn", "fmn", "alma"]),
        (Norm.l2, math.inf, False, ["fmn", "ddn"]),
    ],
)
def test_auto_calls_what_it_says(monkeypatch, bumpy, norm, eps, minimize, wanted):
    called: list[tuple[str, int]] = []
    for method, spec in list(ATTACKS.items()):
        if method is not Method.auto:
            run = SimpleNamespace(
                run=lambda problem, name=method.value: called.append((name, len(problem.x))), norms=spec.norms
            )
            monkeypatch.setitem(ATTACKS, method, run)
    problem = watched(bumpy, pictures(2), Method.auto, norm=norm, eps=eps, steps=1, aimed=False, minimize=minimize)
    ATTACKS[Method.auto].run(problem)
    assert called == [(name, 2) for name in wanted]
    called.clear()
    problem.best.distance[0] = 1.0  # one is fooled already
    ATTACKS[Method.auto].run(problem)
    rest = 1 if len(wanted) == 2 else 2
    assert called == [(name, rest) for name in wanted]
