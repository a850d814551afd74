"""Where pixels come from: optical flow between frames, what it uncovers, warping. NumPy and OpenCV, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvtool.codecs.rasters import to_levels

Pixels = NDArray[np.float32]
Flow = NDArray[np.float32]

MAX_FLOW_SIDE = 1024
"""Flow is searched for in frames of at most this longer side, in pixels; that of larger ones is enlarged."""
LEAST_FLOW_SIDE = 64
"""Smaller frames are enlarged for the search: its patches are 8 pixels wide."""

CHANGED = 0.12
"""A pixel whose colours differ this much (root mean square over channels) from where it should come from does not."""


@dataclass(frozen=True, eq=False)
class Motion:
    """How one frame follows from another.

    Attributes:
        back: (H, W, 2) float32, x before y: where each pixel was in the earlier frame, relative to where it is now,
            in pixels.
        visible: (H, W) bool: it could be seen there, and the flow is to be trusted.
    """

    back: Flow
    visible: NDArray[np.bool_]


def motion(before: Pixels, now: Pixels) -> Motion:
    """Frames (H, W, 3) float32 in [0, 1] → how the pixels of `now` moved since `before`.

    Dense inverse search (Kroeger et al. 2016, arXiv:1603.03590) both ways. Pixels where the two contradict each other,
    and those beside motion boundaries, do not count as visible: the tests of Sundaram, Brox, Keutzer (2010), with the
    numbers of Ruder, Dosovitskiy, Brox (2016), arXiv:1604.08610, section 5. Differs: pixels that come from outside the
    frame, or whose colours changed, do not count either.
    """
    forth, back = _search(before, now), _search(now, before)
    there = warp(forth, back)
    gap = np.square(there + back).sum(-1)
    lengths = np.square(there).sum(-1) + np.square(back).sum(-1)
    disagree = gap > 0.01 * lengths + 0.5
    slopes = sum(np.square(np.gradient(back[..., i], axis=axis)) for i in (0, 1) for axis in (0, 1))
    boundary = slopes > 0.01 * np.square(back).sum(-1) + 0.002
    changed = np.sqrt(np.square(warp(before, back) - now).mean(-1)) > CHANGED
    visible = ~(disagree | boundary | changed | _outside(back))
    return Motion(back, np.asarray(visible, dtype=bool))


def warp(image: NDArray[np.float32], back: Flow, *, sharp: bool = False) -> NDArray[np.float32]:
    """Take each pixel of the result from ``image[y + back_y, x + back_x]``; beyond the border, from its nearest pixel.

    Args:
        image: (H, W, C) float32.
        back: (H, W, 2), x before y, in pixels.
        sharp: interpolate by Lanczos over 8 × 8 pixels, which loses the least detail and may overshoot;
            otherwise linearly.
    """
    import cv2

    height, width = back.shape[:2]
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    how = cv2.INTER_LANCZOS4 if sharp else cv2.INTER_LINEAR
    warped = cv2.remap(image, xs + back[..., 0], ys + back[..., 1], how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.float32)


def followed(picture: Pixels, motion: Motion) -> Pixels:
    """The earlier picture (H, W, 3) carried along: what the later one would look like if only things moved."""
    return np.clip(warp(picture, motion.back, sharp=True), 0, 1)


def flicker(before: Pixels, now: Pixels, motion: Motion) -> float:
    """Root mean square difference, in [0, 1], of what is visible in both pictures once motion is undone.

    The temporal error of Ruder et al. (2016), section 6, for two frames; NaN when nothing is visible.
    """
    if not motion.visible.any():
        return float("nan")
    difference = warp(before, motion.back) - now
    return float(np.sqrt(np.square(difference[motion.visible]).mean()))


def _search(source: Pixels, target: Pixels) -> Flow:
    """Flow (H, W, 2) from each pixel of `source` to where it is in `target`."""
    import cv2

    height, width = source.shape[:2]
    small_height, small_width = _search_size(height, width)
    greys = [_grey(frame, small_height, small_width) for frame in (source, target)]
    with _one_thread():  # the search goes by stripes, one per thread, and its result depends on their number
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow = search.calc(greys[0], greys[1], np.zeros((small_height, small_width, 2), dtype=np.float32))
    if (small_height, small_width) != (height, width):
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        flow = flow * np.array([width / small_width, height / small_height], dtype=np.float32)
    return np.ascontiguousarray(flow, dtype=np.float32)


def _search_size(height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, MAX_FLOW_SIDE / max(height, width))
    factor = max(factor, LEAST_FLOW_SIDE / min(height, width)) if min(height, width) < LEAST_FLOW_SIDE else factor
    return max(LEAST_FLOW_SIDE, round(height * factor)), max(LEAST_FLOW_SIDE, round(width * factor))


def _grey(frame: Pixels, height: int, width: int) -> NDArray[np.uint8]:
    import cv2

    grey = cv2.cvtColor(to_levels(frame), cv2.COLOR_RGB2GRAY)
    if grey.shape != (height, width):
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(grey)


def _outside(back: Flow) -> NDArray[np.bool_]:
    height, width = back.shape[:2]
    xs, ys = np.meshgrid(np.arange(width), np.arange(height))
    x, y = xs + back[..., 0], ys + back[..., 1]
    return np.asarray((x < 0) | (y < 0) | (x > width - 1) | (y > height - 1))


@contextmanager
def _one_thread() -> Iterator[None]:
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
