"""PNG as a list of chunks: enough to check that a file is whole before it is decoded, and to write one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cvtool.codecs.rasters import check_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type → samples per pixel
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
INFLATE_STEP = 1 << 20
ASIDES = (b"tRNS", b"iCCP", b"eXIf")  # chunks beside the pixels that matter here


@dataclass(frozen=True)
class PngFile:
    """A PNG that is whole.

    Attributes:
        width, height: pixels.
        bits: per sample; 1, 2, 4, 8 or 16.
        color_type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        interlaced: Adam7.
        header: contents of IHDR.
        compressed: contents of all IDAT together, where there are 16 bits: others are read from the file once more.
        asides: contents of the first chunk of each of `ASIDES`.
    """

    width: int
    height: int
    bits: int
    color_type: int
    interlaced: bool
    header: bytes
    compressed: bytes
    asides: Mapping[bytes, memoryview]

    def aside(self, kind: bytes) -> bytes | None:
        """The contents of the first chunk of this type, or None."""
        return bytes(self.asides[kind]) if kind in self.asides else None


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk as it lies in the file: length, type, contents, checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def checked(data: bytes) -> PngFile:
    """`data` taken apart, after making sure that every declared pixel is there.

    Decoders fill what is missing with black, so the checksums of the critical chunks, the closing chunk and the
    length of the compressed pixels are checked here. Never inflates beyond the declared size.

    Raises:
        ValueError: `data` is truncated or broken, or declares too many pixels.
    """
    chunks = _walk(data)  # one by one: a file can have more of them than there is memory for
    kind, header = next(chunks)
    if kind != b"IHDR" or len(header) != 13:
        raise ValueError("the PNG header is missing")
    width, height, bits, color_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    check_size(width, height)
    if color_type not in CHANNELS or bits not in (1, 2, 4, 8, 16) or interlaced > 1:
        raise ValueError("the PNG header is broken")
    missing = _raw_length(width, height, bits * CHANNELS[color_type], bool(interlaced))
    inflater, compressed = zlib.decompressobj(), bytearray()
    asides: dict[bytes, memoryview] = {}
    for kind, body in chunks:
        if kind in ASIDES:
            asides.setdefault(kind, body)
        elif kind == b"IDAT":
            missing -= _inflated(inflater, body, missing)
            if bits == 16:
                compressed += body
    if missing > 0:
        raise ValueError("the PNG holds fewer pixels than it declares")
    return PngFile(width, height, bits, color_type, bool(interlaced), bytes(header), bytes(compressed), asides)


def _walk(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, position, kind = memoryview(data), len(SIGNATURE), b""
    while kind != b"IEND":  # what follows the closing chunk is not part of the picture
        if position + 12 > len(data):
            raise ValueError("the PNG ends early")
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            raise ValueError("the PNG ends early")
        body = view[position + 8 : end]
        critical = kind[:1].isupper()
        if critical and struct.unpack_from(">I", data, end)[0] != zlib.crc32(body, zlib.crc32(kind)):
            raise ValueError("a PNG checksum is wrong")
        yield kind, body
        position = end + 4


def _inflated(inflater: Any, tail: bytes | memoryview, most: int) -> int:
    """How many bytes, at least `most` if there are as many, come out of another piece of what is compressed."""
    found = 0
    while found < most and len(tail) > 0:
        found += len(inflater.decompress(tail, min(most - found, INFLATE_STEP)))
        tail = inflater.unconsumed_tail
    return found


def _raw_length(width: int, height: int, pixel_bits: int, interlaced: bool) -> int:
    """Bytes of all scan lines before compression, each with its filter byte."""

    def lines(width: int, height: int) -> int:
        return height * (1 + (width * pixel_bits + 7) // 8) if width and height else 0

    if not interlaced:
        return lines(width, height)
    return sum(lines(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in ADAM7)
