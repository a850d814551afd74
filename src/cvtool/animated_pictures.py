"""Animated pictures (GIF, WebP, PNG), read by Pillow as the clips that they are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from cvtool.codecs.quiet import no_warnings
from cvtool.codecs.rasters import TooManyPixelsError, check_size, readable
from cvtool.errors import BadInputError
from cvtool.files import in_few_words, shown

SHORTEST_SHOWN = Fraction(1, 50)
"""Seconds; frames of animated pictures that ask for less are shown for `INSTEAD`, as every browser does."""
INSTEAD = Fraction(1, 10)


@dataclass(frozen=True)
class Animation:
    """What is known of an animated picture.

    Attributes:
        height, width: of a frame in pixels.
        durations: how long each frame is shown, in seconds.
        loops: how often it is shown, 0 for ever.
    """

    height: int
    width: int
    durations: tuple[Fraction, ...]
    loops: int


def is_animated_picture(head: bytes) -> bool:
    """Whether a file that begins so is of a format that can be animated."""
    return head.startswith((b"GIF8", b"\x89PNG")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def look_at(data: bytes, path: Path) -> Animation:
    """Go through all frames of a file's bytes; `path` is used in messages.

    Raises:
        BadInputError: it has a single frame, too many pixels, or is truncated or broken.
    """
    durations: list[Fraction] = []
    with _opened(data, path) as image, no_warnings:
        if getattr(image, "n_frames", 1) < 2:
            raise BadInputError(f"'{shown(path)}' is a single picture, not a clip. Leave out --video.")
        width, height = image.size
        for frame in ImageSequence.Iterator(image):
            frame.load()
            shown_for = Fraction(frame.info.get("duration", 0)).limit_denominator(1000) / 1000
            durations.append(shown_for if shown_for >= SHORTEST_SHOWN else INSTEAD)
        return Animation(height, width, tuple(durations), _loops(image))


def frames_of(data: bytes, path: Path, first: int, last: int) -> Iterator[NDArray[np.uint8]]:
    """Frames `first` to before `last` of what `look_at` has seen: (H, W, 4), the last channel is alpha.

    Raises:
        BadInputError: as `look_at`.
    """
    with _opened(data, path) as image:
        for number in range(first, min(last, getattr(image, "n_frames", 1))):
            with no_warnings:  # not longer: what is done with a frame may warn
                image.seek(number)
                levels = np.asarray(image.convert("RGBA"))
            yield levels


@contextmanager
def _opened(data: bytes, path: Path) -> Iterator[Image.Image]:
    try:
        with no_warnings:
            image = Image.open(io.BytesIO(data), formats=readable())
        with image:
            check_size(*image.size)
            yield image
    except (BadInputError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever they please on hostile bytes
        raise broken_clip(path, error) from error


def _loops(image: Image.Image) -> int:
    """How often it is shown. GIF counts repetitions, and says nothing for one showing."""
    repeated = image.info.get("loop")
    if image.format != "GIF":
        return int(repeated or 0)
    return 1 if repeated is None else 0 if repeated == 0 else int(repeated) + 1


def broken_clip(path: Path, error: Exception) -> BadInputError:
    """What to raise where a decoder has raised `error`."""
    text = in_few_words(error)
    if isinstance(error, (TooManyPixelsError, Image.DecompressionBombError)):
        return BadInputError(f"'{shown(path)}' is too large: it {text}. Make it smaller first.")
    return BadInputError(f"'{shown(path)}' is not a clip, or is truncated or broken ({text}). Fetch or save it again.")
