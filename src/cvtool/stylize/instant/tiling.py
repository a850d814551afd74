"""A painter at work on a picture that is too large for one pass: part by part, by statistics of the whole."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cvtool.stylize.instant.network import Painter
from cvtool.stylize.instant.painting import moved
from cvtool.stylize.instant.statistics import COLORS, LAYERS, STRIDE, Encoder, Statistics, raw_moments
from cvtool.stylize.losses import Moments

HALO = 192
"""Pixels around a tile that are painted with it and cut off: encoder and decoder together see about as far."""
SAMPLES, SAMPLE_SIDE = 4, 384
"""Parts along each side, and their sides in pixels, by which the decoder's maps are normalised."""

Slices = tuple[slice, slice]


def painted_by_tiles(
    painter: Painter, encoder: Encoder, content: Tensor, style: Statistics, strength: Tensor, side: int
) -> Tensor:
    """As `painting.painted` for one picture, in memory for tiles of `side` pixels, a multiple of 16.

    What the content's maps are moved by is measured of the whole picture. What the decoder's maps are normalised by
    is measured of `SAMPLES`² parts spread over it.
    """
    own = _statistics(encoder, content, side)
    embedding = painter.embedding(style, strength)
    result = torch.empty_like(content)
    with painter.holding():
        painter(*_sampled(encoder, content, style, strength, own), embedding)
        for inner, outer in tiles(content.shape[2], content.shape[3], side):
            part = cut(content, outer)
            found = painter(moved(encoder(part), style, strength, own), part, embedding)
            cut(result, inner).copy_(cut(found, within(inner, outer)))
    return result


def tiles(height: int, width: int, side: int) -> Iterator[tuple[Slices, Slices]]:
    """Tiles that cover a picture, and each with its halo, as far as the picture goes."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            inner = slice(top, min(top + side, height)), slice(left, min(left + side, width))
            outer = (
                slice(max(0, top - HALO), min(top + side + HALO, height)),
                slice(max(0, left - HALO), min(left + side + HALO, width)),
            )
            yield inner, outer


def cut(x: Tensor, where: Slices) -> Tensor:
    """Part of maps (N, C, H, W), sharing their memory."""
    return x[..., where[0], where[1]]


def within(inner: Slices, outer: Slices) -> Slices:
    """Where `inner` lies in what `outer` cuts out."""
    down, right = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True))
    return down, right


def _statistics(encoder: Encoder, content: Tensor, side: int) -> dict[str, Moments]:
    """Raw moments of the whole picture, tile by tile."""
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    for inner, outer in tiles(content.shape[2], content.shape[3], side):
        maps = encoder(cut(content, outer))
        share = (inner[0].stop - inner[0].start) * (inner[1].stop - inner[1].start) / content[0, 0].numel()
        for name, each in maps.items():
            stride = 1 if name == COLORS else LAYERS[name][1]
            down, right = (slice(s.start // stride, s.stop // stride) for s in within(inner, outer))
            moments = raw_moments(cut(each, (down, right)))
            before = sums.get(name, (0.0, 0.0))
            sums[name] = before[0] + share * moments.mean, before[1] + share * moments.second
    return {name: Moments(*each) for name, each in sums.items()}


def _sampled(
    encoder: Encoder, content: Tensor, style: Statistics, strength: Tensor, own: Statistics
) -> tuple[dict[str, Tensor], Tensor]:
    """Parts spread over the picture, as one batch: their maps with the style's statistics, and themselves."""
    height, width = content.shape[2:]
    sides = [min(SAMPLE_SIDE, height), min(SAMPLE_SIDE, width)]
    tops, lefts = (
        sorted({int(share) // STRIDE * STRIDE for share in torch.linspace(0, whole - side, SAMPLES)})
        for whole, side in zip((height, width), sides, strict=True)
    )
    parts = torch.cat([content[..., t : t + sides[0], x : x + sides[1]] for t in tops for x in lefts])
    return moved(encoder(parts), style, strength, own), parts
