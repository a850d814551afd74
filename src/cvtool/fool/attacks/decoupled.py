"""Smallest changes by a direction and a length that are adapted apart from each other: DDN and FMN."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cvtool.fool.goal import Goal
from cvtool.fool.norms import dual_length, length, per_picture, project, unit
from cvtool.fool.options import Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import Kind, attack

RADIUS_STEP = 0.05
LAST_STEP = 0.01
LAST_RADIUS_STEP = 0.001


def cosine(done: int, steps: int, first: float, last: float) -> float:
    """From `first` to `last` along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * done / steps)) / 2


def farthest(x: Tensor, norm: Norm) -> Tensor:
    """(N,): the length of the longest change that leaves the picture in [0, 1]."""
    return length(torch.maximum(x, 1 - x), norm)


@attack(
    "ddn",
    norms=(Norm.l2,),
    kind=Kind.minimal,
    steps=100,
    uses=["steps", "step_size"],
    paper="Rony et al. (2019), arXiv:1811.09600",
)
def ddn(problem: Problem) -> None:
    """Follow the gradient on a sphere that shrinks by 5 % while the picture fools and else grows by 5 %."""
    x, radius = problem.x, problem.x.new_ones(len(problem.x))
    change = torch.zeros_like(x)
    most = farthest(x, problem.norm)
    for done in problem.rounds(problem.steps, "ddn", patient=True):
        seen = problem.climb(x + change, Goal.cross_entropy)
        step = cosine(done, problem.steps, problem.options.step_size or 1.0, LAST_STEP)
        change = change + step * unit(seen.gradient)
        factor = torch.where(seen.lead >= 0, 1 - RADIUS_STEP, 1 + RADIUS_STEP)
        radius = torch.minimum(radius * factor, most)
        change = problem.box(x + per_picture(radius) * unit(change)) - x
    problem.ask(x + change)


@attack(
    "fmn",
    norms=(Norm.l2, Norm.linf, Norm.l1, Norm.l0),
    kind=Kind.minimal,
    steps=100,
    uses=["steps", "step_size"],
    paper="Pintor et al. (2021), arXiv:2102.12827",
)
def fmn(problem: Problem) -> None:
    """Follow the margin's gradient in a ball whose radius comes from how far off the border is, to first order.

    Once a solution is known the radius shrinks while the picture fools and grows while it does not, in ever smaller
    steps.
    """
    x, norm = problem.x, problem.norm
    change = torch.zeros_like(x)
    radius = x.new_full((len(x),), torch.inf)
    most = farthest(x, norm)
    for done in problem.rounds(problem.steps, "fmn", patient=True):
        seen = problem.climb(x + change, Goal.lead)
        reached, found = seen.lead >= 0, problem.best.found[problem.rows]
        shrink = cosine(done, problem.steps, RADIUS_STEP, LAST_RADIUS_STEP)
        border = seen.lead.abs() / dual_length(seen.gradient, norm).clamp_min(1e-12)
        outside = torch.where(found, radius * (1 + shrink), length(change, norm) + border)
        inside = torch.minimum(radius * (1 - shrink), problem.best.distance[problem.rows])
        if norm is Norm.l0:  # a whole pixel more or less
            outside = torch.where(found, torch.maximum(outside, (radius + 1).floor()), outside.ceil())
            inside = torch.minimum(inside, radius - 1)
        radius = torch.where(reached, inside, outside).clamp_min(0)
        radius = torch.minimum(radius, most)
        step = cosine(done, problem.steps, problem.options.step_size or 1.0, LAST_STEP)
        change = project(change + step * unit(seen.gradient), norm, radius)
        change = problem.box(x + change) - x
    problem.ask(x + change)
