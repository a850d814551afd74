"""Few pixels, changed as much as it takes."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.fool.goal import Goal
from cvtool.fool.options import Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import Kind, attack

SHARE = 1 / 2000
"""Of all pixels: how many are changed in one step."""
HALVINGS = 8


@attack(
    "jsma",
    norms=(Norm.l0,),
    kind=Kind.minimal,
    steps=200,
    uses=["steps"],
    opens=True,
    paper="Papernot et al. (2016), arXiv:1511.07528",
)
def jsma(problem: Problem) -> None:
    """Send the pixels that matter most to an end of their range, some at a time; take back those that were not needed.

    Differs from the paper: pixels are ranked one by one by gradient × room to move, since all pairs of pixels are too
    many for photographs, and several are changed at a time.
    """
    x = problem.x
    changed = torch.zeros_like(x[:, :1], dtype=torch.bool)
    count = max(1, round(SHARE * x[0, 0].numel()))
    for _ in problem.rounds(problem.steps, "jsma"):
        seen = problem.climb(x, Goal.lead)
        chosen = _most(_worth(seen.gradient, x).masked_fill(changed, -1), count)
        chosen &= ~problem.best.found[problem.rows].view(-1, 1, 1, 1)
        x = problem.box(torch.where(chosen, (seen.gradient > 0).to(x), x))
        changed |= chosen
    seen = problem.climb(x, Goal.lead)
    _take_back(problem, x, (seen.gradient * (x - problem.x)).sum(1, keepdim=True))


def _worth(gradient: Tensor, x: Tensor) -> Tensor:
    """(N, 1, H, W): how far the score can rise by each pixel, to first order."""
    return (gradient.abs() * torch.where(gradient > 0, 1 - x, x)).sum(1, keepdim=True)


def _most(worth: Tensor, count: int) -> Tensor:
    """(N, 1, H, W) bool: the `count` largest of each picture."""
    flat = worth.flatten(1)
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen.scatter_(1, flat.topk(min(count, flat.shape[1]), 1).indices, True)
    return chosen.view_as(worth)


def _take_back(problem: Problem, x: Tensor, worth: Tensor) -> None:
    """Find, by halving, how many of the changed pixels are needed, most worthy first."""
    changed = (x != problem.x).any(1, keepdim=True)
    order = worth.masked_fill(~changed, -torch.inf).flatten(1).argsort(1, descending=True).argsort(1).view_as(worth)
    low, high = torch.zeros(len(x), device=x.device), changed.flatten(1).sum(1).float()
    for _ in problem.rounds(HALVINGS, "taking back", patient=True):
        middle = ((low + high) / 2).floor()
        kept = order < middle.view(-1, 1, 1, 1)
        reached = problem.ask(torch.where(kept, x, problem.x)).lead >= 0
        high, low = torch.where(reached, middle, high), torch.where(reached, low, middle)
