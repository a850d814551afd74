"""ICC profiles built by hand from ICC.1:2022; colours known from CSS Color 4 or from LittleCMS."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from cvtool.images import decode_picture, encode_picture

P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
D50 = (0.9642, 1.0, 0.8249)


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + fixed(*values)


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def table(values: Sequence[float]) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *(round(v * 65535) for v in values))


def parametric(kind: int, *numbers: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*numbers)


def profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ", device: bytes = b"mntr") -> bytes:
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\x05test\0" + b"\0" * 78, b"cprt": b"text\0\0\0\0-\0", **tags}
    tags[b"wtpt"] = xyz(D50)
    start = 128 + 4 + 12 * len(tags)
    directory, body = struct.pack(">I", len(tags)), b""
    for signature, element in tags.items():
        element += b"\0" * (-len(element) % 4)
        directory += struct.pack(">4sII", signature, start + len(body), len(element))
        body += element
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02400000, device, space, pcs)
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(*D50)
    return header.ljust(128, b"\0") + directory + body


def matrix_profile(primaries: Sequence[Sequence[float]], curve: bytes) -> bytes:
    colorants = {tag: xyz(primary) for tag, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return profile(b"RGB ", {**colorants, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def lab_table_profile(space: bytes, channels: int, color: Callable[..., Sequence[float]]) -> bytes:
    """``mft1``: two points per channel, L*a*b* at each given by `color`; the first channel varies slowest."""
    element = b"mft1\0\0\0\0" + bytes([channels, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    element += bytes(range(256)) * channels
    for corner in np.ndindex(*[2] * channels):
        lightness, a, b = color(*corner)
        element += bytes([round(lightness * 2.55), round(a) + 128, round(b) + 128])
    return profile(space, {b"A2B0": element + bytes(range(256)) * 3}, pcs=b"Lab ", device=b"prtr")


DISPLAY_P3 = matrix_profile(P3, parametric(3, *SRGB_CURVE))
ADOBE_RGB = matrix_profile(ADOBE, gamma(2.19921875))


def with_profile(levels: np.ndarray, icc: bytes, format: str = "PNG", mode: str | None = None) -> bytes:
    image = Image.fromarray(levels) if mode is None else Image.frombytes(mode, levels.shape[1::-1], levels.tobytes())
    buffer = io.BytesIO()
    options = {"lossless": True} if format == "WEBP" else {}
    image.save(buffer, format, icc_profile=icc, **options)
    return buffer.getvalue()


def deep_png(unit: np.ndarray, icc: bytes) -> bytes:
    import zlib

    plain = encode_picture(unit.astype(np.float32), "png", bits=16)
    body = b"name\0\0" + zlib.compress(icc)
    chunk = struct.pack(">I", len(body)) + b"iCCP" + body + struct.pack(">I", zlib.crc32(b"iCCP" + body))
    return plain[:33] + chunk + plain[33:]


def deep_tiff(unit: np.ndarray, icc: bytes) -> bytes:
    buffer = io.BytesIO()
    photometric = "rgb" if unit.ndim == 3 else "minisblack"
    tifffile.imwrite(buffer, np.rint(unit * 65535).astype(np.uint16), photometric=photometric, iccprofile=icc)
    return buffer.getvalue()


# CSS Color 4 gives these as equal: color(srgb …) and color(display-p3 …).
SRGB_IN_P3 = {
    (1, 0, 0): (0.91749, 0.20029, 0.13856),
    (0, 1, 0): (0.45840, 0.98526, 0.29829),
    (0, 0, 1): (0.0, 0.0, 0.95959),
    (1, 1, 1): (1, 1, 1),
    (0.5, 0.5, 0.5): (0.5, 0.5, 0.5),
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_display_p3_at_8_bits(format: str) -> None:
    levels = np.rint(np.array([list(SRGB_IN_P3.values())]) * 255).astype(np.uint8)
    picture = decode_picture(with_profile(levels, DISPLAY_P3, format), "a")
    assert picture.bits == 8
    assert np.abs(picture.pixels[0] - list(SRGB_IN_P3)).max() < 0.03  # darkest channels are steep: one level is much
    assert np.abs(picture.pixels[0, 3:] - list(SRGB_IN_P3)[3:]).max() < 0.004


@pytest.mark.parametrize("write", [deep_png, deep_tiff])
def test_display_p3_at_16_bits(write: Callable[..., bytes]) -> None:
    unit = np.array([list(SRGB_IN_P3.values())])
    picture = decode_picture(write(unit, DISPLAY_P3), "a")
    assert picture.bits == 16
    assert np.abs(picture.pixels[0] - list(SRGB_IN_P3)).max() < 0.002


CURVES = {
    "gamma": gamma(1.8),
    "linear": b"curv\0\0\0\0\0\0\0\0",
    "table": table(np.linspace(0, 1, 400) ** 2.1),
    "para 0": parametric(0, 2.2),
    "para 1": parametric(1, 2.2, 0.9, 0.1),
    "para 2": parametric(2, 2.2, 0.9, 0.02, 0.05),
    "para 3": parametric(3, *SRGB_CURVE),
    "para 4": parametric(4, 2.2, 0.9, 0.05, 0.3, 0.1, 0.02, 0.01),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize("primaries", [P3, ADOBE], ids=["p3", "adobe"])
def test_deep_conversion_agrees_with_littlecms(primaries: Sequence[Sequence[float]], curve: bytes) -> None:
    """The same 8-bit levels, once converted by LittleCMS at 8 bits, once here in floating point."""
    levels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    icc = matrix_profile(primaries, curve)

    def by_littlecms(intent: ImageCms.Intent) -> np.ndarray:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        image = Image.fromarray(levels)
        return np.asarray(ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), intent)).astype(int)

    shallow = decode_picture(with_profile(levels, icc), "a").pixels * 255
    assert np.abs(shallow - levels).max() > 5, "the profile must do something"
    assert np.array_equal(np.rint(shallow), by_littlecms(ImageCms.Intent.PERCEPTUAL))
    deep = decode_picture(deep_tiff(levels / 255, icc), "a").pixels * 255
    difference = np.abs(deep - by_littlecms(ImageCms.Intent.RELATIVE_COLORIMETRIC))  # leaves the black point alone
    assert np.quantile(difference, 0.99) < 1.5
    assert difference.max() < 4  # the dark end of 8 bits is coarse


def test_deep_conversion_is_finer_than_8_bits() -> None:
    ramp = np.repeat(np.linspace(0.5, 0.51, 200)[None, :, None], 3, axis=2)
    picture = decode_picture(deep_png(ramp, ADOBE_RGB), "a")
    assert len(np.unique(picture.pixels[..., 1])) > 150


def test_grey_profile() -> None:
    """Linear grey: 0.214041 of the light is sRGB's 0.5."""
    icc = profile(b"GRAY", {b"kTRC": gamma(1.0)})
    deep = decode_picture(deep_tiff(np.array([[0.0, 0.214041, 1.0]]), icc), "a")
    assert np.abs(deep.pixels[0] - np.array([[0], [0.5], [1]])).max() < 1e-4
    levels = np.array([[0, 55, 255]], dtype=np.uint8)
    shallow = decode_picture(with_profile(levels, icc), "a")
    assert np.abs(shallow.pixels[0] - np.array([[0], [0.502], [1]])).max() < 0.006
    alpha = np.dstack([levels, np.array([[0, 100, 255]], dtype=np.uint8)])
    both = decode_picture(with_profile(alpha, icc, mode="LA"), "a")
    assert np.array_equal(both.pixels, shallow.pixels)
    assert np.array_equal(np.rint(both.alpha * 255), [[0, 100, 255]])


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_profile(format: str) -> None:
    """A press whose cyan ink looks red (L*a*b* 54, 81, 70); any other ink makes black. Not what cyan does by itself."""

    def color(c: int, m: int, y: int, k: int) -> Sequence[float]:
        return (0, 0, 0) if m or y or k else (54.29, 80.81, 69.89) if c else (100, 0, 0)

    icc = lab_table_profile(b"CMYK", 4, color)
    for inks, expected in {(255, 0, 0, 0): (1, 0, 0), (0, 0, 0, 0): (1, 1, 1), (0, 0, 0, 255): (0, 0, 0)}.items():
        levels = np.full((8, 8, 4), inks, dtype=np.uint8)
        picture = decode_picture(with_profile(levels, icc, format, mode="CMYK"), "a")
        assert np.abs(picture.pixels - expected).max() < 0.03


def test_table_profile_of_a_deep_picture_is_applied_at_8_bits() -> None:
    swapped = lab_table_profile(b"RGB ", 3, lambda r, g, b: (100 * g, 0, 0))  # green alone decides, and makes grey
    unit = np.zeros((4, 4, 3))
    unit[..., 1] = 1
    assert np.abs(decode_picture(deep_tiff(unit, swapped), "a").pixels - 1).max() < 0.02
    assert np.abs(decode_picture(deep_tiff(1 - unit, swapped), "a").pixels).max() < 0.02


def test_palette_and_alpha_with_a_profile() -> None:
    levels = np.rint(np.array([[SRGB_IN_P3[1, 0, 0], (1, 1, 1)]]) * 255).astype(np.uint8)
    palette = Image.fromarray(levels).quantize(4)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", icc_profile=DISPLAY_P3)
    assert np.abs(decode_picture(buffer.getvalue(), "a").pixels - [[[1, 0, 0], [1, 1, 1]]]).max() < 0.03
    rgba = np.dstack([levels, np.array([[7, 9]], dtype=np.uint8)])
    picture = decode_picture(with_profile(rgba, DISPLAY_P3), "a")
    assert np.abs(picture.pixels - [[[1, 0, 0], [1, 1, 1]]]).max() < 0.03
    assert np.array_equal(np.rint(picture.alpha * 255), [[7, 9]])


def test_grey_picture_with_an_rgb_profile() -> None:
    levels = np.array([[0, 100, 255]], dtype=np.uint8)
    picture = decode_picture(with_profile(levels, matrix_profile(P3, gamma(1.0))), "a")
    expected = 1.055 * (100 / 255) ** (1 / 2.4) - 0.055
    assert np.abs(picture.pixels[0, 1] - expected).max() < 0.006


def test_srgb_profiles_change_nothing() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    made_by_littlecms = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    as_a_table = matrix_profile(
        ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
        table([v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.linspace(0, 1, 1024)]),
    )
    for icc in (made_by_littlecms, as_a_table):
        assert np.array_equal(np.rint(decode_picture(with_profile(levels, icc), "a").pixels * 255), levels)
        deep = decode_picture(deep_png(levels / 255, icc), "a")
        assert np.abs(deep.pixels * 255 - levels).max() < 1e-4


BROKEN = {
    "garbage": b"garbage" * 50,
    "short": b"x",
    "header only": DISPLAY_P3[:128],
    "half": DISPLAY_P3[: len(DISPLAY_P3) // 2],
    "huge table": DISPLAY_P3[:128] + b"\xff\xff\xff\xff" + DISPLAY_P3[132:],
    "wild offsets": DISPLAY_P3[:136] + b"\xff" * 120 + DISPLAY_P3[256:],
    "other channels": lab_table_profile(b"CMYK", 4, lambda *inks: (50, 0, 0)),
    "other channels grey": profile(b"GRAY", {b"kTRC": gamma(1.0)}),
    "no curves": profile(b"RGB ", {b"rXYZ": xyz(P3[0])}),
    "short curve": matrix_profile(P3, b"curv\0\0\0\0\0\0\xff\xff\0\0"),
    "unknown curve": matrix_profile(P3, b"crv2\0\0\0\0\0\0\0\0"),
    "unknown parametric": matrix_profile(P3, parametric(9, 1.0)),
    "short parametric": matrix_profile(P3, parametric(4, 1.0)),
}


@pytest.mark.parametrize("icc", BROKEN.values(), ids=BROKEN)
def test_broken_profiles_are_ignored(icc: bytes) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert np.array_equal(np.rint(decode_picture(with_profile(levels, icc), "a").pixels * 255), levels)
    for write in (deep_png, deep_tiff):
        assert np.abs(decode_picture(write(levels / 255, icc), "a").pixels * 255 - levels).max() < 0.01


def test_profiles_with_flipped_bits_never_raise() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    rng = np.random.default_rng(1)
    for _ in range(60):
        icc = bytearray(rng.choice([DISPLAY_P3, ADOBE_RGB]))
        for position in rng.integers(0, len(icc), 5):
            icc[position] = rng.integers(0, 256)
        for data in (with_profile(levels, bytes(icc)), deep_png(levels / 255, bytes(icc))):
            pixels = decode_picture(data, "a").pixels
            assert np.isfinite(pixels).all()
            assert pixels.min() >= 0
            assert pixels.max() <= 1
