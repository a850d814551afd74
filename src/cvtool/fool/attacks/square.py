"""Square: random squares, kept when the score rises. Needs no gradients."""

from __future__ import annotations

from bisect import bisect_left

import torch

from cvtool.fool.options import Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import Kind, Sees, attack

FIRST_SHARE = 0.8
"""Of the picture, of the first square's area: the paper's for robust networks, and AutoAttack's for all."""
HALVED_AFTER = [0.001, 0.005, 0.02, 0.1, 0.2, 0.4, 0.6, 0.8]
"""After these shares of all queries the squares' area is halved."""


@attack(
    "square",
    norms=(Norm.linf,),
    kind=Kind.bounded,
    steps=1000,
    uses=["steps", "restarts"],
    sees=Sees.scores,
    paper="Andriushchenko et al. (2020), arXiv:1912.00049",
)
def square(problem: Problem) -> None:
    """From stripes at ±eps on, squares of ±eps at random places; each stays if it brings the goal nearer.

    All pictures get the same squares, so that a picture's result does not depend on its company.
    """
    generator = problem.random()
    x, eps = problem.x, problem.eps
    height, width = x.shape[2:]
    for _ in range(problem.options.restarts + 1):
        signs = _signs((1, 3, 1, width), generator).to(x)
        best = problem.box(x + eps * signs)
        lead = problem.ask(best).lead
        for done in problem.rounds(problem.steps - 1, "queries"):
            share = FIRST_SHARE / 2 ** bisect_left(HALVED_AFTER, done / problem.steps)
            side = min(height, width, max(1, round((share * height * width) ** 0.5)))
            top = int(torch.randint(height - side + 1, (), generator=generator))
            left = int(torch.randint(width - side + 1, (), generator=generator))
            rows = problem.waiting()
            part, tried = problem.only(rows), best[rows]
            window = (..., slice(top, top + side), slice(left, left + side))
            tried[window] = part.x[window] + eps * _signs((1, 3, 1, 1), generator).to(x)
            tried = part.box(tried)
            now = part.ask(tried).lead
            better = now > lead[rows]
            best[rows[better]], lead[rows[better]] = tried[better], now[better]


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randint(2, shape, generator=generator) * 2 - 1
