"""A captioner whose recurrent part runs in NumPy, one word at a time: slow, and easy to follow.

It stands in for `Captioner` where captions are read out: the same words, from `cvtool.reference.decoder`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cvtool.caption.decoder import Captioner, Seen, State
from cvtool.caption.options import Cell
from cvtool.reference import decoder as reference
from cvtool.reference.recurrent import Array


class NumpyCaptioner:
    """The same function as `Captioner`, for inference on the CPU."""

    def __init__(self, captioner: Captioner) -> None:
        arrays = {name: tensor.float().numpy() for name, tensor in captioner.state_dict().items()}
        self.options = captioner.options
        self._decoder = reference.decoder_of(arrays, captioner.options.cell.value)

    def see_pictures(self, features: Tensor) -> Seen:
        """Features (N, P, C) → what is kept of them."""
        standing = reference.first_state(features.float().cpu().numpy(), self._decoder)
        first = torch.from_numpy(standing.states[0][0])
        if standing.keys is None or standing.values is None:
            return Seen(first, None, None)
        return Seen(first, torch.from_numpy(standing.keys), torch.from_numpy(standing.values))

    def __call__(self, seen: Seen, words: Tensor, state: State | None = None) -> tuple[Tensor, State, Tensor | None]:
        """Words (N, K, T) → scores (N, K, T, V), state, attention (N, K, T, P); see `Captioner.forward`."""
        count, beginnings, length = words.shape
        standing = self._standing(seen, beginnings, state)
        scores, looked = [], []
        for place in range(length):
            found, standing, shares = reference.step(words[..., place].flatten().numpy(), standing, self._decoder)
            scores.append(found)
            if shares is not None:
                looked.append(shares)

        def shaped(steps: list[Array]) -> Tensor:
            return torch.from_numpy(np.stack(steps, 1)).view(count, beginnings, length, -1)

        after = [torch.from_numpy(part).view(count, beginnings, -1) for part in _in_torch_order(standing)]
        return shaped(scores), tuple(after), shaped(looked) if looked else None

    def score(self, x: Tensor) -> Tensor:
        """`__call__` gives scores already."""
        return x

    def _standing(self, seen: Seen, beginnings: int, state: State | None) -> reference.Standing:
        rows = np.repeat(np.arange(len(seen.first)), beginnings)
        keys = None if seen.keys is None else seen.keys.numpy()[rows]
        values = None if seen.values is None else seen.values.numpy()[rows]
        layers = self.options.layers
        if state is None:
            first = seen.first.numpy()[rows]
            zeros = np.zeros_like(first)
            hidden = [first, *[zeros] * (layers - 1)]
            parts = [*hidden, *([zeros] * layers if self.options.cell is Cell.lstm else [])]
        else:
            parts = [part.reshape(len(rows), -1).numpy() for part in state]
        return reference.Standing(tuple(tuple(parts[layer::layers]) for layer in range(layers)), keys, values)


def _in_torch_order(standing: reference.Standing) -> list[Array]:
    """All hidden states, then all cell states."""
    return [part for parts in zip(*standing.states, strict=True) for part in parts]
