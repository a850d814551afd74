"""Soft attention over the places of a feature map, and recurrent cells that look before every step; plain NumPy.

Annotations are (N, P, F): one vector for each of P places; a convolutional map (N, F, h, w) becomes that by
``map.reshape(N, F, h * w).transpose(0, 2, 1)``. At every step the previous hidden state asks a question, the answer is
a weighted mean of the annotations (the context, N × F), and the cell gets it appended to its input: its ``Wx`` has
D + F rows.

Two ways of asking, with the same two functions each:

- ``scaled-dot``: ``e_p = h · A_p / √H``, so F = H. The attention LSTM of the CS231n family of courses, no weights.
- ``additive``: ``e_p = v · tanh(A_p W_annotations + h W_query)``, as Bahdanau et al. (2015) and Xu et al. (2015, Show,
  Attend and Tell) ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cvtool.reference.recurrent import CELLS, Array, Cell, Gradients, State, Weights, added


class Looked(NamedTuple):
    """What one look at the annotations gives."""

    context: Array  # (N, F)
    shares: Array  # (N, P), each row sums to 1
    cache: Any


@dataclass(frozen=True)
class Attention:
    """A way of looking: its two functions and the names of its weights."""

    names: tuple[str, ...]
    forward: Callable[[Array, Array, Weights], Looked]
    backward: Callable[[Array, Any], tuple[Array, Array, Gradients]]


def softmax(scores: Array) -> Array:
    """Over the last axis; the largest score is taken off first, so that nothing overflows."""
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def weighted_mean(shares: Array, annotations: Array) -> Array:
    """``Σ_p α_p A_p`` → (N, F)."""
    return np.asarray((shares[:, :, None] * annotations).sum(1))


def weighted_mean_backward(dcontext: Array, shares: Array, annotations: Array) -> tuple[Array, Array]:
    """dcontext (N, F) → (de (N, P) before the softmax, dA (N, P, F) through the mean alone)."""
    dshares = (annotations * dcontext[:, None, :]).sum(2)  # context = Σ α_p A_p: dα_p = dcontext · A_p
    # α = softmax(e): dα_q / de_p = α_q (δ_qp − α_p), hence de_p = α_p (dα_p − Σ_q α_q dα_q)
    dscores = shares * (dshares - (shares * dshares).sum(1, keepdims=True))
    return dscores, shares[:, :, None] * dcontext[:, None, :]


class ScaledDotCache(NamedTuple):
    """What its backward needs."""

    h: Array
    annotations: Array
    shares: Array


def scaled_dot_forward(h: Array, annotations: Array, weights: Weights) -> Looked:
    """h (N, H), annotations (N, P, H) → the context for ``α = softmax(h · A_p / √H)``; `weights` are not used."""
    scores = (annotations * h[:, None, :]).sum(2) / np.sqrt(h.dtype.type(h.shape[1]))
    shares = softmax(scores)
    return Looked(weighted_mean(shares, annotations), shares, ScaledDotCache(h, annotations, shares))


def scaled_dot_backward(dcontext: Array, cache: ScaledDotCache) -> tuple[Array, Array, Gradients]:
    """dcontext (N, H) → (dh (N, H), dannotations (N, P, H), no weights)."""
    h, annotations, shares = cache
    dscores, dannotations = weighted_mean_backward(dcontext, shares, annotations)
    dscores = dscores / np.sqrt(h.dtype.type(h.shape[1]))
    dh = (dscores[:, :, None] * annotations).sum(1)  # e_p = h · A_p / √H
    return dh, dannotations + dscores[:, :, None] * h[:, None, :], {}


class AdditiveCache(NamedTuple):
    """What its backward needs."""

    h: Array
    annotations: Array
    shares: Array
    s: Array  # (N, P, K): tanh(A_p W_annotations + h W_query)
    weights: Weights


def additive_forward(h: Array, annotations: Array, weights: Weights) -> Looked:
    """h (N, H), annotations (N, P, F) → the context for ``α = softmax(v · tanh(A_p W_annotations + h W_query))``.

    `weights`: ``W_annotations`` (F, K), ``W_query`` (H, K), ``v`` (K).
    """
    s = np.tanh(annotations @ weights["W_annotations"] + (h @ weights["W_query"])[:, None, :])
    shares = softmax(s @ weights["v"])
    return Looked(weighted_mean(shares, annotations), shares, AdditiveCache(h, annotations, shares, s, weights))


def additive_backward(dcontext: Array, cache: AdditiveCache) -> tuple[Array, Array, Gradients]:
    """dcontext (N, F) → (dh (N, H), dannotations (N, P, F), dweights)."""
    h, annotations, shares, s, weights = cache
    dscores, dannotations = weighted_mean_backward(dcontext, shares, annotations)
    dz = dscores[:, :, None] * weights["v"] * (1 - s**2)  # e = s · v, s = tanh(z)
    dquery = dz.sum(1)  # z_p = A_p W_annotations + h W_query: the query reaches every place
    gradients = {
        "W_annotations": np.einsum("npf,npk->fk", annotations, dz),
        "W_query": h.T @ dquery,
        "v": np.einsum("np,npk->k", dscores, s),
    }
    return dquery @ weights["W_query"].T, dannotations + dz @ weights["W_annotations"].T, gradients


ATTENTIONS = {
    "scaled-dot": Attention((), scaled_dot_forward, scaled_dot_backward),
    "additive": Attention(("W_annotations", "W_query", "v"), additive_forward, additive_backward),
}


# Cells that look ------------------------------------------------------------------------------------------------


class AttentiveCache(NamedTuple):
    """What the backward step needs: of the look and of the cell."""

    looked: Any
    cell: Any
    inputs: int  # D: where x ends and the context begins


def attentive_step_forward(
    cell: Cell, attention: Attention, x: Array, annotations: Array, state: State, weights: Weights
) -> tuple[State, Array, AttentiveCache]:
    """Look with the previous h, then step on (x, context) → (next state, shares (N, P), cache)."""
    context, shares, looked = attention.forward(state[0], annotations, weights)
    state, cache = cell.step_forward(np.hstack([x, context]), state, weights)
    return state, shares, AttentiveCache(looked, cache, x.shape[1])


def attentive_step_backward(
    cell: Cell, attention: Attention, dnext: State, cache: AttentiveCache
) -> tuple[Array, Array, State, Gradients]:
    """→ (dx, dannotations, dstate, dweights). The previous h is used twice: by the cell and by the look."""
    dinput, dstate, dcell = cell.step_backward(dnext, cache.cell)
    dx, dcontext = dinput[:, : cache.inputs], dinput[:, cache.inputs :]
    dh, dannotations, dattention = attention.backward(dcontext, cache.looked)
    return dx, dannotations, (dstate[0] + dh, *dstate[1:]), {**dcell, **dattention}


def attentive_forward(
    cell: Cell, attention: Attention, x: Array, annotations: Array, state: State, weights: Weights
) -> tuple[Array, Array, list[AttentiveCache]]:
    """x (N, T, D), annotations (N, P, F) → (h (N, T, H), shares (N, T, P), caches)."""
    hidden, all_shares, caches = [], [], []
    for t in range(x.shape[1]):
        state, shares, cache = attentive_step_forward(cell, attention, x[:, t], annotations, state, weights)
        hidden.append(state[0])
        all_shares.append(shares)
        caches.append(cache)
    return np.stack(hidden, axis=1), np.stack(all_shares, axis=1), caches


def attentive_backward(
    cell: Cell, attention: Attention, dh: Array, caches: Sequence[AttentiveCache]
) -> tuple[Array, Array, State, Gradients]:
    """dh (N, T, H) → (dx (N, T, D), dannotations (N, P, F), gradient of the first state, dweights)."""
    dstate: State = (np.zeros_like(dh[:, 0]),) * cell.states
    dx: list[Array] = []
    looks: list[Array] = []
    total: Gradients = {}
    for t in reversed(range(len(caches))):
        dstate = (dstate[0] + dh[:, t], *dstate[1:])
        dx_t, dannotations, dstate, gradients = attentive_step_backward(cell, attention, dstate, caches[t])
        dx.append(dx_t)
        looks.append(dannotations)
        total = added(total, gradients)
    # Every step looks at the same annotations: their gradients add up, like those of the weights.
    return np.stack(dx[::-1], axis=1), np.sum(looks, axis=0), dstate, total


def attention_lstm_forward(x: Array, annotations: Array, weights: Weights) -> tuple[Array, Array, list[AttentiveCache]]:
    """The course's attention LSTM: h0 = c0 = mean of the annotations, scaled-dot attention → like `attentive_forward`.

    `weights`: ``Wx`` (D, 4H), ``Wattn`` (H, 4H), ``Wh``, ``b``. ``x Wx + context Wattn`` is ``(x, context)`` times the
    two stacked, which is how the cell sees them.
    """
    stacked = {**weights, "Wx": np.vstack([weights["Wx"], weights["Wattn"]])}
    first = annotations.mean(1)
    return attentive_forward(CELLS["lstm"], ATTENTIONS["scaled-dot"], x, annotations, (first, first), stacked)


def attention_lstm_backward(dh: Array, caches: Sequence[AttentiveCache]) -> tuple[Array, Array, Gradients]:
    """dh (N, T, H) → (dx, dannotations, dweights with ``Wattn`` again apart); the annotations also gave h0 and c0."""
    dx, dannotations, dfirst, total = attentive_backward(CELLS["lstm"], ATTENTIONS["scaled-dot"], dh, caches)
    places = dannotations.shape[1]
    dannotations = dannotations + (dfirst[0] + dfirst[1])[:, None, :] / places  # h0 = c0 = (1 / P) Σ_p A_p
    inputs = dx.shape[2]
    return dx, dannotations, {**total, "Wx": total["Wx"][:inputs], "Wattn": total["Wx"][inputs:]}
