"""Random changes to everything the discriminator sees, real or fake, through which the generator still learns.

Differentiable augmentation (Zhao et al. 2020, arXiv:2006.10738): a discriminator that never sees a picture twice
cannot learn a small data set by heart, and because fakes are changed in the same way, the generator does not learn
the changes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cvtool.distributed import Share
from cvtool.errors import UnknownNameError

POLICIES = ("color", "translation", "cutout", "flip")
"""The last is not the paper's: right for garments, faces and landscapes, wrong for digits and letters."""

SHIFT = 0.125
"""Pictures are moved by up to this share of their side."""

HOLE = 0.5
"""Side of what is cut out, as a share of the picture's."""


class Draws(NamedTuple):
    """What chance decides for each of N pictures: eight numbers (N,) in [0, 1)."""

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    down: Tensor
    right: Tensor
    hole_y: Tensor
    hole_x: Tensor
    flip: Tensor


def augment(x: Tensor, policy: frozenset[str], generator: torch.Generator, share: Share | None = None) -> Tensor:
    """Pictures (N, C, H, W) in [-1, 1] → the same shape and type, each changed by chances of its own.

    In this order, whatever is in `policy`: ``flip`` left and right for half of the pictures; ``color``: brightness
    (± 0.5), saturation (× 0 to 2) and contrast (× 0.5 to 1.5), which may leave [-1, 1]; ``translation`` by up to an
    eighth of the side; ``cutout`` of a square of half the side, its centre anywhere. Uncovered places are 0, a middle
    grey.

    Args:
        x: pictures, any float type.
        policy: names out of `POLICIES`; none leaves the pictures as they are.
        generator: draws the same numbers whatever the policy; on the CPU they are the same for every device.
        share: which rows of a batch the pictures are; None: all of it.

    Raises:
        UnknownNameError: a name that is not in `POLICIES`.
    """
    for name in sorted(policy.difference(POLICIES)):
        raise UnknownNameError("augmentation", name, POLICIES, f"There are {', '.join(POLICIES)}.")
    if not policy:
        return x
    draws = draw(share or Share.whole(len(x)), generator, x.device)
    if "flip" in policy:
        x = flipped(x, draws.flip)
    if "color" in policy:
        x = recolored(x, draws.brightness, draws.saturation, draws.contrast)
    if "translation" in policy:
        x = translated(x, draws.down, draws.right)
    if "cutout" in policy:
        x = cut_out(x, draws.hole_y, draws.hole_x)
    return x


def draw(share: Share, generator: torch.Generator, device: torch.device) -> Draws:
    """Chances for a share of a batch, drawn for all of it where the generator is, brought to `device` in one piece."""
    chances = torch.rand(len(Draws._fields), share.total, generator=generator, device=generator.device)
    return Draws(*chances[:, share.rows].to(device, non_blocking=True))


def flipped(x: Tensor, chance: Tensor) -> Tensor:
    """Mirror the pictures (N, C, H, W) whose chance (N,) is under ½."""
    return torch.where((chance < 0.5)[:, None, None, None], x.flip(-1), x)


def recolored(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Brightness, saturation (about each pixel's grey), contrast (about the picture's mean), chances (N,) in [0, 1).

    With factors s = 2 · saturation and c = contrast + ½ the three in turn are
    ``c s x + c (1 − s) grey + (1 − c) mean + brightness − ½``: two passes over the pixels instead of six.
    """
    # Means and factors in float32: bfloat16 has 8 bits, and so few brightnesses could be told apart.
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    shift, color, spread = (each.to(wide)[:, None, None, None] for each in (brightness, saturation, contrast))
    factor = spread + 0.5
    constant = (1 - factor) * wide.mean((1, 2, 3), keepdim=True) + (shift - 0.5)
    if wide.shape[1] > 1:  # a grey picture has no saturation
        constant = constant + factor * (1 - 2 * color) * wide.mean(1, keepdim=True)
        factor = factor * (2 * color)
    return torch.addcmul(constant, wide, factor).to(x.dtype)


def translated(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move pictures (N, C, H, W) by whole pixels; the chances (N,) choose from −r to r, r an eighth of the side."""
    n, channels, height, width = x.shape
    rows, row_inside = _sources(height, down)
    columns, column_inside = _sources(width, right)
    index = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, height * width)
    moved = x.reshape(n, channels, height * width).gather(2, index.expand(-1, channels, -1))
    inside = (row_inside[:, :, None] & column_inside[:, None, :])[:, None]
    return moved.view(n, channels, height, width) * inside


def cut_out(x: Tensor, hole_y: Tensor, hole_x: Tensor) -> Tensor:
    """Put 0 into a rectangle of half the sides of pictures (N, C, H, W); the chances (N,) place its centre."""
    rows, columns = _covered(x.shape[2], hole_y), _covered(x.shape[3], hole_x)
    return x * ~(rows[:, :, None] & columns[:, None, :])[:, None]


def instance_noise(x: Tensor, deviation: float, generator: torch.Generator, share: Share | None = None) -> Tensor:
    """Add normal noise to pictures (N, C, H, W), real and fake: they overlap, so D cannot be certain at once.

    Sønderby et al. 2017, arXiv:1610.04490. On the CPU the generator draws the same noise for every device.
    """
    if not deviation:
        return x
    rows = share or Share.whole(len(x))
    noise = rows.draw(lambda count: torch.randn(count, *x.shape[1:], generator=generator, device=generator.device))
    return x + deviation * noise.to(x, non_blocking=True)


def _choice(chance: Tensor, count: int) -> Tensor:
    """Chances in [0, 1) with 24 bits → one of 0 … count − 1, all equally likely; rounding cannot reach `count`."""
    return (chance * count).long()


def _sources(side: int, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Where each of `side` rows or columns comes from, and whether that is inside the picture, both (N, side)."""
    reach = int(side * SHIFT + 0.5)
    offset = _choice(chance, 2 * reach + 1) - reach
    source = torch.arange(side, device=chance.device) - offset[:, None]
    return source.clamp(0, side - 1), (source >= 0) & (source < side)


def _covered(side: int, chance: Tensor) -> Tensor:
    """Whether each of `side` rows or columns is in the hole (N, side); an even hole has a centre between two."""
    hole = int(side * HOLE + 0.5)
    first = _choice(chance, side + 1 - hole % 2) - hole // 2
    place = torch.arange(side, device=chance.device)
    return (place >= first[:, None]) & (place < first[:, None] + hole)
