"""Weights of the recurrent cells from this package's layout to that of torch.nn.RNN, LSTM, GRU and back; NumPy only.

torch keeps the transpose, ``weight_ih`` (gates·H, D) and ``weight_hh`` (gates·H, H), two biases that are added, and the
LSTM's gates in the order i, f, g, o. The names are those of torch.nn.LSTMCell; torch.nn.LSTM appends ``_l0`` for its
first layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cvtool.reference.recurrent import CELLS, Array, Gradients, Weights

# Position k of the other layout is block ORDER[k] of this one; both are their own inverse.
_ORDER = {"rnn": (0,), "lstm": (0, 1, 3, 2), "gru": (0, 1, 2)}


def to_torch_order(cell: str, weights: Weights) -> dict[str, Array]:
    """``Wx``, ``Wh``, ``b`` (``bn``) → ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``.

    The whole bias goes to ``bias_ih``, except the GRU's ``bn``, which the reset gate scales: ``bias_hh`` = (0, 0, bn).
    """
    bias = _reordered(cell, weights["b"])
    other = np.zeros_like(bias)
    if "bn" in CELLS[cell].names:
        other[-len(weights["bn"]) :] = weights["bn"]
    return {
        "weight_ih": _reordered(cell, weights["Wx"]).T.copy(),
        "weight_hh": _reordered(cell, weights["Wh"]).T.copy(),
        "bias_ih": bias,
        "bias_hh": other,
    }


def from_torch_order(cell: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh`` → ``Wx``, ``Wh``, ``b`` (``bn``) with the same output."""
    hidden = arrays["weight_hh"].shape[1]
    bias, other = arrays["bias_ih"], arrays["bias_hh"]
    weights = {
        "Wx": _reordered(cell, arrays["weight_ih"].T),
        "Wh": _reordered(cell, arrays["weight_hh"].T),
    }
    if "bn" not in CELLS[cell].names:
        return {**weights, "b": _reordered(cell, bias + other)}
    outside_reset = np.concatenate([bias[:-hidden] + other[:-hidden], bias[-hidden:]])
    return {**weights, "b": _reordered(cell, outside_reset), "bn": other[-hidden:].copy()}


def gradients_from_torch_order(cell: str, arrays: Mapping[str, Array]) -> Gradients:
    """torch's gradients of the four arrays → those of ``Wx``, ``Wh``, ``b`` (``bn``).

    Unlike the biases themselves their gradients are not added: d loss / d b is that of either one.
    """
    gradients = {
        "Wx": _reordered(cell, arrays["weight_ih"].T),
        "Wh": _reordered(cell, arrays["weight_hh"].T),
        "b": _reordered(cell, arrays["bias_ih"]),
    }
    if "bn" in CELLS[cell].names:
        hidden = arrays["weight_hh"].shape[1]
        gradients["bn"] = arrays["bias_hh"][-hidden:].copy()
    return gradients


def _reordered(cell: str, array: Array) -> Array:
    """The blocks along the last axis in the other order, in a new array."""
    blocks = np.split(array, len(_ORDER[cell]), axis=-1)
    return np.concatenate([blocks[k] for k in _ORDER[cell]], axis=-1)
