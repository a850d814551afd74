"""Words in and out of a recurrent network in plain NumPy: embedding, affine layer, masked softmax loss.

N sequences of T words out of a vocabulary of V; vectors of D numbers. ``dname`` is the gradient of the loss with
respect to ``name``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvtool.reference.attention import softmax
from cvtool.reference.recurrent import Array

Words = NDArray[np.integer[Any]]


class EmbeddingCache(NamedTuple):
    """What its backward needs."""

    words: Words
    table: Array


def embedding_forward(words: Words, table: Array) -> tuple[Array, EmbeddingCache]:
    """words (N, T) in [0, V), table (V, D) → (vectors (N, T, D), cache). Any shape of `words` will do."""
    return table[words], EmbeddingCache(words, table)


def embedding_backward(dvectors: Array, cache: EmbeddingCache) -> Array:
    """dvectors (N, T, D) → dtable (V, D): each row collects from every place where its word stands."""
    dtable = np.zeros_like(cache.table, dtype=dvectors.dtype)
    np.add.at(dtable, cache.words, dvectors)  # dtable[words] += dvectors would count a repeated word once
    return dtable


class AffineCache(NamedTuple):
    """What its backward needs."""

    x: Array
    weight: Array


def affine_forward(x: Array, weight: Array, bias: Array) -> tuple[Array, AffineCache]:
    """``x W + b`` on the last axis: x (..., D), weight (D, M), bias (M) → ((..., M), cache).

    With x (N, T, D) this is the temporal affine layer: the same weights at every step.
    """
    return np.asarray(x @ weight + bias), AffineCache(x, weight)


def affine_backward(dout: Array, cache: AffineCache) -> tuple[Array, Array, Array]:
    """dout (..., M) → (dx (..., D), dweight (D, M), dbias (M)); the weights collect from all rows."""
    rows_in = cache.x.reshape(-1, cache.x.shape[-1])
    rows_out = dout.reshape(-1, dout.shape[-1])
    return np.asarray(dout @ cache.weight.T), rows_in.T @ rows_out, rows_out.sum(0)


def temporal_softmax_loss(scores: Array, targets: Words, mask: NDArray[np.bool_]) -> tuple[float, Array]:
    """scores (N, T, V), targets (N, T), mask (N, T) True where a word counts → (loss, dscores).

    ``−(1/N) Σ_nt mask_nt log p_nt[target_nt]`` with p = softmax(scores): summed over words, divided by N, the number of
    sequences, not by the number of words. d(−log p_k)/dscores = p − one-hot(k).
    """
    n = len(scores)
    shifted = scores - scores.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))  # finite where p itself would round to 0
    chosen = np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    loss = -float(chosen[mask].sum()) / n
    dscores = softmax(scores)
    at = np.arange(scores.shape[-1]) == targets[..., None]
    return loss, np.asarray((dscores - at) * mask[..., None] / n, dtype=scores.dtype)
