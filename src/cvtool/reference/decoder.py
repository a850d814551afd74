"""The captioner that cvtool trains, once more in plain NumPy: reading only, one word at a time.

It goes beyond the course's (`captioning`) in three ways: several layers; attention *after* the first layer's cell,
whose answer goes up to all above instead of into the next step; scores from the word vectors themselves (tied). Arrays
come under the names of its checkpoints, any float type:

| name | shape | what |
| --- | --- | --- |
| ``embed.weight`` | (V, D) | one row per word |
| ``first.weight``, ``first.bias`` | (H, C), (H) | from mean features to the first layer's first hidden state |
| ``cells.L.weight_ih_l0`` … | as torch has them | layer L; with attention those above the first read (h, context) |
| ``see.weight``, ``see.bias`` | (H, C), (H) | attention only: what a place shows |
| ``key.weight``, ``value.weight``, ``query.weight`` | (H, H) each | attention only |
| ``scores.weight``, ``scores.bias`` | (V, J), (V) | scores; J is 2H with attention, else H |
| or ``join.weight``, ``join.bias``, ``bias`` | (D, J), (D), (V) | scores through the word vectors |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvtool.reference.attention import softmax, weighted_mean
from cvtool.reference.recurrent import CELLS, Array, State, Weights
from cvtool.reference.torch_order import from_torch_order, to_torch_order
from cvtool.reference.words import Words

_CELL_ARRAYS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Decoder:
    """A trained captioner."""

    cell: str  # a key of `CELLS`
    layers: tuple[Weights, ...]  # of the cells, in the reference's layout
    arrays: Mapping[str, Array]  # all others, under the checkpoint's names


@dataclass(frozen=True)
class Standing:
    """Where M captions in the making are, between two words."""

    states: tuple[State, ...]  # one for each layer, arrays (M, H)
    keys: Array | None  # (M, P, H) with attention: what each place answers to
    values: Array | None  # (M, P, H): what it tells

    def rows(self, index: NDArray[Any]) -> Standing:
        """Those captions only, in this order, e.g. the beams that survive; rows may repeat."""
        states = tuple(tuple(array[index] for array in state) for state in self.states)
        if self.keys is None or self.values is None:
            return Standing(states, None, None)
        return Standing(states, self.keys[index], self.values[index])


def decoder_of(arrays: Mapping[str, Array], cell: str) -> Decoder:
    """A checkpoint's arrays → the captioner. KeyError if one is missing."""
    count = sum(name.startswith("cells.") and name.endswith(".weight_ih_l0") for name in arrays)
    layers = [
        from_torch_order(cell, {name: arrays[f"cells.{layer}.{name}_l0"] for name in _CELL_ARRAYS})
        for layer in range(count)
    ]
    return Decoder(cell, tuple(layers), {name: a for name, a in arrays.items() if not name.startswith("cells.")})


def first_state(features: Array, decoder: Decoder) -> Standing:
    """Features (M, P, C) of P places → before ``<START>`` is read. Layers above the first begin with zeros."""
    first = _affine(features.mean(1), decoder, "first")
    zeros = np.zeros_like(first)
    more = (zeros,) * (CELLS[decoder.cell].states - 1)
    states = ((first, *more), *[(zeros, *more)] * (len(decoder.layers) - 1))
    if "see.weight" not in decoder.arrays:
        return Standing(states, None, None)
    places = np.maximum(_affine(features, decoder, "see"), 0)
    return Standing(states, places @ decoder.arrays["key.weight"].T, places @ decoder.arrays["value.weight"].T)


def step(words: Words, standing: Standing, decoder: Decoder) -> tuple[Array, Standing, Array | None]:
    """Read one word per caption, words (M) → (scores of the next word (M, V), where they are then, shares).

    Scores are logits. Shares (M, P) say where it looked after this word, None without attention.
    """
    x = decoder.arrays["embed.weight"][words]
    states: list[State] = []
    context: Array | None = None
    shares: Array | None = None
    for weights, state in zip(decoder.layers, standing.states, strict=True):
        after, _ = CELLS[decoder.cell].step_forward(x, state, weights)
        x = after[0]
        if not states and standing.keys is not None and standing.values is not None:
            context, shares = _look(x, standing.keys, standing.values, decoder.arrays["query.weight"])
        if context is not None:
            x = np.hstack([x, context])
        states.append(after)
    return _scores(x, decoder), Standing(tuple(states), standing.keys, standing.values), shares


def _look(h: Array, keys: Array, values: Array, query: Array) -> tuple[Array, Array]:
    """``α = softmax(q · k_p / √H)`` with q = h Wᵀ → (Σ α_p v_p (M, H), α (M, P))."""
    scores = (keys @ (h @ query.T)[:, :, None])[:, :, 0] / np.sqrt(h.dtype.type(h.shape[1]))
    shares = softmax(scores)
    return weighted_mean(shares, values), shares


def _scores(x: Array, decoder: Decoder) -> Array:
    if "join.weight" not in decoder.arrays:
        return _affine(x, decoder, "scores")
    return np.asarray(_affine(x, decoder, "join") @ decoder.arrays["embed.weight"].T + decoder.arrays["bias"])


def _affine(x: Array, decoder: Decoder, name: str) -> Array:
    return np.asarray(x @ decoder.arrays[f"{name}.weight"].T + decoder.arrays[f"{name}.bias"])


# The course's captioner is the one with one layer, without attention and not tied ----------------------------------


def checkpoint_arrays(parameters: Mapping[str, Array], cell: str) -> dict[str, Array]:
    """Parameters of `captioning` without attention → the same network under a checkpoint's names."""
    recurrent = {f"cells.0.{name}_l0": array for name, array in to_torch_order(cell, parameters).items()}
    return {
        "embed.weight": parameters["W_embed"].copy(),
        "first.weight": parameters["W_proj"].T.copy(),
        "first.bias": parameters["b_proj"].copy(),
        **recurrent,
        "scores.weight": parameters["W_vocab"].T.copy(),
        "scores.bias": parameters["b_vocab"].copy(),
    }


def course_parameters(arrays: Mapping[str, Array], cell: str) -> dict[str, Array]:
    """The way back: a checkpoint of one layer, without attention, not tied → parameters of `captioning`."""
    weights = from_torch_order(cell, {name: arrays[f"cells.0.{name}_l0"] for name in _CELL_ARRAYS})
    return {
        "W_proj": arrays["first.weight"].T.copy(),
        "b_proj": arrays["first.bias"].copy(),
        "W_embed": arrays["embed.weight"].copy(),
        **weights,
        "W_vocab": arrays["scores.weight"].T.copy(),
        "b_vocab": arrays["scores.bias"].copy(),
    }
