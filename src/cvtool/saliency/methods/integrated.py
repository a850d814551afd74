"""Integrated gradients: the gradient averaged on the way from "nothing to see" to the picture."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cvtool.saliency.options import Baseline, Reduce
from cvtool.saliency.question import Question, in_rounds
from cvtool.saliency.registry import Needs, saliency_method

PATH = ("steps", "most_steps", "tolerance", "crowding")
"""Options of the points between a baseline and the picture."""


@saliency_method(
    "integrated-gradients",
    needs=Needs.gradient,
    reduce=Reduce.sum,
    complete=True,
    uses=[*PATH, "baseline"],
    paper="Sundararajan, Taly, Yan (2017), arXiv:1703.01365",
)
def integrated_gradients(question: Question) -> Tensor:
    """(x − baseline) times the mean gradient on the straight way between; sums to the difference of their scores.

    The way is sampled at midpoints, three times as many until the sum is right to `options.tolerance`: the old
    midpoints are every third of the new. Each picture has its own number of points, which does not depend on its
    company. Differs from the usual even points: they crowd towards the baseline (`options.crowding`), where the
    gradient changes most, and so come to the same sum with a third of the points.
    """
    options = question.options
    baseline = question.baseline(Baseline.black)
    difference = question.scores(question.x) - question.scores(baseline)
    total, attribution = torch.zeros_like(question.x), torch.zeros_like(question.x)
    errors = torch.full_like(difference, torch.inf)
    used = torch.zeros_like(difference)
    steps = options.steps
    numbers = torch.arange(steps)
    while True:
        open_ones = (errors > options.tolerance).nonzero()[:, 0]  # not those whose score is not a number
        part, start = question.only(open_ones), baseline[open_ones]
        total[open_ones] += sum_of_gradients(part, start, (numbers + 0.5) / steps)
        attribution[open_ones] = (part.x - start) * total[open_ones] / steps
        missing = attribution[open_ones].sum((1, 2, 3)) - difference[open_ones]
        errors[open_ones] = missing.abs() / difference[open_ones].abs().clamp_min(1e-6)
        used[open_ones] = steps
        steps *= 3
        numbers = torch.arange(steps)
        numbers = numbers[numbers % 3 != 1]  # the others have been asked
        if steps > options.most_steps or not (errors > options.tolerance).any():
            break
    question.notes.update(completeness_error=errors.tolist(), steps=used.tolist())
    return attribution


def sum_of_gradients(question: Question, baseline: Tensor, places: Tensor) -> Tensor:
    """The sum of the gradients at t^c of the way from `baseline` to the pictures, for `places` t, each times its share.

    With c = `options.crowding` the share is c · t^(c − 1), the length of way that a point stands for.
    """
    crowding, total, done = question.options.crowding, torch.zeros_like(question.x), 0
    places = places.to(total)
    for count in question.rounds(len(places), f"{len(places)} points"):
        now = places[done : done + count].view(-1, 1, 1, 1, 1)
        points = baseline + now**crowding * (question.x - baseline)
        gradients = in_rounds(question.gradients(points.flatten(0, 1)), count)
        total += (crowding * now ** (crowding - 1) * gradients).sum(0)
        done += count
    return total


def between_black_and_white(question: Question) -> Tensor:
    """Integrated gradients averaged over a black and a white baseline, so that neither colour is overlooked."""
    maps = []
    for baseline in (Baseline.black, Baseline.white):
        one = replace(question, options=replace(question.options, baseline=baseline), custom_baseline=None, notes={})
        maps.append(integrated_gradients(one))
    return torch.stack(maps).mean(0)
