"""One change for many pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.fool.attacks.signs import inside
from cvtool.fool.goal import Goal
from cvtool.fool.norms import project, steepest
from cvtool.fool.options import Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import Kind, attack


@attack(
    "universal",
    norms=(Norm.linf, Norm.l2),
    kind=Kind.bounded,
    steps=20,
    uses=["steps", "step_size"],
    together=True,
    paper="Moosavi-Dezfooli et al. (2017), arXiv:1610.08401; by gradients as Shafahi et al. (2020), arXiv:1811.11304",
)
def universal(problem: Problem) -> None:
    """The same change within eps for all pictures: one step for each batch, `problem.steps` times through all.

    Of the changes after each time the one that fools most is kept, of several the last.
    """
    change = torch.zeros_like(problem.x[:1])
    parts = torch.split(torch.arange(len(problem.x), device=problem.x.device), problem.options.batch)
    step = problem.options.step_size or 2.5 * problem.eps / problem.steps
    radius = problem.x.new_full((1,), problem.eps)
    best, most = change, 0
    for _ in problem.rounds(problem.steps, "times through all", patient=True):
        for rows in parts:
            part = problem.only(rows)
            gradient = part.climb(inside(part, part.x + change), Goal.cross_entropy).gradient
            change = project(
                change + step * steepest(gradient.sum(0, keepdim=True), problem.norm), problem.norm, radius
            )
        whole = _on_levels(change, problem.options.levels)
        fooled = _fooled(problem, parts, whole)
        if fooled >= most:
            best, most = whole, fooled
    _fooled(problem, parts, best)


def _on_levels(change: Tensor, levels: int | None) -> Tensor:
    """Shortened to whole levels, so that every file holds the same change."""
    return change if levels is None else (change * (levels - 1) * (1 + 1e-5)).trunc() / (levels - 1)


def _fooled(problem: Problem, parts: tuple[Tensor, ...], change: Tensor) -> int:
    """How many pictures the change fools; it is what stands for all of them."""
    problem.best.forget()
    fooled = 0
    for rows in parts:
        part = problem.only(rows)
        fooled += int((part.ask(inside(part, part.x + change)).lead >= 0).sum())
    return fooled
