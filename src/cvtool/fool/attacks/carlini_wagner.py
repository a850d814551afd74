"""Carlini and Wagner: the border as a penalty."""

from __future__ import annotations

import torch

from cvtool.ascend import Adam
from cvtool.fool.attacks.decoupled import cosine
from cvtool.fool.norms import per_picture
from cvtool.fool.options import Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import Kind, attack

SEARCHES = 5
FIRST_WEIGHT = 1e-1
LEARNING_RATE, LAST_SHARE = 0.05, 0.01


@attack(
    "cw",
    norms=(Norm.l2,),
    kind=Kind.minimal,
    steps=300,
    uses=["steps", "step_size"],
    paper="Carlini and Wagner (2017), arXiv:1608.04644",
)
def carlini_wagner(problem: Problem) -> None:
    """Adam on |change|² + c · missing lead, over a variable whose tanh is the picture; c is searched for.

    A fifth of the steps goes to each of five values of c: ten times as large after a failure, halfway back after a
    success. Differs: Adam's rate falls along half a cosine, so that few steps come to rest.
    """

    x = problem.x
    start = torch.atanh((2 * x - 1) * (1 - 1e-6))
    rate = problem.options.step_size or LEARNING_RATE
    weight = x.new_full((len(x),), FIRST_WEIGHT)
    low, high = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
    for _ in range(SEARCHES):
        variable = start.clone().requires_grad_()
        optimizer = Adam(variable, lr=rate, betas=(0.9, 0.999))
        reached = torch.zeros_like(weight, dtype=torch.bool)
        steps = max(1, problem.steps // SEARCHES)
        for done in problem.rounds(steps, "cw", patient=True):
            optimizer.param_groups[0]["lr"] = cosine(done, steps, rate, LAST_SHARE * rate)
            picture = problem.box((variable.tanh() + 1) / 2)
            seen = problem.climb(picture, lambda goal, logits: goal.lead(logits).clamp_max(0))
            reached |= seen.lead >= 0
            pull = 2 * (picture.detach() - x) - per_picture(weight) * seen.gradient
            (variable.grad,) = torch.autograd.grad(picture, variable, pull)
            optimizer.step()
        high = torch.where(reached, torch.minimum(high, weight), high)
        low = torch.where(reached, low, torch.maximum(low, weight))
        weight = torch.where(high.isinf(), weight * 10, (low + high) / 2)
