"""How long a style transfer will take, said before it starts: a few steps on a piece of the picture, times the plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cvtool.ascend import Adam, Average, unit_box
from cvtool.stylize import losses
from cvtool.stylize.extractor import EVERYWHERE, Extractor, Guides
from cvtool.stylize.memory import Job, everything_of
from cvtool.stylize.pyramid import Scale
from cvtool.stylize.receptive import Field
from cvtool.stylize.tiles import outer_pixels, plan_tiles

SHARE = 0.02
"""The probe takes this part of the whole work at most."""

SMALLEST, LARGEST = 128, 1024
"""Sides of the pieces in pixels: doubled while the share allows. Small ones fit into caches and into memory that the
allocator keeps, and flatter."""

REPEATS = 2


@dataclass(frozen=True)
class Pace:
    """Seconds per pixel.

    Attributes:
        look: to see, per pixel that the network is given.
        step: to see and bring a gradient back, likewise.
        rest: what a step does besides, per pixel of the picture: the optimiser, the losses of pixels and maps.
    """

    look: float
    step: float
    rest: float


@dataclass(frozen=True)
class Work:
    """What a plan asks for, in pixels.

    Attributes:
        looked: given to the network without a gradient.
        stepped: with one.
        moved: of the pictures, over all steps.
    """

    looked: int
    stepped: int
    moved: int

    def seconds(self, pace: Pace) -> float:
        """At this pace."""
        return self.looked * pace.look + self.stepped * pace.step + self.moved * pace.rest


def work_of(
    plan: Sequence[Scale],
    tile: int,
    field: Field | None,
    margin: int,
    styles: Sequence[tuple[int, int]] = (),
    searches: float = 1.0,
) -> Work:
    """The work of a plan.

    Args:
        plan: the scales; those without steps cost nothing.
        tile: side of the tiles in pixels, 0 for none.
        field: of the network; None without tiles.
        margin: of the recipe.
        styles: shapes of the style pictures at the last scale; their statistics are taken at each, in proportion.
        searches: how often a step evaluates the loss; L-BFGS does so more than once.
    """
    looked = stepped = moved = 0.0
    for scale in plan:
        if not scale.steps:
            continue
        given, is_tiled = _given(scale.height, scale.width, tile, field, margin)
        evaluations = scale.steps * searches
        # With tiles the network is run twice: for what the whole picture looks like, and for the gradient.
        stepped += evaluations * given
        looked += (evaluations * is_tiled + 1) * given
        moved += evaluations * scale.pixels
        share = max(scale.height, scale.width) / max(plan[-1].height, plan[-1].width)
        for height, width in styles:
            looked += _given(max(1, round(height * share)), max(1, round(width * share)), tile, field, margin)[0]
    return Work(round(looked), round(stepped), round(moved))


def _given(height: int, width: int, tile: int, field: Field | None, margin: int) -> tuple[int, bool]:
    """Pixels that the network is given for a picture, and whether that is in tiles."""
    rows, columns = Job(height, width, margin).padded
    if not tile or field is None or max(height, width) <= tile:
        return rows * columns, False
    return outer_pixels(plan_tiles(rows, columns, tile, field.halo, field.stride)), True


def measure_pace(extractor: Extractor, picture: Tensor, work: Work, regions: int = 0) -> Pace:
    """The pace on pieces from the middle of `picture` (1, 3, H, W), larger ones while `SHARE` of `work` allows.

    Args:
        extractor: sees in one go, without tiles and margin, so that the pieces are what the network is given.
        picture: what will be painted; a small one is repeated up to `SMALLEST`.
        work: of the whole plan.
        regions: number of masks.
    """
    pace = _pace_on(extractor, _piece(picture, SMALLEST // 2), regions, repeats=1)  # warms up
    spent, side = 0.0, SMALLEST
    while side <= LARGEST:
        piece = _piece(picture, side)
        cost = (REPEATS + 1) * piece[0, 0].numel() * (pace.look + pace.step + pace.rest)
        if side > SMALLEST and (spent + cost > SHARE * work.seconds(pace) or piece[0, 0].numel() < side**2):
            break
        started = time.perf_counter()
        pace = _pace_on(extractor, piece, regions, REPEATS)
        spent += time.perf_counter() - started
        side *= 2
    return pace


def _piece(picture: Tensor, side: int) -> Tensor:
    """At most side × side from the middle; what is smaller than `SMALLEST` is repeated."""
    height, width = picture.shape[2:]
    if min(height, width) < min(side, SMALLEST):
        picture = picture.repeat(1, 1, -(-side // height), -(-side // width))
        height, width = picture.shape[2:]
    rows, columns = min(side, height), min(side, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    return picture[:, :, top : top + rows, left : left + columns].detach().float().contiguous()


def _pace_on(extractor: Extractor, piece: Tensor, regions: int, repeats: int) -> Pace:
    guides: Guides = [torch.ones_like(piece[:, :1])] * regions or EVERYWHERE
    pixels = piece[0, 0].numel()
    picture = piece.clone().requires_grad_(True)
    with torch.no_grad():
        maps = [each.float() for each in extractor(piece, guides).maps.values()]
    painted = [each.clone().requires_grad_(True) for each in maps]
    optimizer, average = Adam(picture, lr=1e-6, betas=(0.8, 0.98)), Average(piece, 0.9)

    def look() -> None:
        with torch.no_grad():
            extractor(piece, guides)

    def step() -> None:
        picture.grad = None
        everything_of(extractor(picture, guides)).backward()  # type: ignore[no-untyped-call]

    def move() -> None:
        apart = [losses.feature_distance(*pair) for pair in zip(painted, maps, strict=True)]
        torch.stack([losses.mean_variation(picture), *apart]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            unit_box(picture)
            average.add(picture)

    step()  # what a new shape needs is prepared once
    move()
    found = [_seconds(task, repeats, piece.device) / pixels for task in (look, step, move)]
    return Pace(*found)


def _seconds(task: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Mean over `repeats`: other programs slow the work itself, too."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        task()
    _wait(device)
    return (time.perf_counter() - started) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
