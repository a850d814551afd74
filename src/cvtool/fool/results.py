"""What is told of a changed picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvtool.fool.options import FoolOptions, Norm

if TYPE_CHECKING:
    from cvtool.models.predictions import Prediction

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """What a network says of a picture as it is in its file.

    Attributes:
        predictions: the likeliest classes, best first.
        of_label, of_target: the probabilities that matter; `of_target` is None without a target.
        margin: logit of the wrong class in front minus that of the best other; above 0: fooled.
    """

    predictions: tuple[Prediction, ...]
    of_label: Prediction
    of_target: Prediction | None
    margin: float


@dataclass(frozen=True, eq=False)
class Sticker:
    """What `patch` put on a picture.

    Attributes:
        pixels: (side, side, 3), cut out of the result.
        top, left: its upper left pixel.
        holds: share of random placements, none used to make it, at which it fools on this picture; None if it was not
            made for that.
    """

    pixels: Pixels
    top: int
    left: int
    holds: float | None


@dataclass(frozen=True, eq=False)
class FoolResult:
    """A changed picture, and how well it does.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1], of the levels that its file can have.
        success: the goal is reached by `pixels`.
        label: the class that the network saw in the original.
        target: the class that it is to see, or None for any other.
        original, adversarial: what the network says.
        linf, l2, l1, l0: the change, of values in [0, 1]; l0 in pixels.
        ssim, psnr: likeness of the two pictures; psnr in dB.
        survived: by kind of wear, whether the wrong class is still in front after it.
        sticker: of ``patch``.
        options: as used, with what the method chose.
        norm, eps, steps: as used.
        forward, backward: passes of single pictures through the network, of a batch in equal parts.
        seconds: wall time, of a batch in equal parts.
    """

    pixels: Pixels
    success: bool
    label: int
    target: int | None
    original: View
    adversarial: View
    linf: float
    l2: float
    l1: float
    l0: int
    ssim: float
    psnr: float
    survived: dict[str, bool]
    sticker: Sticker | None
    options: FoolOptions
    norm: Norm
    eps: float
    steps: int
    forward: int
    backward: int
    seconds: float
