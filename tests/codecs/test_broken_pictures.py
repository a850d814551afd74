"""Files that are no whole picture: refused in one line that names them, whatever the libraries do with them."""

from __future__ import annotations

import errno
import io
import os
import struct
import threading
import tracemalloc
import warnings
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cvtool import files
from cvtool.codecs.png_chunks import SIGNATURE, checked, chunk
from cvtool.errors import BadInputError
from cvtool.images import Picture, decode_picture, encode_picture, read_picture


@cache
def whole_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    image = small.resize((43, 31), Image.Resampling.BICUBIC)
    palette = image.quantize(32)
    unit = np.asarray(image, dtype=np.float32) / 255

    def saved(image: Image.Image, format: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    def deep(**options: object) -> bytes:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, np.rint(unit * 65535).astype(np.uint16), photometric="rgb", metadata=None, **options)
        return buffer.getvalue()

    return {
        "png": saved(image, "PNG"),
        "png palette": saved(palette, "PNG", transparency=3),
        "png 16": encode_picture(unit, "png", bits=16),
        "png 16 alpha": encode_picture(unit, "png", bits=16, alpha=unit[..., 0]),
        "jpg": saved(image, "JPEG"),
        "jpg progressive": saved(image, "JPEG", progressive=True),
        "webp": saved(image, "WEBP"),
        "webp lossless": saved(image, "WEBP", lossless=True),
        "gif": saved(palette, "GIF"),
        "tiff": saved(image, "TIFF"),
        "tiff lzw": saved(image, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": saved(image, "TIFF", compression="jpeg"),
        "tiff ours": encode_picture(unit, "tiff", note="note"),
        "tiff 16 ours": encode_picture(unit, "tiff", bits=16, note="note"),
        "tiff 16": deep(),
        "tiff 16 deflate": deep(compression="zlib", rowsperstrip=7),
        "tiff 16 tiles": deep(compression="zlib", tile=(16, 16)),
        "tiff 16 grey lzw": saved(
            Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16)), "TIFF", compression="tiff_lzw"
        ),
        "bmp": saved(image, "BMP"),
        "jpeg 2000": saved(image, "JPEG2000"),
    }


def picture_or_refusal(data: bytes) -> Picture | None:
    """The picture, or None where it is refused as it should be; any other error is the test's failure."""
    try:
        return decode_picture(data, "a")
    except BadInputError as error:
        if not str(error).isprintable():
            raise AssertionError("the message is not one line") from error
        return None


KINDS = list(whole_files())
STRICT = [kind for kind in KINDS if kind.startswith(("png", "jpg", "webp"))]


def refusal(data: bytes, name: str = "cat.png") -> str:
    with pytest.raises(BadInputError) as caught:
        decode_picture(data, name)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert name in message
    assert message.isprintable()
    assert len(message) < 300
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_gives_half_a_picture(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Cut anywhere, a file is refused, or (behind its last pixel) gives every pixel; the terminal stays clean."""
    data = whole_files()[kind]
    expected = decode_picture(data, "whole").pixels
    cuts = {
        1,
        7,
        8,
        9,
        33,
        len(data) - 13,
        len(data) - 12,
        *range(len(data) - 5, len(data)),
        *range(20, len(data), 61),
        *range(195, 225),
    }
    accepted = []
    for cut in sorted(cut for cut in cuts if 0 < cut < len(data)):
        picture = picture_or_refusal(data[:cut])
        if picture is not None:
            accepted.append(cut)
            assert np.array_equal(picture.pixels, expected), f"{cut} of {len(data)} bytes gave another picture"
    assert all(cut > len(data) - 5 for cut in accepted)
    if kind in STRICT:
        assert not accepted
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes_never_leak_an_error_of_a_library(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(len(kind))
    for _ in range(80):
        data = bytearray(whole_files()[kind])
        for _ in range(int(rng.choice([1, 3, 20]))):
            data[int(rng.integers(0, len(data) if rng.random() < 0.5 else min(len(data), 300)))] = int(
                rng.integers(256)
            )
        picture = picture_or_refusal(bytes(data))
        if picture is not None:
            assert picture.pixels.dtype == np.float32
            assert np.isfinite(picture.pixels).all()
            assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["png", "png 16", "png palette"])
def test_png_with_a_wrong_pixel_is_refused_by_its_checksum(kind: str) -> None:
    data = bytearray(whole_files()[kind])
    position = data.index(b"IDAT") + 40
    data[position] ^= 1
    assert "checksum" in refusal(bytes(data))


def png(width: int, height: int, bits: int, raw: bytes, color_type: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [8, 16])
def test_png_with_fewer_lines_than_declared(bits: int) -> None:
    """All checksums are right; decoders would fill the rest with black."""
    line = b"\0" + b"\x50" * (3 * 10 * bits // 8)
    assert decode_picture(png(10, 10, bits, line * 10), "a").pixels.shape == (10, 10, 3)
    assert "fewer pixels" in refusal(png(10, 10, bits, line * 9))
    assert "fewer pixels" in refusal(png(10, 10, bits, b""))


def test_tiff_whose_strip_is_missing_or_short() -> None:
    samples = np.full((20, 10, 3), 40_000, dtype=np.uint16)
    for options in ({}, {"compression": "zlib"}):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, samples, photometric="rgb", rowsperstrip=5, metadata=None, **options)
        for code, value, words in [(279, 0, "early"), (273, 1 << 30, "early"), (279, 1, ""), (257, 24, "fewer strips")]:
            stream = io.BytesIO(buffer.getvalue())
            with tifffile.TiffFile(stream) as file:
                tag = file.pages[0].tags[code]
                position = tag.valueoffset
            data = bytearray(buffer.getvalue())
            struct.pack_into(
                "<H" if tag.dtype == 3 else "<I", data, position, min(value, 65535) if tag.dtype == 3 else value
            )
            if not options and (code, value) == (279, 1):
                continue  # an uncompressed strip lies where it lies, whatever its count says
            assert words in refusal(bytes(data))


class TestBombs:
    @pytest.mark.parametrize("bits", [8, 16])
    def test_png_that_declares_too_much(self, bits: int) -> None:
        message = refusal(png(100_000, 100_000, bits, b""))
        assert "100000 × 100000" in message
        assert "too large" in message

    @pytest.mark.parametrize("bits", [8, 16])
    def test_png_of_very_many_chunks(self, bits: int) -> None:
        line = b"\0" + bytes(range(30)) * (bits // 8)
        whole = png(10, 10, bits, line * 10)
        compressed = zlib.compress(line * 10)
        pieces = b"".join(chunk(b"IDAT", compressed[at : at + 1]) for at in range(len(compressed)))
        many = (chunk(b"IDAT", b"") + chunk(b"tRNS", b"") + chunk(b"teXt", b"a")) * 20_000
        data = whole[:33] + pieces + many + whole[-12:]
        tracemalloc.start()
        found = checked(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100_000
        assert found.compressed == (compressed if bits == 16 else b"")
        apart = decode_picture(whole[:33] + pieces + whole[-12:], "a")
        np.testing.assert_array_equal(apart.pixels, decode_picture(whole, "a").pixels)

    @pytest.mark.parametrize("bits", [8, 16])
    def test_png_that_inflates_to_more_than_declared_is_cut_off(self, bits: int) -> None:
        line = b"\0" + b"\x50" * (3 * 10 * bits // 8)
        data = png(10, 10, bits, line * 10 + b"\0" * 50_000_000)
        assert len(data) < 100_000
        tracemalloc.start()
        picture_or_refusal(data)  # either answer will do; what counts is that the 50 MB are not made
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5_000_000

    @pytest.mark.parametrize("kind", ["gif", "bmp", "jpg", "webp lossless", "jpeg 2000"])
    def test_other_headers(self, kind: str) -> None:
        data = bytearray(whole_files()[kind])
        if kind == "gif":
            data[6:10] = b"\xff\xff\xff\xff"
        elif kind == "bmp":
            data[18:26] = struct.pack("<ii", 60_000, 60_000)
        elif kind == "jpg":
            position = data.index(b"\xff\xc0") + 5
            data[position : position + 4] = b"\xfa\xff\xfa\xff"
        elif kind == "jpeg 2000":
            position = data.index(b"ihdr") + 4
            data[position : position + 8] = struct.pack(">II", 100_000, 100_000)
        else:
            data[21:25] = struct.pack("<I", 16_383 | 16_383 << 14)
        refusal(bytes(data))

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    def test_tiff_that_declares_too_much(self, dtype: type) -> None:
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer, np.zeros((16, 16, 3), dtype=dtype), photometric="rgb", metadata=None, compression="zlib"
        )
        data = bytearray(buffer.getvalue())
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tags = file.pages[0].tags
            for code in (256, 257, 278):
                where, kind = tags[code].valueoffset, tags[code].dtype
                struct.pack_into("<H" if kind == 3 else "<I", data, where, 60_000)
        assert "60000 × 60000" in refusal(bytes(data))

    def test_tiff_with_a_tile_larger_than_any_picture(self) -> None:
        buffer = io.BytesIO()
        samples = np.zeros((16, 16, 3), dtype=np.uint16)
        tifffile.imwrite(buffer, samples, photometric="rgb", metadata=None, compression="zlib", tile=(16, 16))
        data = bytearray(buffer.getvalue())
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            for code in (322, 323):
                tag = file.pages[0].tags[code]
                struct.pack_into("<H" if tag.dtype == 3 else "<I", data, tag.valueoffset, 1 << 15)
        assert "too large" in refusal(bytes(data))

    def test_tiff_with_thousands_of_samples_per_pixel(self) -> None:
        buffer = io.BytesIO()
        samples = np.zeros((1, 1), dtype=np.uint16)
        tifffile.imwrite(buffer, samples, photometric="minisblack", metadata=None)
        data = bytearray(buffer.getvalue())
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            for code, value in {256: 10_000, 257: 10_000, 278: 10_000, 277: 60_000}.items():
                tag = file.pages[0].tags[code]
                struct.pack_into("<H" if tag.dtype == 3 else "<I", data, tag.valueoffset, value)
        assert "60000 samples" in refusal(bytes(data))

    def test_pixels_are_counted_not_their_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pillow refuses twice its limit; a deep picture has up to 32 bytes per pixel."""
        data = [whole_files()[kind] for kind in ("tiff 16", "tiff 16 deflate", "tiff 16 tiles", "png 16")]
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 43 * 31 // 2 + 1)
        for each in data:
            assert decode_picture(each, "a").pixels.shape == (31, 43, 3)
        assert Image.MAX_IMAGE_PIXELS == 43 * 31 // 2 + 1

    def test_between_pillow_s_warning_and_its_error(self) -> None:
        """100 million pixels: Pillow warns, we read. One bit per pixel keeps it cheap; stopped before the floats."""
        from cvtool import images

        buffer = io.BytesIO()
        Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("error")
            patch.setattr(images, "unit", lambda levels: np.zeros((1, 1), dtype=np.float32))
            assert decode_picture(buffer.getvalue(), "a").pixels.shape == (1, 1, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"hello, I am a text\n" * 20,
        b"\0" * 1000,
        b"%PDF-1.7\n",
        b"PK\3\4",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_what_is_no_picture(data: bytes) -> None:
    assert "not a picture" in refusal(data)


def test_formats_that_would_start_other_programs_are_no_pictures() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "EPS")
    assert "not a picture" in refusal(buffer.getvalue())


@pytest.mark.parametrize(
    "data", [SIGNATURE, b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"\xff\xd8", b"GIF89a", b"RIFF\0\0\0\0WEBP"]
)
def test_magic_bytes_alone(data: bytes) -> None:
    refusal(data)
    refusal(data + b"\0" * 100)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "bad\nna\x1b[31mme.png").write_bytes(b"no picture")
    cases = {
        "none.png": "no such file",
        ".": "directory",
        "empty.png": "is empty",
        "bad\nna\x1b[31mme.png": r"bad\nna\x1b[31mme.png' is not a picture",
        "empty.png/x": "no such file",
    }
    for name, words in cases.items():
        with pytest.raises(BadInputError) as caught:
            read_picture(tmp_path / name)
        assert words in str(caught.value)
        assert str(caught.value).isprintable()

    def deny(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "open", deny, raising=False)
    with pytest.raises(BadInputError, match="permission denied"):
        read_picture(tmp_path / "empty.png")


@pytest.mark.parametrize("step", ["decode_deep", "_decode_with_pillow", "pixels_to_srgb"])
def test_lack_of_memory_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"cvtool.images.{step}", fail)
    with pytest.raises(MemoryError):
        decode_picture(whole_files()["jpg"], "a")


def test_threads_leave_warnings_and_stderr_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    before = list(warnings.filters)
    data = [whole_files()[kind] for kind in ("tiff lzw", "tiff 16", "png 16", "jpg")]
    failures = []

    def read() -> None:
        for each in data * 4:
            for cut in (len(each), len(each) // 2):
                try:
                    decode_picture(each[:cut], "a")
                except BadInputError:
                    pass
                except BaseException as error:
                    failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"
