"""Pixels → PNG and TIFF bytes, where Pillow falls short: 16-bit PNG, and TIFF with a note in its EXIF block."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvtool.codecs.png_chunks import SIGNATURE, chunk

DEFLATE_LEVEL = 6
ROWS_AT_ONCE = 256  # bounds the memory of filtering
STRIP_BYTES = 1 << 18

# TIFF tags, and the types of their values
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PREDICTOR, EXTRA_SAMPLES = 273, 277, 278, 279, 317, 338
EXIF_IFD, ICC_PROFILE, USER_COMMENT = 34665, 34675, 37510
SHORT, LONG, UNDEFINED = 3, 4, 7

TiffEntry = tuple[int, int, list[int] | bytes]
"""Tag, type of its values, values."""


def encode_deep_png(samples: NDArray[np.uint16], text_chunk: bytes = b"") -> bytes:
    """(H, W, 3 or 4) 16-bit RGB or RGBA → PNG. `text_chunk` goes in before the pixels as it is."""
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 6 if channels == 4 else 2, 0, 0, 0)
    pixels = _deflated_png_lines(samples)
    return SIGNATURE + chunk(b"IHDR", header) + text_chunk + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _deflated_png_lines(samples: NDArray[np.uint16]) -> bytes:
    height, _, channels = samples.shape
    step = 2 * channels
    deflater = zlib.compressobj(DEFLATE_LEVEL)
    above = np.zeros((1, samples.shape[1] * step), dtype=np.uint8)
    parts = []
    for top in range(0, height, ROWS_AT_ONCE):
        block = np.ascontiguousarray(samples[top : top + ROWS_AT_ONCE].astype(">u2"))
        lines = block.view(np.uint8).reshape(len(block), -1)
        parts.append(deflater.compress(_filtered(lines, np.concatenate([above, lines[:-1]]), step).tobytes()))
        above = lines[-1:]
    return b"".join([*parts, deflater.flush()])


def _filtered(lines: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Scan lines (N, bytes) → (N, 1 + bytes), each by the PNG filter whose output has the least absolute sum.

    The choice is the heuristic of the PNG specification (12.8). `above` holds the line before each; `step` is the
    number of bytes in a pixel.
    """
    left, corner = np.zeros_like(lines), np.zeros_like(lines)
    left[:, step:], corner[:, step:] = lines[:, :-step], above[:, :-step]
    candidates = [lines, lines - left, lines - above, lines - _mean(left, above), lines - _paeth(left, above, corner)]
    costs = [np.abs(candidate.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for candidate in candidates]
    best = np.argmin(costs, axis=0)
    result = np.empty((len(lines), 1 + lines.shape[1]), dtype=np.uint8)
    result[:, 0] = best
    for number, candidate in enumerate(candidates):
        result[best == number, 1:] = candidate[best == number]
    return result


def _mean(left: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return ((left.astype(np.uint16) + above) >> 1).astype(np.uint8)


def _paeth(left: NDArray[np.uint8], above: NDArray[np.uint8], corner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of the three neighbours the one nearest to left + above - corner, in this order on ties (PNG, 9.4)."""
    a, b, c = (neighbour.astype(np.int16) for neighbour in (left, above, corner))
    to_left, to_above, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)


def profile_chunk(profile: bytes) -> bytes:
    """An ICC profile as PNG's ``iCCP`` chunk (PNG, 11.3.3.3); it goes in before the pixels."""
    return chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile, DEFLATE_LEVEL))


def encode_tiff(
    samples: NDArray[np.unsignedinteger[Any]], user_comment: bytes | None = None, profile: bytes | None = None
) -> bytes:
    """(H, W, 3 or 4) uint8 or uint16 RGB or RGBA → little-endian TIFF, Deflate with horizontal differences.

    `user_comment` becomes the EXIF tag UserComment: Pillow and tifffile cannot write a TIFF with an EXIF block.
    `profile` is an ICC profile to embed.
    """
    height, width, channels = samples.shape
    bits = 8 * samples.itemsize
    rows = max(1, STRIP_BYTES // (width * channels * samples.itemsize))
    strips = [_deflated_strip(samples[top : top + rows]) for top in range(0, height, rows)]
    offsets = np.cumsum([8, *(len(strip) for strip in strips)]).tolist()
    entries: list[TiffEntry] = [
        (WIDTH, LONG, [width]),
        (LENGTH, LONG, [height]),
        (BITS, SHORT, [bits] * channels),
        (COMPRESSION, SHORT, [8]),
        (PHOTOMETRIC, SHORT, [2]),
        (STRIP_OFFSETS, LONG, offsets[:-1]),
        (SAMPLES, SHORT, [channels]),
        (ROWS_PER_STRIP, LONG, [min(rows, height)]),
        (STRIP_COUNTS, LONG, [len(strip) for strip in strips]),
        (PREDICTOR, SHORT, [2]),
    ]
    if channels == 4:
        entries.append((EXTRA_SAMPLES, SHORT, [2]))
    start = offsets[-1] + offsets[-1] % 2  # directories begin at even offsets
    exif = b""
    if user_comment is not None:
        exif = tiff_directory([(USER_COMMENT, UNDEFINED, user_comment)], start)
        entries.append((EXIF_IFD, LONG, [start]))
    if profile is not None:
        entries.append((ICC_PROFILE, UNDEFINED, profile))
    header = b"II*\0" + struct.pack("<I", start + len(exif))
    padding = b"\0" * (start - offsets[-1])
    return b"".join([header, *strips, padding, exif, tiff_directory(entries, start + len(exif))])


def _deflated_strip(rows: NDArray[np.unsignedinteger[Any]]) -> bytes:
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    little: NDArray[Any] = differences.astype(differences.dtype.newbyteorder("<"))
    return zlib.compress(little.tobytes(), DEFLATE_LEVEL)


def tiff_directory(entries: list[TiffEntry], offset: int) -> bytes:
    """A TIFF directory that will lie at `offset`, with the values that do not fit into it right behind; even long."""
    values_at = offset + 2 + 12 * len(entries) + 4
    table, values = b"", b""
    for tag, kind, value in entries:
        packed = (
            value if isinstance(value, bytes) else struct.pack(f"<{len(value)}{'H' if kind == SHORT else 'I'}", *value)
        )
        table += struct.pack("<HHI", tag, kind, len(value))
        if len(packed) <= 4:
            table += packed.ljust(4, b"\0")
        else:
            table += struct.pack("<I", values_at + len(values))
            values += packed + b"\0" * (len(packed) % 2)
    return struct.pack("<H", len(entries)) + table + struct.pack("<I", 0) + values
