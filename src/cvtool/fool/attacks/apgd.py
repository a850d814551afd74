"""Auto-PGD: a step size that halves itself."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.fool.attacks.signs import inside, random_start
from cvtool.fool.goal import Goal
from cvtool.fool.norms import per_picture, steepest
from cvtool.fool.options import Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import Kind, attack

MOMENTUM = 0.75
ENOUGH = 0.75
"""Share of the steps since the last checkpoint that must have been better than the one before."""


@attack(
    "apgd",
    norms=(Norm.linf, Norm.l2),
    kind=Kind.bounded,
    steps=100,
    uses=["steps", "restarts"],
    paper="Croce and Hein (2020), arXiv:2003.01690",
)
def apgd(problem: Problem) -> None:
    """PGD on the difference of logits ratio; halves its step and goes back to its best place when it gets nowhere."""
    generator = problem.random()
    for _ in range(problem.options.restarts + 1):
        _one_start(problem, random_start(problem, generator))


def _one_start(problem: Problem, x: Tensor) -> None:
    seen = problem.climb(x, Goal.logits_ratio)
    loss = seen.value
    step = torch.full_like(loss, 2 * problem.eps)
    best_x, best_loss, best_gradient = x, loss, seen.gradient
    gradient, before = seen.gradient, x
    checkpoints = set(_checkpoints(problem.steps))
    better = torch.zeros_like(loss)
    kept_step, kept_best, since = step.clone(), best_loss.clone(), 0
    for done in problem.rounds(problem.steps - 1, "steps"):
        leap = inside(problem, x + per_picture(step) * steepest(gradient, problem.norm))
        share = MOMENTUM if done else 1.0
        x, before = inside(problem, x + share * (leap - x) + (1 - share) * (x - before)), x
        last = loss
        seen = problem.climb(x, Goal.logits_ratio)
        loss, gradient = seen.value, seen.gradient
        better += loss > last
        since += 1
        higher = loss > best_loss
        best_loss = torch.maximum(loss, best_loss)
        best_x = torch.where(per_picture(higher), x, best_x)
        best_gradient = torch.where(per_picture(higher), gradient, best_gradient)
        if done + 1 not in checkpoints:
            continue
        stuck = (better < ENOUGH * since) | ((kept_step == step) & (kept_best == best_loss))
        kept_step, kept_best = step, best_loss.clone()
        step = torch.where(stuck, step / 2, step)
        x = torch.where(per_picture(stuck), best_x, x)
        gradient = torch.where(per_picture(stuck), best_gradient, gradient)
        loss = torch.where(stuck, best_loss, loss)
        better, since = torch.zeros_like(loss), 0


def _checkpoints(steps: int) -> list[int]:
    """After which steps to look back: the pieces between get shorter, from 22 % down to 6 % of all."""
    percent = [0, 22]  # whole numbers: in floats the sums end a hair above, and ceil makes a step of that
    while percent[-1] < 100:
        percent.append(percent[-1] + max(percent[-1] - percent[-2] - 3, 6))
    return [-(-share * steps // 100) for share in percent[1:]]
