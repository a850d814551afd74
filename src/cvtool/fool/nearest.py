"""Which wrong classes are nearest to a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cvtool.fool.norms import length
from cvtool.fool.options import FoolOptions, Norm
from cvtool.fool.service import Victim, fool
from cvtool.models.framing import frame_for, lens
from cvtool.models.predictions import Prediction, prediction_of
from cvtool.progress import Progress, Stop, never, silent
from cvtool.tensors import to_tensor

CANDIDATES = 64
"""Likeliest wrong classes whose distance is estimated."""


@dataclass(frozen=True)
class Nearby:
    """A wrong class.

    Attributes:
        target: the class and its probability now.
        estimate: L2 distance to where it overtakes the class that is seen, if that border were a plane.
        l2: of the smallest change that puts it in front; None if none was found.
    """

    target: Prediction
    estimate: float
    l2: float | None


def nearest_targets(
    pixels: NDArray[np.float32],
    victim: Victim,
    options: FoolOptions,
    *,
    progress: Progress = silent,
    stop: Stop = never,
) -> list[Nearby]:
    """The `options.top_k` wrong classes nearest to a picture (H, W, 3), nearest first.

    The distances to the borders of the likeliest wrong classes are estimated from one gradient each; for the nearest
    the smallest change is looked for.
    """
    model = victim.model
    frame = frame_for(pixels.shape[0], pixels.shape[1], model.card, options.resize, victim.any_size)
    look = lens(frame, model.card, model.device)
    x = to_tensor(pixels, model.device)
    with torch.no_grad():
        logits = model.module(model.normalize(look(x)))[0].float()
    order = logits.argsort(descending=True)
    label, others = order[0], order[1 : CANDIDATES + 1]
    estimates = []
    for some in torch.split(others, options.batch):
        leaf = x.repeat(len(some), 1, 1, 1).requires_grad_()
        with torch.enable_grad():
            found = model.module(model.normalize(look(leaf))).float()
            gap = found[:, label] - found.gather(1, some[:, None])[:, 0]
            (slope,) = torch.autograd.grad(gap.sum(), leaf)
        estimates.append(gap.detach() / length(slope, Norm.l2).clamp_min(1e-12))
    near = torch.cat(estimates)
    first = near.argsort()[: options.top_k]
    targets = [int(index) for index in others[first]]
    smallest = replace(options, minimize=True, confidence=None, eps=None, norm=Norm.l2)
    results = fool([pixels] * len(targets), victim, smallest, target=targets, progress=progress, stop=stop)
    chances = logits.softmax(0)
    rows = [
        Nearby(prediction_of(model.card, chances, target), float(near[place]), result.l2 if result.success else None)
        for target, place, result in zip(targets, first, results, strict=True)
    ]
    return sorted(rows, key=lambda row: (row.l2 is None, row.l2 or row.estimate))
