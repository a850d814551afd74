"""From pictures to the painter's inputs and back: what training and use share."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.stylize.instant.network import Painter
from cvtool.stylize.instant.statistics import COLORS, Encoder, Maps, Statistics, statistics, transported

RECOLORED_AT = 50.0
"""Strength from which on the content that enters the painter has the style's colours wholly."""


@torch.no_grad()
def moved(maps: Maps, style: Statistics, strength: Tensor, own: Statistics | None = None) -> dict[str, Tensor]:
    """The content's maps with the style's statistics; the colours in proportion to the strengths (N,).

    Args:
        maps: of N contents, or of parts of one.
        style: raw moments of N styles or one.
        strength: (N,) or (1,).
        own: raw moments of the whole content, where `maps` are of parts; None measures `maps`.
    """
    own = statistics(maps) if own is None else own
    there = {name: transported(each, own[name], style[name]) for name, each in maps.items()}
    share = (strength / RECOLORED_AT).clamp(max=1)[:, None, None, None]
    recolored = there[COLORS].clamp(0, 1)
    return {**there, COLORS: maps[COLORS] + share * (recolored - maps[COLORS])}


def painted(painter: Painter, encoder: Encoder, content: Tensor, style: Statistics, strength: Tensor) -> Tensor:
    """Contents (N, 3, H, W), sides multiples of 16; raw moments of N styles; strengths (N,) → (N, 3, H, W).

    Gradients reach the painter's weights, not the contents.
    """
    with torch.no_grad():
        maps = encoder(content)
    given = moved(maps, style, strength)
    found: Tensor = painter(given, content, painter.embedding(style, strength))
    return found
