"""Cuts: where a clip shows something that does not follow from the frame before. NumPy and OpenCV, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvtool.images import fit_longer_side, resize
from cvtool.stylize.video.flow import Pixels, motion

LOOK_SIDE = 128
"""Frames are compared at this longer side, in pixels."""

LEAST_VISIBLE = 0.3
"""Share of a frame that must have been there before. Measured: above .43 for frames of one shot a second apart, below
.06 for any two of thirteen pictures, and for halves of one picture that do not overlap."""

LEAST_CHANGE = 0.1
"""By which share of the pixels the colours' histogram must change: motion too fast to follow is no cut."""

LEVELS = 8
"""Of each channel, in the histogram."""


@dataclass(frozen=True)
class Shot:
    """Frames `first` to before `last`, of which each follows from the one before."""

    first: int
    last: int

    @property
    def frames(self) -> int:
        """How many."""
        return self.last - self.first


def find_shots(frames: Iterable[Pixels]) -> tuple[Shot, ...]:
    """Frames (H, W, 3) in [0, 1], of any size but all of the same → the shots they fall into, at least one."""
    cuts, before, count = [0], None, 0
    for frame in frames:
        small = resize(frame, *fit_longer_side(frame.shape[0], frame.shape[1], LOOK_SIDE), filter="bilinear")
        if before is not None and is_cut(before, small):
            cuts.append(count)
        before, count = small, count + 1
    return shots_of(cuts, count)


def shots_of(firsts: Sequence[int], frames: int) -> tuple[Shot, ...]:
    """From the first frames of all shots to the shots."""
    return tuple(Shot(first, last) for first, last in zip(firsts, [*firsts[1:], frames], strict=True))


def is_cut(before: Pixels, now: Pixels) -> bool:
    """Whether `now` shows something else than `before`: little of it can be found there, and its colours differ."""
    if np.abs(_histogram(now) - _histogram(before)).sum() / 2 < LEAST_CHANGE:
        return False
    return bool(motion(before, now).visible.mean() < LEAST_VISIBLE)


def _histogram(frame: Pixels) -> NDArray[np.float64]:
    """Share of the pixels in each of `LEVELS`³ colours."""
    bins = np.minimum((frame * LEVELS).astype(np.int64), LEVELS - 1) @ np.array([LEVELS * LEVELS, LEVELS, 1])
    return np.asarray(np.bincount(bins.ravel(), minlength=LEVELS**3) / bins.size)
