"""The methods by name: each is one function, decorated with what one must know to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cvtool.visualize_class.objectives import Question, Seen
from cvtool.visualize_class.options import Method


@dataclass(frozen=True, eq=False)
class Task:
    """Find pictures that excite what is asked for.

    Attributes:
        questions: one for each network; they take turns.
        height, width: of the pictures.
        steps: how many there will be.
        views: random views at each step.
        seeds: (N) of each picture's start; that of all views is the first one's.
        transparent: find the opacity, too.
        start: (N, 3, H, W) in [0, 1] to start from, or None for noise.
        magnitude: (3, H, W // 2 + 1) for methods that keep a spectrum, or None for the usual one.
    """

    questions: tuple[Question, ...]
    height: int
    width: int
    steps: int
    views: int
    seeds: tuple[int, ...]
    transparent: bool = False
    start: Tensor | None = None
    magnitude: Tensor | None = None

    @property
    def count(self) -> int:
        """N, the number of pictures."""
        return len(self.questions[0].targets)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.questions[0].model.device

    def question(self, step: int) -> Question:
        """Whose turn it is."""
        return self.questions[step % len(self.questions)]

    def look(self, step: int, views: Tensor, *, strangeness: bool = False) -> Seen:
        """Show views (k · N, 3, s, s) to the network whose turn it is."""
        return self.question(step).look(views, strangeness=strangeness)


@dataclass(frozen=True, eq=False)
class Moment:
    """Where the search stands after a step.

    Attributes:
        pictures: gives them as they are now, (N, C, H, W) in [0, 1], C 3, or 4 with the opacity last.
        terms: numbers worth watching.
    """

    pictures: Callable[[], Tensor]
    terms: Mapping[str, Tensor]


Search = Callable[[Task], Iterator[Moment]]
"""Endless: a moment after each step."""


@dataclass(frozen=True)
class MethodSpec:
    """One method.

    Attributes:
        method: its name.
        search: the method.
        size: side of its pictures unless told otherwise, in pixels; None: the network's input.
        steps: unless told otherwise.
        views: of the picture at each step, unless told otherwise.
        paper: who described it.
        transparent: it can find the opacity.
        takes_start: it can start from a picture.
    """

    method: Method
    search: Search
    size: int | None
    steps: int
    views: int
    paper: str
    transparent: bool = False
    takes_start: bool = True


METHODS: dict[Method, MethodSpec] = {}
"""Every method by name."""


def visualization(
    name: str,
    *,
    size: int | None,
    steps: int,
    views: int,
    paper: str,
    transparent: bool = False,
    takes_start: bool = True,
) -> Callable[[Search], Search]:
    """Enter the decorated function into `METHODS`; the arguments are `MethodSpec`'s."""

    def enter(function: Search) -> Search:
        method = Method(name)
        METHODS[method] = MethodSpec(method, function, size, steps, views, paper, transparent, takes_start)
        return function

    return enter
