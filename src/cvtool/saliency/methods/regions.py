"""XRAI: attributions collected over regions of the picture, the best regions first."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.progress import Step
from cvtool.saliency.methods.integrated import PATH, between_black_and_white
from cvtool.saliency.question import Question
from cvtool.saliency.registry import Needs, saliency_method

SCALES = (50, 100, 150, 250, 500, 1200)
SMOOTHING = 0.8
SMALLEST = 150  # pixels of a segment
DILATION = 5  # pixels by which segments reach over their border, since edges carry attribution
LEAST_NEW = 50  # pixels that a further region must add
"""The authors' numbers."""


@saliency_method(
    "xrai", needs=Needs.gradient, slow=True, uses=PATH, paper="Kapishnikov et al. (2019), arXiv:1906.02825"
)
def xrai(question: Question) -> Tensor:
    """Every pixel gets the mean integrated gradient of the region through which it came in.

    Segments of several sizes compete: again and again the one whose new pixels have the highest mean comes in.
    """
    attribution = between_black_and_white(question).amax(1).cpu().numpy()
    pixels = question.x.permute(0, 2, 3, 1).cpu().numpy()
    maps = []
    for number, (one, picture) in enumerate(zip(attribution, pixels, strict=True), start=1):
        maps.append(collect(one, segments(picture)))
        question.progress(Step("regions", number, len(pixels)))
    return torch.from_numpy(np.stack(maps)).to(question.x.device)


def segments(picture: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """Overlapping segments (H, W) of a picture (H, W, 3) in [0, 1], at all `SCALES`, by Felzenszwalb's method."""
    from skimage.morphology import dilation, disk
    from skimage.segmentation import felzenszwalb

    found = []
    low, high = picture.min(), picture.max()
    stretched = (picture - low) / max(high - low, 1e-6) * 2 - 1  # segments must not depend on brightness and contrast
    for scale in SCALES:
        labels = felzenszwalb(stretched, scale=scale, sigma=SMOOTHING, min_size=SMALLEST)
        found += [dilation(labels == label, disk(DILATION)) for label in range(labels.max() + 1)]
    return found


def collect(attribution: NDArray[np.float32], masks: list[NDArray[np.bool_]]) -> NDArray[np.float32]:
    """Attribution (H, W) and segments (H, W) → the mean gain of the segment that brought each pixel in."""
    result = np.full_like(attribution, -np.inf)
    left = np.ones_like(attribution, dtype=bool)
    waiting = list(masks)
    while waiting:
        waiting = [mask for mask in waiting if (mask & left).sum() >= LEAST_NEW]
        if not waiting:
            break
        gains = [attribution[mask & left].mean() for mask in waiting]
        best = waiting.pop(int(np.argmax(gains)))
        result[best & left] = max(gains)
        left &= ~best
    if left.any():
        result[left] = attribution[left].mean()
    return result
