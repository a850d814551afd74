"""The grain of a style: how colours a few pixels apart go together, and a picture filtered until its own do so.

A network that paints in one pass gets large statistics right and small ones half: its strokes are smoother than the
style's. Much of what is missing is linear: the covariance of small patches. One filter gives a picture the style's, by
the transport of `cvtool.stylize.transport` between patches, each pixel the mean of what the patches around it want. It
changes the patches as little as can be, so what is where stays there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.stylize.losses import Moments, moments
from cvtool.stylize.transport import transport
from cvtool.tensors import mirrored, seeded

SIDE = 5
"""Pixels of a patch along each side."""
SPACINGS = (8, 4, 2, 1)
"""Pixels between neighbours in a patch: from what is large to what is small."""
POSITIONS = 2**14
"""As many patches are looked at; of smaller pictures all."""


def grain(picture: Tensor) -> tuple[Moments, ...]:
    """A picture (1, 3, H, W) in [0, 1] → raw moments of its patches, (75,) and (75, 75), one for each spacing."""
    return tuple(_patches(picture, spacing) for spacing in SPACINGS)


def grained(picture: Tensor, wanted: Sequence[Moments], share: float = 1.0) -> Tensor:
    """Filter a picture (1, 3, H, W) until it has about the grain that is wanted.

    Args:
        picture: in [0, 1].
        wanted: what `grain` says of a style.
        share: how far to go, 0 to 1.

    Returns:
        (1, 3, H, W), about in [0, 1].
    """
    for spacing, there in zip(SPACINGS, wanted, strict=True):
        picture = picture + share * (_filtered(picture, there, spacing) - picture)
    return picture


def _patches(picture: Tensor, spacing: int) -> Moments:
    wide = _continued(picture, SIDE // 2 * spacing)
    row, column = _positions(*picture.shape[2:])
    steps = spacing * torch.arange(SIDE)
    taps = steps[:, None] * wide.shape[3] + steps
    places = (row * wide.shape[3] + column)[:, None] + taps.flatten()
    patches = wide.flatten(2)[0, :, places.to(wide.device)]
    return moments(patches.permute(0, 2, 1).flatten(0, 1)[None, ..., None])


def _positions(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows and columns. Each at random in a part of its own, since an even grid would meet regular styles in step."""
    places = height * width
    count = min(places, POSITIONS)
    within = torch.rand(count, generator=seeded(0), dtype=torch.float64) if count < places else torch.zeros(count)
    found = ((torch.arange(count) + within) * (places / count)).long()
    return found // width, found % width


def _filtered(picture: Tensor, wanted: Moments, spacing: int) -> Tensor:
    own = _patches(picture, spacing)
    matrix = transport(*(Moments(each.mean[None], each.second[None]) for each in (own, wanted)))[0]
    before, after = (each.mean.view(3, -1).mean(1)[:, None, None] for each in (own, wanted))
    margin = (SIDE - 1) * spacing
    moved = F.conv2d(_continued(picture - before, margin), _kernel(matrix).to(picture), dilation=spacing)
    return moved + after


def _continued(picture: Tensor, margin: int) -> Tensor:
    return mirrored(picture, (margin,) * 4)


def _kernel(matrix: Tensor) -> Tensor:
    """A map of patches (75, 75) → the filter (3, 3, 9, 9) that gives each pixel the mean of what its patches want."""
    parts = matrix.view(3, SIDE, SIDE, 3, SIDE, SIDE)
    kernel = matrix.new_zeros(3, 3, 2 * SIDE - 1, 2 * SIDE - 1)
    for row in range(SIDE):
        for column in range(SIDE):
            top, left = SIDE - 1 - row, SIDE - 1 - column
            kernel[:, :, top : top + SIDE, left : left + SIDE] += parts[:, row, column]
    return kernel / SIDE**2
