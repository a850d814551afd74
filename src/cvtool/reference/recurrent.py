"""Recurrent cells in plain NumPy with hand-derived gradients: vanilla RNN, LSTM, GRU; one step and whole sequences.

Written to be read beside the formulas, not to be fast. N sequences of T steps, D inputs, H hidden units, any float
type. Every cell has the same two functions, so one loop over time serves all:

- ``step_forward(x (N, D), state, weights) -> (next state, cache)``
- ``step_backward(dnext, cache) -> (dx, dstate, dweights)``

A state is a tuple of (N, H) arrays: ``(h,)`` for RNN and GRU, ``(h, c)`` for the LSTM. Weights are a dict: ``Wx``
(D, gates·H), ``Wh`` (H, gates·H), ``b`` (gates·H), the GRU's ``bn`` (H) besides; the gates lie side by side in the
order given at each cell. Other keys in the dict do no harm.
``dname`` is the gradient of the loss with respect to ``name``. No function changes an array it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
State = tuple[Array, ...]
Weights = Mapping[str, Array]
Gradients = dict[str, Array]


def sigmoid(z: Array) -> Array:
    """``1 / (1 + exp(−z))``, elementwise, without overflow at either end."""
    e = np.exp(-np.abs(z))  # in (0, 1]: exp never sees a large positive number
    return np.asarray(np.where(z >= 0, 1, e) / (1 + e))


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: its two step functions and the sizes of its arrays."""

    gates: int  # blocks of H columns in Wx, Wh and b
    names: tuple[str, ...]  # of its weights
    states: int  # arrays in its state
    step_forward: Callable[[Array, State, Weights], tuple[State, Any]]
    step_backward: Callable[[State, Any], tuple[Array, State, Gradients]]


# Vanilla RNN ----------------------------------------------------------------------------------------------------


class RnnCache(NamedTuple):
    """What the backward step of the RNN needs."""

    x: Array
    h: Array
    next_h: Array
    weights: Weights


def rnn_step_forward(x: Array, state: State, weights: Weights) -> tuple[State, RnnCache]:
    """``h' = tanh(x Wx + h Wh + b)`` → ((h',), cache)."""
    (h,) = state
    next_h = np.tanh(x @ weights["Wx"] + h @ weights["Wh"] + weights["b"])
    return (next_h,), RnnCache(x, h, next_h, weights)


def rnn_step_backward(dnext: State, cache: RnnCache) -> tuple[Array, State, Gradients]:
    """d loss / d h' → d loss / d (x, state, weights). Since tanh' = 1 − tanh², dz = dh' ∘ (1 − h'²)."""
    x, h, next_h, weights = cache
    (dnext_h,) = dnext
    dz = dnext_h * (1 - next_h**2)  # h' = tanh(z)
    gradients = {"Wx": x.T @ dz, "Wh": h.T @ dz, "b": dz.sum(0)}  # z = x Wx + h Wh + b
    return dz @ weights["Wx"].T, (dz @ weights["Wh"].T,), gradients


# LSTM -----------------------------------------------------------------------------------------------------------


class LstmCache(NamedTuple):
    """What the backward step of the LSTM needs; i, f, o, g are the gates after their non-linearities."""

    x: Array
    h: Array
    c: Array
    i: Array
    f: Array
    o: Array
    g: Array
    tanh_c: Array  # of the next c
    weights: Weights


def lstm_step_forward(x: Array, state: State, weights: Weights) -> tuple[State, LstmCache]:
    """Gates in the order i, f, o, g → ((h', c'), cache). torch's order is i, f, g, o.

    z = x Wx + h Wh + b = (z_i z_f z_o z_g);  i, f, o = σ(z_i), σ(z_f), σ(z_o);  g = tanh(z_g)
    c' = f ∘ c + i ∘ g;  h' = o ∘ tanh(c')
    """
    h, c = state
    z = x @ weights["Wx"] + h @ weights["Wh"] + weights["b"]
    z_i, z_f, z_o, z_g = np.split(z, 4, axis=1)
    i, f, o, g = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o), np.tanh(z_g)
    next_c = f * c + i * g
    tanh_c = np.tanh(next_c)
    return (o * tanh_c, next_c), LstmCache(x, h, c, i, f, o, g, tanh_c, weights)


def lstm_step_backward(dnext: State, cache: LstmCache) -> tuple[Array, State, Gradients]:
    """d loss / d (h', c') → d loss / d (x, state, weights).

    The loss sees c' on two ways: through the next step (dc') and through h' = o ∘ tanh(c').
    """
    x, h, c, i, f, o, g, tanh_c, weights = cache
    dnext_h, dnext_c = dnext
    dc = dnext_c + dnext_h * o * (1 - tanh_c**2)  # a new array: dnext_c belongs to the caller
    dz = np.hstack(
        [
            dc * g * i * (1 - i),  # c' = … + i ∘ g,      i = σ(z_i), σ' = σ (1 − σ)
            dc * c * f * (1 - f),  # c' = f ∘ c + …,      f = σ(z_f)
            dnext_h * tanh_c * o * (1 - o),  # h' = o ∘ tanh(c'), o = σ(z_o)
            dc * i * (1 - g**2),  # c' = … + i ∘ g,      g = tanh(z_g)
        ]
    )
    gradients = {"Wx": x.T @ dz, "Wh": h.T @ dz, "b": dz.sum(0)}  # z = x Wx + h Wh + b
    return dz @ weights["Wx"].T, (dz @ weights["Wh"].T, dc * f), gradients


# GRU ------------------------------------------------------------------------------------------------------------


class GruCache(NamedTuple):
    """What the backward step of the GRU needs; r, z, n are the gates after their non-linearities."""

    x: Array
    h: Array
    r: Array
    z: Array
    n: Array
    u: Array  # h Wh_n + bn, before the reset gate lets it through
    weights: Weights


def gru_step_forward(x: Array, state: State, weights: Weights) -> tuple[State, GruCache]:
    """Gates in the order r, z, n, as in torch.nn.GRU → ((h',), cache).

    r = σ(x Wx_r + h Wh_r + b_r);  z = σ(x Wx_z + h Wh_z + b_z)
    n = tanh(x Wx_n + b_n + r ∘ u)  with  u = h Wh_n + bn
    h' = (1 − z) ∘ n + z ∘ h

    differs from Cho et al. (2014): the reset gate acts after the product with Wh_n, and the roles of z and 1 − z are
    swapped; both as in cuDNN and torch.
    """
    (h,) = state
    x_r, x_z, x_n = np.split(x @ weights["Wx"] + weights["b"], 3, axis=1)
    h_r, h_z, h_n = np.split(h @ weights["Wh"], 3, axis=1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    u = h_n + weights["bn"]
    n = np.tanh(x_n + r * u)
    return ((1 - z) * n + z * h,), GruCache(x, h, r, z, n, u, weights)


def gru_step_backward(dnext: State, cache: GruCache) -> tuple[Array, State, Gradients]:
    """d loss / d h' → d loss / d (x, state, weights); ``da_…`` are gradients before the non-linearities."""
    x, h, r, z, n, u, weights = cache
    (dnext_h,) = dnext
    da_n = dnext_h * (1 - z) * (1 - n**2)  # h' = (1 − z) ∘ n + …,  n = tanh(a_n)
    da_z = dnext_h * (h - n) * z * (1 - z)  # h' = n + z ∘ (h − n),  z = σ(a_z)
    da_r = da_n * u * r * (1 - r)  # a_n = … + r ∘ u,  r = σ(a_r)
    du = da_n * r
    da_x = np.hstack([da_r, da_z, da_n])  # reaches x Wx + b
    da_h = np.hstack([da_r, da_z, du])  # reaches h Wh
    dh = dnext_h * z + da_h @ weights["Wh"].T  # h' = … + z ∘ h, and h Wh
    gradients = {"Wx": x.T @ da_x, "Wh": h.T @ da_h, "b": da_x.sum(0), "bn": du.sum(0)}
    return da_x @ weights["Wx"].T, (dh,), gradients


CELLS = {
    "rnn": Cell(1, ("Wx", "Wh", "b"), 1, rnn_step_forward, rnn_step_backward),
    "lstm": Cell(4, ("Wx", "Wh", "b"), 2, lstm_step_forward, lstm_step_backward),
    "gru": Cell(3, ("Wx", "Wh", "b", "bn"), 1, gru_step_forward, gru_step_backward),
}


# Whole sequences ------------------------------------------------------------------------------------------------


def sequence_forward(cell: Cell, x: Array, state: State, weights: Weights) -> tuple[Array, State, list[Any]]:
    """x (N, T, D), the state before the first step → (h of every step (N, T, H), last state, caches)."""
    hidden, caches = [], []
    for t in range(x.shape[1]):
        state, cache = cell.step_forward(x[:, t], state, weights)
        hidden.append(state[0])
        caches.append(cache)
    return np.stack(hidden, axis=1), state, caches


def sequence_backward(
    cell: Cell, dh: Array, caches: Sequence[Any], dlast: State | None = None
) -> tuple[Array, State, Gradients]:
    """Back through time: dh (N, T, H) → (dx (N, T, D), gradient of the state before the first step, dweights).

    h_t reaches the loss from above (dh_t) and through step t + 1 (dstate); the weights are the same at every step, so
    their gradients add up. `dlast` is the gradient of the last state where it is used for more than h (default 0).
    """
    dstate = dlast if dlast is not None else (np.zeros_like(dh[:, 0]),) * cell.states
    dx: list[Array] = []
    total: Gradients = {}
    for t in reversed(range(len(caches))):
        dstate = (dstate[0] + dh[:, t], *dstate[1:])
        dx_t, dstate, gradients = cell.step_backward(dstate, caches[t])
        dx.append(dx_t)
        total = added(total, gradients)
    return np.stack(dx[::-1], axis=1), dstate, total


def added(total: Gradients, more: Gradients) -> Gradients:
    """The sum by name, in new arrays; a name that `total` lacks counts as 0."""
    return {name: total[name] + value if name in total else value for name, value in more.items()}
