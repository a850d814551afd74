"""One magnitude for all frequencies, only their phases are free."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cvtool.visualize_class.climbing import Recipe, climb
from cvtool.visualize_class.parametrizations import phase_canvas, usual_magnitude
from cvtool.visualize_class.registry import Moment, Task, visualization

RATE = 1.0
DECAY = 1.3
RECIPE = Recipe(
    smallest=0.4,
    largest=0.8,
    smallest_in_the_end=0.2,
    largest_in_the_end=0.4,
    noise=0.08,
)


@visualization(
    "maco",
    size=512,
    steps=256,
    views=32,
    paper="Fel et al. (2023), Unlocking feature visualization for deeper networks with magnitude constrained "
    "optimization, arXiv:2306.06805",
    takes_start=False,
)
def maco(task: Task) -> Iterator[Moment]:
    """Large views first, small ones in the end, as in the paper.

    Differs: views shrink from 60 to 30 % of the side, the paper's from 50 to 5 %, with which the picture as a whole is
    hardly seen; they lie inside the picture, even in place and size, where the authors' code draws both from normal
    distributions and fills with black. Without pictures to take it from, the magnitude falls a little faster than
    1 / frequency.
    """
    usual = usual_magnitude(task.height, task.width, DECAY)
    magnitude = task.magnitude if task.magnitude is not None else usual
    canvas = phase_canvas(task.seeds, magnitude, task.height, task.width, device=task.device)
    optimizer = torch.optim.NAdam([canvas.variable.requires_grad_()], lr=RATE)
    return climb(task, canvas, optimizer, RECIPE)
