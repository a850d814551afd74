"""DeepDream: more of whatever a layer sees in a picture, coarse to fine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.tensors import seeded
from cvtool.visualize_class.registry import Moment, Task, visualization
from cvtool.visualize_class.transforms import shift_of, shifted

OCTAVES, RATIO = 4, 1.4
"""Sizes of the picture, and the factor between them."""
SMALLEST = 64  # pixels, the shorter side of the smallest size
RATE = 0.012  # of a step, in units of the pixel range; about 3 of 255 levels
JITTER = 32  # pixels


@visualization(
    "deepdream",
    size=512,
    steps=60,
    views=1,
    paper="Mordvintsev, Olah, Tyka (2015), Inceptionism: going deeper into neural networks",
)
def deepdream(task: Task) -> Iterator[Moment]:
    """Steps of even strength along the gradient, at each size of the picture; what was dreamt grows with it.

    Differs from the authors' notebook: the shift is at most an eighth of the picture, so that small sizes are not
    shuffled, and the picture is kept within [0, 1] at each step.
    """
    sizes = octaves(task.height, task.width)
    start, last = _start(task), len(sizes) - 1
    generator, step = seeded(task.seeds[0]), count()
    yield _moment(start, sizes[last], {})
    dreamt = torch.zeros_like(start)
    for place, size in enumerate(sizes):
        scene, dreamt = _sized(start, size), _sized(dreamt, size)
        for _ in range(task.steps // len(sizes)) if place < last else count():
            pictures, terms = _step(task, next(step), (scene + dreamt).clamp(0, 1), generator)
            dreamt = pictures - scene
            yield _moment(pictures, sizes[last], terms)


def _moment(pictures: Tensor, size: tuple[int, int], terms: Mapping[str, Tensor]) -> Moment:
    return Moment(lambda: _sized(pictures, size).clamp(0, 1), terms)


def octaves(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each size, small to large; those whose shorter side is under `SMALLEST` are left out."""
    factors = [RATIO**-octave for octave in reversed(range(OCTAVES))]
    sizes = [(round(height * factor), round(width * factor)) for factor in factors]
    return [size for size in sizes[:-1] if min(size) >= SMALLEST] + sizes[-1:]


def _step(task: Task, number: int, pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
    by = shift_of(min(JITTER, min(pictures.shape[2:]) // 8), generator)
    leaf = shifted(pictures, by).requires_grad_()
    seen = task.look(number, leaf)
    (gradient,) = torch.autograd.grad(seen.scores.sum(), leaf)
    # Even strength: a step changes the pixels of each picture by RATE on average, however steep the score is.
    strength = gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
    moved = (leaf.detach() + RATE * gradient / strength).clamp(0, 1)
    return shifted(moved, (-by[0], -by[1])), {"score": seen.scores.detach().mean()}


def _start(task: Task) -> Tensor:
    if task.start is not None:
        return task.start
    shape = (3, task.height, task.width)
    noise = [torch.rand(shape, generator=seeded(seed)) for seed in task.seeds]
    return 0.5 + 0.1 * (torch.stack(noise).to(task.device) - 0.5)


def _sized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(pictures.shape[2:]) == size:
        return pictures
    return F.interpolate(pictures, size=size, mode="bicubic", antialias=True, align_corners=False)
