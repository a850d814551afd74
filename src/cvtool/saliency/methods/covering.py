"""Cover parts of the picture and see what becomes of the score: needs nothing but scores."""

from __future__ import annotations

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.saliency.options import Baseline
from cvtool.saliency.question import Question, in_rounds
from cvtool.saliency.registry import Needs, saliency_method

MASKS = 4000
GRID = 7
SHOWN = 0.5
"""RISE's numbers: masks, cells along each side, and the share of cells that are shown."""


@saliency_method(
    "occlusion",
    needs=Needs.scores,
    slow=True,
    uses=["baseline", "patch"],
    paper="Zeiler and Fergus (2014), arXiv:1311.2901",
)
def occlusion(question: Question) -> Tensor:
    """How much the logit falls when a patch is covered, averaged over the patches that cover a pixel.

    Patches are `options.patch` of the longer side wide, half a patch apart, filled with the picture's mean colour
    (or another baseline): a black patch would itself be something to see.
    """
    x, cover = question.x, question.baseline(Baseline.mean)
    height, width = x.shape[2:]
    side = max(1, round(question.options.patch * max(height, width)))
    stride = max(1, side // 2)
    places = [(top, left) for top in _starts(height, side, stride) for left in _starts(width, side, stride)]
    before = question.scores(x)
    fall = x.new_zeros(len(x), height, width)
    covered = x.new_zeros(height, width)
    done = 0
    for count in question.rounds(len(places), "patches"):
        now = places[done : done + count]
        masks = x.new_zeros(count, 1, 1, height, width)
        for mask, (top, left) in zip(masks, now, strict=True):
            mask[..., top : top + side, left : left + side] = 1
        copies = torch.where(masks > 0, cover, x)
        drop = before - in_rounds(question.scores(copies.flatten(0, 1)), count)
        fall += torch.einsum("kn,khw->nhw", drop, masks[:, 0, 0])
        covered += masks[:, 0, 0].sum(0)
        done += count
    return fall / covered


def _starts(length: int, side: int, stride: int) -> range:
    """Where patches begin: the last one reaches the end, and over it if the strides do not come out even."""
    return range(0, (ceil(max(0, length - side) / stride) + 1) * stride, stride)


@saliency_method(
    "rise",
    needs=Needs.scores,
    slow=True,
    sampled=True,
    uses=["samples", "baseline"],
    paper="Petsiuk, Das, Saenko (2018), arXiv:1806.07421",
)
def rise(question: Question) -> Tensor:
    """The mean of random smooth masks, weighed by the probability of what they leave to see.

    Differs from the paper: divided by how often each pixel was really shown, not by how often it should have been.
    """
    x, hidden = question.x, question.baseline(Baseline.mean)
    height, width = x.shape[2:]
    generator = question.random()
    weighed = x.new_zeros(len(x), height, width)
    shown = x.new_zeros(height, width)
    for count in question.rounds(question.options.samples or MASKS, "masks"):
        masks = torch.stack([random_mask(height, width, generator) for _ in range(count)]).to(x.device)
        copies = hidden + masks[:, None, None] * (x - hidden)
        chances = in_rounds(question.probabilities(copies.flatten(0, 1)), count)
        weighed += torch.einsum("kn,khw->nhw", chances, masks)
        shown += masks.sum(0)
    return weighed / shown.clamp_min(1e-6)


def random_mask(height: int, width: int, generator: torch.Generator) -> Tensor:
    """(height, width) in [0, 1]: a coarse random grid, enlarged by a cell more than needed and shifted at random."""
    cell_height, cell_width = ceil(height / GRID), ceil(width / GRID)
    cells = (torch.rand(1, 1, GRID, GRID, generator=generator) < SHOWN).float()
    size = ((GRID + 1) * cell_height, (GRID + 1) * cell_width)
    mask = F.interpolate(cells, size, mode="bilinear", align_corners=False)[0, 0]
    top = int(torch.randint(cell_height, (), generator=generator))
    left = int(torch.randint(cell_width, (), generator=generator))
    return mask[top : top + height, left : left + width]
