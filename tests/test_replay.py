"""Recorded work does what the same work does when it is called: on a GPU; elsewhere it is called."""

from functools import partial

import pytest
import torch

from cvtool.ascend import Adam, follow_gradient
from cvtool.replay import WARM_UP, Replayed
from cvtool.tensors import seeded

CALLS = WARM_UP + 5


def test_elsewhere_it_is_just_called():
    seen = []
    add = Replayed(lambda x: seen.append(1) or x + 1, torch.device("cpu"))
    assert [add(torch.tensor(number)).item() for number in range(CALLS)] == list(range(1, CALLS + 1))
    assert len(seen) == CALLS


def path(device, *, replay):
    """Pictures on the way to something with edges."""
    wanted = torch.rand(1, 3, 24, 24, generator=seeded(1)).to(device)
    picture = torch.rand(1, 3, 24, 24, generator=seeded(2)).to(device).requires_grad_(True)
    weight = torch.randn(8, 3, 3, 3, generator=seeded(3)).to(device)

    def loss(x):
        apart = (torch.conv2d(x - wanted, weight)).square().mean()
        return {"loss": apart, "twice": 2 * apart}

    steps = follow_gradient(picture, loss, Adam(picture, lr=0.05, betas=(0.9, 0.99)), replay=replay)
    terms = [{name: each.item() for name, each in next(steps).items()} for _ in range(3 * CALLS)]
    return picture.detach().clone(), terms


@pytest.mark.gpu
def test_a_recorded_gradient_leads_where_a_computed_one_does():
    (one, terms), (other, others) = (path("cuda", replay=replay) for replay in (True, False))
    torch.testing.assert_close(one, other)
    assert terms[-1]["loss"] < terms[0]["loss"] / 2
    for ours, theirs in zip(terms, others, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
        assert ours["twice"] == pytest.approx(2 * ours["loss"])


def bowl(weight, x):
    return {"loss": (weight * (x - 0.5).square()).sum() + (x**4).sum()}


@pytest.mark.gpu
def test_lbfgs_asks_a_recording_as_often_as_it_likes():
    found = []
    for replay in (True, False):
        picture = torch.zeros(1, 3, 8, 8, device="cuda", requires_grad=True)
        weight = torch.linspace(1, 9, 192, device="cuda").view(1, 3, 8, 8)
        optimizer = torch.optim.LBFGS([picture], lr=1.0, max_iter=1, line_search_fn="strong_wolfe")
        steps = follow_gradient(picture, partial(bowl, weight), optimizer, replay=replay)
        found.append((float([next(steps) for _ in range(12)][-1]["loss"]), picture.detach().clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
def test_inputs_and_chance_are_those_of_each_call():
    chance = torch.Generator("cuda")

    def work(x):
        return x + torch.randn(5, generator=chance, device="cuda")

    recorded = Replayed(work, torch.device("cuda"), chances=[chance])
    for number in range(CALLS):
        x = torch.full((5,), float(number), device="cuda")
        chance.manual_seed(number)
        found = recorded(x).clone()
        chance.manual_seed(number)
        assert torch.equal(found, work(x)), f"call {number}"
    assert recorded._graph is not None


@pytest.mark.gpu
def test_what_cannot_be_recorded_is_called():
    """A value that is asked for in the middle would be that of the recording for ever."""
    recorded = Replayed(lambda x: x * x.sum().item(), torch.device("cuda"))
    for number in range(1, CALLS + 1):
        x = torch.full((2,), float(number), device="cuda")
        assert recorded(x).tolist() == [2.0 * number**2] * 2
    assert recorded._graph is None
