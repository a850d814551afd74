"""Styles without their pictures: raw moments at several sizes, in files that can be mixed like pictures."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cvtool.errors import BadInputError
from cvtool.files import read_input
from cvtool.stylize.losses import Moments, mix_moments
from cvtool.tensor_files import decode_tensors, write_tensors

SIZES = tuple(round(64 * 2 ** (i / 2)) for i in range(11))
"""Longer sides of the style picture, in pixels, at which its moments are kept: half octaves from 64 to 2048."""

COLORS = "colors"
"""What the moments of the colours are called in a file; no layer has this name."""

_KEY = "style"


@dataclass(frozen=True, eq=False)
class StyleFile:
    """A style as its raw moments.

    Attributes:
        moments: {longer side of the style picture: moments of each of `layers`, then those of the colours}.
        layers: names of layers of `model`.
        model, fingerprint: the network, and its weights.
        pictures: what it was made of: ``name``, ``sha256`` and ``weight`` of each.
    """

    moments: Mapping[int, tuple[Moments, ...]]
    layers: tuple[str, ...]
    model: str
    fingerprint: str
    pictures: tuple[Mapping[str, Any], ...]

    def at(self, longer: int) -> list[Moments]:
        """Moments at a size of the style; between two kept sizes blended by the logarithm, outside the nearest."""
        sizes = sorted(self.moments)
        above = bisect_left(sizes, longer)
        if above == len(sizes) or sizes[above] == longer or above == 0:
            return list(self.moments[sizes[min(above, len(sizes) - 1)]])
        low, high = sizes[above - 1], sizes[above]
        share = math.log(longer / low) / math.log(high / low)
        pairs = zip(self.moments[low], self.moments[high], strict=True)
        return [mix_moments(pair, (1 - share, share)) for pair in pairs]

    @property
    def palette(self) -> Moments:
        """Moments of the colours at the largest size."""
        return self.moments[max(self.moments)][-1]


def write_style(path: Path, style: StyleFile, note: str = "") -> None:
    """Write a style; `note` is the provenance that `cvtool info` shows."""
    names = (*style.layers, COLORS)
    tensors = {
        f"{size}/{name}/{part}": tensor.contiguous().cpu()
        for size, each in style.moments.items()
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
    moments = {
        int(size): tuple(_moments(tensors, f"{int(size)}/{name}") for name in (*layers, COLORS))
        for size in facts["sizes"]
    }
    if not moments or min(moments) < 1:
        raise ValueError("no sizes")
    pictures = tuple(dict(picture) for picture in facts["pictures"])
    return StyleFile(moments, layers, str(facts["model"]), str(facts["fingerprint"]), pictures)


def _moments(tensors: Mapping[str, torch.Tensor], name: str) -> Moments:
    mean, second = tensors[f"{name}/mean"].float(), tensors[f"{name}/second"].float()
    if mean.ndim != 1 or second.shape != (len(mean), len(mean)):
        raise ValueError(f"{name} has shapes {tuple(mean.shape)} and {tuple(second.shape)}")
    if not (mean.isfinite().all() and second.isfinite().all()):
        raise ValueError(f"{name} is not finite")
    return Moments(mean, second)


def average(several: Sequence[Sequence[Moments]], weights: Sequence[float]) -> tuple[Moments, ...]:
    """Of one size: the moments of several pictures, layer by layer, mixed by `weights` with sum 1."""
    return tuple(mix_moments(layer, weights) for layer in zip(*several, strict=True))
