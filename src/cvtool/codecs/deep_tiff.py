"""TIFF of 16 and more bits per sample, integers or floating point, by a detour: LibTIFF unpacks it as grey bytes.

Pillow brings LibTIFF with all its compressions, but no mode for deep colours. So the file gets a directory that
describes the same strips or tiles as an 8-bit grey picture, as many times wider as a pixel has bytes, and what
LibTIFF unpacks from it are the bytes of the samples. Undoing the differences between neighbours (TIFF's predictor)
and putting channels together is done here.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from cvtool.codecs.color_profiles import lab_to_srgb
from cvtool.codecs.picture_writers import LONG, SHORT, TiffEntry, tiff_directory
from cvtool.codecs.quiet import no_pillow_limit, no_stderr
from cvtool.codecs.rasters import MAX_PIXELS, Pixels, Raster, TooManyPixelsError, check_size, normalised

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR = 273, 274, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 317, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, DEPTH, ICC_PROFILE = 338, 339, 32997, 34675

MAX_BITS_PER_PIXEL = 128  # RGBA in 32-bit floats; only smaller pictures may have more

TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

LOSSLESS = {1: "none", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate", 34925: "LZMA", 50000: "Zstandard"}
UNPREDICTED = (1, 32773)  # a predictor means nothing with these, and LibTIFF takes no notice of it
OLD_JPEG = 6  # keeps its pixels elsewhere than in strips
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CIELAB = 0, 1, 2, 8  # photometric interpretations read here
KINDS = {1: "u", 2: "i", 3: "f"}  # SampleFormat → NumPy's letter
HORIZONTAL, FLOATING_POINT = 2, 3  # predictors
SEPARATE_PLANES = 2
IGNORED_SAMPLE, ASSOCIATED_ALPHA = 0, 1  # values of ExtraSamples; 2 is ordinary alpha


@dataclass(frozen=True)
class _Layout:
    """How the first picture of a file is stored. `cell` is (rows, columns) of a strip or tile, all of one size."""

    width: int
    height: int
    cell: tuple[int, int]
    tiled: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    bits: tuple[int, ...]
    formats: tuple[int, ...]
    samples: int
    planes: int
    compression: int
    fill_order: int
    predictor: int
    photometric: int
    extra: tuple[int, ...]
    orientation: int
    profile: bytes | None
    byte_order: str

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of strips or tiles in one plane."""
        return -(-self.height // self.cell[0]), -(-self.width // self.cell[1])

    @property
    def stored_size(self) -> tuple[int, int]:
        """(rows, columns) that are stored: tiles reach over the edge of the picture, strips do not."""
        if not self.tiled:
            return self.height, self.width
        return self.grid[0] * self.cell[0], self.grid[1] * self.cell[1]


def decode(data: bytes) -> Raster | None:
    """The first picture of a TIFF, if it has 16 or more bits per sample of grey, RGB or CIELAB; else None.

    Raises:
        ValueError and others: truncated, broken, too many pixels, or of a kind not supported.
    """
    layout = _layout(data)
    if layout.compression == OLD_JPEG:
        return None
    _check_segments(layout, len(data))
    if layout.bits[0] not in (16, 32, 64) or layout.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CIELAB):
        return None
    return _raster(layout, _samples(layout, data))


def _check_directory(data: bytes) -> None:
    """Pillow leaves out what is cut off of a directory, and with it perhaps the orientation: refused here instead."""
    order, big = ("<" if data[:2] == b"II" else ">"), 43 in data[2:4]
    number = f"{order}{'Q' if big else 'I'}"  # BigTIFF (43) has wider numbers
    wide = struct.calcsize(number)
    (start,) = struct.unpack_from(number, data, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)
    entry, first = 4 + 2 * wide, start + (8 if big else 2)
    if first + count * entry + wide > len(data):
        raise ValueError("the TIFF ends early")
    for position in range(first, first + count * entry, entry):
        (kind,) = struct.unpack_from(f"{order}H", data, position + 2)
        values, offset = struct.unpack_from(f"{order}2{number[1]}", data, position + 4)
        size = values * TYPE_SIZES.get(kind, 0)
        if size > wide and offset + size > len(data):
            raise ValueError("the TIFF ends early")


def _layout(data: bytes) -> _Layout:
    _check_directory(data)
    directory = TiffImagePlugin.ImageFileDirectory_v2(data[:16] if data[2] == 43 else data[:8])
    stream = io.BytesIO(data)
    stream.seek(directory.next)
    directory.load(stream)

    def numbers(tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        value = directory.get(tag, default)
        return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)

    def number(tag: int, default: int | None = None) -> int:
        return numbers(tag, () if default is None else (default,))[0]

    if number(DEPTH, 1) != 1:
        raise ValueError("the TIFF holds a volume, not a picture")
    width, height, tiled = number(WIDTH), number(LENGTH), TILE_WIDTH in directory
    strip = min(number(ROWS_PER_STRIP, height), height), width
    profile = directory.get(ICC_PROFILE)
    samples, compression = number(SAMPLES, 1), number(COMPRESSION, 1)
    return _Layout(
        width=width,
        height=height,
        cell=(number(TILE_LENGTH), number(TILE_WIDTH)) if tiled else strip,
        tiled=tiled,
        offsets=numbers(TILE_OFFSETS if tiled else STRIP_OFFSETS),
        counts=numbers(TILE_COUNTS if tiled else STRIP_COUNTS),
        bits=numbers(BITS, (1,)),
        formats=numbers(SAMPLE_FORMAT, (1,)),
        samples=samples,
        planes=samples if number(PLANAR, 1) == SEPARATE_PLANES else 1,
        compression=compression,
        fill_order=number(FILL_ORDER, 1),
        predictor=1 if compression in UNPREDICTED else number(PREDICTOR, 1),
        photometric=number(PHOTOMETRIC, BLACK_IS_ZERO),
        extra=numbers(EXTRA_SAMPLES),
        orientation=number(ORIENTATION, 1),
        profile=profile if isinstance(profile, bytes) else None,
        byte_order="<" if data[:2] == b"II" else ">",
    )


def _check_segments(layout: _Layout, size: int) -> None:
    """The size must be allowed, and every strip or tile be there and lie inside the file."""
    if min(layout.cell) < 1 or layout.samples < 1:
        raise ValueError("the TIFF has strips without pixels")
    rows, columns = layout.stored_size
    check_size(columns, rows)
    if rows * columns * layout.samples * layout.bits[0] > MAX_PIXELS * MAX_BITS_PER_PIXEL:
        raise TooManyPixelsError(f"declares {layout.samples} samples of {layout.bits[0]} bits for each of its pixels")
    down, across = layout.grid
    if min(len(layout.offsets), len(layout.counts)) < down * across * layout.planes:
        raise ValueError("the TIFF has fewer strips than it declares")
    if any(count < 1 or offset + count > size for offset, count in zip(layout.offsets, layout.counts, strict=False)):
        raise ValueError("the TIFF ends early")


def _samples(layout: _Layout, data: bytes) -> NDArray[np.generic]:
    """(H, W, samples) in the type of the file, in this machine's byte order."""
    if layout.compression not in LOSSLESS:
        raise ValueError(f"deep TIFF is read with the compressions {', '.join(dict.fromkeys(LOSSLESS.values()))} only")
    kind = KINDS.get(layout.formats[0])
    same_for_all = len(set(layout.bits)) == 1 and (len(set(layout.formats)) == 1 or layout.photometric == CIELAB)
    if kind is None or not same_for_all:
        raise ValueError("the TIFF has samples of a type that is not read")
    dtype = np.dtype(f"{layout.byte_order}{kind}{layout.bits[0] // 8}")
    channels = layout.samples // layout.planes
    planes = []
    for plane in range(layout.planes):
        packed = _unpacked(layout, data, plane, dtype.itemsize * channels)
        planes.append(_without_predictor(packed, layout, dtype, channels)[: layout.height, : layout.width])
    return np.concatenate(planes, axis=2)


def _unpacked(layout: _Layout, data: bytes, plane: int, bytes_per_pixel: int) -> NDArray[np.uint8]:
    """The bytes (rows, columns · bytes per pixel) of one plane as LibTIFF unpacks them, predictor still applied."""
    rows, columns = layout.stored_size
    segments = layout.grid[0] * layout.grid[1]
    mine = slice(plane * segments, (plane + 1) * segments)
    entries: list[TiffEntry] = [
        (WIDTH, LONG, [columns * bytes_per_pixel]),
        (LENGTH, LONG, [rows]),
        (BITS, SHORT, [8]),
        (COMPRESSION, SHORT, [layout.compression]),
        (PHOTOMETRIC, SHORT, [BLACK_IS_ZERO]),
        (FILL_ORDER, SHORT, [layout.fill_order]),
        (SAMPLES, SHORT, [1]),
        (TILE_OFFSETS if layout.tiled else STRIP_OFFSETS, LONG, list(layout.offsets[mine])),
        (TILE_COUNTS if layout.tiled else STRIP_COUNTS, LONG, list(layout.counts[mine])),
    ]
    if layout.tiled:
        entries += [(TILE_LENGTH, LONG, [layout.cell[0]]), (TILE_WIDTH, LONG, [layout.cell[1] * bytes_per_pixel])]
    else:
        entries.append((ROWS_PER_STRIP, LONG, [layout.cell[0]]))
    end = len(data) + len(data) % 2
    header, padding = b"II*\0" + struct.pack("<I", end), b"\0" * (len(data) % 2)
    # The strips stay where they are. Pillow counts the bytes as pixels and would take a large picture for a bomb.
    file = io.BytesIO(b"".join([header, data[8:], padding, tiff_directory(sorted(entries), end)]))
    with no_stderr, no_pillow_limit, TiffImagePlugin.TiffImageFile(file) as image:
        image.load()
        unpacked = np.array(image, dtype=np.uint8)
    if unpacked.shape != (rows, columns * bytes_per_pixel):
        raise ValueError("the TIFF has another shape than it declares")
    return unpacked


def _without_predictor(
    packed: NDArray[np.uint8], layout: _Layout, dtype: np.dtype[np.generic], channels: int
) -> NDArray[np.generic]:
    """Bytes (rows, columns · bytes per pixel) → samples (rows, columns, channels) in this machine's byte order."""
    rows, columns = layout.stored_size
    native = dtype.newbyteorder("=")
    if layout.predictor == FLOATING_POINT:  # Adobe Photoshop TIFF Technical Note 3
        cells = packed.reshape(rows, columns // layout.cell[1], -1, channels)
        summed = np.cumsum(cells, axis=2, dtype=np.uint8)
        # The bytes of a row lie by significance, the highest first, whatever the byte order of the file.
        by_significance = summed.reshape(rows, columns // layout.cell[1], dtype.itemsize, -1)
        together = np.ascontiguousarray(np.moveaxis(by_significance, 2, 3))
        floats: NDArray[np.generic] = together.view(dtype.newbyteorder(">")).reshape(rows, columns, channels)
        return floats.astype(native)
    samples: NDArray[np.generic] = packed.view(dtype).reshape(rows, columns, channels).astype(native)
    if layout.predictor == HORIZONTAL:  # TIFF 6.0, section 14; differences of floats are those of their bit patterns
        patterns = samples.view(np.dtype(f"u{dtype.itemsize}")).reshape(rows, -1, layout.cell[1], channels)
        summed_up: NDArray[np.generic] = np.cumsum(patterns, axis=2, dtype=patterns.dtype)
        samples = summed_up.reshape(rows, columns, channels).view(native)
    elif layout.predictor != 1:
        raise ValueError(f"the TIFF uses the unknown predictor {layout.predictor}")
    return samples


def _raster(layout: _Layout, samples: NDArray[np.generic]) -> Raster:
    channels = 3 if layout.photometric in (RGB, CIELAB) else 1
    if samples.shape[2] < channels:
        raise ValueError("the TIFF has fewer channels than its colours need")
    color, rest = samples[..., :channels], samples[..., channels:]
    has_alpha = rest.shape[2] > 0 and layout.extra[:1] != (IGNORED_SAMPLE,)
    alpha = normalised(rest[..., 0]) if has_alpha else None
    if layout.photometric == CIELAB:
        return Raster(_srgb_of_lab(color), alpha, orientation=layout.orientation, bits=16)
    pixels = normalised(color[..., 0] if channels == 1 else color)
    if layout.photometric == WHITE_IS_ZERO:
        pixels = 1 - pixels
    if alpha is not None and layout.extra[:1] == (ASSOCIATED_ALPHA,):
        pixels = _unassociated(pixels, alpha)
    return Raster(pixels, alpha, layout.profile, layout.orientation, bits=16)


def _srgb_of_lab(stored: NDArray[np.generic]) -> Pixels:
    """CIELAB as TIFF 6.0 (section 23) stores it at 16 bits: L unsigned over 0 to 100, a and b signed in 1/256."""
    if stored.dtype.itemsize != 2 or stored.dtype.kind not in "ui":
        raise ValueError("CIELAB is read at 8 and 16 bits only")
    lab = np.empty(stored.shape, dtype=np.float32)
    lab[..., 0] = stored[..., 0].astype(np.uint16) / np.float32(655.35)
    lab[..., 1:] = stored[..., 1:].astype(np.uint16).view(np.int16) / np.float32(256)
    return lab_to_srgb(lab)


def _unassociated(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Pixels stored multiplied by `alpha` → the colours themselves (0 where nothing shows)."""
    cover = alpha if pixels.ndim == 2 else alpha[..., None]
    return np.clip(np.divide(pixels, cover, out=np.zeros_like(pixels), where=cover > 0), 0, 1)
