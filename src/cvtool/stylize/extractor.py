"""What a network sees in a picture of any size: moments of its features and some of the maps, whole or tile by tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.hooks import features
from cvtool.models.folding import fold_batch_norm
from cvtool.stylize.losses import Moments, moments
from cvtool.stylize.receptive import Field, receptive_field
from cvtool.stylize.tiles import Slices, Tile, Window, plan_tiles
from cvtool.tensors import autocast, doubled, mirrored

if TYPE_CHECKING:
    from cvtool.models.loader import Model

Guides = Sequence[Tensor | None]
"""One for each region: how much each pixel belongs to it, (1, 1, H, W) in [0, 1]; None for the whole picture."""

EVERYWHERE: Guides = (None,)


@dataclass(frozen=True)
class Seen:
    """What a picture looks like to a network.

    Attributes:
        moments: for each region those of each style layer, then those of the colours.
        maps: {content layer: (1, C, h, w)}.
    """

    moments: list[list[Moments]]
    maps: Mapping[str, Tensor]


class Extractor:
    """Sees pictures, without the frame that zero padding would leave, in one go or tile by tile.

    The picture is continued by `margin` pixels on each side (mirrored, or repeated where it is too small for that),
    and that much is cut from the maps again.

    Args:
        model: the network.
        style_layers: whose moments are wanted.
        content_layers: whose maps are wanted.
        margin: in pixels.
        precision: as in `StylizeOptions`.
        tile: side of a tile in pixels; None sees the whole picture at once. Tiles change the memory that is needed,
            not what is seen: each has a halo as wide as the layers' receptive field.
    """

    def __init__(
        self,
        model: Model,
        style_layers: Sequence[str],
        content_layers: Sequence[str],
        margin: int,
        precision: str,
        tile: int | None = None,
    ) -> None:
        self.model = model
        self.module = fold_batch_norm(model.module, model.card.input_size)
        self.style_layers, self.content_layers = tuple(style_layers), tuple(content_layers)
        self.layers = tuple(dict.fromkeys((*style_layers, *content_layers)))
        self.margin = margin
        self.precision = precision
        self.tile = tile

    @property
    def settings(self) -> tuple[object, ...]:
        """What moments depend on besides network and picture."""
        return self.style_layers, self.margin, self.precision, self.tile

    @cached_property
    def field(self) -> Field:
        """How far the layers see, and on which grid they stand."""
        return receptive_field(self.module, self.layers, self.model.normalize)

    def __call__(self, picture: Tensor, guides: Guides = EVERYWHERE, *, maps: bool = True) -> Seen:
        """Picture (1, 3, H, W) in [0, 1] → what is seen, with its graph. Without `maps`, moments only."""
        wanted = _Wanted(self.style_layers, self.content_layers if maps else (), guides)
        padded = self._continue(picture) if self.margin else picture
        if self.tile is None or max(picture.shape[2:]) <= self.tile:
            seen = wanted.of({name: self._crop(item, picture, padded) for name, item in self._run(padded).items()})
        else:
            field = self.field
            tiles = plan_tiles(padded.shape[2], padded.shape[3], self.tile, field.halo, field.stride)
            frame = {name: self._window(picture, padded, stride) for name, stride in field.strides.items()}
            seen = wanted.unpack(_ByTiles.apply(padded, _Walk(self._run, tiles, field.strides, frame, wanted)))
        for region, guide in zip(seen.moments, guides, strict=True):
            region.append(moments(picture, share(guide, picture)))
        return seen

    def _run(self, padded: Tensor) -> dict[str, Tensor]:
        x = self.model.normalize(padded).contiguous(memory_format=torch.channels_last)
        with autocast(padded.device, self.precision):
            return features(self.module, x, self.layers)

    def _continue(self, picture: Tensor) -> Tensor:
        m = self.margin
        height, width = picture.shape[2:]
        # Up to a multiple of the margin, so that every stride up to it divides the padded size without remainder.
        return mirrored(picture, (m, m + -width % m, m, m + -height % m))

    def _crop(self, maps: Tensor, picture: Tensor, padded: Tensor) -> Tensor:
        if not self.margin:
            return maps
        for dim in (2, 3):
            stride = padded.shape[dim] / maps.shape[dim]
            start, stop = self._range(picture.shape[dim], maps.shape[dim], stride)
            maps = maps.narrow(dim, start, stop - start)
        return maps

    def _range(self, size: int, positions: int, stride: float) -> tuple[int, int]:
        """The positions of a padded picture's map that show the picture itself, in one dimension."""
        start = min(int(self.margin / stride), positions - 1)
        return start, min(max(start + 1, math.ceil((self.margin + size) / stride)), positions)

    def _window(self, picture: Tensor, padded: Tensor, stride: int) -> Window | None:
        """The same for a layer by its stride; None without a margin: everything counts."""
        if not self.margin:
            return None
        rows, columns = (self._range(picture.shape[d], -(-padded.shape[d] // stride), stride) for d in (2, 3))
        return rows, columns


def share(guide: Tensor | None, maps: Tensor) -> Tensor | None:
    """How much each position of `maps` (1, C, h, w) counts for a region: (h, w), sum 1; None for all alike."""
    if guide is None:
        return None
    weight = F.adaptive_avg_pool2d(guide, (maps.shape[2], maps.shape[3]))[0, 0]
    return weight / weight.sum().clamp_min(1e-12)


@dataclass(frozen=True)
class _Wanted:
    """What is to be seen, and its order in a flat list of tensors."""

    style_layers: Sequence[str]
    content_layers: Sequence[str]
    guides: Guides

    def of(self, maps: Mapping[str, Tensor]) -> Seen:
        """Of maps of the whole picture."""
        found = [[moments(maps[name], share(guide, maps[name])) for name in self.style_layers] for guide in self.guides]
        return Seen(found, {name: maps[name] for name in self.content_layers})

    def pack(self, seen: Seen) -> tuple[Tensor, ...]:
        """Means and second moments region by region, layer by layer; then the maps."""
        return (*(part for region in seen.moments for each in region for part in each), *seen.maps.values())

    def unpack(self, tensors: Sequence[Tensor]) -> Seen:
        """The inverse of `pack`."""
        rest = iter(tensors)
        found = [[Moments(next(rest), next(rest)) for _ in self.style_layers] for _ in self.guides]
        return Seen(found, {name: next(rest) for name in self.content_layers})


def at(slices: Slices) -> tuple[EllipsisType, slice, slice]:
    """Rows and columns of the last two dimensions."""
    return ..., slices[0], slices[1]


class _Walk:
    """Sees a padded picture tile by tile.

    Moments are sums over positions, and maps are put together from parts: so all that later losses depend on is known
    exactly after one walk without gradients, and a second one, a tile at a time, brings a gradient on it back to the
    pixels. Only one tile's graph is ever in memory.

    Args:
        run: padded picture or part of it → {layer: map}.
        tiles: a plan for the padded picture.
        strides: of the layers.
        windows: which part of each layer's map counts; None: all of it.
        wanted: what to see.
    """

    def __init__(
        self,
        run: Callable[[Tensor], dict[str, Tensor]],
        tiles: Sequence[Tile],
        strides: Mapping[str, int],
        windows: Mapping[str, Window | None],
        wanted: _Wanted,
    ) -> None:
        self.run, self.tiles, self.strides, self.windows, self.wanted = run, tiles, strides, windows, wanted
        self.shares: dict[str, list[Tensor]] = {}

    def see(self, padded: Tensor) -> tuple[Tensor, ...]:
        """The first walk: what is wanted, in `_Wanted.pack`'s order, without a graph."""
        sums: list[Tensor] = []
        whole: dict[str, Tensor] = {}
        for tile in reversed(self.tiles):  # the last one tells how large the maps are
            maps = self.run(padded[at(tile.outer)])
            if not self.shares:
                sizes = {name: self._size(name, tile, item) for name, item in maps.items()}
                self.shares = {name: self._shares(sizes[name], padded.device) for name in self.wanted.style_layers}
                whole = {n: maps[n].new_empty(1, maps[n].shape[1], *sizes[n]) for n in self.wanted.content_layers}
            seen = self._part(maps, tile)
            parts = [doubled(part) for region in seen.moments for each in region for part in each]
            sums = parts if not sums else [one.add_(other) for one, other in zip(sums, parts, strict=True)]
            for name, item in seen.maps.items():
                whole[name][at(self._place(name, tile)[1])] = item
        return (*(total.float().to(padded.device) for total in sums), *whole.values())

    def back(self, padded: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """The second walk: gradients on what `see` gave → the gradient on the padded picture."""
        total = torch.zeros_like(padded)
        wanted = self.wanted.unpack(gradients)
        for tile in self.tiles:
            part = padded[at(tile.outer)].detach().requires_grad_(True)
            with torch.enable_grad():
                seen = self._part(self.run(part), tile)
            there = {name: item[at(self._place(name, tile)[1])] for name, item in wanted.maps.items()}
            (found,) = torch.autograd.grad(
                self.wanted.pack(seen), part, self.wanted.pack(Seen(wanted.moments, there)), materialize_grads=True
            )
            total[at(tile.outer)] += found
        return total

    def _place(self, name: str, tile: Tile) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        return tile.on_map(self.strides[name], self.windows[name])

    def _size(self, name: str, last: Tile, maps: Tensor) -> tuple[int, int]:
        """Height and width of a layer's map of the whole picture, as far as it counts."""
        window, stride = self.windows[name], self.strides[name]
        if window is not None:
            (top, bottom), (left, right) = window
            return bottom - top, right - left
        starts = last.rows.outer_start // stride, last.columns.outer_start // stride
        return starts[0] + maps.shape[2], starts[1] + maps.shape[3]

    def _shares(self, size: tuple[int, int], device: torch.device) -> list[Tensor]:
        alike = torch.full((1, 1), 1 / (size[0] * size[1]), device=device).expand(size)
        found = [share(guide, torch.empty(1, 0, *size)) for guide in self.wanted.guides]
        return [alike if each is None else each for each in found]

    def _part(self, maps: Mapping[str, Tensor], tile: Tile) -> Seen:
        """What this tile adds: to the moments, and its part of the maps."""
        found: list[list[Moments]] = [[] for _ in self.wanted.guides]
        for name in self.wanted.style_layers:
            here, there = self._place(name, tile)
            for region, shares in zip(found, self.shares[name], strict=True):
                region.append(moments(maps[name][at(here)], shares[there]))
        return Seen(found, {name: maps[name][at(self._place(name, tile)[0])] for name in self.wanted.content_layers})


class _ByTiles(torch.autograd.Function):
    """`_Walk` as one differentiable operation: padded picture → the tensors of `_Wanted.pack`."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, walk: _Walk) -> tuple[Tensor, ...]:
        ctx.walk = walk
        ctx.save_for_backward(padded)
        return walk.see(padded)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (padded,) = ctx.saved_tensors
        return ctx.walk.back(padded, gradients), None
