"""What decoders share: which formats and sizes are read, and what is handed over before colours are managed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float32]

MAX_PIXELS = 178_956_970
"""Most pixels a picture may declare: the number at which Pillow, too, speaks of a decompression bomb."""


# Pillow knows more, but some of it starts programs (EPS) or takes any bytes for a picture (TGA).
READABLE = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "QOI", "ICO")
"""Pillow's names of the formats that are read."""


class TooManyPixelsError(ValueError):
    """A file declares more pixels than `MAX_PIXELS`."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Decoded pixels, still in the colours of their profile and not yet turned upright.

    Attributes:
        pixels: (H, W) grey or (H, W, 3) RGB, float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1], or None.
        profile: the embedded ICC profile, or None.
        orientation: EXIF orientation, 1 to 8.
        bits: 8 or 16, the depth of the file.
        unkept: why a profile that was to be kept has been applied nevertheless.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    profile: bytes | None = None
    orientation: int = 1
    bits: int = 8
    unkept: str = ""


@lru_cache(maxsize=1)
def readable() -> tuple[str, ...]:
    """Those of `READABLE` which this Pillow knows (AVIF only since 11.3)."""
    Image.init()
    return tuple(format for format in READABLE if format in Image.OPEN)


def check_size(width: int, height: int) -> None:
    """Refuse a declared size before anything is decoded.

    Raises:
        TooManyPixelsError: more than `MAX_PIXELS`.
        ValueError: no pixels at all.
    """
    if width < 1 or height < 1:
        raise ValueError(f"declares {width} × {height} pixels")
    if width * height > MAX_PIXELS:
        raise TooManyPixelsError(f"declares {width} × {height} pixels, more than the {MAX_PIXELS} allowed")


def unit(levels: NDArray[np.uint8]) -> Pixels:
    """8-bit levels → float32 in [0, 1], each the nearest to level / 255."""
    values: Pixels = levels.astype(np.float32) / np.float32(255)
    return values


def to_levels(pixels: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Values in [0, 1] (clipped) → the nearest 8-bit levels, of two as near the even one, as picture files get them."""
    levels: NDArray[np.uint8] = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return levels


def rounded(pixels: Pixels, levels: int = 256) -> Pixels:
    """Values in [0, 1] → the nearest of so many levels, of two as near the even one, as a file gives them back."""
    top = np.float32(levels - 1)
    nearest: Pixels = np.rint(pixels * top) / top
    return nearest


def normalised(samples: NDArray[Any]) -> Pixels:
    """Samples of any number type → float32 in [0, 1]: integers by the largest of their type, floats clipped.

    Raises:
        ValueError: complex numbers and the like.
    """
    if samples.dtype.kind == "f":
        return np.clip(np.nan_to_num(samples.astype(np.float32)), 0, 1)
    if samples.dtype.kind not in "ui":
        raise ValueError(f"samples of type {samples.dtype} are not pixels")
    values: Pixels = samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
    return np.clip(values, 0, 1)


def oriented(array: Pixels, orientation: int) -> Pixels:
    """`array` (H, W) or (H, W, C) turned upright as EXIF orientation 1 to 8 asks; any other value changes nothing."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)  # now 5 is right, 6 is mirrored left to right, 7 turned, 8 upside down
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.ascontiguousarray(np.flip(array, flips)) if flips or orientation == 5 else array
