"""What a search in the few levels of a file does not see: changes that round to nothing."""

from __future__ import annotations

from cvtool.fool.goal import Goal
from cvtool.fool.norms import EPSILON, per_picture
from cvtool.fool.problem import Problem

HARDLY = 1.5
"""Levels."""
TRIES, GROWTH = 16, 1.5
"""From half a level of one value to far more than an attack would take."""


def step_over_rounding(problem: Problem) -> None:
    """Go along the gradient from pictures that could not be moved, ever further, until they are fooled.

    To an attack, a picture so near to the border that its steps vanish in the file looks like one that cannot be moved:
    of all its tries the best is hardly a level away.
    """
    assert problem.options.levels is not None
    rows = problem.waiting()
    moved = (problem.best.picture[problem.rows] - problem.x)[rows].flatten(1).abs().amax(1)
    rows = rows[moved * (problem.options.levels - 1) < HARDLY]
    if not len(rows):
        return
    left = problem.only(rows)
    gradient = left.climb(left.x.clone(), Goal.lead).gradient
    steepest = per_picture(gradient.flatten(1).abs().amax(1)).clamp_min(EPSILON)
    change = 0.51 / (problem.options.levels - 1) * gradient / steepest
    for number in left.rounds(TRIES, "rounding"):
        left.ask(left.box(left.x + GROWTH**number * change))
