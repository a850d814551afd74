"""What broken inputs are made from: small whole ones."""

from __future__ import annotations

import io
import json
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from cvtool.images import encode_picture
from cvtool.provenance import Provenance

WIDTH, HEIGHT = 40, 30
FORMATS = {"png": "png", "png 16": "png", "jpg": "jpg", "webp": "webp", "tiff": "tiff", "gif": "gif"}
"""Kinds of pictures and their suffixes."""


@cache
def pixels(seed: int = 0) -> np.ndarray:
    """(30, 40, 3) float32 in [0, 1], smooth, every pixel different."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / 255


@cache
def note() -> str:
    """The provenance that pictures and checkpoints carry."""
    return Provenance("saliency", "1.0", "cvtool saliency a.png", environment={}).to_json()


@cache
def picture(kind: str = "png", seed: int = 0) -> bytes:
    """A whole picture of one of the `FORMATS`, where possible with a record of how it came to be."""
    if kind == "gif":
        buffer = io.BytesIO()
        Image.fromarray((pixels(seed) * 255).astype(np.uint8)).quantize(64).save(buffer, "GIF", comment=note())
        return buffer.getvalue()
    format, _, bits = kind.partition(" ")
    return encode_picture(pixels(seed), format, bits=int(bits or 8), note=note())


def write(name: str, data: bytes | str) -> Path:
    """A file in the current folder, and the folders on the way to it."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return path


def write_good(name: str = "good.png", seed: int = 0) -> Path:
    """A picture with nothing wrong."""
    return write(name, picture("png", seed))


def chunk(kind: bytes, body: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with that header, JSON or bytes, whatever it says; `length` is the header's that it claims."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def nested(depth: int, opening: str = "[", closing: str = "]", inner: str = "") -> str:
    """Brackets in brackets."""
    return opening * depth + inner + closing * depth
