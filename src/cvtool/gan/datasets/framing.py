"""One picture of any shape → a square of 8-bit levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvtool.codecs.rasters import to_levels
from cvtool.colorspaces import LUMA
from cvtool.gan.picture_options import SIZES, USUAL_SIZE, Fit
from cvtool.images import fit_longer_side, resize

Pixels = NDArray[np.uint8] | NDArray[np.float32]

_GAP = 4


def size_for(height: int, width: int, fit: Fit) -> int:
    """Side in pixels for pictures that are all of this size, see `PictureOptions.size`."""
    if height == width and height in SIZES:
        return height
    side = min(height, width) if fit is Fit.crop else max(height, width)
    return max((size for size in SIZES if size <= min(side, USUAL_SIZE)), default=SIZES[0])


def frame(pixels: Pixels, size: int, fit: Fit) -> NDArray[np.uint8]:
    """(H, W, C), uint8 or float32 in [0, 1] → (size, size, C) uint8, antialiased; levels that fit already stay.

    ``crop`` cuts the largest square out of the middle; ``pad`` keeps everything and fills the margins with the median
    colour of the border, so that a product on white stays on white.
    """
    height, width = pixels.shape[:2]
    if fit is Fit.crop:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
        height = width = side
    if height == width == size:
        return _levels(pixels)
    exact = _exact(_reduced(pixels, size))
    height, width = exact.shape[:2]
    inner_height, inner_width = fit_longer_side(height, width, size)
    inner = _levels(resize(exact, inner_height, inner_width))
    if inner_height == inner_width:
        return inner
    sheet = np.empty((size, size, pixels.shape[2]), dtype=np.uint8)
    sheet[:] = _levels(_border_color(exact))
    top, left = (size - inner_height) // 2, (size - inner_width) // 2
    sheet[top : top + inner_height, left : left + inner_width] = inner
    return sheet


def is_grey(pixels: Pixels) -> bool:
    """Whether all channels of (H, W, C) are the same."""
    if pixels.shape[-1] == 1:
        return True
    # A few pixels tell of almost every picture in colour, and a photograph has millions.
    return all(bool((part[..., 1:] == part[..., :1]).all()) for part in (pixels[::16, ::16], pixels))


def to_grey(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(…, C) → (…, 1); grey pictures stay exactly as they are."""
    if is_grey(levels):
        return levels[..., :1]
    grey: NDArray[np.uint8] = np.rint(levels.astype(np.float32) @ LUMA[:, None]).astype(np.uint8)
    return grey


def _reduced(pixels: Pixels, size: int) -> Pixels:
    """Large pictures made smaller by a whole number, each block by its mean: quick, and too little to be seen after the
    rest of the way, which is at least `_GAP` to one."""
    height, width, channels = pixels.shape
    factor = min(height, width) // (_GAP * size)
    if factor < 2:
        return pixels
    rows, columns = height // factor, width // factor
    top, left = (height - rows * factor) // 2, (width - columns * factor) // 2
    blocks = _exact(pixels[top : top + rows * factor, left : left + columns * factor])
    tall = blocks.reshape(rows, factor, columns * factor, channels).mean(axis=1)  # first where memory is in order
    reduced: NDArray[np.float32] = tall.reshape(rows, columns, factor, channels).mean(axis=2)
    return reduced


def _exact(pixels: Pixels) -> NDArray[np.float32]:
    values: NDArray[np.float32] = pixels.astype(np.float32, copy=False)
    return values / np.float32(255) if pixels.dtype == np.uint8 else values


def _levels(pixels: Pixels) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return to_levels(_exact(pixels))


def _border_color(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    color: NDArray[np.float32] = np.median(border, axis=0).astype(np.float32)
    return color
