"""A visible sticker: at its place, or wherever it may be put."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.fool.attacks.decoupled import cosine
from cvtool.fool.goal import Goal
from cvtool.fool.norms import per_picture
from cvtool.fool.options import Norm
from cvtool.fool.problem import Look, Problem, Spot
from cvtool.fool.registry import Kind, attack
from cvtool.fool.survival import on_levels
from cvtool.tensors import seeded

FIRST_STEP, LAST_STEP = 0.1, 0.01
AT_ONCE = 4
"""Random placements in each step of a sticker that is to hold anywhere."""
MEMORY = 0.9
TURNS, SCALES = 22.5, (0.75, 4 / 3)
"""Largest angle in degrees either way, and the sizes, of a placement."""
FRESH = 100
"""Placements, none seen before, at which the finished sticker is tried."""
FRESH_SEED = 2**32
"""Added to the seed for those."""


@attack(
    "patch",
    norms=(Norm.l0,),
    kind=Kind.minimal,
    steps=200,
    uses=["steps", "step_size", "patch", "patch_robust"],
    opens=True,
    paper="Brown et al. (2017), arXiv:1712.09665",
)
def patch(problem: Problem) -> None:
    """Any colours within one square, put where the gradient is strongest (or where the mask allows).

    With `options.patch_robust` the expectation over random places, sizes and angles is raised (Athalye et al. 2018,
    arXiv:1707.07397), which includes the place where it is put.
    """
    height, width = problem.x.shape[2:]
    side = max(1, round(problem.options.patch * min(height, width)))
    strength = problem.climb(problem.x, Goal.cross_entropy).gradient.abs().sum(1, keepdim=True)
    sums = F.avg_pool2d(strength, side, stride=1)
    place = sums.flatten(1).argmax(1)
    spots = [Spot(int(at) // sums.shape[3], int(at) % sums.shape[3], side) for at in place]
    problem.best.spots.update(zip(problem.rows.tolist(), spots, strict=True))
    square = torch.zeros_like(problem.x[:, :1])
    for row, spot in enumerate(spots):
        spot.of(square[row]).fill_(1)
    within = replace(problem, mask=square if problem.mask is None else square * problem.mask)
    x = within.box(torch.where(square > 0, 0.5, within.x))
    if problem.options.patch_robust:
        x = _hold_anywhere(within, x, spots)
        problem.best.forget()
        within.ask(x)
    for done in within.rounds(within.steps, "patch"):
        gradient = within.climb(x, Goal.cross_entropy).gradient
        # A sticker that holds anywhere already needs a last touch at most.
        first = LAST_STEP if problem.options.patch_robust else FIRST_STEP
        step = cosine(done, within.steps, within.options.step_size or first, LAST_STEP)
        x = within.box(x + step * gradient.sign())
    within.ask(x)


def _hold_anywhere(within: Problem, x: Tensor, spots: list[Spot]) -> Tensor:
    """Pictures (N, 3, H, W) with a sticker each → with one that raises the expectation over placements."""
    generator, part = within.random(), seen_part(within.look, within.x)
    direction = torch.zeros_like(x)
    for done in within.rounds(within.steps, "anywhere", patient=True):
        gradient = within.climb(x, Goal.cross_entropy).gradient
        for placement in draw(AT_ONCE, spots[0].side, part, generator):
            leaf = x.detach().requires_grad_()
            with torch.enable_grad():
                stickers = torch.stack([spot.of(each) for spot, each in zip(spots, leaf, strict=True)])
                placed = on_levels(put(stickers, within.x, placement), within.options.levels)
                score = within.goal.cross_entropy(within.logits(placed)).sum()
                gradient = gradient + torch.autograd.grad(score, leaf)[0]
            within.counts["backward"] += len(x)
        size = gradient.abs().flatten(1).sum(1).clamp_min(1e-12)
        direction = MEMORY * direction + gradient / per_picture(size)
        step = cosine(done, within.steps, within.options.step_size or FIRST_STEP, LAST_STEP)
        x = within.box(x + step * direction.sign())
    return x


@dataclass(frozen=True)
class Placement:
    """How a sticker lies on a picture.

    Attributes:
        row, column: of its centre, in pixels of the picture.
        scale: how many times as large as it is.
        angle: turned by so many radians.
    """

    row: float
    column: float
    scale: float
    angle: float


def draw(count: int, side: int, part: tuple[int, int, int, int], generator: torch.Generator) -> list[Placement]:
    """Random placements of a sticker that lie, if they fit, wholly inside `part` (top, left, height, width)."""
    top, left, height, width = part
    found = []
    for row, column, size, turn in torch.rand((count, 4), generator=generator).tolist():
        angle = math.radians(TURNS) * (2 * turn - 1)
        scale = SCALES[0] * (SCALES[1] / SCALES[0]) ** size
        reach = scale * side * (abs(math.cos(angle)) + abs(math.sin(angle)))  # the side of the box around it
        down, right = max(0.0, height - reach), max(0.0, width - reach)
        middle = top + (height - down) / 2, left + (width - right) / 2
        found.append(Placement(middle[0] + row * down, middle[1] + column * right, scale, angle))
    return found


def put(stickers: Tensor, x: Tensor, placement: Placement) -> Tensor:
    """Stickers (N, 3, s, s) on pictures (N, 3, H, W), differentiable; bilinear, with soft edges."""
    height, width = x.shape[2:]
    half = placement.scale * stickers.shape[2] / 2
    cos, sin = math.cos(placement.angle), math.sin(placement.angle)
    # From the picture's coordinates, -1 to 1, to the sticker's: shift, turn back, shrink.
    across, down = width / 2 / half, height / 2 / half
    right, below = (placement.column - width / 2) / half, (placement.row - height / 2) / half
    matrix = [
        [cos * across, sin * down, -cos * right - sin * below],
        [-sin * across, cos * down, sin * right - cos * below],
    ]
    grid = F.affine_grid(x.new_tensor(matrix)[None].expand(len(x), 2, 3), list(x.shape), align_corners=False)
    solid = torch.cat([stickers, torch.ones_like(stickers[:, :1])], 1)
    seen = F.grid_sample(solid, grid, align_corners=False)
    return x * (1 - seen[:, 3:]) + seen[:, :3]


def seen_part(look: Look, x: Tensor) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the pixels of pictures (N, 3, H, W) that the network sees at all."""
    leaf = torch.full_like(x[:1], 0.5).requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(look(leaf).sum(), leaf)
    matters = gradient[0].ne(0).any(0)
    rows, columns = matters.any(1).nonzero()[:, 0], matters.any(0).nonzero()[:, 0]
    return int(rows[0]), int(columns[0]), len(rows), len(columns)


@torch.no_grad()
def holding(problem: Problem, sticker: Tensor) -> float:
    """Share of `FRESH` random placements on one picture at which a finished sticker (1, 3, s, s) fools.

    Each is a picture of the levels of a file. The placements are not those that the sticker was made with.
    """
    generator = seeded(problem.options.seed + FRESH_SEED)
    placements = draw(FRESH, sticker.shape[2], seen_part(problem.look, problem.x), generator)
    exact = replace(problem, options=replace(problem.options, precision="fp32"))
    fooled = 0
    for start in range(0, FRESH, problem.options.batch):
        some = placements[start : start + problem.options.batch]
        placed = torch.cat([on_levels(put(sticker, problem.x, each), problem.options.levels) for each in some])
        fooled += int((exact.goal.repeated(len(some)).margin(exact.logits(placed)) > 0).sum())
    return fooled / FRESH
