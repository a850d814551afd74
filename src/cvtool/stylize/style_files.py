"""Styles without their pictures: raw moments at several sizes, in files that can be mixed like pictures."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cvtool.errors import BadInputError
from cvtool.files import read_input
from cvtool.stylize.grain import SIDE, SPACINGS
from cvtool.stylize.losses import Moments, mix_moments
from cvtool.tensor_files import decode_tensors, write_tensors

SIZES = tuple(round(64 * 2 ** (i / 2)) for i in range(11))
"""Longer sides of the style picture, in pixels, at which its moments are kept: half octaves from 64 to 2048."""

COLORS = "colors"
"""What the moments of the colours are called in a file; no layer has this name."""

_KEY = "style"
_GRAINS = tuple(f"grain {spacing}" for spacing in SPACINGS)


@dataclass(frozen=True, eq=False)
class StyleFile:
    """A style as its raw moments.

    Attributes:
        moments: {longer side of the style picture: moments of each of `layers`, then those of the colours}.
        layers: names of layers of `model`.
        model, fingerprint: the network, and its weights.
        pictures: what it was made of: ``name``, ``sha256`` and ``weight`` of each.
        grains: {longer side: what `cvtool.stylize.grain.grain` says}; empty in files from before it was kept.
    """

    moments: Mapping[int, Sequence[Moments]]
    layers: tuple[str, ...]
    model: str
    fingerprint: str
    pictures: tuple[Mapping[str, Any], ...]
    grains: Mapping[int, Sequence[Moments]] = field(default_factory=dict)

    def at(self, longer: int) -> list[Moments]:
        """Moments at a size of the style; between two kept sizes blended by the logarithm, outside the nearest."""
        return _between(self.moments, longer)

    def grain_at(self, longer: int) -> list[Moments]:
        """The grain at a size of the style, in the same way; empty where none was kept."""
        return _between(self.grains, longer) if self.grains else []

    @property
    def palette(self) -> Moments:
        """Moments of the colours at the largest size."""
        return self.moments[max(self.moments)][-1]


def _between(kept: Mapping[int, Sequence[Moments]], longer: int) -> list[Moments]:
    sizes = sorted(kept)
    above = bisect_left(sizes, longer)
    if above == len(sizes) or sizes[above] == longer or above == 0:
        return list(kept[sizes[min(above, len(sizes) - 1)]])
    low, high = sizes[above - 1], sizes[above]
    share = math.log(longer / low) / math.log(high / low)
    return [mix_moments(pair, (1 - share, share)) for pair in zip(kept[low], kept[high], strict=True)]


def write_style(path: Path, style: StyleFile, note: str = "") -> None:
    """Write a style; `note` is the provenance that `cvtool info` shows."""
    kept = ((style.moments, (*style.layers, COLORS)), (style.grains, _GRAINS))
    tensors = {
        f"{size}/{name}/{part}": tensor.contiguous().cpu()
        for parts, names in kept
        for size, each in parts.items()
        for name, moments in zip(names, each, strict=True)
        for part, tensor in moments._asdict().items()
    }
    facts = {
        "layers": list(style.layers),
        "sizes": sorted(style.moments),
        "model": style.model,
        "fingerprint": style.fingerprint,
        "pictures": [dict(picture) for picture in style.pictures],
    }
    write_tensors(path, tensors, _KEY, facts, note)


def read_style(path: Path) -> StyleFile:
    """Read what `write_style` wrote.

    Raises:
        BadInputError: missing, truncated, not a style, or with moments that no picture has.
    """
    data = read_input(path)
    try:
        facts, tensors = decode_tensors(data, _KEY)
        style = _decode(facts, tensors)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"'{path}' is not a style file, or is broken. Make one with: cvtool stylize --style PICTURE "
            "--save-style FILE.safetensors"
        ) from error
    return style


def _decode(facts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> StyleFile:
    layers = tuple(str(name) for name in facts["layers"])
    sizes = [int(size) for size in facts["sizes"]]
    if not sizes or min(sizes) < 1:
        raise ValueError("no sizes")

    def read(names: Sequence[str]) -> dict[int, tuple[Moments, ...]]:
        return {size: tuple(_moments(tensors, f"{size}/{name}") for name in names) for size in sizes}

    pictures = tuple(dict(picture) for picture in facts["pictures"])
    moments = read((*layers, COLORS))
    first = [len(each.mean) for each in moments[sizes[0]]]
    _check_lengths(moments, [*first[:-1], 3])
    grains = read(_GRAINS) if f"{sizes[0]}/{_GRAINS[0]}/mean" in tensors else {}
    _check_lengths(grains, [3 * SIDE**2] * len(_GRAINS))
    return StyleFile(moments, layers, str(facts["model"]), str(facts["fingerprint"]), pictures, grains)


def _check_lengths(kept: Mapping[int, Sequence[Moments]], wanted: Sequence[int]) -> None:
    """At all sizes the moments must be of so many numbers."""
    for size, each in kept.items():
        if [len(moments.mean) for moments in each] != list(wanted):
            raise ValueError(f"moments of other lengths at {size}")


def _moments(tensors: Mapping[str, torch.Tensor], name: str) -> Moments:
    mean, second = tensors[f"{name}/mean"].float(), tensors[f"{name}/second"].float()
    if mean.ndim != 1 or second.shape != (len(mean), len(mean)):
        raise ValueError(f"{name} has shapes {tuple(mean.shape)} and {tuple(second.shape)}")
    if not (mean.isfinite().all() and second.isfinite().all()):
        raise ValueError(f"{name} is not finite")
    return Moments(mean, second)
