"""The recurrent cells: golden values of the course, central differences, torch's cells."""

import numpy as np
import pytest
import torch
from numeric import central_difference, frozen, spaced

from cvtool.reference.recurrent import CELLS, sequence_backward, sequence_forward, sigmoid
from cvtool.reference.torch_order import from_torch_order, gradients_from_torch_order, to_torch_order

N, T, D, H = 2, 3, 4, 5


def drawn(cell, seed=0):
    """Sequences (N, T, D), a first state, weights, and a gradient for h and for the last state."""
    rng, gates = np.random.default_rng(seed), CELLS[cell].gates
    weights = {"Wx": frozen(rng, D, gates * H), "Wh": frozen(rng, H, gates * H), "b": frozen(rng, gates * H)}
    if cell == "gru":
        weights["bn"] = frozen(rng, H)
    state = tuple(frozen(rng, N, H) for _ in range(CELLS[cell].states))
    dlast = tuple(frozen(rng, N, H) for _ in range(CELLS[cell].states))
    return frozen(rng, N, T, D), state, weights, frozen(rng, N, T, H), dlast


# The course's numbers


@pytest.mark.shared
def test_rnn_step_of_the_course(golden):
    case = golden["rnn_step"]
    n, d, h = case["N,D,H"]
    weights = {"Wx": spaced(case["Wx"], d, h), "Wh": spaced(case["Wh"], h, h), "b": spaced(case["b"], h)}
    x, prev_h = spaced(case["x"], n, d), spaced(case["prev_h"], n, h)
    (next_h,), _ = CELLS["rnn"].step_forward(x, (prev_h,), weights)
    np.testing.assert_allclose(next_h, case["next_h"], atol=1e-8)


@pytest.mark.shared
def test_rnn_sequence_of_the_course(golden):
    case = golden["rnn_forward"]
    n, t, d, h = case["N,T,D,H"]
    weights = {"Wx": spaced(case["Wx"], d, h), "Wh": spaced(case["Wh"], h, h), "b": spaced(case["b"], h)}
    hidden, _, _ = sequence_forward(CELLS["rnn"], spaced(case["x"], n, t, d), (spaced(case["h0"], n, h),), weights)
    np.testing.assert_allclose(hidden, case["h"], atol=1e-8)


@pytest.mark.shared
def test_lstm_step_of_the_course(golden):
    case = golden["lstm_step"]
    n, d, h = case["N,D,H"]
    weights = {"Wx": spaced(case["Wx"], d, 4 * h), "Wh": spaced(case["Wh"], h, 4 * h), "b": spaced(case["b"], 4 * h)}
    state = spaced(case["prev_h"], n, h), spaced(case["prev_c"], n, h)
    (next_h, next_c), _ = CELLS["lstm"].step_forward(spaced(case["x"], n, d), state, weights)
    np.testing.assert_allclose(next_h, case["next_h"], atol=1e-8)
    np.testing.assert_allclose(next_c, case["next_c"], atol=1e-8)


@pytest.mark.shared
def test_lstm_sequence_of_the_course(golden):
    case = golden["lstm_forward"]
    n, d, h, t = case["N,D,H,T"]
    weights = {"Wx": spaced(case["Wx"], d, 4 * h), "Wh": spaced(case["Wh"], h, 4 * h), "b": spaced(case["b"], 4 * h)}
    h0 = spaced(case["h0"], n, h)
    hidden, _, _ = sequence_forward(CELLS["lstm"], spaced(case["x"], n, t, d), (h0, np.zeros_like(h0)), weights)
    np.testing.assert_allclose(hidden, case["h"], atol=1e-8)


# Central differences


@pytest.mark.parametrize("cell", CELLS)
def test_step_gradients(cell):
    """Of ``Σ dh ∘ h' + Σ dc ∘ c'``: both of the LSTM's outputs have a gradient of their own."""
    x, state, weights, _, dlast = drawn(cell)
    kind = CELLS[cell]

    def loss(x, state, weights):
        after, _ = kind.step_forward(x, state, weights)
        return sum(float((d * a).sum()) for d, a in zip(dlast, after, strict=True))

    _, cache = kind.step_forward(x[:, 0], state, weights)
    dx, dstate, dweights = kind.step_backward(dlast, cache)
    numeric_dx = central_difference(lambda a: loss(a, state, weights), x[:, 0])
    np.testing.assert_allclose(dx, numeric_dx, rtol=1e-6, atol=1e-9)
    for k in range(kind.states):
        numeric = central_difference(lambda a, k=k: loss(x[:, 0], (*state[:k], a, *state[k + 1 :]), weights), state[k])
        np.testing.assert_allclose(dstate[k], numeric, rtol=1e-6, atol=1e-9)
    assert dweights.keys() == set(kind.names) == weights.keys()
    for name in weights:
        numeric = central_difference(lambda a, name=name: loss(x[:, 0], state, {**weights, name: a}), weights[name])
        np.testing.assert_allclose(dweights[name], numeric, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_sequence_gradients_with_a_gradient_for_the_last_state(cell):
    x, state, weights, dh, dlast = drawn(cell, 1)
    kind = CELLS[cell]

    def loss(x, state, weights):
        hidden, last, _ = sequence_forward(kind, x, state, weights)
        return float((dh * hidden).sum()) + sum(float((d * a).sum()) for d, a in zip(dlast, last, strict=True))

    _, _, caches = sequence_forward(kind, x, state, weights)
    dx, dstate, dweights = sequence_backward(kind, dh, caches, dlast)
    np.testing.assert_allclose(dx, central_difference(lambda a: loss(a, state, weights), x), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(
        dstate[-1], central_difference(lambda a: loss(x, (*state[:-1], a), weights), state[-1]), rtol=1e-5, atol=1e-8
    )
    for name in weights:
        numeric = central_difference(lambda a, name=name: loss(x, state, {**weights, name: a}), weights[name])
        np.testing.assert_allclose(dweights[name], numeric, rtol=1e-5, atol=1e-8)


# torch


def fused(cell, weights):
    module = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](D, H, batch_first=True).double()
    module.load_state_dict({f"{name}_l0": torch.tensor(a) for name, a in to_torch_order(cell, weights).items()})
    return module


@pytest.mark.parametrize("cell", CELLS)
def test_torch_computes_the_same(cell):
    x, state, weights, dh, _ = drawn(cell, 2)
    hidden, last, caches = sequence_forward(CELLS[cell], x, state, weights)
    dx, dstate, dweights = sequence_backward(CELLS[cell], dh, caches)

    module = fused(cell, weights)
    torch_x = torch.tensor(x, requires_grad=True)
    first = tuple(torch.tensor(a[None], requires_grad=True) for a in state)
    torch_h, torch_last = module(torch_x, first if cell == "lstm" else first[0])
    torch_h.backward(torch.tensor(dh))

    close = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(hidden, torch_h.detach(), **close)
    torch_last = torch_last if isinstance(torch_last, tuple) else (torch_last,)
    for ours, theirs in zip(last, torch_last, strict=True):
        np.testing.assert_allclose(ours, theirs[0].detach(), **close)
    np.testing.assert_allclose(dx, torch_x.grad, **close)
    for ours, theirs in zip(dstate, first, strict=True):
        np.testing.assert_allclose(ours, theirs.grad[0], **close)
    gradients = {name.removesuffix("_l0"): p.grad.numpy() for name, p in module.named_parameters()}
    expected = gradients_from_torch_order(cell, gradients)
    assert expected.keys() == dweights.keys()
    for name in expected:
        np.testing.assert_allclose(dweights[name], expected[name], **close)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_that_torch_drew_work_here(cell):
    """Both of torch's biases are random: they must be added, except where the GRU's reset gate lies between."""
    torch.manual_seed(0)
    module = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](D, H, batch_first=True).double()
    arrays = {name.removesuffix("_l0"): p.detach().numpy() for name, p in module.named_parameters()}
    x, *_ = drawn(cell, 3)
    zeros = (np.zeros((N, H)),) * CELLS[cell].states
    hidden, _, _ = sequence_forward(CELLS[cell], x, zeros, from_torch_order(cell, arrays))
    np.testing.assert_allclose(hidden, module(torch.tensor(x))[0].detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_to_torch_and_back(cell):
    _, _, weights, _, _ = drawn(cell, 4)
    back = from_torch_order(cell, to_torch_order(cell, weights))
    assert back.keys() == weights.keys()
    for name in weights:
        np.testing.assert_array_equal(back[name], weights[name])
        assert not np.shares_memory(back[name], weights[name])


# Known answers


def test_sigmoid_of_huge_numbers_without_a_warning():
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(sigmoid(np.array([-1e4, 0.0, 1e4])), [0, 0.5, 1])
    assert sigmoid(np.array([-40.0]))[0] == pytest.approx(np.exp(-40.0), rel=1e-15)


def test_an_open_forget_gate_keeps_the_memory_for_ever():
    """f = 1, i = 0, o = 1: c never changes and h = tanh(c)."""
    weights = {"Wx": np.zeros((D, 4 * H)), "Wh": np.zeros((H, 4 * H)), "b": np.repeat([-1e3, 1e3, 1e3, 0.5], H)}
    c = np.linspace(-2, 2, H)[None]
    hidden, last, _ = sequence_forward(CELLS["lstm"], np.ones((1, 50, D)), (np.zeros((1, H)), c), weights)
    np.testing.assert_array_equal(last[1], c)
    np.testing.assert_allclose(hidden, np.broadcast_to(np.tanh(c), (1, 50, H)))


def test_a_gru_that_keeps_everything():
    """z = 1: h never changes."""
    weights = {"Wx": np.ones((D, 3 * H)), "Wh": np.ones((H, 3 * H)), "bn": np.ones(H)}
    weights["b"] = np.repeat([0.0, 1e3, 0.0], H)
    h = np.linspace(-1, 1, H)[None]
    hidden, _, _ = sequence_forward(CELLS["gru"], np.ones((1, 9, D)), (h,), weights)
    np.testing.assert_array_equal(hidden, np.broadcast_to(h, (1, 9, H)))


@pytest.mark.parametrize("cell", CELLS)
def test_float32_stays_float32(cell):
    x, state, weights, dh, _ = drawn(cell)
    single = {name: a.astype(np.float32) for name, a in weights.items()}
    hidden, _, caches = sequence_forward(
        CELLS[cell], x.astype(np.float32), tuple(a.astype(np.float32) for a in state), single
    )
    dx, dstate, dweights = sequence_backward(CELLS[cell], dh.astype(np.float32), caches)
    assert {a.dtype for a in (hidden, dx, *dstate, *dweights.values())} == {np.dtype(np.float32)}
