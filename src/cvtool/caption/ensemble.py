"""Several captioners that speak as one: their probabilities of the next word are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cvtool.caption.decoder import Captioner, Seen, State


@dataclass(frozen=True, eq=False)
class SeenTogether:
    """What each captioner keeps of N pictures."""

    each: tuple[Seen, ...]

    @property
    def first(self) -> Tensor:
        """(N, H) of the first; tells how many pictures there are, and where."""
        return self.each[0].first

    def __getitem__(self, chosen: slice | Tensor) -> SeenTogether:
        """Some of the pictures."""
        return SeenTogether(tuple(seen[chosen] for seen in self.each))


class Ensemble:
    """Stands in for a `Captioner` where captions are read out; all share words and features."""

    def __init__(self, captioners: Sequence[Captioner]) -> None:
        self._captioners = tuple(captioners)

    def see_pictures(self, features: Tensor) -> SeenTogether:
        """Features (N, P, C) → what is kept of them."""
        return SeenTogether(tuple(captioner.see_pictures(features) for captioner in self._captioners))

    def __call__(
        self, seen: SeenTogether, words: Tensor, state: State | None = None
    ) -> tuple[Tensor, State, Tensor | None]:
        """Words (N, K, T) → log probabilities (N, K, T, V), states, mean attention of those that have any."""
        logs, states, looks = [], [], []
        taken = 0
        for captioner, kept in zip(self._captioners, seen.each, strict=True):
            width = len(captioner.start(kept, 1))
            x, after, looked = captioner(kept, words, None if state is None else state[taken : taken + width])
            taken += width
            logs.append(torch.log_softmax(captioner.score(x).float(), -1))
            states += after
            looks += [] if looked is None else [looked]
        mean = torch.logsumexp(torch.stack(logs), 0) - math.log(len(logs))
        return mean, tuple(states), torch.stack(looks).mean(0) if looks else None

    def score(self, x: Tensor) -> Tensor:
        """`__call__` gives them already."""
        return x
