"""Reading every kind of 8-bit picture, and writing: pixel values known beforehand or made by Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from cvtool.codecs.rasters import rounded, to_levels
from cvtool.errors import CvtoolError, UnsuitableInputError, UsageError
from cvtool.images import (
    FORMATS,
    Picture,
    decode_picture,
    encode_picture,
    flatten,
    format_of,
    read_picture,
)

SMALL = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def levels(picture: Picture) -> np.ndarray:
    """The pixels as 8-bit levels; fails where they lie between two."""
    scaled = picture.pixels * 255
    assert np.abs(scaled - np.rint(scaled)).max() < 1e-3
    return np.rint(scaled).astype(np.uint8)


def check(picture: Picture, expected: np.ndarray, alpha: np.ndarray | None = None, bits: int = 8) -> None:
    assert picture.pixels.dtype == np.float32
    assert picture.bits == bits
    assert np.array_equal(levels(picture), expected)
    if alpha is None:
        assert picture.alpha is None
    else:
        assert picture.alpha is not None
        assert picture.alpha.dtype == np.float32
        assert np.array_equal(np.rint(picture.alpha * 255), alpha)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM", "GIF", "WEBP", "JPEG2000", "ICO"])
def test_lossless_formats_give_their_levels(tmp_path: Path, format: str) -> None:
    options: dict = {"lossless": True} if format == "WEBP" else {"irreversible": False} if format == "JPEG2000" else {}
    pixels = np.repeat(SMALL[:6, :6], 4, axis=0).repeat(4, axis=1) if format == "ICO" else SMALL
    image = Image.fromarray(pixels)
    if format == "GIF":
        image = image.quantize(256)
    (tmp_path / "a").write_bytes(saved(image, format, **options))
    check(read_picture(tmp_path / "a"), pixels)
    check(read_picture(str(tmp_path / "a")), pixels)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions(compression: str | None) -> None:
    check(decode_picture(saved(Image.fromarray(SMALL), "TIFF", compression=compression), "a"), SMALL)


@pytest.mark.parametrize("format", ["JPEG", "AVIF"])
def test_lossy_formats_are_near(format: str) -> None:
    Image.init()
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow knows no {format}")
    flat = np.full((16, 16, 3), (200, 30, 90), dtype=np.uint8)
    picture = decode_picture(saved(Image.fromarray(flat), format, quality=100), "a")
    assert np.abs(picture.pixels * 255 - flat).max() <= 3


def test_grey_modes() -> None:
    grey = SMALL[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    check(decode_picture(saved(Image.fromarray(grey), "PNG"), "a"), expected)
    both = np.dstack([grey, SMALL[..., 1]])
    check(decode_picture(saved(Image.fromarray(both, "LA"), "PNG"), "a"), expected, SMALL[..., 1])
    bitmap = Image.fromarray(grey > 127)
    assert bitmap.mode == "1"
    check(decode_picture(saved(bitmap, "PNG"), "a"), np.where(expected > 127, 255, 0))
    check(decode_picture(saved(bitmap, "TIFF", compression="group4"), "a"), np.where(expected > 127, 255, 0))


def test_declared_transparency_without_an_alpha_channel() -> None:
    grey = np.array([[10, 20], [30, 20]], dtype=np.uint8)
    alpha = np.array([[255, 0], [255, 0]])
    data = saved(Image.fromarray(grey), "PNG", transparency=20)
    check(decode_picture(data, "a"), np.repeat(grey[..., None], 3, axis=2), alpha)
    color = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    check(
        decode_picture(saved(Image.fromarray(color), "PNG", transparency=(4, 5, 6)), "a"), color, np.array([[255, 0]])
    )


def test_palettes() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([2, 0, 1])
    expected = np.array([[[70, 80, 90], [10, 20, 30], [40, 50, 60]]], dtype=np.uint8)
    for format in ("PNG", "GIF", "BMP", "TIFF"):
        check(decode_picture(saved(image, format), "a"), expected)
    partial = saved(image, "PNG", transparency=bytes([255, 128, 0]))
    check(decode_picture(partial, "a"), expected, np.array([[0, 255, 128]]))
    check(decode_picture(saved(image, "GIF", transparency=1), "a"), expected, np.array([[255, 255, 0]]))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_kept_and_full_alpha_is_none(format: str) -> None:
    rgba = np.dstack([SMALL, np.full(SMALL.shape[:2], 255, np.uint8)])
    options: dict = {"lossless": True, "exact": True} if format == "WEBP" else {}
    check(decode_picture(saved(Image.fromarray(rgba), format, **options), "a"), SMALL)
    rgba[2, 3, 3] = 254
    check(decode_picture(saved(Image.fromarray(rgba), format, **options), "a"), SMALL, rgba[..., 3])


def test_cmyk_without_a_profile() -> None:
    """Cyan, magenta, yellow, black and a mix: each channel is (1 - ink) · (1 - black)."""
    inks = np.array([[255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [0, 0, 0, 0], [51, 0, 102, 51]])
    expected = np.array([[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0], [255, 255, 255], [163, 204, 122]])
    image = Image.fromarray(inks[None].astype(np.uint8), "CMYK")
    for compression in (None, "tiff_lzw"):
        picture = decode_picture(saved(image, "TIFF", compression=compression), "a")
        assert np.abs(levels(picture)[0].astype(int) - expected).max() <= 1


def test_cmyk_jpeg_of_adobe_programs_is_stored_inverted() -> None:
    adobe = saved(Image.new("CMYK", (16, 16), (200, 20, 60, 10)), "JPEG", quality=100)
    assert b"\xff\xee\x00\x0eAdobe" in adobe
    with av.open(io.BytesIO(adobe)) as container:  # FFmpeg turns it into RGB by its own rules
        by_ffmpeg = next(container.decode(video=0)).to_ndarray(format="rgb24")
    expected = np.array([55, 235, 195]) * 245 / 255
    assert np.abs(by_ffmpeg - expected).max() < 4
    assert np.abs(decode_picture(adobe, "a").pixels * 255 - expected).max() < 4


def test_lab_tiff() -> None:
    """L*a*b* at D50 of white, black, mid grey and sRGB's red (54.29, 80.81, 69.89), encoded as in TIFF 6.0."""
    lab = np.array([[255, 0, 0], [0, 0, 0], [136, 0, 0], [138, 81, 70]], dtype=np.uint8)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, lab[None], photometric="cielab")
    picture = decode_picture(buffer.getvalue(), "a")
    expected = np.array([[255, 255, 255], [0, 0, 0], [127.4, 127.4, 127.4], [255, 0, 0]])
    assert np.abs(picture.pixels[0] * 255 - expected).max() < 6


# EXIF 2.32, 4.6.4: where the stored row 0 and the stored column 0 lie in the upright picture.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored_as(upright: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera stores `upright`, pixel by pixel after the definition."""
    height, width = upright.shape[:2]
    row_side, column_side = SIDES[orientation]
    rows = height if row_side in ("top", "bottom") else width
    columns = width if row_side in ("top", "bottom") else height
    stored = np.empty((rows, columns, *upright.shape[2:]), dtype=upright.dtype)
    for row in range(rows):
        for column in range(columns):
            place = {row_side: row, column_side: column}
            y = place["top"] if "top" in place else height - 1 - place["bottom"]
            x = place["left"] if "left" in place else width - 1 - place["right"]
            stored[row, column] = upright[y, x]
    return stored


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.repeat(SMALL[:2, :3], 16, axis=0).repeat(16, axis=1) if format == "JPEG" else SMALL[:2, :3]
    options: dict = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    data = saved(Image.fromarray(stored_as(upright, orientation)), format, exif=exif, **options)
    picture = decode_picture(data, "a")
    assert picture.pixels.shape == upright.shape
    assert np.abs(picture.pixels * 255 - upright).max() <= (12 if format == "JPEG" else 0.01)


@pytest.mark.parametrize("orientation", SIDES)
def test_alpha_turns_with_its_picture(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgba = np.dstack([SMALL, SMALL[..., 0]])
    data = saved(Image.fromarray(stored_as(rgba, orientation)), "PNG", exif=exif)
    check(decode_picture(data, "a"), SMALL, SMALL[..., 0])


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_exif_is_ignored(exif: bytes) -> None:
    for format in ("PNG", "JPEG", "WEBP"):
        assert decode_picture(saved(Image.fromarray(SMALL), format, exif=exif), "a").pixels.shape == SMALL.shape


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_animated_files_give_their_first_frame(format: str) -> None:
    first, second = Image.new("RGB", (24, 16), (255, 0, 0)), Image.new("RGB", (24, 16), (0, 0, 255))
    picture = decode_picture(saved(first, format, save_all=True, append_images=[second]), "a")
    assert picture.pixels.shape == (16, 24, 3)
    assert np.abs(picture.pixels - [1, 0, 0]).max() < 0.03


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("format", FORMATS)
def test_extreme_shapes(format: str, size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 0.5, dtype=np.float32)
    picture = decode_picture(encode_picture(pixels, format), "a")
    assert picture.pixels.shape == (*size, 3)
    assert np.abs(picture.pixels - 0.5).max() < 0.02


class TestEncoding:
    @pytest.mark.parametrize("format", ["png", "tiff"])
    def test_exact_formats_give_every_level_back(self, format: str) -> None:
        """Decoded here by Pillow alone."""
        ramp = np.arange(256 * 3, dtype=np.uint32).reshape(16, 16, 3) % 256
        for alpha in (None, ramp[..., 0]):
            data = encode_picture(
                ramp.astype(np.float32) / 255, format, alpha=None if alpha is None else alpha.astype(np.float32) / 255
            )
            image = Image.open(io.BytesIO(data))
            assert (image.format, image.mode) == (format.upper(), "RGB" if alpha is None else "RGBA")
            expected = ramp if alpha is None else np.dstack([ramp, alpha])
            assert np.array_equal(np.asarray(image), expected)

    @pytest.mark.parametrize("format", FORMATS)
    def test_values_are_rounded_and_clipped(self, format: str) -> None:
        for value, level in [(-3.0, 0), (0.499 / 255, 0), (0.501 / 255, 1), (99.6 / 255, 100), (7.0, 255)]:
            data = encode_picture(np.full((8, 8, 3), value, dtype=np.float32), format)
            pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
            assert np.abs(pixels - level).max() <= (0 if format in ("png", "tiff") else 1)

    @settings(max_examples=25, deadline=None)
    @given(
        arrays.arrays(
            np.float32,
            st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)),
            elements=st.floats(-0.5, 1.5, width=32),
        ),
        st.sampled_from(["png", "tiff"]),
        st.sampled_from([8, 16]),
    )
    def test_what_is_written_is_read_within_half_a_level(self, pixels: np.ndarray, format: str, bits: int) -> None:
        picture = decode_picture(encode_picture(pixels, format, bits=bits), "a")
        assert picture.bits == bits
        half = 0.5 / (255 if bits == 8 else 65535)
        assert np.abs(picture.pixels - np.clip(pixels, 0, 1)).max() <= half * 1.01

    def test_jpeg_keeps_full_chroma_and_high_quality(self) -> None:
        stripes = np.zeros((32, 32, 3), dtype=np.float32)
        stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 1  # red and blue columns: mixed to purple by 4:2:0
        data = encode_picture(stripes, "jpg")
        image = Image.open(io.BytesIO(data))
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        assert np.abs(np.asarray(image) / 255 - stripes).max() < 0.15
        assert image.quantization[0][0] == 2  # of 16 in the JPEG standard's example table: quality 95

    def test_jpeg_shows_transparency_on_white(self) -> None:
        alpha = np.zeros((8, 16), dtype=np.float32)
        alpha[:, 8:] = 0.5
        data = encode_picture(np.zeros((8, 16, 3), dtype=np.float32), "jpg", alpha=alpha)
        seen = np.asarray(Image.open(io.BytesIO(data)))
        assert np.abs(seen[:, :8].astype(int) - 255).max() <= 2
        assert np.abs(seen[:, 8:].astype(int) - 128).max() <= 2

    def test_webp_keeps_alpha(self) -> None:
        alpha = SMALL[..., 0] / np.float32(255)
        picture = decode_picture(encode_picture(SMALL / np.float32(255), "webp", alpha=alpha), "a")
        assert picture.alpha is not None
        assert np.abs(picture.alpha - alpha).max() < 0.01

    @pytest.mark.parametrize(("format", "bits"), [*((format, 8) for format in FORMATS), ("png", 16), ("tiff", 16)])
    def test_same_pixels_give_same_bytes(self, format: str, bits: int) -> None:
        pixels = np.random.default_rng(1).random((50, 70, 3), dtype=np.float32)
        first, second = (encode_picture(pixels.copy(), format, bits=bits, note="note") for _ in range(2))
        assert first == second

    @pytest.mark.parametrize("format", FORMATS)
    def test_arrays_in_any_memory_order(self, format: str) -> None:
        pixels = np.random.default_rng(1).random((10, 14, 3), dtype=np.float32)
        assert encode_picture(np.asfortranarray(pixels), format) == encode_picture(pixels, format)
        assert encode_picture(pixels[::-1, ::-1][::-1, ::-1], format) == encode_picture(pixels, format)

    @pytest.mark.parametrize(
        ("shape", "format", "options", "words"),
        [
            ((4, 4, 3), "bmp", {}, "png, jpg, webp, tiff"),
            ((4, 4, 3), "jpg", {"bits": 16}, "16 with png and tiff"),
            ((4, 4, 3), "webp", {"bits": 16}, "16 with png and tiff"),
            ((4, 4, 3), "png", {"bits": 12}, "12 bits"),
            ((4, 4), "png", {}, "not a picture"),
            ((4, 4, 4), "png", {}, "not a picture"),
            ((0, 4, 3), "png", {}, "not a picture"),
            ((4, 4, 3), "png", {"alpha": np.ones((4, 5), dtype=np.float32)}, "does not fit"),
            ((1, 65_501, 3), "jpg", {}, "65500"),
            ((16_384, 1, 3), "webp", {}, "16383"),
        ],
    )
    def test_refusals(self, shape: tuple[int, ...], format: str, options: dict, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            encode_picture(np.zeros(shape, dtype=np.float32), format, **options)

    def test_a_picture_too_large_for_the_format_is_refused_by_itself(self) -> None:
        with pytest.raises(UnsuitableInputError, match="16383 of webp"):
            encode_picture(np.zeros((16_384, 1, 3), dtype=np.float32), "webp")
        assert encode_picture(np.zeros((16_383, 1, 3), dtype=np.float32), "webp")

    @pytest.mark.parametrize("format", FORMATS)
    def test_pixels_that_are_not_numbers_are_no_picture(self, format: str) -> None:
        pixels = np.zeros((4, 4, 3), dtype=np.float32)
        pixels[1, 2, 0] = np.nan
        with pytest.raises(CvtoolError, match="not numbers") as caught:
            encode_picture(pixels, format)
        assert caught.value.exit_code == 1


def test_format_of() -> None:
    names = ["a.png", "a.JPG", "b/c.jpeg", Path("x.y.webp"), "a.tif", "a.TIFF"]
    assert [format_of(name) for name in names] == ["png", "jpg", "jpg", "webp", "tiff", "tiff"]
    for name in ("a.bmp", "a", ".png", "a.png.gz", "a.\nx"):
        with pytest.raises(UsageError) as caught:
            format_of(name)
        assert str(caught.value).isprintable()
        assert ".jpeg" in str(caught.value)


def test_flatten() -> None:
    pixels = np.array([[[0.2, 0.4, 0.6], [0.2, 0.4, 0.6], [0.2, 0.4, 0.6]]], dtype=np.float32)
    picture = Picture(pixels, np.array([[1, 0, 0.5]], dtype=np.float32), 8, "a")
    assert np.allclose(flatten(picture), [[[0.2, 0.4, 0.6], [1, 1, 1], [0.6, 0.7, 0.8]]])
    assert np.allclose(flatten(picture, 0.0)[0, 2], [0.1, 0.2, 0.3])
    assert flatten(picture).dtype == np.float32
    opaque = Picture(pixels, None, 8, "a")
    assert np.array_equal(flatten(opaque), pixels)


def test_levels_are_the_nearest_ones_and_those_of_files() -> None:
    middles = np.arange(255, dtype=np.float32) + np.float32(0.5)
    around = [np.nextafter(middles, np.float32(end)) for end in (0, 255)]
    values = np.stack([*around, middles], 1).reshape(1, -1, 3) / np.float32(255)
    values = np.concatenate([values, np.array([[[-1, 2, 0.5]]], np.float32)], 1)
    found = to_levels(values)
    exact = values.astype(float).clip(0, 1) * 255
    assert np.abs(found - exact).max() <= 0.5 + 1e-5
    np.testing.assert_array_equal(found[0, -1], [0, 255, 128])
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(encode_picture(values, "png")))))


@pytest.mark.parametrize(("bits", "levels"), [(8, 256), (16, 65536)])
def test_rounded_pixels_are_those_that_a_file_gives_back(bits: int, levels: int) -> None:
    pixels = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    pixels[0, :4] = np.array([[0, 1, 0.5], [0.25, 0.75, 1e-9], [1.5 / 255, 2.5 / 255, 3.5 / 255], [1, 1, 0]])
    found = rounded(pixels, levels)
    assert found.dtype == np.float32
    back = decode_picture(encode_picture(pixels, "png", bits=bits), "a").pixels
    assert found.tobytes() == np.ascontiguousarray(back).tobytes()
    assert rounded(found, levels).tobytes() == found.tobytes()
