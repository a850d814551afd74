"""Attention over places: golden values of the course, central differences, torch's own attention."""

import numpy as np
import pytest
import torch
from numeric import central_difference, frozen, spaced
from torch.nn import functional

from cvtool.reference.attention import (
    ATTENTIONS,
    attention_lstm_backward,
    attention_lstm_forward,
    attentive_backward,
    attentive_forward,
    softmax,
)
from cvtool.reference.recurrent import CELLS

N, T, P, D, H, K = 2, 3, 4, 3, 5, 6
PAIRS = [(cell, attention) for cell in CELLS for attention in ATTENTIONS]


def places(feature_map):
    """(N, F, h, w) → (N, h·w, F)."""
    return feature_map.reshape(*feature_map.shape[:2], -1).transpose(0, 2, 1)


def attention_weights(rng, features=H):
    return {"W_annotations": frozen(rng, features, K), "W_query": frozen(rng, H, K), "v": frozen(rng, K)}


@pytest.mark.shared
def test_attention_step_of_the_course(golden):
    case = golden["attention_step"]
    n, h, side = case["N,H,Da"]
    looked = ATTENTIONS["scaled-dot"].forward(
        spaced(case["prev_h"], n, h), places(spaced(case["A(N,H,4,4)"], n, h, side, side)), {}
    )
    np.testing.assert_allclose(looked.context, case["attn"], atol=1e-8)


@pytest.mark.shared
def test_attention_lstm_of_the_course(golden):
    case = golden["attention_lstm_forward"]
    n, d, h, t, side = case["N,D,H,T,Da"]
    weights = {
        "Wx": spaced(case["Wx"], d, 4 * h),
        "Wh": spaced(case["Wh"], h, 4 * h),
        "Wattn": spaced(case["Wattn"], h, 4 * h),
        "b": spaced(case["b"], 4 * h),
    }
    hidden, _, _ = attention_lstm_forward(
        spaced(case["x"], n, t, d), places(spaced(case["A"], n, h, side, side)), weights
    )
    np.testing.assert_allclose(hidden, case["h"], atol=1e-8)


def test_scaled_dot_is_what_torch_computes():
    rng = np.random.default_rng(0)
    h, annotations, dcontext = frozen(rng, N, H), frozen(rng, N, P, H), frozen(rng, N, H)
    looked = ATTENTIONS["scaled-dot"].forward(h, annotations, {})
    dh, dannotations, _ = ATTENTIONS["scaled-dot"].backward(dcontext, looked.cache)

    query, keys = torch.tensor(h, requires_grad=True), torch.tensor(annotations, requires_grad=True)
    context = functional.scaled_dot_product_attention(query[:, None], keys, keys)[:, 0]
    context.backward(torch.tensor(dcontext))
    np.testing.assert_allclose(looked.context, context.detach(), rtol=1e-12)
    np.testing.assert_allclose(dh, query.grad, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(dannotations, keys.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("features", [H, H + 2])
def test_additive_gradients(features):
    """Also with annotations of another size than the hidden state."""
    rng = np.random.default_rng(1)
    h, annotations, dcontext = frozen(rng, N, H), frozen(rng, N, P, features), frozen(rng, N, features)
    weights, how = attention_weights(rng, features), ATTENTIONS["additive"]

    def loss(h, annotations, weights):
        return float((dcontext * how.forward(h, annotations, weights).context).sum())

    dh, dannotations, dweights = how.backward(dcontext, how.forward(h, annotations, weights).cache)
    close = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(dh, central_difference(lambda a: loss(a, annotations, weights), h), **close)
    numeric = central_difference(lambda a: loss(h, a, weights), annotations)
    np.testing.assert_allclose(dannotations, numeric, **close)
    assert dweights.keys() == weights.keys()
    for name in weights:
        numeric = central_difference(lambda a, name=name: loss(h, annotations, {**weights, name: a}), weights[name])
        np.testing.assert_allclose(dweights[name], numeric, **close)


@pytest.mark.parametrize(("cell", "attention"), PAIRS)
def test_gradients_through_time(cell, attention):
    rng, kind, how = np.random.default_rng(2), CELLS[cell], ATTENTIONS[attention]
    x, annotations, dh = frozen(rng, N, T, D), frozen(rng, N, P, H), frozen(rng, N, T, H)
    state = tuple(frozen(rng, N, H) for _ in range(kind.states))
    width = kind.gates * H
    weights = {"Wx": frozen(rng, D + H, width), "Wh": frozen(rng, H, width), "b": frozen(rng, width)}
    weights |= {"bn": frozen(rng, H)} if cell == "gru" else {}
    weights |= attention_weights(rng) if attention == "additive" else {}

    def loss(x, annotations, state, weights):
        return float((dh * attentive_forward(kind, how, x, annotations, state, weights)[0]).sum())

    _, shares, caches = attentive_forward(kind, how, x, annotations, state, weights)
    np.testing.assert_allclose(shares.sum(2), np.ones((N, T)))
    dx, dannotations, dstate, dweights = attentive_backward(kind, how, dh, caches)
    close = {"rtol": 1e-5, "atol": 1e-8}
    np.testing.assert_allclose(dx, central_difference(lambda a: loss(a, annotations, state, weights), x), **close)
    numeric = central_difference(lambda a: loss(x, a, state, weights), annotations)
    np.testing.assert_allclose(dannotations, numeric, **close)
    numeric = central_difference(lambda a: loss(x, annotations, (a, *state[1:]), weights), state[0])
    np.testing.assert_allclose(dstate[0], numeric, **close)
    assert dweights.keys() == weights.keys()
    for name in weights:
        numeric = central_difference(
            lambda a, name=name: loss(x, annotations, state, {**weights, name: a}), weights[name]
        )
        np.testing.assert_allclose(dweights[name], numeric, **close)


def test_gradients_of_the_attention_lstm():
    """The annotations count three times: for h0, for c0 and at every look."""
    rng = np.random.default_rng(3)
    x, annotations, dh = frozen(rng, N, T, D), frozen(rng, N, P, H), frozen(rng, N, T, H)
    shapes = {"Wx": (D, 4 * H), "Wh": (H, 4 * H), "Wattn": (H, 4 * H), "b": (4 * H,)}
    weights = {name: frozen(rng, *shape) for name, shape in shapes.items()}

    def loss(x, annotations, weights):
        return float((dh * attention_lstm_forward(x, annotations, weights)[0]).sum())

    _, _, caches = attention_lstm_forward(x, annotations, weights)
    dx, dannotations, dweights = attention_lstm_backward(dh, caches)
    close = {"rtol": 1e-5, "atol": 1e-8}
    np.testing.assert_allclose(dx, central_difference(lambda a: loss(a, annotations, weights), x), **close)
    np.testing.assert_allclose(dannotations, central_difference(lambda a: loss(x, a, weights), annotations), **close)
    assert dweights.keys() == weights.keys()
    for name in weights:
        numeric = central_difference(lambda a, name=name: loss(x, annotations, {**weights, name: a}), weights[name])
        np.testing.assert_allclose(dweights[name], numeric, **close)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_equal_places_get_equal_shares(attention):
    rng = np.random.default_rng(4)
    one = frozen(rng, N, 1, H)
    looked = ATTENTIONS[attention].forward(frozen(rng, N, H), np.repeat(one, P, 1), attention_weights(rng))
    np.testing.assert_allclose(looked.shares, np.full((N, P), 1 / P))
    np.testing.assert_allclose(looked.context, one[:, 0])


def test_a_place_that_matches_gets_everything():
    annotations = np.eye(H)[None] * 1e3
    looked = ATTENTIONS["scaled-dot"].forward(np.eye(H)[2][None], annotations, {})
    np.testing.assert_allclose(looked.shares, np.eye(H)[2][None], atol=1e-12)


def test_softmax_of_huge_scores():
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(softmax(np.array([[1e4, 1e4, -1e4]])), [[0.5, 0.5, 0]])
