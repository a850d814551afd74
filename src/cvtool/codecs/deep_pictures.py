"""16-bit and floating-point PNG and TIFF at full precision: Pillow keeps only 8 bits of their colours.

Decoders are lenient and fill missing pixels silently, so that a file holds every pixel it declares, and declares no
more than allowed, is checked here before they see it.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvtool.codecs import deep_tiff, png_chunks
from cvtool.codecs.rasters import Raster, normalised


def decode_deep(data: bytes) -> Raster | None:
    """A PNG or TIFF of more than 8 bits per sample → its pixels; None for any other file, which Pillow reads whole.

    A PNG or TIFF is checked for completeness either way.

    Raises:
        ValueError and others of the libraries: truncated, broken, too many pixels, or of a kind not supported.
    """
    if data.startswith(png_chunks.SIGNATURE):
        png = png_chunks.checked(data)
        return _decode_png(png) if png.bits == 16 else None
    if data.startswith(deep_tiff.SIGNATURES):
        return deep_tiff.decode(data)
    return None


def _decode_png(png: png_chunks.PngFile) -> Raster:
    # Only what shapes the pixels goes to FFmpeg: it would apply tRNS and colour chunks in ways of its own.
    bare = ((b"IHDR", png.header), (b"IDAT", png.compressed), (b"IEND", b""))
    samples = _decode_with_ffmpeg(png_chunks.SIGNATURE + b"".join(png_chunks.chunk(*each) for each in bare))
    if samples.shape != (png.height, png.width, png_chunks.CHANNELS[png.color_type]):
        raise ValueError("the PNG has another shape than it declares")
    color, alpha = (samples[..., :-1], samples[..., -1]) if png.color_type in (4, 6) else (samples, None)
    transparent = png.aside(b"tRNS")
    if alpha is None and transparent is not None:  # one colour is declared transparent
        key = np.frombuffer(transparent, dtype=">u2", count=color.shape[2])
        alpha = np.where((color == key).all(axis=2), 0, 65535).astype(np.uint16)
    return Raster(
        pixels=normalised(color[..., 0] if color.shape[2] == 1 else color),
        alpha=None if alpha is None else normalised(alpha),
        profile=_inflated_profile(png.aside(b"iCCP")),
        orientation=_exif_orientation(png.aside(b"eXIf")),
        bits=16,
    )


def _inflated_profile(body: bytes | None) -> bytes | None:
    """The ICC profile in an iCCP chunk (name, NUL, method, zlib), or None where it is absent or broken."""
    if body is None:
        return None
    try:
        return zlib.decompressobj().decompress(body.partition(b"\0")[2][1:], 1 << 24)
    except zlib.error:
        return None


def _exif_orientation(block: bytes | None) -> int:
    if block is None:
        return 1
    try:
        exif = Image.Exif()
        exif.load(block)
        return int(exif.get(deep_tiff.ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to refuse the picture
        return 1


def _decode_with_ffmpeg(data: bytes) -> NDArray[np.uint16]:
    """A 16-bit PNG by FFmpeg's decoder → (H, W, C) samples, as stored."""
    import av

    context: Any = av.CodecContext.create("png", "r")
    context.options = {"err_detect": "explode"}
    context.thread_count = 1
    frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    if len(frames) != 1:
        raise ValueError("no picture inside")
    frame = frames[0]
    channels = {"gray16be": 1, "ya16be": 2, "rgb48be": 3, "rgba64be": 4}[frame.format.name]
    plane = frame.planes[0]
    lines = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)[: frame.height]
    packed = np.ascontiguousarray(lines[:, : frame.width * channels * 2])
    return packed.view(">u2").reshape(frame.height, frame.width, channels).astype(np.uint16)
