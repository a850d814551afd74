"""Spectra of decorrelated colours, seen from everywhere."""

from __future__ import annotations

from collections.abc import Iterator

from cvtool.ascend import Adam
from cvtool.visualize_class.climbing import Recipe, climb
from cvtool.visualize_class.parametrizations import fourier_canvas
from cvtool.visualize_class.registry import Moment, Task, visualization

RATE, BETAS = 0.08, (0.9, 0.999)
DECAY = 1.3
"""Steeper than the 1 of natural pictures: with that, half of the fine detail was noise that photographs do not have."""
RECIPE = Recipe(
    smallest=0.35,
    largest=1.0,
    smallest_in_the_end=0.35,
    largest_in_the_end=1.0,
    rotate=15.0,
    noise=0.06,
    statistics=3.0,
    fall=0.5,
)


@visualization(
    "fourier",
    size=384,
    steps=200,
    views=1,
    paper="Olah, Mordvintsev, Schubert (2017), Feature visualization, doi:10.23915/distill.00007",
    transparent=True,
)
def fourier(task: Task) -> Iterator[Moment]:
    """Lucid's spectra, colours and redirected ReLUs; other views, and the statistics of natural pictures.

    Differs: Lucid's views are shifts and scales of a few percent. Those convince the network that is climbed, and its
    relatives, but no network of another architecture and no person.
    """
    canvas = fourier_canvas(
        task.seeds,
        task.height,
        task.width,
        decay=DECAY,
        device=task.device,
        start=task.start,
        opacity=task.transparent,
    )
    optimizer = Adam(canvas.variable.requires_grad_(), lr=RATE, betas=BETAS)
    return climb(task, canvas, optimizer, RECIPE)
