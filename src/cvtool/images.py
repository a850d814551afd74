"""Picture files ↔ arrays: float32 sRGB (H, W, 3) in [0, 1]. All reading and writing of pictures goes through here.

Reading is strict: a file either gives all of its pixels, upright and in sRGB, or one `BadInputError`.
"""

from __future__ import annotations

import io
import struct
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cvtool.codecs import notes
from cvtool.codecs.color_profiles import picture_to_srgb, pixels_to_srgb
from cvtool.codecs.deep_pictures import decode_deep
from cvtool.codecs.deep_tiff import ORIENTATION
from cvtool.codecs.kept_profiles import srgb_to_profile as srgb_to_profile
from cvtool.codecs.kept_profiles import why_not_kept
from cvtool.codecs.picture_writers import encode_deep_png, encode_tiff, profile_chunk
from cvtool.codecs.quiet import no_stderr, no_warnings
from cvtool.codecs.rasters import (
    READABLE,
    Pixels,
    Raster,
    TooManyPixelsError,
    check_size,
    oriented,
    readable,
    to_levels,
    unit,
)
from cvtool.errors import BadInputError, CvtoolError, UnsuitableInputError, UsageError
from cvtool.files import read_input, shown

FORMATS = ("png", "jpg", "webp", "tiff")
"""What can be written."""

SUFFIXES = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff"}

DEEP_FORMATS = ("png", "tiff")
MAX_SIDE = {"jpg": 65500, "webp": 16383}  # pixels; limits of the formats (libjpeg's own for JPEG)
JPEG_QUALITY = 95
WEBP_QUALITY = 95
PNG_COMPRESSION = 6
PNG_HEADER_END = 33  # bytes: the signature and the chunk IHDR


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1], sRGB, or the RGB of `profile`.
        alpha: (H, W) float32 in [0, 1], 0 is transparent; None for a picture that is opaque everywhere.
        bits: 8 or 16, the depth of the file.
        name: where it came from, for messages.
        profile: the ICC profile whose RGB the pixels are in; None is sRGB.
        not_kept: why the embedded profile was to be kept but could not be; "" otherwise.
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[np.float32] | None
    bits: int
    name: str
    profile: bytes | None = None
    not_kept: str = ""


def read_picture(path: str | Path, *, keep_profile: bool = False) -> Picture:
    """The picture in a file; of an animated one the first frame.

    EXIF orientation is applied, an ICC profile converted to sRGB (a broken one is ignored), 16-bit and floating-point
    pictures keep their precision (floating point is clipped to [0, 1]).

    Args:
        path: of the file.
        keep_profile: leave the pixels in the RGB of the embedded profile (`Picture.profile`) where it is one for RGB.

    Raises:
        BadInputError: missing, unreadable, not a picture, truncated, broken, or more than `rasters.MAX_PIXELS` pixels.
        MemoryError: there is too little of it here; the file may be whole.
    """
    return decode_picture(read_input(path), str(path), keep_profile=keep_profile)


def decode_picture(data: bytes, name: str, *, keep_profile: bool = False) -> Picture:
    """Like `read_picture`, for the bytes of a file; `name` is used in messages."""
    if not data:
        raise BadInputError(f"'{shown(name)}' is empty. Fetch or save it again.")
    try:
        with no_warnings:
            raster = decode_deep(data) or _decode_with_pillow(data, keep_profile)
            not_kept = raster.unkept
            if keep_profile and raster.profile is not None and not not_kept:
                not_kept = why_not_kept(raster.profile)
            kept = raster.profile if keep_profile and not not_kept else None
            pixels = pixels_to_srgb(raster.pixels, None if kept is not None else raster.profile)
    except UnidentifiedImageError as error:
        known = ", ".join(READABLE)
        raise BadInputError(
            f"'{shown(name)}' is not a picture that can be read ({known}). Convert it first."
        ) from error
    except (TooManyPixelsError, Image.DecompressionBombError) as error:
        raise BadInputError(f"'{shown(name)}' is too large: it {_reason(error)}. Make it smaller first.") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever they please on hostile bytes; the user needs one line
        message = f"'{shown(name)}' is truncated or broken: {_reason(error)}. Fetch or save it again."
        raise BadInputError(message) from error
    alpha = raster.alpha
    if alpha is not None:
        alpha = None if (alpha >= 1).all() else oriented(alpha, raster.orientation)
    return Picture(oriented(pixels, raster.orientation), alpha, raster.bits, name, kept, not_kept)


def encode_picture(
    pixels: NDArray[np.float32],
    format: str,
    *,
    alpha: NDArray[np.float32] | None = None,
    bits: int = 8,
    note: str | None = None,
    profile: bytes | None = None,
    quality: int | None = None,
) -> bytes:
    """Pixels (H, W, 3) in [0, 1] (clipped) → the bytes of a picture file; the same input gives the same bytes.

    PNG and TIFF are exact to the nearest level. JPEG is written without chroma subsampling.

    Args:
        pixels: sRGB, or the RGB of `profile`.
        format: one of `FORMATS`.
        alpha: (H, W) in [0, 1]; ``jpg`` has none and is flattened on white.
        bits: 8, or 16 for ``png`` and ``tiff``.
        note: a text to carry along, see `notes.read_note`; left out where there is no room for it (ask `note_fits`).
        profile: an ICC profile to embed, see `Picture.profile`; None for sRGB, which needs none.
        quality: of ``jpg`` and ``webp``, 1 to 100; None for 95.

    Raises:
        UsageError: unknown format, depth or shape.
        UnsuitableInputError: the picture is larger than the format allows.
        CvtoolError: some pixel is not a number.
    """
    _check_encodable(pixels, format, alpha, bits)
    if note is not None and not note_fits(note, format):
        note = None
    if alpha is not None and format == "jpg":
        pixels, alpha = over(pixels, alpha, 1.0), None
    channels = pixels if alpha is None else np.concatenate([pixels, alpha[..., None]], axis=2)
    largest = 255 if bits == 8 else 65535
    kind: Any = np.uint8 if bits == 8 else np.uint16
    levels: NDArray[Any] = np.rint(np.clip(channels, 0, 1) * np.float32(largest)).astype(kind)
    if format == "tiff":
        return encode_tiff(levels, None if note is None else notes.user_comment(note), profile)
    if format == "png":
        extra = b"" if note is None else notes.png_chunk(note)
        extra += b"" if profile is None else profile_chunk(profile)
        return encode_deep_png(levels, extra) if bits == 16 else _encode_png(levels, extra)
    exif = b"" if note is None else notes.exif_block(note)
    buffer = io.BytesIO()
    if format == "jpg":
        Image.fromarray(levels).save(
            buffer, "JPEG", quality=quality or JPEG_QUALITY, subsampling="4:4:4", exif=exif, icc_profile=profile
        )
    else:
        Image.fromarray(levels).save(buffer, "WEBP", quality=quality or WEBP_QUALITY, exif=exif, icc_profile=profile)
    return buffer.getvalue()


def jpeg_round_trip(pixels: NDArray[np.float32], quality: int, subsampled: bool = True) -> NDArray[np.float32]:
    """Pixels (H, W, 3) in [0, 1] → what is left of them in a JPEG of that quality, 1 to 95."""
    levels = to_levels(pixels)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0" if subsampled else "4:4:4")
    with Image.open(buffer) as image:
        return unit(np.asarray(image))


def jpeg_tables(quality: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By what a JPEG of that quality divides the frequencies of an 8 × 8 block: of brightness and of colour, (8, 8)."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined] # JPEG files have them
    bright, color = (np.array(tables[number], dtype=np.float32).reshape(8, 8) for number in (0, 1))
    return bright, color


def note_fits(note: str, format: str) -> bool:
    """Whether a picture of this format has room for `note`: a JPEG has 64 kB, any other as much as readers accept."""
    if format == "jpg":
        return len(notes.exif_block(note)) <= notes.MAX_JPEG_EXIF
    return len(note) <= notes.MAX_NOTE


def format_of(path: str | Path) -> str:
    """The format, one of `FORMATS`, that the suffix of `path` names.

    Raises:
        UsageError: no suffix, or an unknown one.
    """
    suffix = Path(path).suffix
    format = SUFFIXES.get(suffix.casefold())
    if format is None:
        what = f"the suffix '{shown(suffix)}' names no picture format" if suffix else "there is no suffix"
        raise UsageError(f"Cannot tell the format of '{shown(path)}': {what}. Use one of {', '.join(SUFFIXES)}.")
    return format


def flatten(picture: Picture, background: float = 1.0) -> NDArray[np.float32]:
    """The picture (H, W, 3) as seen on a grey `background` in [0, 1]; 1 is white."""
    return picture.pixels if picture.alpha is None else over(picture.pixels, picture.alpha, background)


def over(pixels: Pixels, alpha: Pixels, background: float) -> Pixels:
    """Pixels (H, W, 3) as seen on a grey `background` in [0, 1] where `alpha` (H, W) is below 1."""
    cover = alpha[..., None]
    flat: Pixels = (pixels * cover + np.float32(background) * (1 - cover)).astype(np.float32)
    return flat


def visible_colors(picture: Picture) -> NDArray[np.float32]:
    """The colours (H, W, 3) of a picture, where nothing shows through them replaced by the mean of the visible ones.

    Programs leave anything behind fully transparent pixels, often black; painted, it would bleed into what can be
    seen. Colours of pixels that are partly transparent stay as they are.
    """
    if picture.alpha is None:
        return picture.pixels
    hidden = picture.alpha <= 0
    if not hidden.any():
        return picture.pixels
    weight = picture.alpha[..., None]
    mean = (picture.pixels * weight).sum((0, 1)) / weight.sum() if weight.sum() > 0 else np.full(3, 0.5)
    return np.where(hidden[..., None], mean, picture.pixels).astype(np.float32)


def resize(pixels: NDArray[np.float32], height: int, width: int, filter: str = "lanczos") -> NDArray[np.float32]:
    """(H, W) or (H, W, C) in [0, 1] → the same at another size, antialiased, float32, clipped to [0, 1].

    Args:
        pixels: of any size.
        height, width: wanted.
        filter: Pillow's name in lower case, e.g. ``"lanczos"``, ``"bicubic"``, ``"bilinear"``.

    Raises:
        UsageError: a side shorter than 1 pixel.
    """
    if height < 1 or width < 1:
        raise UsageError(f"A picture of {width} × {height} pixels cannot be made. Ask for at least 1 × 1.")
    if pixels.shape[:2] == (height, width):
        return np.clip(np.ascontiguousarray(pixels, dtype=np.float32), 0, 1)
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    result = np.empty((height, width, planes.shape[2]), dtype=np.float32)
    for channel in range(planes.shape[2]):  # Pillow resamples floating point one channel at a time
        plane = Image.fromarray(np.ascontiguousarray(planes[..., channel], dtype=np.float32))
        result[..., channel] = np.asarray(plane.resize((width, height), Image.Resampling[filter.upper()]))
    np.clip(result, 0, 1, out=result)
    return result[..., 0] if pixels.ndim == 2 else result


def resampling_matrix(length: int, wanted: int, filter: str = "lanczos") -> NDArray[np.float32]:
    """(wanted, length): what `resize` makes of a column of `length` pixels, but for the clipping, is this times it."""
    column = Image.fromarray(np.eye(length, dtype=np.float32))
    return np.array(column.resize((length, wanted), Image.Resampling[filter.upper()]), dtype=np.float32)


def fit_longer_side(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) with the same aspect whose longer side is `size`; the shorter is rounded, at least 1.

    Raises:
        UsageError: `size` below 1.
    """
    if size < 1:
        raise UsageError(f"A size of {size} pixels cannot be made. Ask for at least 1.")
    longer = max(height, width)

    def scaled(side: int) -> int:
        return max(1, (2 * side * size + longer) // (2 * longer))

    return scaled(height), scaled(width)


def _check_encodable(pixels: Pixels, format: str, alpha: Pixels | None, bits: int) -> None:
    if format not in FORMATS:
        raise UsageError(f"Unknown picture format '{shown(format)}'. Use one of {', '.join(FORMATS)}.")
    if bits not in (8, 16) or (bits == 16 and format not in DEEP_FORMATS):
        deep = " and ".join(DEEP_FORMATS)
        raise UsageError(f"{format} cannot hold {bits} bits per channel. Use 8, or 16 with {deep}.")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise UsageError(f"An array of shape {pixels.shape} is not a picture. Give (height, width, 3).")
    if alpha is not None and alpha.shape != pixels.shape[:2]:
        raise UsageError(f"Alpha of shape {alpha.shape} does not fit a picture of shape {pixels.shape}.")
    side, limit = max(pixels.shape), MAX_SIDE.get(format)
    if limit is not None and side > limit:
        raise UnsuitableInputError(f"A side of {side} pixels is more than the {limit} of {format}. Use png or tiff.")
    if not np.isfinite(pixels).all() or (alpha is not None and not np.isfinite(alpha).all()):
        raise CvtoolError("The picture holds pixels that are not numbers and cannot be written. Try fp32 precision.")


def _encode_png(levels: NDArray[np.uint8], chunks: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", compress_level=PNG_COMPRESSION)
    data = buffer.getvalue()
    # Pillow's own text chunks are typed and escaped in ways of their own: ours goes right behind the header.
    return data[:PNG_HEADER_END] + chunks + data[PNG_HEADER_END:]


def _decode_with_pillow(data: bytes, keep_profile: bool = False) -> Raster:
    """Any readable file of 8 bits (and grey ones of more) → pixels in sRGB, but for the profile of deep grey.

    With `keep_profile`, pixels of a usable RGB profile are left in its colours.
    """
    with Image.open(io.BytesIO(data), formats=readable()) as image:
        check_size(*image.size)
        with no_stderr if image.format == "TIFF" else nullcontext():
            image.load()
        if image.format == "JPEG2000":
            _check_codestream(data)
        check_size(*image.size)  # an icon is as large as the picture inside it
        profile = image.info.get("icc_profile") or None
        orientation = _orientation(image)
        if image.mode.startswith(("I", "F")):
            return Raster(_deep_grey(image), None, profile, orientation, bits=16)
        color, alpha = _split_alpha(image)
        transparency = None if alpha is None else unit(np.asarray(alpha))
        unkept = why_not_kept(profile) if keep_profile and profile is not None else ""
        if keep_profile and profile is not None and color.mode in ("L", "RGB") and not unkept:
            return Raster(unit(np.asarray(color)), transparency, profile, orientation)
        pixels = unit(np.asarray(picture_to_srgb(color, profile)))
        return Raster(pixels, transparency, None, orientation, unkept=unkept)


def _check_codestream(data: bytes) -> None:
    # OpenJPEG fills what is missing with grey. The end marker FFD9 cannot occur among compressed bits.
    start = data.find(b"\xff\x4f\xff\x51")
    if data.find(b"\xff\xd9", start) < start:
        raise ValueError("the JPEG 2000 stream ends early")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to refuse the picture
        return 1


def _deep_grey(image: Image.Image) -> Pixels:
    values = np.asarray(image).astype(np.float64)
    if image.mode != "F":  # I;16 and I (Pillow scales PGM to it) hold 16-bit levels
        values /= 65535
    return np.clip(np.nan_to_num(values), 0, 1).astype(np.float32)


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Any 8-bit mode → (L, RGB, CMYK or LAB; alpha as L or None)."""
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        image = image.convert("LA" if grey else "RGBA")
        return image.convert("L" if grey else "RGB"), image.getchannel("A")
    if image.mode == "1":
        return image.convert("L"), None
    return (image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")), None


def _reason(error: Exception) -> str:
    """What a library said, in few words on one line."""
    if isinstance(error, (struct.error, LookupError, TypeError, AttributeError, EOFError)):
        return "its structure is damaged"  # their messages speak of Python, not of pictures
    text = shown(" ".join(str(error).split())).rstrip(".") or type(error).__name__
    return text if len(text) <= 120 else text[:119] + "…"
