"""The loop that optimises pictures, on functions whose minimum is known."""

import copy
import itertools
import json

import numpy as np
import pytest
import torch

from cvtool.ascend import Adam, Average, follow_gradient, pack, unit_box, unpack


def start():
    return torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_(True)


def take(steps, count):
    return list(itertools.islice(steps, count))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_lbfgs_finds_the_bottom_of_a_bowl(memory_format):
    """In one or two steps, also when the gradient comes in channels_last."""
    x = start()
    target = torch.full((1, 3, 4, 5), 0.25)

    def loss(picture):
        return {"loss": (picture.contiguous(memory_format=memory_format) - target).square().sum()}

    terms = take(follow_gradient(x, loss, torch.optim.LBFGS([x], max_iter=1, line_search_fn="strong_wolfe")), 4)
    assert terms[-1]["loss"] < 1e-10 < terms[0]["loss"]


def test_the_box_is_kept_at_every_step():
    x = start()
    steps = follow_gradient(x, lambda p: {"loss": -p.sum()}, torch.optim.Adam([x], lr=0.3), project=unit_box)
    for _ in take(steps, 6):
        assert x.min() >= 0
        assert x.max() <= 1
    assert (x == 1).all()


def test_terms_are_those_before_the_step_and_carry_no_graph():
    x = start()
    before = x.detach().sum()
    (terms,) = take(follow_gradient(x, lambda p: {"loss": p.sum()}, torch.optim.SGD([x], lr=0.1)), 1)
    assert terms["loss"] == before
    assert not terms["loss"].requires_grad
    assert x.detach().sum() == pytest.approx(before.item() - 0.1 * x.numel(), rel=1e-5)


def test_a_step_that_overflows_is_skipped():
    x = start()
    before = x.detach().clone()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    steps = follow_gradient(x, lambda p: {"loss": (p * 1e4).sum()}, torch.optim.SGD([x], lr=1e-9), scaler=scaler)
    take(steps, 1)
    torch.testing.assert_close(x.detach(), before, atol=0, rtol=0)
    assert scaler.get_scale() < 2.0**127


def test_average_is_the_weighted_mean():
    pictures = np.random.default_rng(0).random((6, 1, 3, 2, 2))
    average = Average(torch.zeros(1, 3, 2, 2, dtype=torch.float64), decay=0.8)
    for picture in pictures:
        average.add(torch.from_numpy(picture))
    weights = 0.8 ** np.arange(5, -1, -1)
    np.testing.assert_allclose(average.value(), np.average(pictures, axis=0, weights=weights))


def test_pack_and_unpack_are_inverse():
    tree = {0: {"step": torch.tensor(3.0), "dirs": [torch.ones(2, 3), torch.zeros(1)], "al": [None, 0.1]}, "n": 5}
    skeleton, tensors = pack(tree, "state")
    again = unpack(json.loads(json.dumps(skeleton)), tensors)
    assert again["n"] == 5
    assert again[0]["al"] == [None, 0.1]
    torch.testing.assert_close(again[0]["dirs"][0], tree[0]["dirs"][0])
    assert again[0]["dirs"][0].data_ptr() != tree[0]["dirs"][0].data_ptr()


def test_adam_equals_torchs_also_after_a_reload():
    ours, theirs = start(), start()
    weights = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    mine = Adam(ours, lr=0.03, betas=(0.8, 0.98))
    reference = torch.optim.Adam([theirs], lr=0.03, betas=(0.8, 0.98), fused=True)

    def loss(picture):
        return {"loss": (weights * (picture - 0.3) ** 2).sum()}

    take(follow_gradient(ours, loss, mine), 20)
    take(follow_gradient(theirs, loss, reference), 20)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    again = Adam(ours, lr=1.0, betas=(0.1, 0.1))
    again.load_state_dict(copy.deepcopy(reference.state_dict()))
    take(follow_gradient(ours, loss, again), 5)
    take(follow_gradient(theirs, loss, reference), 5)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
