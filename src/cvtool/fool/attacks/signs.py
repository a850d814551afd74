"""Steps along the gradient within a ball: the notes' ascent, FGSM, BIM, MI-FGSM, PGD."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.fool.goal import Goal
from cvtool.fool.norms import dual_length, length, per_picture, project, steepest, unit
from cvtool.fool.options import Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import Kind, attack

BALLS = (Norm.linf, Norm.l2, Norm.l1)
ASCENT_STEP = 0.25
"""The notes' step of 1 in normalised space, in pixels in [0, 1]."""


@attack(
    "ascent",
    norms=(Norm.l2,),
    kind=Kind.minimal,
    steps=100,
    uses=["steps", "step_size"],
    opens=True,
    paper="CS231n, assignment 3; Szegedy et al. (2014), arXiv:1312.6199",
)
def ascent(problem: Problem) -> None:
    """Normalised steps on the target's logit until it comes first.

    Differs from the notes: the picture is clamped and rounded in every step, so that the saved file fools, too.
    """
    x = problem.x
    for _ in problem.rounds(problem.steps, "ascent"):
        seen = problem.climb(x, Goal.logit)
        step = problem.options.step_size or ASCENT_STEP
        waiting = ~problem.best.found[problem.rows]
        x = torch.where(per_picture(waiting), problem.box(x + step * unit(seen.gradient)), x)
    problem.ask(x)


@attack(
    "fgsm",
    norms=(Norm.linf, Norm.l2),
    kind=Kind.bounded,
    steps=1,
    opens=True,
    paper="Goodfellow et al. (2015), arXiv:1412.6572",
)
def fgsm(problem: Problem) -> None:
    """One step as long as eps allows, along the sign of the gradient."""
    seen = problem.climb(problem.x, Goal.cross_entropy)
    problem.ask(problem.box(problem.x + problem.eps * steepest(seen.gradient, problem.norm)))


@attack(
    "bim",
    norms=BALLS,
    kind=Kind.bounded,
    steps=10,
    uses=["steps", "step_size"],
    paper="Kurakin et al. (2017), arXiv:1607.02533",
)
def bim(problem: Problem) -> None:
    """FGSM in small steps."""
    walk(problem, problem.x)


@attack(
    "mi-fgsm",
    norms=BALLS,
    kind=Kind.bounded,
    steps=10,
    uses=["steps", "step_size"],
    paper="Dong et al. (2018), arXiv:1710.06081",
)
def mi_fgsm(problem: Problem) -> None:
    """Small steps along the sum of all gradients so far, each at L1 length 1: carries over to other networks better."""
    walk(problem, problem.x, momentum=1.0)


@attack(
    "pgd",
    norms=BALLS,
    kind=Kind.bounded,
    steps=40,
    uses=["steps", "step_size", "restarts"],
    paper="Madry et al. (2018), arXiv:1706.06083",
)
def pgd(problem: Problem) -> None:
    """Small steps from a random place in the ball, again for each of `options.restarts`."""
    generator = problem.random()
    for _ in range(problem.options.restarts + 1):
        walk(problem, random_start(problem, generator))


def walk(problem: Problem, start: Tensor, momentum: float = 0.0) -> None:
    """`problem.steps` steps of the steepest rise within the ball, from `start` (N, 3, H, W).

    A step is 2.5 times as long as it would have to be to reach the border (Madry et al.), unless told otherwise.
    """
    x = start.clone()
    step = problem.options.step_size or 2.5 * problem.eps / max(problem.steps, 3)
    direction = torch.zeros_like(x)
    for _ in problem.rounds(problem.steps, "steps"):
        rows = problem.waiting()
        part, here = problem.only(rows), x[rows]
        gradient = part.climb(here, Goal.cross_entropy).gradient
        if momentum:
            size = dual_length(gradient, Norm.linf).clamp_min(1e-12)
            direction[rows] = momentum * direction[rows] + gradient / per_picture(size)
            gradient = direction[rows]
        x[rows] = inside(part, here + step * steepest(gradient, problem.norm))
    rows = problem.waiting()
    if len(rows):
        problem.only(rows).ask(x[rows])


def inside(problem: Problem, x: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) → the nearest within eps, then in [0, 1]."""
    radius = x.new_full((len(x),), problem.eps)
    return problem.box(problem.x + project(x - problem.x, problem.norm, radius))


def random_start(problem: Problem, generator: torch.Generator) -> Tensor:
    """A random place in the ball: of the cube uniform, of the others a random direction and length."""
    if problem.norm is Norm.linf:
        uniform = torch.rand(problem.x.shape[1:], generator=generator).to(problem.x)
        return problem.box(problem.x + problem.eps * (2 * uniform - 1))
    noise = problem.noise(generator)
    share = float(torch.rand((), generator=generator))
    return inside(problem, problem.x + share * problem.eps * noise / per_picture(length(noise, problem.norm)))
