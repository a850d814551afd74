"""Pictures that keep their ICC profile and their depth: what goes in comes out; LittleCMS and others read it back."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage.color import deltaE_ciede2000, rgb2lab

from cvtool.errors import BadInputError, UsageError
from cvtool.images import FORMATS, decode_picture, encode_picture, flatten, srgb_to_profile
from cvtool.provenance import Provenance

# Colorants at D50 (rows: red, green, blue): CSS Color 4's display-p3, and Adobe RGB (1998).
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
D50 = (0.9642, 1.0, 0.8249)
RNG = np.random.default_rng(5)


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def built(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ", device: bytes = b"mntr") -> bytes:
    """A minimal ICC profile, version 2.4."""
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\x05test\0" + b"\0" * 78, b"cprt": b"text\0\0\0\0-\0", **tags}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + fixed(*D50)
    start, body = 132 + 12 * len(tags), b""
    directory = struct.pack(">I", len(tags))
    for signature, element in tags.items():
        element += b"\0" * (-len(element) % 4)
        directory += struct.pack(">4sII", signature, start + len(body), len(element))
        body += element
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02400000, device, space, pcs)
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(*D50)
    return header.ljust(128, b"\0") + directory + body


def matrix_profile(primaries: Sequence[Sequence[float]], gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    colorants = {t: b"XYZ \0\0\0\0" + fixed(*p) for t, p in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return built(b"RGB ", {**colorants, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


SRGB_PARA = b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
DISPLAY_P3 = built(
    b"RGB ",
    {
        **{t: b"XYZ \0\0\0\0" + fixed(*p) for t, p in zip((b"rXYZ", b"gXYZ", b"bXYZ"), P3, strict=True)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), SRGB_PARA),
    },
)
ADOBE_RGB = matrix_profile(ADOBE, 2.19921875)
GREY = built(b"GRAY", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, 256)})
PROFILES = {"p3": DISPLAY_P3, "adobe": ADOBE_RGB}


def one_way_profile(space: bytes, channels: int) -> bytes:
    """Tables from device to L*a*b* only, as scanners have: grey of the first channel."""
    element = b"mft1\0\0\0\0" + bytes([channels, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    element += bytes(range(256)) * channels
    for corner in np.ndindex(*[2] * channels):
        element += bytes([255 * corner[0], 128, 128])
    return built(space, {b"A2B0": element + bytes(range(256)) * 3}, pcs=b"Lab ", device=b"prtr")


def written(levels: np.ndarray, icc: bytes | None, bits: int, format: str = "png") -> bytes:
    """By Pillow at 8 bits, by tifffile at 16: not by what is tested."""
    buffer = io.BytesIO()
    if bits == 16:
        tifffile.imwrite(buffer, levels.astype(np.uint16), photometric="rgb", iccprofile=icc)
    else:
        options = {"lossless": True} if format == "webp" else {}
        Image.fromarray(levels.astype(np.uint8)).save(buffer, format, icc_profile=icc, **options)
    return buffer.getvalue()


def profile_inside(data: bytes) -> bytes | None:
    with Image.open(io.BytesIO(data)) as image:
        return image.info.get("icc_profile")


@pytest.mark.parametrize("icc", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize(("bits", "format"), [(8, "png"), (8, "tiff"), (16, "png"), (16, "tiff")])
def test_every_level_comes_out_as_it_went_in(icc: bytes, bits: int, format: str) -> None:
    """Also colours that sRGB does not have, which a way through sRGB would lose."""
    levels = RNG.integers(0, 2**bits, (40, 50, 3))
    levels[0, :4] = np.array([[0, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]) * (2**bits - 1)
    picture = decode_picture(written(levels, icc, bits), "a", keep_profile=True)
    assert (picture.bits, picture.profile, picture.not_kept) == (bits, icc, "")
    data = encode_picture(picture.pixels, format, bits=bits, profile=picture.profile)
    again = decode_picture(data, "b", keep_profile=True)
    assert np.array_equal(np.rint(again.pixels * (2**bits - 1)), levels)
    assert profile_inside(data) == icc
    if format == "tiff":
        assert np.array_equal(tifffile.imread(io.BytesIO(data)), levels)
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            assert bytes(tiff.pages[0].tags[34675].value) == icc


def test_a_way_through_srgb_would_lose_colours() -> None:
    """What is kept is worth it: P3's green differs from the nearest in sRGB by more than anybody overlooks."""
    green = np.tile(np.array([0, 255, 0]), (4, 4, 1))
    through = decode_picture(written(green, DISPLAY_P3, 8), "a")
    back = srgb_to_profile(through.pixels, DISPLAY_P3)
    assert np.abs(back - green / 255).max() > 0.2
    assert (through.profile, through.not_kept) == (None, "")


@pytest.mark.parametrize("format", FORMATS)
def test_profile_and_provenance_go_into_every_format(format: str) -> None:
    from cvtool.codecs.notes import read_note

    note = Provenance("stylize", "0", "cvtool stylize a b").to_json()
    big = DISPLAY_P3 + b"\0" * 200_000  # more than a JPEG segment holds
    for icc in (DISPLAY_P3, big):
        data = encode_picture(np.full((16, 16, 3), 0.5, np.float32), format, note=note, profile=icc)
        assert profile_inside(data) == icc
        assert read_note(data) == note


@pytest.mark.parametrize("icc", PROFILES.values(), ids=PROFILES)
def test_styles_brought_into_a_profile_agree_with_littlecms(icc: bytes) -> None:
    levels = RNG.integers(0, 256, (50, 50, 3), dtype=np.uint8)
    ours = srgb_to_profile((levels / 255).astype(np.float32), icc) * 255
    theirs = ImageCms.profileToProfile(
        Image.fromarray(levels),
        ImageCms.createProfile("sRGB"),
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    difference = np.abs(ours - np.asarray(theirs).astype(float))
    assert np.abs(ours - levels).max() > 10, "the profile must do something"
    assert np.quantile(difference, 0.99) < 1.0
    assert difference.max() < 3  # near black 8 bits are coarse


@pytest.mark.parametrize("icc", PROFILES.values(), ids=PROFILES)
def test_srgb_into_a_profile_and_back(icc: bytes) -> None:
    """Back by the reader's own conversion, at 16 bits, as scikit-image sees the difference."""
    colors = RNG.uniform(0.02, 0.98, (30, 30, 3)).astype(np.float32)
    data = encode_picture(srgb_to_profile(colors, icc), "tiff", bits=16, profile=icc)
    back = decode_picture(data, "a").pixels
    inside = np.ones((30, 30), bool) if icc is DISPLAY_P3 else (srgb_to_profile(colors, icc).max(-1) < 1)
    assert deltaE_ciede2000(rgb2lab(colors), rgb2lab(back))[inside].max() < 0.05


@pytest.mark.parametrize(
    ("icc", "mode", "reason"),
    [
        (one_way_profile(b"CMYK", 4), "CMYK", "for CMYK"),
        (GREY, "L", "for GRAY"),
        (one_way_profile(b"RGB ", 3), "RGB", "not back"),
        (b"\0" * 200, "RGB", "broken"),
    ],
    ids=["cmyk", "grey", "one way", "broken"],
)
def test_what_cannot_be_kept_becomes_srgb_and_says_so(icc: bytes, mode: str, reason: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (8, 8), 100 if mode == "L" else (100,) * len(mode)).save(buffer, "TIFF", icc_profile=icc)
    kept = decode_picture(buffer.getvalue(), "a", keep_profile=True)
    plain = decode_picture(buffer.getvalue(), "a")
    assert kept.profile is None
    assert reason in kept.not_kept
    assert np.array_equal(kept.pixels, plain.pixels)
    assert plain.not_kept == ""


def test_deep_grey_with_a_profile_is_converted() -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.full((4, 4), 14027, np.uint16), photometric="minisblack", iccprofile=GREY)
    kept = decode_picture(buffer.getvalue(), "a", keep_profile=True)
    assert "for GRAY" in kept.not_kept
    assert np.abs(kept.pixels - 0.5).max() < 1e-3  # 21.4 % of the light


def test_without_a_profile_there_is_nothing_to_keep() -> None:
    levels = RNG.integers(0, 256, (6, 6, 3))
    picture = decode_picture(written(levels, None, 8), "a", keep_profile=True)
    assert (picture.profile, picture.not_kept) == (None, "")
    assert profile_inside(encode_picture(picture.pixels, "png", profile=picture.profile)) is None


def test_transparency_and_grey_pixels_of_an_rgb_profile() -> None:
    rgba = RNG.integers(0, 256, (9, 9, 4), dtype=np.uint8)
    picture = decode_picture(written(rgba, DISPLAY_P3, 8), "a", keep_profile=True)
    data = encode_picture(picture.pixels, "png", alpha=picture.alpha, profile=picture.profile)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), rgba)
    grey = decode_picture(written(rgba[..., 0], DISPLAY_P3, 8), "a", keep_profile=True)
    assert grey.profile == DISPLAY_P3
    assert np.array_equal(np.rint(flatten(grey) * 255), np.repeat(rgba[..., :1], 3, axis=2))


def test_the_orientation_is_applied_to_kept_pixels() -> None:
    levels = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(levels).save(buffer, "PNG", icc_profile=DISPLAY_P3, exif=exif)
    picture = decode_picture(buffer.getvalue(), "a", keep_profile=True)
    assert np.array_equal(np.rint(picture.pixels * 255), np.rot90(levels, -1))


def test_a_truncated_file_is_refused_all_the_same() -> None:
    data = written(RNG.integers(0, 256, (30, 30, 3)), DISPLAY_P3, 8)
    with pytest.raises(BadInputError, match="truncated or broken"):
        decode_picture(data[: len(data) // 2], "a", keep_profile=True)


def test_the_profile_of_a_png_comes_before_its_pixels_and_inflates() -> None:
    data = encode_picture(np.zeros((2, 2, 3), np.float32), "png", bits=16, profile=ADOBE_RGB)
    assert data.index(b"iCCP") < data.index(b"IDAT")
    start = data.index(b"iCCP") + 4
    (length,) = struct.unpack_from(">I", data, start - 8)
    name, _, rest = data[start : start + length].partition(b"\0")
    assert name == b"ICC profile"
    assert rest[:1] == b"\0"
    assert zlib.decompress(rest[1:]) == ADOBE_RGB


# what `cvtool stylize` does with them


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_strength_0_gives_back_the_same_16_bits(format: str) -> None:
    from cvtool.models.loader import load
    from cvtool.stylize.options import StylizeOptions
    from cvtool.stylize.service import stylize

    levels = RNG.integers(0, 65536, (33, 47, 3))
    picture = decode_picture(written(levels, DISPLAY_P3, 16), "a", keep_profile=True)
    options = StylizeOptions(strength=0, size=0)
    result = stylize(
        picture.pixels, [np.zeros((8, 8, 3), np.float32)], load("efficientnet-lite0", device="cpu"), options
    )
    data = encode_picture(result.pixels, format, bits=16, profile=picture.profile)
    again = decode_picture(data, "b", keep_profile=True)
    assert np.array_equal(np.rint(again.pixels * 65535), levels)
    assert again.profile == DISPLAY_P3


def test_styles_and_start_follow_the_profile_of_each_content() -> None:
    from cvtool.cli.stylize_profile import InProfile

    style, start = RNG.random((5, 6, 3)).astype(np.float32), RNG.random((4, 4, 3)).astype(np.float32)
    given = InProfile([style], start)
    levels = RNG.integers(0, 256, (6, 6, 3))
    for icc in (DISPLAY_P3, None, ADOBE_RGB, ADOBE_RGB):
        (found,), begin = given.of(decode_picture(written(levels, icc, 8), "a", keep_profile=True))
        np.testing.assert_array_equal(found, style if icc is None else srgb_to_profile(style, icc))
        np.testing.assert_array_equal(begin, start if icc is None else srgb_to_profile(start, icc))
    again = given.of(decode_picture(written(levels, ADOBE_RGB, 8), "a", keep_profile=True))
    assert again[0][0] is found, "the same profile is not converted to twice"


def test_a_style_file_cannot_follow() -> None:
    from cvtool.cli.stylize_profile import InProfile
    from cvtool.stylize.style_files import StyleFile

    style = StyleFile.__new__(StyleFile)
    picture = decode_picture(written(np.zeros((4, 4, 3)), ADOBE_RGB, 8), "a", keep_profile=True)
    with pytest.raises(UsageError, match="style file"):
        InProfile([style]).of(picture)
    plain = decode_picture(written(np.zeros((4, 4, 3)), ADOBE_RGB, 8), "a")
    assert InProfile([style]).of(plain)[0] == [style]


@pytest.mark.parametrize(
    ("asked", "depth", "format", "bits"),
    [(None, 16, "png", 16), (None, 16, "tiff", 16), (None, 16, "jpg", 8), (None, 8, "png", 8), (8, 16, "png", 8)],
)
def test_depth_follows_the_content(asked: int | None, depth: int, format: str, bits: int) -> None:
    from cvtool.cli.options import Format
    from cvtool.cli.stylize_profile import bits_for

    picture = decode_picture(written(np.zeros((4, 4, 3)), None, depth), "a")
    assert bits_for(asked, picture, Format(format)) == bits
