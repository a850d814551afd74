"""The search that `fourier` and `maco` share: up the scores of random views, one network after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from cvtool.ascend import Adam, follow_gradient
from cvtool.rectifiers import Rerouted, redirected
from cvtool.tensors import seeded
from cvtool.visualize_class.parametrizations import Canvas
from cvtool.visualize_class.registry import Moment, Task
from cvtool.visualize_class.transforms import draw_place, noisy, view

REDIRECTED = 16
"""Steps at the start that rescue views to which a ReLU gives no gradient: Lucid's."""
DIVERSITY = 4.0
"""Weight of the likeness of the pictures of one target, in units of a logit."""
STATISTICS_OF_UNITS = 0.1
"""Factor on the weight of the statistics for units inside: activations are about a tenth of what logits are."""
OPACITY = 8.0
"""Weight of the mean opacity, in units of a logit: what is not worth it becomes transparent."""


@dataclass(frozen=True)
class Recipe:
    """How views are drawn and what is weighed.

    Attributes:
        smallest, largest: of a view's side, as shares of the picture's, at the first step.
        smallest_in_the_end, largest_in_the_end: the same at the last step, even in between.
        rotate: views are turned by up to this many degrees either way.
        noise: deviation of the noise on each view, in units of the pixel range.
        mirror: half of the views are mirrored.
        statistics: weight of the distance to the network's batch statistics.
        fall: share of the steps at the end in which the rate falls along a line that would end at 0; it stops falling
            when 2 % of the steps are left. 0 for none.
    """

    smallest: float
    largest: float
    smallest_in_the_end: float
    largest_in_the_end: float
    rotate: float = 0.0
    noise: float = 0.0
    mirror: bool = False
    statistics: float = 0.0
    fall: float = 0.0


def climb(task: Task, canvas: Canvas, optimizer: torch.optim.Optimizer | Adam, recipe: Recipe) -> Iterator[Moment]:
    """A moment before the first step, and one after each; endless."""
    generator, step = seeded(task.seeds[0]), count()
    rate = optimizer.param_groups[0]["lr"]
    inside = task.questions[0].targets[0].layer is not None
    statistics = recipe.statistics * (STATISTICS_OF_UNITS if inside else 1.0)

    def loss(variable: Tensor) -> Mapping[str, Tensor]:
        number = next(step)
        pictures = canvas.render(variable)
        views = _views(task, pictures, recipe, number, generator)
        with Rerouted(redirected) if number < REDIRECTED else nullcontext():
            seen = task.look(number, views, strangeness=statistics > 0)
        score = seen.scores.mean()
        objective = statistics * seen.strangeness + DIVERSITY * seen.likeness - score
        if pictures.shape[1] == 4:
            objective = objective + OPACITY * pictures[:, 3].mean()
        # The sum over pictures: what one of them gets must not depend on how many there are.
        return {"loss": objective * task.count, "score": score}

    yield Moment(canvas.pictures, {})
    for number, terms in enumerate(follow_gradient(canvas.variable, loss, optimizer), start=1):
        yield Moment(canvas.pictures, {"score": terms["score"]})
        left = 1 - number / task.steps
        optimizer.param_groups[0]["lr"] = rate * (min(1.0, max(left, 0.02) / recipe.fall) if recipe.fall else 1.0)


def _views(task: Task, pictures: Tensor, recipe: Recipe, number: int, generator: torch.Generator) -> Tensor:
    """(k · N, 3, s, s): the same places of all pictures, so that each one's do not depend on the others."""
    side = task.question(number).model.card.input_size
    done = min(1.0, number / task.steps)
    smallest = recipe.smallest + (recipe.smallest_in_the_end - recipe.smallest) * done
    largest = recipe.largest + (recipe.largest_in_the_end - recipe.largest) * done
    if pictures.shape[1] == 4:
        pictures = grounded(pictures, generator)
    views = []
    for _ in range(task.views):
        place = draw_place(generator, smallest=smallest, largest=largest, rotate=recipe.rotate, mirror=recipe.mirror)
        views.append(noisy(view(pictures, place, side), recipe.noise, generator))
    return torch.cat(views)


def grounded(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures with opacity (N, 4, H, W) → (N, 3, H, W) before a plain background of a random colour."""
    color = torch.rand((1, 3, 1, 1), generator=generator).to(pictures)
    return pictures[:, :3] * pictures[:, 3:] + color * (1 - pictures[:, 3:])
