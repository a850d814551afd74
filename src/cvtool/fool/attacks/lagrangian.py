"""ALMA: the smallest change under a constraint, by an augmented Lagrangian."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.fool.goal import Goal
from cvtool.fool.norms import length, per_picture
from cvtool.fool.options import Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import Kind, attack

CHECK = 10
GROWTH, IMPROVED = 1.2, 0.95
"""Every `CHECK` steps the penalty grows by `GROWTH` where nothing fools and the lead did not improve to this share."""
MEMORY = 0.9
SLOWNESS = 0.99
FARTHEST_STEP = 1.0
LAST_RATE = 0.01


@attack(
    "alma", norms=(Norm.l2,), kind=Kind.minimal, steps=300, uses=["steps"], paper="Rony et al. (2021), arXiv:2011.11857"
)
def alma(problem: Problem) -> None:
    """Gradient descent on |change|² + penalty(missing lead), whose multiplier and weight adapt to each picture."""
    x = problem.x
    change, momentum = torch.zeros_like(x), torch.zeros_like(x)
    squares = x.new_ones(len(x))
    multiplier, weight = x.new_ones(len(x)), x.new_ones(len(x))
    kept: Tensor | None = None
    rate: Tensor | None = None
    for done in problem.rounds(problem.steps, "alma", patient=True):
        seen = problem.climb(x + change, _scaled_lead)
        missing = -seen.value
        if kept is None:
            kept = missing.clone()
        elif done % CHECK == 0:
            stuck = ~problem.best.found[problem.rows] & (missing > 0) & (missing > IMPROVED * kept)
            weight = torch.where(stuck, weight * GROWTH, weight)
            kept = missing.clone()
        slope = _slope(missing, weight, multiplier)
        multiplier = (MEMORY * multiplier + (1 - MEMORY) * slope).clamp(1e-6, 1)
        downhill = 2 * change - per_picture(slope) * seen.gradient
        size = length(downhill, Norm.l2).square()
        if rate is None:  # the first step is as long as the way to the border seems to be
            border = missing.abs() / length(seen.gradient, Norm.l2).clamp_min(1e-12)
            rate, squares = border.clamp_max(FARTHEST_STEP), size
        squares = SLOWNESS * squares + (1 - SLOWNESS) * size
        momentum = MEMORY * momentum + (1 - MEMORY) * downhill / per_picture(squares.sqrt().clamp_min(1e-12))
        shrinking = LAST_RATE ** (done / problem.steps)
        change = problem.box(x + change - per_picture(rate) * shrinking * momentum) - x
    problem.ask(x + change)


def _scaled_lead(goal: Goal, logits: Tensor) -> Tensor:
    """The lead in units of the logits' spread, so that one first penalty suits all networks."""
    spread = (logits.amax(1) - logits.median(1).values).detach().clamp_min(1e-6)
    return goal.lead(logits) / spread


def _slope(missing: Tensor, weight: Tensor, multiplier: Tensor) -> Tensor:
    """The derivative of the penalty P2 of Birgin et al. (2005): never 0, and steep where lead is missing."""
    above = multiplier + 2 * weight * multiplier * missing + weight**2 * missing**2 / 2
    below = multiplier / (1 - weight * missing.clamp_max(0)).square()
    return torch.where(missing >= 0, above, below)
