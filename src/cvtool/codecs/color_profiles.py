"""Embedded ICC profiles → sRGB: by LittleCMS for 8-bit pictures, in floating point for deeper ones.

LittleCMS in Pillow knows 8-bit modes only. Deep pictures nearly always carry a grey or a matrix profile (sRGB,
Display P3, Adobe RGB, ProPhoto), and those are a curve and a 3 × 3 matrix: done here at full precision. A deep
picture with a table profile goes through LittleCMS at 8 bits. Matrix profiles whose black is not 0 keep it when deep,
LittleCMS moves it to 0 (black point compensation). A profile that is broken, or made for other
channels than the picture has, is ignored.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from cvtool.codecs.rasters import Pixels, to_levels, unit
from cvtool.colorspaces import srgb_from_linear

# sRGB's primaries adapted to D50, the white of ICC's connection space (columns: red, green, blue; rows: X, Y, Z).
SRGB_TO_XYZ_D50 = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
D50 = np.array([0.9642, 1.0, 0.8249])

SPACES = {"1": "GRAY", "L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}  # Pillow's mode → ICC's colour space
LATTICE = 9  # points per axis when a profile is compared with sRGB
ROWS = 256  # rows converted at a time in floating point: bounds the memory

UNUSABLE = (OSError, ValueError, TypeError, AttributeError, KeyError, struct.error, ImageCms.PyCMSError)

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def picture_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An 8-bit picture of mode L, RGB, CMYK or LAB → mode L or RGB in sRGB, by `profile` if it has a usable one."""
    if profile is not None:
        try:
            return _by_littlecms(image, profile)
        except UNUSABLE:
            pass  # the picture is worth more than its profile
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return _transformed(image, lab)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def pixels_to_srgb(pixels: Pixels, profile: bytes | None) -> Pixels:
    """(H, W) or (H, W, 3) float32 in [0, 1] in the colours of `profile` → (H, W, 3) in sRGB, clipped to [0, 1]."""
    colored = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    if profile is None:
        return colored
    try:
        space = space_of(profile)
        if (space == "GRAY" and pixels.ndim == 3) or space not in ("GRAY", "RGB") or _is_srgb(profile):
            return colored
        convert = _grey_profile(profile) if space == "GRAY" else _matrix_profile(profile)
    except UNUSABLE:
        return colored
    if convert is None:
        levels = to_levels(colored if space == "RGB" else pixels)
        converted = picture_to_srgb(Image.fromarray(levels), profile)
        return unit(np.asarray(converted.convert("RGB")))
    source = colored if space == "RGB" else pixels
    result = np.empty_like(colored, dtype=np.float32)
    with np.errstate(all="ignore"):  # an absurd curve may divide by zero
        for top in range(0, len(source), ROWS):
            result[top : top + ROWS] = np.nan_to_num(convert(source[top : top + ROWS].astype(np.float64)))
    return result


def lab_to_srgb(lab: NDArray[np.floating]) -> Pixels:
    """CIE L*a*b* at D50 (H, W, 3), L in [0, 100] → sRGB float32 in [0, 1], clipped."""
    result = np.empty(lab.shape, dtype=np.float32)
    for top in range(0, len(lab), ROWS):
        lightness, a, b = np.moveaxis(lab[top : top + ROWS].astype(np.float64), -1, 0)
        y = (lightness + 16) / 116
        f = np.stack([y + a / 500, y, y - b / 200], axis=-1)
        xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50
        result[top : top + ROWS] = _xyz_to_srgb(xyz)
    return result


def _by_littlecms(image: Image.Image, data: bytes) -> Image.Image:
    space = space_of(data)
    if image.mode == "L" and space == "RGB":
        image = image.convert("RGB")
    if SPACES.get(image.mode) != space or (space == "RGB" and _is_srgb(data)):
        raise ValueError("the profile is for other channels, or changes nothing")
    return _transformed(image, opened(data))


def _transformed(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    result = ImageCms.profileToProfile(image, profile, srgb_profile(), ImageCms.Intent.PERCEPTUAL, outputMode="RGB")
    if result is None:
        raise ValueError("no transform")
    return result


@lru_cache(maxsize=1)
def srgb_profile() -> ImageCms.ImageCmsProfile:
    """LittleCMS' own sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def opened(data: bytes) -> ImageCms.ImageCmsProfile:
    """A profile as LittleCMS holds it; raises one of `UNUSABLE` for a broken one."""
    return ImageCms.ImageCmsProfile(io.BytesIO(data))


def space_of(data: bytes) -> str:
    """What a profile is made for: ``RGB``, ``GRAY``, ``CMYK``, ``Lab`` …; raises one of `UNUSABLE` for a broken one."""
    return opened(data).profile.xcolor_space.strip()


@lru_cache(maxsize=8)
def _is_srgb(data: bytes) -> bool:
    """Whether an RGB profile moves no colour by more than one 8-bit level: then rounding is all it would do."""
    if space_of(data) != "RGB":
        return False
    axis = np.linspace(0, 255, LATTICE).astype(np.uint8)
    lattice = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(LATTICE, -1, 3)
    moved = np.asarray(_transformed(Image.fromarray(lattice), opened(data)))
    return bool(np.abs(moved.astype(int) - lattice).max() <= 1)


def _grey_profile(data: bytes) -> Curve | None:
    tags = _tags(data)
    if b"kTRC" not in tags:
        return None
    curve = _curve(tags[b"kTRC"])
    return lambda grey: np.repeat(_encode(curve(grey))[..., None], 3, axis=2)


def _matrix_profile(data: bytes) -> Curve | None:
    """The conversion of a matrix profile, or None for a profile of tables."""
    parts = matrix_and_curves(data)
    if parts is None:
        return None
    to_xyz, curves = parts

    def convert(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
        linear = np.stack([curve(rgb[..., channel]) for channel, curve in enumerate(curves)], axis=-1)
        return _xyz_to_srgb(linear @ to_xyz.T)

    return convert


def matrix_and_curves(data: bytes) -> tuple[NDArray[np.float64], list[Curve]] | None:
    """What an RGB matrix profile is made of: linear light → XYZ at D50 (3, 3), and the three tone curves.

    None for a profile of tables. Raises one of `UNUSABLE` for a broken profile.
    """
    tags = _tags(data)
    needed = [b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"]
    if b"A2B0" in tags or b"A2B1" in tags or data[20:24] != b"XYZ " or any(tag not in tags for tag in needed):
        return None
    to_xyz = np.stack([_fixed(tags[tag][8:20]) for tag in needed[:3]], axis=1)
    return to_xyz, [_curve(tags[tag]) for tag in needed[3:]]


def _xyz_to_srgb(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    return _encode(xyz @ np.linalg.inv(SRGB_TO_XYZ_D50).T)


def _encode(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light → sRGB's transfer curve, clipped to [0, 1]."""
    return srgb_from_linear(np.clip(linear, 0, 1))


def _tags(data: bytes) -> dict[bytes, bytes]:
    """An ICC profile's tag table (ICC.1:2022, 7.3): signature → element."""
    (count,) = struct.unpack_from(">I", data, 128)
    entries = (struct.unpack_from(">4sII", data, 132 + 12 * index) for index in range(min(count, 100)))
    return {signature: data[offset : offset + size] for signature, offset, size in entries}


def _fixed(raw: bytes) -> NDArray[np.float64]:
    """ICC's s15Fixed16 numbers."""
    return np.frombuffer(raw, dtype=">i4").astype(np.float64) / 65536


def _curve(element: bytes) -> Curve:
    """A tone curve, device value → linear light: ``curv`` (ICC.1:2022, 10.6) or ``para`` (10.18)."""
    kind = element[:4]
    if kind == b"curv":
        (count,) = struct.unpack_from(">I", element, 8)
        table = np.frombuffer(element[12 : 12 + 2 * count], dtype=">u2").astype(np.float64)
        if len(table) != count:
            raise ValueError("a tone curve ends early")
        if count == 0:
            return lambda value: value
        if count == 1:
            return lambda value: value ** (table[0] / 256)
        positions = np.linspace(0, 1, count)
        return lambda value: np.interp(value, positions, table / 65535)
    if kind == b"para":
        return _parametric(
            struct.unpack_from(">H", element, 8)[0], _fixed(element[12 : min(len(element) // 4 * 4, 40)])
        )
    raise ValueError("a tone curve of unknown kind")


def _parametric(kind: int, numbers: NDArray[np.float64]) -> Curve:
    """y = (a·x + b)^g + e from x = d on, below it c·x + f; the five kinds leave out some of the letters."""
    letters = {0: "g", 1: "gab", 2: "gabc", 3: "gabcd", 4: "gabcdef"}[kind]
    if len(numbers) < len(letters):
        raise ValueError("a tone curve ends early")
    v = dict(zip(letters, map(float, numbers), strict=False))
    gamma, a, b = v["g"], v.get("a", 1.0), v.get("b", 0.0)
    if kind in (1, 2):  # below -b/a the curve is flat: 0, or the offset which these kinds call c
        offset = v.get("c", 0.0)
        d, slope, e, f = (-b / a if a else 0.0), 0.0, offset, offset
    else:
        d, slope, e, f = v.get("d", 0.0), v.get("c", 0.0), v.get("e", 0.0), v.get("f", 0.0)

    def curve(value: NDArray[np.float64]) -> NDArray[np.float64]:
        upper = np.maximum(a * value + b, 0) ** gamma + e
        return np.where(value >= d, upper, slope * value + f)

    return curve
