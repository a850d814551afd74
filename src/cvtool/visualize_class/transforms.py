"""Random views of a picture: what must be seen from everywhere cannot be noise for one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where one view lies.

    Attributes:
        share: side of the view, as a share of the picture's shorter side.
        x, y: from -1, where it touches the left and top border, to 1.
        angle: in degrees, counter-clockwise.
        mirrored: left and right exchanged.
    """

    share: float
    x: float
    y: float
    angle: float
    mirrored: bool = False


WHOLE = Place(1.0, 0.0, 0.0, 0.0)
"""The largest square in the middle."""


def draw_place(generator: torch.Generator, *, smallest: float, largest: float, rotate: float, mirror: bool) -> Place:
    """A view of side `smallest` to `largest` (shares, even), anywhere inside, turned by up to ± `rotate` degrees."""
    size, x, y, angle, side = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
    share = smallest + (largest - smallest) * size
    return Place(share, 2 * x - 1, 2 * y - 1, (2 * angle - 1) * rotate, mirror and side < 0.5)


def view(pictures: Tensor, place: Place, side: int) -> Tensor:
    """Pictures (N, C, H, W) → (N, C, side, side) as seen at `place`; bilinear, continued by reflection.

    A view much larger than `side` is averaged first, so that fine detail is not skipped.
    """
    height, width = pictures.shape[2:]
    seen = place.share * min(height, width)
    shrink = max(1, int(seen / side))
    if shrink > 1:
        pictures = F.avg_pool2d(pictures, shrink, ceil_mode=False)
    turn = math.radians(place.angle)
    sx, sy = seen / width, seen / height  # half of the view, in the grid's unit: half of the picture
    flip = -1.0 if place.mirrored else 1.0
    matrix = [
        [flip * sx * math.cos(turn), -sx * math.sin(turn), place.x * (1 - sx)],
        [flip * sy * math.sin(turn), sy * math.cos(turn), place.y * (1 - sy)],
    ]
    theta = torch.tensor([matrix], device=pictures.device, dtype=pictures.dtype)
    grid = F.affine_grid(theta, [1, 1, side, side], align_corners=False)
    grid = grid.expand(len(pictures), -1, -1, -1)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def noisy(x: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """x (N, …) plus Gaussian noise, the same for all N."""
    if deviation == 0:
        return x
    noise = torch.randn(x.shape[1:], generator=generator).to(x)
    return x + deviation * noise


def shift_of(most: int, generator: torch.Generator) -> tuple[int, int]:
    """(down, right) by 0 to `most` pixels."""
    down, right = torch.randint(0, most + 1, (2,), generator=generator).tolist()
    return down, right


def shifted(x: Tensor, by: tuple[int, int]) -> Tensor:
    """(N, C, H, W) moved down and right in a circle; the negative `by` brings it back exactly."""
    return x.roll(by, (2, 3))
