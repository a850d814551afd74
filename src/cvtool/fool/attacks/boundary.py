"""HopSkipJump: only the label is seen."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.errors import UsageError
from cvtool.fool.norms import length, per_picture, unit
from cvtool.fool.options import Norm
from cvtool.fool.problem import Problem
from cvtool.fool.registry import Kind, Sees, attack

FIRST_PROBES, MOST_PROBES = 100, 10000
STARTS = 100
HALVINGS = 12


@attack(
    "boundary",
    norms=(Norm.l2,),
    kind=Kind.minimal,
    steps=10,
    uses=["steps"],
    sees=Sees.labels,
    untargeted_only=True,
    paper="Chen, Jordan, Wainwright (2020), HopSkipJump, arXiv:1904.02144",
)
def boundary(problem: Problem) -> None:
    """From noise to the border of the class, then along it: probes around the border tell which side leads on.

    Differs: the first probes are at a tenth of the distance to the original, the others at the distance over the root
    of the number of values, or 1 % of it if that is more. The paper's are at a tenth of the range of values, and at the
    distance over the number itself.
    """
    if problem.goal.target is not None:
        raise UsageError("boundary sees labels only and cannot aim at a class. Give --untargeted, or another --method.")
    generator = problem.random()
    for row in range(len(problem.x)):
        _walk_along(problem.only(torch.tensor([row], device=problem.x.device)), generator)


def _walk_along(problem: Problem, generator: torch.Generator) -> None:
    found = _start(problem, generator)
    if found is None:
        return
    x = _to_border(problem, found)
    for done in problem.rounds(problem.steps, "hops", patient=True):
        distance = float(length(x - problem.x, Norm.l2))
        probes = min(MOST_PROBES, round(FIRST_PROBES * (done + 1) ** 0.5))
        radius = 0.1 * distance if done == 0 else max(distance / x[0].numel() ** 0.5, 0.01 * distance)
        direction = _uphill(problem, x, radius, probes, generator)
        step = distance / (done + 1) ** 0.5
        while step > 1e-3 * distance:
            tried = problem.box(x + step * direction)
            if bool(problem.ask(tried).lead >= 0):
                x = _to_border(problem, tried)
                break
            step /= 2


def _start(problem: Problem, generator: torch.Generator) -> Tensor | None:
    """Noise that is seen as another class; None if there is none."""
    for _ in problem.rounds(STARTS, "starts"):
        noise = torch.rand(problem.x.shape[1:], generator=generator)[None].to(problem.x)
        tried = problem.box(noise)
        if bool(problem.ask(tried).lead >= 0):
            return tried
    return None


def _to_border(problem: Problem, outside: Tensor) -> Tensor:
    """The last picture on the way from `outside` to the original that still fools."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if bool(problem.ask(problem.x + middle * (outside - problem.x)).lead >= 0):
            high = middle
        else:
            low = middle
    return problem.x + high * (outside - problem.x)


def _uphill(problem: Problem, x: Tensor, radius: float, probes: int, generator: torch.Generator) -> Tensor:
    """(1, 3, H, W) of length 1: where, seen from the border, the other class lies; from `probes` labels."""
    total, noises, sides = torch.zeros_like(x), [], []
    for start in range(0, probes, problem.options.batch):
        count = min(problem.options.batch, probes - start)
        noise = torch.randn((count, *x.shape[1:]), generator=generator).to(x)
        noise = unit(noise if problem.mask is None else noise * problem.mask)
        some = problem.only(torch.zeros(count, dtype=torch.long, device=x.device))
        seen = some.box(x + radius * noise)
        noises.append((seen - x) / radius)  # what the box left of it
        sides.append((some.leads(seen) >= 0).to(x) * 2 - 1)
    side = torch.cat(sides)
    side = side if side.abs().mean() == side.mean().abs() else side - side.mean()
    for noise, part in zip(noises, torch.split(side, problem.options.batch), strict=True):
        total += (per_picture(part) * noise).sum(0, keepdim=True)
    return unit(total)
