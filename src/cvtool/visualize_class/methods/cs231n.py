"""The course's recipe: up the gradient on the pixels, kept smooth by shifts and blurs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

import torch
from torch import Tensor

from cvtool.ascend import follow_gradient
from cvtool.tensors import blurred, seeded
from cvtool.visualize_class.parametrizations import Canvas
from cvtool.visualize_class.registry import Moment, Task, visualization
from cvtool.visualize_class.transforms import WHOLE, shift_of, shifted, view

RATE, L2 = 25.0, 1e-3
JITTER = 16  # pixels
BLUR, BLUR_EVERY = 0.5, 10  # pixels, steps
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@visualization(
    "cs231n",
    size=None,
    steps=100,
    views=1,
    paper="CS231n, assignment 3, after Simonyan, Vedaldi, Zisserman (2013), arXiv:1312.6034, and Yosinski et al. "
    "(2015), arXiv:1506.06579",
)
def cs231n(task: Task) -> Iterator[Moment]:
    """Score − L2 · ‖picture‖², in units of the deviation of ImageNet's pixels, as the course has it.

    Differs from the notes: the norm is squared, as in the course's formula. A step along the gradient of the shifted
    picture is taken by shifting inside the loss, which brings the gradient back by itself.
    """
    mean = torch.tensor(MEAN, device=task.device).view(1, 3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=task.device).view(1, 3, 1, 1)
    canvas = Canvas(_start(task, mean, deviation), lambda variable: (variable * deviation + mean).clamp(0, 1))
    generator, step = seeded(task.seeds[0]), count()

    def loss(variable: Tensor) -> Mapping[str, Tensor]:
        number = next(step)
        moved = shifted(variable * deviation + mean, shift_of(JITTER, generator))
        side = task.question(number).model.card.input_size
        views = moved if moved.shape[2:] == (side, side) else view(moved, WHOLE, side)
        seen = task.look(number, views)
        return {"loss": -seen.scores.sum() + L2 * variable.square().sum(), "score": seen.scores.mean()}

    optimizer = torch.optim.SGD([canvas.variable], lr=RATE)
    yield Moment(canvas.pictures, {})
    for number, terms in enumerate(follow_gradient(canvas.variable, loss, optimizer)):
        with torch.no_grad():
            canvas.variable.clamp_(-mean / deviation, (1 - mean) / deviation)
            if number % BLUR_EVERY == 0:
                canvas.variable.copy_(blurred(canvas.variable, BLUR))
        yield Moment(canvas.pictures, terms)


def _start(task: Task, mean: Tensor, deviation: Tensor) -> Tensor:
    if task.start is not None:
        return ((task.start - mean) / deviation).requires_grad_()
    shape = (3, task.height, task.width)
    noise = [torch.randn(shape, generator=seeded(seed)) for seed in task.seeds]
    return torch.stack(noise).to(task.device).requires_grad_()
