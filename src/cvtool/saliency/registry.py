"""The methods by name: each is one function, decorated with what one must know to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from cvtool.saliency.options import Method, Reduce
from cvtool.saliency.question import Question


class Needs(str, Enum):
    """What a network must have."""

    gradient = "gradients"
    scores = "scores only"
    maps = "maps or tokens inside"
    relu = "ReLUs"
    convolution = "convolutions"
    attention = "attention"


@dataclass(frozen=True)
class MethodSpec:
    """One method.

    Attributes:
        method: its name.
        explain: question → attribution (N, 3, H, W) per channel, or (N, H, W).
        reduce: how channels are usually reduced; None for one that has none.
        needs: what the network must have.
        paper: who described it.
        complete: the attribution promises to sum to a difference of scores.
        sampled: it draws random numbers.
        contrasts: it can say why one class and not another.
        slow: it asks the network a thousand times or more.
        uses: fields of `SaliencyOptions` that it looks at, of those that not all methods do.
    """

    method: Method
    explain: Callable[[Question], Tensor]
    reduce: Reduce | None
    needs: Needs
    paper: str
    complete: bool = False
    sampled: bool = False
    contrasts: bool = True
    slow: bool = False
    uses: frozenset[str] = frozenset()


METHODS: dict[Method, MethodSpec] = {}
"""Every method by name."""


def saliency_method(
    name: str,
    *,
    needs: Needs,
    paper: str,
    reduce: Reduce | None = None,
    complete: bool = False,
    sampled: bool = False,
    contrasts: bool = True,
    slow: bool = False,
    uses: Iterable[str] = (),
) -> Callable[[Callable[[Question], Tensor]], Callable[[Question], Tensor]]:
    """Enter the decorated function into `METHODS`; the arguments are `MethodSpec`'s.

    What is reduced uses ``reduce``; that need not be said.
    """

    def enter(function: Callable[[Question], Tensor]) -> Callable[[Question], Tensor]:
        method = Method(name)
        used = frozenset(uses) | ({"reduce"} if reduce else set())
        METHODS[method] = MethodSpec(method, function, reduce, needs, paper, complete, sampled, contrasts, slow, used)
        return function

    return enter


def reduced(attribution: Tensor, how: Reduce) -> Tensor:
    """(N, 3, H, W) → (N, H, W): largest magnitude, sum (signed), or Euclidean length over the channels."""
    if how is Reduce.sum:
        return attribution.sum(1)
    return attribution.abs().amax(1) if how is Reduce.max else attribution.norm(dim=1)
