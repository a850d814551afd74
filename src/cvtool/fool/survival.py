"""What a picture may go through after it is written: ``jpeg:75,resize:0.5,blur:1``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cvtool.errors import UsageError
from cvtool.fool.jpeg import jpeg
from cvtool.images import resampling_matrix
from cvtool.tensors import blurred


@dataclass(frozen=True)
class Wear:
    """One thing that may happen to a picture.

    Attributes:
        name: as given, e.g. ``"jpeg:75"``.
        apply: pictures (N, 3, H, W) in [0, 1] → (N, 3, h, w), differentiable; what it gives is exact.
    """

    name: str
    apply: Callable[[Tensor], Tensor]


def parse_wears(text: str) -> tuple[Wear, ...]:
    """``"jpeg:75,blur:1"`` → what is to be survived.

    Raises:
        UsageError: a word that is not ``jpeg:1…95``, ``resize:SHARE`` or ``blur:PIXELS``.
    """
    return tuple(_parse(word.strip()) for word in text.split(","))


def _parse(word: str) -> Wear:
    kind, _, amount = word.partition(":")
    try:
        strength = float(amount)
    except ValueError:
        strength = float("nan")
    low, high = _RANGES.get(kind, (1, 0))
    if not low <= strength <= high:
        raise UsageError(f"'{word}' is nothing to survive. Give jpeg:1 to jpeg:95, resize:0.05 to 4, blur:0.1 to 20.")
    return Wear(word, lambda x: _KINDS[kind](x, strength))


def _resize(x: Tensor, share: float) -> Tensor:
    height, width = (max(1, round(side * share)) for side in x.shape[2:])
    return on_levels(_resampled(x, height, width), 256)


def _resampled(x: Tensor, height: int, width: int) -> Tensor:
    rows = torch.from_numpy(resampling_matrix(x.shape[2], height, "bicubic")).to(x)
    columns = torch.from_numpy(resampling_matrix(x.shape[3], width, "bicubic")).to(x)
    return (rows @ x @ columns.T).clamp(0, 1)


def on_levels(x: Tensor, levels: int | None) -> Tensor:
    """Rounded to the levels of a file; the gradient passes."""
    return x if levels is None else x + ((x * (levels - 1)).round() / (levels - 1) - x).detach()


_RANGES = {"jpeg": (1, 95), "resize": (0.05, 4), "blur": (0.1, 20)}
_KINDS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "jpeg": lambda x, quality: jpeg(x, round(quality)),
    "resize": _resize,
    "blur": lambda x, sigma: on_levels(blurred(x, sigma), 256),
}
