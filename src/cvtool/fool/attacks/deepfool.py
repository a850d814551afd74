"""DeepFool: the borders between classes as planes."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from cvtool.fool.goal import Goal, pick, without
from cvtool.fool.norms import dual_length, per_picture, steepest
from cvtool.fool.options import Norm
from cvtool.fool.problem import Objective, Problem
from cvtool.fool.registry import Kind, attack

CANDIDATES = 10
"""Likeliest wrong classes whose borders DeepFool measures."""
OVERSHOOT = 0.02


@attack(
    "deepfool",
    norms=(Norm.l2, Norm.linf),
    kind=Kind.minimal,
    steps=50,
    uses=["steps"],
    paper="Moosavi-Dezfooli et al. (2016), arXiv:1511.04599",
)
def deepfool(problem: Problem) -> None:
    """Step over the nearest border as if all borders were planes, until one is crossed.

    Aimed at a target it steps over that border alone.
    """
    x = problem.x
    change = torch.zeros_like(x)
    start = problem.ask(x).logits
    for _ in problem.rounds(problem.steps, "deepfool"):
        rows = problem.waiting()
        part = problem.only(rows)
        tried = part.box(part.x + (1 + OVERSHOOT) * change[rows])
        values, gradients = part.jacobian(tried, _borders(part, start[rows]))
        slopes = torch.stack([dual_length(gradient, problem.norm) for gradient in gradients]).clamp_min(1e-12)
        near = (values.abs() / slopes).argmin(0)
        column = torch.arange(len(rows), device=x.device)
        away, slope = values[near, column].abs() + 1e-4, slopes[near, column]
        step = per_picture(away / slope) * steepest(gradients[near, column], problem.norm)
        change[rows] = part.box(part.x + change[rows] + step) - part.x
    problem.ask(problem.box(x + (1 + OVERSHOOT) * change))


def _borders(problem: Problem, logits: Tensor) -> list[Objective]:
    if problem.goal.target is not None or problem.goal.confidence is not None or problem.survive:
        return [Goal.lead]
    others = without(logits, problem.goal.label).topk(min(CANDIDATES, logits.shape[1] - 1), 1).indices
    return [partial(_lead_over_label, other) for other in others.T]


def _lead_over_label(other: Tensor, goal: Goal, logits: Tensor) -> Tensor:
    return pick(logits, other) - pick(logits, goal.label)
