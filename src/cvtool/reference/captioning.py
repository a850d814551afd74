"""The captioning network in plain NumPy: loss with every gradient, one step at a time for decoding, greedy sampling.

    image features → affine → h0;   word → embedding → cell → affine → scores of the next word

Parameters are one dict of arrays (any float type), with C feature channels, D embedding, H hidden, V words:

| name | shape | what |
| --- | --- | --- |
| ``W_proj``, ``b_proj`` | (C, H), (H) | from features to the first hidden state |
| ``W_embed`` | (V, D) | one row per word |
| ``Wx``, ``Wh``, ``b`` (``bn``) | see `recurrent` | the cell; with attention ``Wx`` has D + H rows: word, context |
| ``W_vocab``, ``b_vocab`` | (H, V), (V) | scores of the next word |
| ``W_annotations``, ``W_query``, ``v`` | (H, K), (H, K), (K) | additive attention only |

`cell` is a key of `CELLS`, `attention` a key of `ATTENTIONS` or None. Without attention the features are (N, C),
``h0 = features W_proj + b_proj`` and the LSTM starts with c0 = 0. With attention they are (N, P, C), one vector per
place; the annotations are ``A = features W_proj + b_proj`` (N, P, H) and h0 = c0 = their mean over places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvtool.reference.attention import (
    ATTENTIONS,
    attentive_backward,
    attentive_forward,
    attentive_step_forward,
)
from cvtool.reference.recurrent import CELLS, Array, Gradients, State, sequence_backward, sequence_forward
from cvtool.reference.words import (
    Words,
    affine_backward,
    affine_forward,
    embedding_backward,
    embedding_forward,
    temporal_softmax_loss,
)

Parameters = Mapping[str, Array]

NULL, START, END = 0, 1, 2  # how the course's vocabulary begins


def initial_parameters(
    rng: np.random.Generator,
    *,
    channels: int,
    embedding: int,
    hidden: int,
    words: int,
    cell: str,
    attention: str | None = None,
    queries: int | None = None,
) -> dict[str, Array]:
    """Float64 parameters as the course draws them: N(0, 1) / √rows, embeddings N(0, 1) / 100, biases 0.

    `queries` is K of additive attention, H if not given.
    """

    def normal(rows: int, columns: int) -> Array:
        return np.asarray(rng.standard_normal((rows, columns)) / np.sqrt(rows))

    width = CELLS[cell].gates * hidden
    keys = queries or hidden
    parameters: dict[str, Array] = {
        "W_proj": normal(channels, hidden),
        "b_proj": np.zeros(hidden),
        "W_embed": rng.standard_normal((words, embedding)) / 100,
        "Wx": normal(embedding if attention is None else embedding + hidden, width),
        "Wh": normal(hidden, width),
        "b": np.zeros(width),
        "W_vocab": normal(hidden, words),
        "b_vocab": np.zeros(words),
    }
    if "bn" in CELLS[cell].names:
        parameters["bn"] = np.zeros(hidden)
    if attention == "additive":
        parameters["W_annotations"] = normal(hidden, keys)
        parameters["W_query"] = normal(hidden, keys)
        parameters["v"] = normal(keys, 1)[:, 0]
    return parameters


def loss_and_gradients(
    features: Array,
    captions: Words,
    parameters: Parameters,
    cell: str,
    *,
    attention: str | None = None,
    null: int = NULL,
) -> tuple[float, Gradients]:
    """Teacher forcing: captions (N, T + 1) → (loss, its gradient for every parameter, by name).

    The network reads words 0 … T − 1 and is to say words 1 … T. Words to say that are `null` (padding) do not count.
    The loss is summed over the other words and divided by N.
    """
    p, kind = parameters, CELLS[cell]
    read, to_say = captions[:, :-1], captions[:, 1:]

    projected, projection_cache = affine_forward(features, p["W_proj"], p["b_proj"])
    x, embedding_cache = embedding_forward(read, p["W_embed"])
    state = _starting_state(projected, cell, attention)
    if attention is None:
        h, _, caches = sequence_forward(kind, x, state, p)
    else:
        h, _, looks = attentive_forward(kind, ATTENTIONS[attention], x, projected, state, p)
    scores, output_cache = affine_forward(h, p["W_vocab"], p["b_vocab"])
    loss, dscores = temporal_softmax_loss(scores, to_say, to_say != null)

    dh, dw_vocab, db_vocab = affine_backward(dscores, output_cache)
    if attention is None:
        dx, dstate, dcell = sequence_backward(kind, dh, caches)
        dprojected = dstate[0]  # h0 = projected; c0 = 0 has no parameters behind it
    else:
        dx, dannotations, dstate, dcell = attentive_backward(kind, ATTENTIONS[attention], dh, looks)
        # Every array of the first state is the mean over P places: each place gets 1 / P of its gradient.
        dprojected = dannotations + np.sum(dstate, axis=0)[:, None, :] / projected.shape[1]
    dw_embed = embedding_backward(dx, embedding_cache)
    _, dw_proj, db_proj = affine_backward(dprojected, projection_cache)
    return loss, {
        "W_proj": dw_proj,
        "b_proj": db_proj,
        "W_embed": dw_embed,
        **dcell,
        "W_vocab": dw_vocab,
        "b_vocab": db_vocab,
    }


def _starting_state(projected: Array, cell: str, attention: str | None) -> State:
    states = CELLS[cell].states
    if attention is None:
        return (projected, *[np.zeros_like(projected)] * (states - 1))
    return (projected.mean(1),) * states


# One step at a time ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A captioner between two words, for N captions in the making."""

    state: State  # arrays (N, H)
    annotations: Array | None  # (N, P, H) with attention

    def rows(self, index: NDArray[Any]) -> Running:
        """Those captions only, in this order, e.g. the beams that survive; rows may repeat."""
        annotations = None if self.annotations is None else self.annotations[index]
        return Running(tuple(array[index] for array in self.state), annotations)


def first_state(features: Array, parameters: Parameters, cell: str, attention: str | None = None) -> Running:
    """Features (N, C), with attention (N, P, C) → the captioner before it has read ``<START>``."""
    projected, _ = affine_forward(features, parameters["W_proj"], parameters["b_proj"])
    state = _starting_state(projected, cell, attention)
    return Running(state, None if attention is None else projected)


def step(
    words: Words, running: Running, parameters: Parameters, cell: str, attention: str | None = None
) -> tuple[Array, Running, Array | None]:
    """Read one word per caption, words (N) → (scores of the next word (N, V), the captioner after it, shares).

    Scores are logits: softmax gives probabilities. Shares (N, P) say where it looked, None without attention.
    """
    x, _ = embedding_forward(words, parameters["W_embed"])
    shares: Array | None = None
    if attention is None:
        state, _ = CELLS[cell].step_forward(x, running.state, parameters)
    else:
        assert running.annotations is not None, "first_state was called without attention"
        state, shares, _ = attentive_step_forward(
            CELLS[cell], ATTENTIONS[attention], x, running.annotations, running.state, parameters
        )
    scores, _ = affine_forward(state[0], parameters["W_vocab"], parameters["b_vocab"])
    return scores, Running(state, running.annotations), shares


def sample(
    features: Array,
    parameters: Parameters,
    cell: str,
    longest: int,
    *,
    attention: str | None = None,
    start: int = START,
    end: int | None = END,
    null: int = NULL,
) -> NDArray[np.int64]:
    """The likeliest word at every step, fed back as the next input → (N, longest) words after ``<START>``.

    What follows `end` is `null`; ``end=None`` never stops early.
    """
    running = first_state(features, parameters, cell, attention)
    said = np.full((len(features), longest), null, dtype=np.int64)
    words = np.full(len(features), start, dtype=np.int64)
    speaking = np.ones(len(features), dtype=np.bool_)
    for t in range(longest):
        scores, running, _ = step(words, running, parameters, cell, attention)
        words = scores.argmax(1)
        said[speaking, t] = words[speaking]
        speaking = speaking & (words != end) if end is not None else speaking
        if not speaking.any():
            break
    return said
