"""What is shown of a picture while it comes to be: a file with the picture so far, the frames of an animation."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Note = Callable[[dict[str, str]], str]
"""The provenance, as text, of what an option shows: told the option and the name of its file."""

SECONDS_BETWEEN_PREVIEWS = 1.0
MOST_BYTES = 512 << 20
"""About what the frames of an animation may take in memory together."""
FEWEST_FRAMES = 16
"""Frames an animation may have however large they are."""


class Watcher:
    """Hears of the picture (H, W, 3) float in [0, 1] every few steps, and shows it as was asked for.

    Args:
        preview: file for the picture so far, written anew about once a second; None for no such file.
        animation: file for the animation, written at the end; None for none.
        so_far: says how the preview comes to be; asked once.
    """

    def __init__(self, preview: Path | None, animation: Path | None, so_far: Note = lambda option: "") -> None:
        self._preview, self._animation, self._so_far = preview, animation, so_far
        self._frames = FrameCollector()
        self._previewed = -SECONDS_BETWEEN_PREVIEWS

    @property
    def wanted(self) -> bool:
        """Whether anything is to be shown."""
        return self._preview is not None or self._animation is not None

    def __call__(self, pixels: NDArray[np.float32]) -> None:
        """Take the picture so far."""
        if self._animation is not None:
            self._frames(pixels)
        if time.monotonic() - self._previewed >= SECONDS_BETWEEN_PREVIEWS:
            if self._preview is not None:
                _show(pixels, self._preview, self._note_so_far)
            self._previewed = time.monotonic()

    def finish(self, pixels: NDArray[np.float32], made: Note) -> None:
        """Take the result: the preview shows it, the animation ends with it and is written.

        Args:
            pixels: of the result.
            made: says how it came to be.

        Raises:
            CvtoolError: a file cannot be written.
        """
        if self._preview is not None:
            _show(pixels, self._preview, made({"preview": self._preview.name}))
        if self._animation is not None:
            from cvtool.animation import write_animation

            note = made({"animate": self._animation.name})
            write_animation(self._animation, self._frames.frames(pixels), note=note)

    @cached_property
    def _note_so_far(self) -> str:
        return self._so_far({} if self._preview is None else {"preview": self._preview.name})


def _show(pixels: NDArray[np.float32], preview: Path, note: str) -> None:
    from cvtool.files import write_atomically
    from cvtool.images import encode_picture, format_of

    write_atomically(preview, encode_picture(pixels, format_of(preview), note=note or None))


class FrameCollector:
    """Keeps evenly spaced frames of a run whose length nobody knows beforehand.

    When there are too many, or too many bytes of them, every second one is forgotten and from then on only every second
    new one is kept; so memory stays bounded and the pace of the animation even.

    Args:
        limit: frames kept at most, at least 2.
    """

    def __init__(self, limit: int = 240) -> None:
        self._limit = limit
        self._stride = 1
        self._seen = 0
        self._kept: list[NDArray[np.uint8]] = []

    def __call__(self, pixels: NDArray[np.float32]) -> None:
        """Take a picture (H, W, 3) float in [0, 1]; kept in 8 bits, a quarter of the memory."""
        if self._seen % self._stride == 0:
            self._kept.append(_levels(pixels))
        self._seen += 1
        while self._too_many():
            self._kept = self._kept[::2]
            self._stride *= 2

    def _too_many(self) -> bool:
        count, size = len(self._kept), sum(frame.nbytes for frame in self._kept)
        return count > self._limit or (count > FEWEST_FRAMES and size > MOST_BYTES)

    def frames(self, last: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
        """All kept frames (H, W, 3) uint8 at the size of `last` (H, W, 3) float in [0, 1], which ends them."""
        affordable = max(FEWEST_FRAMES, MOST_BYTES // _levels(last).nbytes)
        kept = self._kept[:: -(-len(self._kept) // affordable) or 1]
        return [_at_size(frame, *last.shape[:2]) for frame in [*kept, _levels(last)]]


def _levels(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    from cvtool.codecs.rasters import to_levels

    return to_levels(pixels)


def _at_size(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    from cvtool.images import resize

    if frame.shape[:2] == (height, width):
        return frame
    return _levels(resize((frame / 255).astype("float32"), height, width))
