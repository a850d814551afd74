"""What a layer sees: how far around its own pixels, and on which grid. Measured, so it holds for any network.

A feature sees the pixels on which it has a gradient. A network that mixes all positions (squeeze and excitation,
attention, instance norm) sees the whole picture. What was found is then tried: a tile must give what the whole picture
gives.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cvtool.errors import UsageError
from cvtool.hooks import features
from cvtool.stylize.tiles import Side, Tile, plan_sides

PICTURES = 2
"""Random pictures that are looked at together: a ReLU that is dead at the edge of what is seen is not so in all."""

THICKNESS = (32, 160)
"""Pixels across the strip that is shown; the second for networks that cannot take the first."""

FIRST_LENGTH, LAST_LENGTH = 256, 2048
"""Pixels along it: doubled until all directions have an end."""

MOST_STRIDE = 64
"""Pixels; a grid coarser than this is given up."""

TOLERANCE = 1e-4
"""Relative: kernels for other shapes sum in another order."""


@dataclass(frozen=True)
class Field:
    """What the named layers need around a tile.

    Attributes:
        halo: pixels beyond a tile's inner box, on each side, that its features depend on.
        stride: tiles begin at multiples of it.
        strides: pixels per position of each layer.
    """

    halo: int
    stride: int
    strides: Mapping[str, int]


_FIELDS: WeakKeyDictionary[nn.Module, dict[tuple[str, ...], Field]] = WeakKeyDictionary()


def receptive_field(
    module: nn.Module, layers: Sequence[str], normalize: Callable[[Tensor], Tensor] | None = None
) -> Field:
    """The field of the layers `layers` of `module`; found once for each network.

    Args:
        module: takes (N, 3, H, W).
        layers: names as in `module.named_modules()`.
        normalize: from pixels in [0, 1] to what `module` takes, e.g. `Model.normalize`; None passes them on.

    Raises:
        UnknownNameError: a name is not a layer of `module`.
        UsageError: some layer depends on the whole picture or on where it stands in it, or the network takes one size
            only: it cannot work on tiles.
    """
    names = tuple(dict.fromkeys(layers))
    known = _FIELDS.setdefault(module, {})
    if names not in known:
        known[names] = _measure(module, names, normalize or (lambda pixels: pixels))
    return known[names]


def _measure(module: nn.Module, names: tuple[str, ...], normalize: Callable[[Tensor], Tensor]) -> Field:
    if not names:
        return Field(0, 1, {})
    # On the CPU in float32: the answer is the network's, not that of a device's fast kernels.
    probe = _Probe(copy.deepcopy(module).cpu().float().requires_grad_(False), names, normalize)
    strides = probe.start()
    stride = math.lcm(*strides.values())
    # A branch inside can be coarser than the layers that are asked for.
    while stride <= MOST_STRIDE:
        field = Field(probe.halo(strides, stride), stride, strides)
        if probe.agrees(field):
            return field
        stride *= 2
    raise UsageError(
        "This network's features depend on where they stand in the picture, so it cannot work on tiles. "
        "Use --tile off, or another --model."
    )


class _Probe:
    """A network and the layers that are asked about, shown strips of random pixels.

    Strips lie along dimension 2 (rows) or 3 (columns) of a picture.
    """

    def __init__(self, module: nn.Module, names: tuple[str, ...], normalize: Callable[[Tensor], Tensor]) -> None:
        self.module = module
        self.names = names
        self.normalize = normalize
        self.random = torch.Generator().manual_seed(0)
        self.thickness = 0

    def start(self) -> dict[str, int]:
        """Find strips that the network takes, and pixels per position of each layer."""
        errors: list[Exception] = []
        for self.thickness in THICKNESS:
            try:
                return self._strides()
            except (RuntimeError, AssertionError, ValueError) as error:  # whatever torch and the zoos raise for a size
                errors.append(error)
        raise UsageError(
            "This network does not take pictures of any size, so it cannot work on tiles. "
            "Use --tile off, or another --model."
        ) from errors[-1]

    def _strides(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for dim in (2, 3):
            short, long = (self._see(self._strip(length, dim)) for length in (FIRST_LENGTH, 2 * FIRST_LENGTH))
            for name in self.names:
                more = long[name].shape[dim] - short[name].shape[dim]
                stride = FIRST_LENGTH // more if more > 0 and FIRST_LENGTH % more == 0 else 0
                if long[name].ndim != 4 or not stride or found.setdefault(name, stride) != stride:
                    raise UsageError(
                        f"Layer '{name}' has no grid of positions, so the network cannot work on tiles. "
                        "Use --tile off, or other layers."
                    )
        return found

    def halo(self, strides: Mapping[str, int], stride: int) -> int:
        """Pixels around a tile on the grid `stride` that the layers see."""
        # With padding of the kind SAME, what is seen moves with the rest of size / stride; 0 and 1 are its extremes.
        rests = (0, 1) if stride > 1 else (0,)
        return max(self._reach(dim, rest, strides, stride) for dim in (2, 3) for rest in rests)

    def _reach(self, dim: int, rest: int, strides: Mapping[str, int], stride: int) -> int:
        length = FIRST_LENGTH
        while length <= LAST_LENGTH:
            found = self._reach_within(length, dim, rest, strides, stride)
            if found is not None:
                return found
            length *= 2
        raise UsageError(
            f"The layers {', '.join(self.names)} see the whole picture, or more than {LAST_LENGTH // 2} pixels around, "
            "so this network cannot work on tiles. Use --tile off, or another --model such as efficientnet-lite0."
        )

    def _reach_within(self, length: int, dim: int, rest: int, strides: Mapping[str, int], stride: int) -> int | None:
        """Reach of one cell of the grid in the middle of a strip of this length; None where it reaches an end."""
        start = length // 2 // stride * stride
        strip = self._strip(length + rest, dim).requires_grad_(True)
        with torch.enable_grad():
            maps = features(self.module, self.normalize(strip), self.names)
            cells = [maps[name].narrow(dim, start // strides[name], stride // strides[name]) for name in self.names]
            # All channels, all positions across and all layers at once; random signs, so that nothing cancels.
            total = torch.stack([(cell * torch.randn(cell.shape, generator=self.random)).sum() for cell in cells]).sum()
        (gradient,) = torch.autograd.grad(total, strip)
        seen = (gradient != 0).any(dim=5 - dim).any(dim=1).any(dim=0).nonzero()
        first, last = (int(seen.min()), int(seen.max())) if len(seen) else (start, start)
        if first == 0 or last == length + rest - 1:
            return None
        return max(0, start - first, last + 1 - (start + stride))

    def agrees(self, field: Field) -> bool:
        """Whether a tile in the middle gives what the whole picture gives there."""
        return all(self._agrees(field, dim, rest) for dim, rest in ((2, 1), (3, field.stride - 1)))

    def _agrees(self, field: Field, dim: int, rest: int) -> bool:
        room, grid = -(-field.halo // field.stride) * field.stride, field.stride
        begin = 3 * grid  # an odd multiple: a coarser grid inside the network would be found out
        side = Side(begin, begin + 2 * room + 2 * grid + rest, begin + room, begin + room + 2 * grid, is_last=False)
        strip = self._strip(side.outer_stop + begin, dim)
        whole = self._see(strip)
        across = plan_sides(self.thickness, 0, 0, 1)[0]
        tile = Tile(side, across) if dim == 2 else Tile(across, side)
        maps = self._see(strip[..., tile.outer[0], tile.outer[1]])
        for name, stride in field.strides.items():
            here, there = side.on_map(stride)
            part = maps[name].narrow(dim, here.start, here.stop - here.start)
            wanted = whole[name].narrow(dim, there.start, there.stop - there.start)
            if part.shape != wanted.shape or (part - wanted).norm() > TOLERANCE * wanted.norm():
                return False
        return True

    def _strip(self, length: int, dim: int) -> Tensor:
        """Noise (N, 3, H, W) in [0, 1]."""
        size = (length, self.thickness) if dim == 2 else (self.thickness, length)
        return torch.rand(PICTURES, 3, *size, generator=self.random)

    def _see(self, strip: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return features(self.module, self.normalize(strip), self.names)
