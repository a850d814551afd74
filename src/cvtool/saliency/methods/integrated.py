"""Integrated gradients: the gradient averaged on the way from "nothing to see" to the picture."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cvtool.saliency.options import Baseline, Reduce
from cvtool.saliency.question import Question, in_rounds
from cvtool.saliency.registry import Needs, saliency_method


@saliency_method(
    "integrated-gradients",
    needs=Needs.gradient,
    reduce=Reduce.sum,
    complete=True,
    paper="Sundararajan, Taly, Yan (2017), arXiv:1703.01365",
)
def integrated_gradients(question: Question) -> Tensor:
    """(x − baseline) times the mean gradient on the straight way between; sums to the difference of their scores.

    The way is sampled at midpoints, twice as many until the sum is right to `options.tolerance`. Each picture has its
    own number of points, which does not depend on its company.
    """
    baseline = question.baseline(Baseline.black)
    difference = question.scores(question.x) - question.scores(baseline)
    attribution = torch.zeros_like(question.x)
    errors = torch.full_like(difference, torch.inf)
    used = torch.zeros_like(difference)
    steps = question.options.steps
    while True:
        open_ones = (errors > question.options.tolerance).nonzero()[:, 0]
        part = question.only(open_ones)
        attribution[open_ones] = (part.x - baseline[open_ones]) * mean_gradient(part, baseline[open_ones], steps)
        missing = attribution[open_ones].sum((1, 2, 3)) - difference[open_ones]
        errors[open_ones] = missing.abs() / difference[open_ones].abs().clamp_min(1e-6)
        used[open_ones] = steps
        steps *= 2
        if steps > question.options.most_steps or (errors <= question.options.tolerance).all():
            break
    question.notes.update(completeness_error=errors.tolist(), steps=used.tolist())
    return attribution


def mean_gradient(question: Question, baseline: Tensor, steps: int) -> Tensor:
    """The mean of the gradients at the midpoints of `steps` equal pieces of the way from `baseline` to the pictures."""
    total = torch.zeros_like(question.x)
    done = 0
    for count in question.rounds(steps, f"{steps} points"):
        places = (torch.arange(done, done + count, device=total.device, dtype=total.dtype) + 0.5) / steps
        points = baseline + places.view(-1, 1, 1, 1, 1) * (question.x - baseline)
        total += in_rounds(question.gradients(points.flatten(0, 1)), count).sum(0)
        done += count
    return total / steps


def between_black_and_white(question: Question) -> Tensor:
    """Integrated gradients averaged over a black and a white baseline, so that neither colour is overlooked."""
    maps = []
    for baseline in (Baseline.black, Baseline.white):
        one = replace(question, options=replace(question.options, baseline=baseline), custom_baseline=None, notes={})
        maps.append(integrated_gradients(one))
    return torch.stack(maps).mean(0)
