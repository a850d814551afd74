"""A text inside a picture file: PNG's ``iTXt`` chunk with the key ``cvtool``, GIF's comment, EXIF's UserComment."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from cvtool.codecs.picture_writers import EXIF_IFD, LONG, UNDEFINED, USER_COMMENT, tiff_directory
from cvtool.codecs.png_chunks import chunk
from cvtool.codecs.rasters import check_size, readable

KEY = "cvtool"
ASCII, UNICODE = b"ASCII\0\0\0", b"UNICODE\0"  # UserComment's character codes (Exif 2.32, 4.6.5)
MAX_JPEG_EXIF = 65533  # bytes: a JPEG segment's length is a 16-bit number
MAX_NOTE = 16 << 20  # characters: Pillow opens no PNG with more than 64 MiB of text


def png_chunk(note: str) -> bytes:
    """`note` as an uncompressed ``iTXt`` chunk (PNG, 11.3.4.5)."""
    return chunk(b"iTXt", KEY.encode() + b"\0" + b"\0\0" + b"\0" + b"\0" + _storable(note).encode())


def user_comment(note: str) -> bytes:
    """`note` as the value of UserComment: ASCII where that is enough, else UTF-16; for little-endian files."""
    text = _storable(note)
    return ASCII + text.encode() if text.isascii() else UNICODE + text.encode("utf-16-le")


def exif_block(note: str) -> bytes:
    """An EXIF block (``Exif``, NUL, NUL, a little-endian TIFF structure) that holds `note` as its UserComment."""
    pointer = tiff_directory([(EXIF_IFD, LONG, [26])], 8)  # 8 bytes of header and 18 of this directory make 26
    comment = tiff_directory([(USER_COMMENT, UNDEFINED, user_comment(note))], 26)
    return b"Exif\0\0" + b"II*\0" + (8).to_bytes(4, "little") + pointer + comment


def read_note(data: bytes) -> str | None:
    """The note in the bytes of a picture, or None where it has none.

    Raises:
        anything Pillow raises on a file that is broken or no picture.
    """
    with Image.open(io.BytesIO(data), formats=readable()) as image:
        check_size(*image.size)
        if image.format == "PNG":
            return _png_text(image)
        if image.format == "GIF":
            comment = image.info.get("comment")
            return comment.decode("utf-8", "replace") if isinstance(comment, bytes) and comment[:1] == b"{" else None
        exif = image.getexif()
        comment = exif.get_ifd(EXIF_IFD).get(USER_COMMENT)
        return _decoded(comment, exif.endian) if isinstance(comment, bytes) else None


def _png_text(image: Any) -> str | None:
    text = image.info.get(KEY)
    if text is None:  # another program may have moved it behind the pixels
        text = image.text.get(KEY)
    return None if text is None else str(text)


def _decoded(comment: bytes, endian: str | None) -> str | None:
    code, text = comment[:8], comment[8:]
    if code == ASCII:
        return text.rstrip(b"\0").decode("ascii")
    if code == UNICODE:
        return text.decode("utf-16-le" if endian == "<" else "utf-16-be").rstrip("\0")
    return None


def _storable(note: str) -> str:
    # Names of files may hold bytes that are no text (lone surrogates); in JSON their escapes mean the same.
    return note.encode("utf-8", "backslashreplace").decode()
