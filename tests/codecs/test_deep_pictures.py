"""16-bit and floating-point pictures, built and taken apart by hand from the specifications or by tifffile."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from cvtool.codecs import picture_writers
from cvtool.errors import BadInputError
from cvtool.images import Picture, decode_picture, encode_picture

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (11, 13, 4), dtype=np.uint16)
PNG_TYPES = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type → channels


def check(picture: Picture, expected: np.ndarray, alpha: np.ndarray | None = None) -> None:
    """Exactly these 16-bit levels."""
    assert picture.bits == 16
    assert picture.pixels.dtype == np.float32
    expected = np.repeat(
        expected.reshape(*expected.shape[:2], -1), 4 - expected.reshape(*expected.shape[:2], -1).shape[2], axis=2
    )[..., :3]
    assert np.array_equal(np.rint(picture.pixels * 65535.0), expected)
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        assert np.array_equal(np.rint(picture.alpha * 65535.0), alpha)


# --- PNG by hand (PNG specification, third edition) ---------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def lines_of(samples: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)


def png16(samples: np.ndarray, color_type: int, *extra: bytes, interlaced: bool = False, parts: int = 1) -> bytes:
    height, width = samples.shape[:2]
    raw = lines_of(samples)
    if interlaced:  # the seven passes of Adam7
        passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        reduced = [samples[y::dy, x::dx] for x, y, dx, dy in passes]
        raw = b"".join(lines_of(each) for each in reduced if each.size)
    packed = zlib.compress(raw)
    step = -(-len(packed) // parts)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, interlaced)
    body = b"".join(chunk(b"IDAT", packed[at : at + step]) for at in range(0, len(packed), step))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + body + chunk(b"IEND", b"")


def unfiltered(raw: bytes, height: int, width: int, channels: int) -> np.ndarray:
    """Scan lines → samples, byte by byte (sections 9.2 to 9.4)."""
    step, length = 2 * channels, 2 * channels * width
    above = bytearray(length)
    rows = []
    for row in range(height):
        start = row * (length + 1)
        kind, line = raw[start], bytearray(raw[start + 1 : start + 1 + length])
        for i in range(length):
            a = line[i - step] if i >= step else 0
            b = above[i]
            c = above[i - step] if i >= step else 0
            estimate = a + b - c
            paeth = min((a, b, c), key=lambda near: abs(estimate - near))  # the first of equals, as the order demands
            line[i] = (line[i] + (0, a, b, (a + b) // 2, paeth)[kind]) % 256
        rows.append(np.frombuffer(bytes(line), dtype=">u2").reshape(width, channels))
        above = line
    return np.stack(rows)


def chunks_of(data: bytes) -> dict[bytes, bytes]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found: dict[bytes, bytes] = {}
    position = 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length)[0] == zlib.crc32(kind + body)
        found[kind] = found.get(kind, b"") + body
        position += 12 + length
    return found


class TestReadingPng:
    @pytest.mark.parametrize("interlaced", [False, True])
    @pytest.mark.parametrize("color_type", PNG_TYPES)
    def test_every_color_type(self, color_type: int, interlaced: bool) -> None:
        samples = DEEP[..., : PNG_TYPES[color_type]]
        picture = decode_picture(png16(samples, color_type, interlaced=interlaced, parts=3), "a")
        has_alpha = color_type in (4, 6)
        check(picture, samples[..., :-1] if has_alpha else samples, samples[..., -1] if has_alpha else None)

    @pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
    @pytest.mark.parametrize("interlaced", [False, True])
    def test_extreme_shapes(self, size: tuple[int, int], interlaced: bool) -> None:
        samples = RNG.integers(0, 65536, (*size, 3), dtype=np.uint16)
        check(decode_picture(png16(samples, 2, interlaced=interlaced), "a"), samples)

    @pytest.mark.parametrize("color_type", [0, 2])
    def test_one_color_declared_transparent(self, color_type: int) -> None:
        samples = DEEP[..., : PNG_TYPES[color_type]].copy()
        samples[3, 4] = samples[0, 0]
        samples[5, 6] = samples[0, 0] ^ 1  # differs in the lowest bit: opaque
        alpha = np.full(samples.shape[:2], 65535)
        alpha[0, 0] = alpha[3, 4] = 0
        key = chunk(b"tRNS", samples[0, 0].astype(">u2").tobytes())
        check(decode_picture(png16(samples, color_type, key), "a"), samples, alpha)

    def test_full_alpha_is_none(self) -> None:
        samples = DEEP.copy()
        samples[..., 3] = 65535
        check(decode_picture(png16(samples, 6), "a"), samples[..., :3])
        samples[1, 1, 3] = 65534
        check(decode_picture(png16(samples, 6), "a"), samples[..., :3], samples[..., 3])

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_that_of_eight_bits(self, orientation: int) -> None:
        """Pillow turns the 8-bit picture; the 16-bit one must come out the same way."""
        block = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
        samples = DEEP[..., :3] // 257 * 257
        deep = decode_picture(png16(samples, 2, chunk(b"eXIf", block)), "a")
        buffer = io.BytesIO()
        Image.fromarray((samples // 257).astype(np.uint8)).save(buffer, "PNG", exif=block)
        assert np.array_equal(deep.pixels, decode_picture(buffer.getvalue(), "a").pixels)

    def test_color_chunks_that_decoders_apply_on_their_own_change_nothing(self) -> None:
        extra = chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"sBIT", b"\x0a\x0a\x0a"), chunk(b"eXIf", b"broken")
        check(decode_picture(png16(DEEP[..., :3], 2, *extra), "a"), DEEP[..., :3])


class TestWritingPng:
    @settings(max_examples=30, deadline=None)
    @given(
        arrays.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4]))),
        st.sampled_from(["as it is", "smooth"]),
    )
    def test_is_decoded_by_hand(self, samples: np.ndarray, kind: str) -> None:
        if kind == "smooth":  # so that every filter is chosen now and then
            samples = np.cumsum(np.cumsum(samples % 7, axis=0), axis=1).astype(np.uint16)
        unit = samples / np.float32(65535)
        alpha = unit[..., 3] if samples.shape[2] == 4 else None
        found = chunks_of(encode_picture(unit[..., :3], "png", alpha=alpha, bits=16))
        height, width, channels = samples.shape
        assert found[b"IHDR"] == struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
        assert np.array_equal(unfiltered(zlib.decompress(found[b"IDAT"]), height, width, channels), samples)

    def test_filters_pay(self) -> None:
        """Each kind of picture makes the filter made for it the choice; more rows than are filtered at once."""
        across = np.arange(40, dtype=np.float32)[None].repeat(600, axis=0) / 40
        for plane, expected in ((across, {1, 2, 4}), (across.T[:40].repeat(20, axis=0)[:600], {1, 2, 4})):
            pixels = np.repeat(plane[..., None], 3, axis=2)
            found = chunks_of(encode_picture(pixels, "png", bits=16))
            raw = zlib.decompress(found[b"IDAT"])
            used = set(raw[:: 1 + 6 * plane.shape[1]])
            assert used & expected
            assert len(found[b"IDAT"]) < pixels.size * 2 / 50
            check(decode_picture(encode_picture(pixels, "png", bits=16), "a"), np.rint(pixels * np.float32(65535)))

    def test_lines_are_predicted_from_the_line_above_also_where_work_is_split(self) -> None:
        samples = RNG.integers(0, 65536, (9000, 3, 3), dtype=np.uint16)
        check(decode_picture(encode_picture(samples / np.float32(65535), "png", bits=16), "a"), samples)

    def test_ties_of_the_paeth_filter(self) -> None:
        """Every combination of small neighbours; the order a, b, c decides between equals (section 9.4)."""
        a, b, c = (each.astype(np.uint8) for each in np.indices((12, 12, 12)))
        expected = [min((x, y, z), key=lambda near: abs(x + y - z - near)) for x, y, z in np.ndindex(12, 12, 12)]
        assert np.array_equal(picture_writers._paeth(a, b, c).ravel(), expected)

    def test_pillow_reads_the_upper_bytes(self) -> None:
        data = encode_picture(DEEP[..., :3] / np.float32(65535), "png", bits=16)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), DEEP[..., :3] >> 8)


# --- TIFF ---------------------------------------------------------------------------------------------------------


def tiff(samples: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **{"photometric": "rgb", "metadata": None, **options})
    return buffer.getvalue()


class TestReadingTiff:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"byteorder": ">"},
            {"compression": "zlib"},
            {"compression": "zlib", "predictor": True},
            {"compression": "zlib", "rowsperstrip": 3},
            {"compression": "zlib", "tile": (16, 16), "predictor": True, "byteorder": ">"},
            {"tile": (16, 16)},
            {"bigtiff": True},
        ],
        ids=str,
    )
    def test_layouts(self, options: dict) -> None:
        samples = RNG.integers(0, 65536, (35, 41, 3), dtype=np.uint16)
        check(decode_picture(tiff(samples, **options), "a"), samples)

    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_one_plane_after_the_other(self, compression: str | None) -> None:
        planes = np.moveaxis(DEEP[..., :3], -1, 0).copy()
        data = tiff(planes, planarconfig="separate", compression=compression, rowsperstrip=4)
        check(decode_picture(data, "a"), DEEP[..., :3])

    @pytest.mark.parametrize("compression", [None, "zlib", "tiff_lzw", "packbits"])
    def test_grey(self, compression: str | None) -> None:
        grey = DEEP[..., 0]
        if compression in (None, "zlib"):
            check(decode_picture(tiff(grey, photometric="minisblack", compression=compression), "a"), grey)
            check(decode_picture(tiff(65535 - grey, photometric="miniswhite", compression=compression), "a"), grey)
        buffer = io.BytesIO()
        Image.fromarray(grey).save(
            buffer, "TIFF", compression=compression and compression.replace("zlib", "tiff_deflate")
        )
        check(decode_picture(buffer.getvalue(), "a"), grey)

    def test_grey_with_alpha(self) -> None:
        both = DEEP[..., :2]
        data = tiff(both, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])
        check(decode_picture(data, "a"), both[..., 0], both[..., 1])

    def test_kinds_of_alpha(self) -> None:
        color, alpha = DEEP[..., :3], DEEP[..., 3]
        check(decode_picture(tiff(DEEP, extrasamples=["unassalpha"]), "a"), color, alpha)
        check(decode_picture(tiff(DEEP, extrasamples=["unspecified"]), "a"), color)

    def test_associated_alpha_is_divided_out(self) -> None:
        stored = np.array([[[1000, 2000, 3000, 4000], [0, 0, 0, 0], [65535, 65535, 65535, 65535]]], dtype=np.uint16)
        picture = decode_picture(tiff(stored, extrasamples=["assocalpha"]), "a")
        assert np.allclose(picture.pixels, [[[0.25, 0.5, 0.75], [0, 0, 0], [1, 1, 1]]], atol=1e-6)
        assert np.allclose(picture.alpha, [[4000 / 65535, 0, 1]])

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_floating_point_is_clipped(self, dtype: type, compression: str | None) -> None:
        values = np.array([-1, 0, 0.25, 0.5, 1, 7, np.inf, -np.inf, np.nan], dtype=dtype)
        samples = np.repeat(values[None, :, None], 3, axis=2)
        picture = decode_picture(tiff(samples, compression=compression), "a")
        assert picture.bits == 16
        assert np.array_equal(picture.pixels[0, :, 1], np.array([0, 0, 0.25, 0.5, 1, 1, 1, 0, 0], dtype=np.float32))

    def test_wide_integers(self) -> None:
        samples = np.array([[[0, 2**31, 2**32 - 1]]], dtype=np.uint32)
        assert np.allclose(decode_picture(tiff(samples), "a").pixels, [[[0, 0.5, 1]]])

    def test_lab(self) -> None:
        """TIFF 6.0, section 23, at 16 bits: L over the whole range, a and b signed in 1/256. Colours known for D50."""
        known = {
            (100, 0, 0): (1, 1, 1),
            (0, 0, 0): (0, 0, 0),
            (53.3890, 0, 0): (0.5, 0.5, 0.5),
            (54.2917, 80.8125, 69.8851): (1, 0, 0),
            (87.8181, -79.2873, 80.9902): (0, 1, 0),
            (29.5676, 68.2986, -112.0294): (0, 0, 1),
        }
        lab = np.array([list(known)], dtype=np.float64)
        stored = np.empty(lab.shape, dtype=np.uint16)
        stored[..., 0] = np.rint(lab[..., 0] * 655.35)
        stored[..., 1:] = np.rint(lab[..., 1:] * 256).astype(np.int16).view(np.uint16)
        picture = decode_picture(tiff(stored, photometric="cielab"), "a")
        assert np.abs(picture.pixels[0] - list(known.values())).max() < 0.003

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("channels", [3, 4])
    @pytest.mark.parametrize("predictor", [False, True])
    def test_lzw_colors(self, channels: int, order: str, predictor: bool) -> None:
        samples = DEEP[..., :channels]
        alpha = samples[..., 3] if channels == 4 else None
        check(decode_picture(lzw_tiff(samples, order, predictor), "a"), samples[..., :3], alpha)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_floating_point_predictor(self, dtype: type, order: str) -> None:
        """Byte by byte after Adobe Photoshop TIFF Technical Note 3."""
        samples = RNG.random((5, 6, 3)).astype(dtype)
        strip = zlib.compress(b"".join(predicted_floats(row) for row in samples))
        data = tiff_by_hand(strip, samples, order, compression=8, predictor=3)
        assert np.array_equal(decode_picture(data, "a").pixels, samples.astype(np.float32))

    def test_predictor_without_compression_means_nothing(self) -> None:
        samples = DEEP[..., :3]
        data = tiff_by_hand(samples.astype("<u2").tobytes(), samples, "<", compression=1, predictor=2)
        check(decode_picture(data, "a"), samples)

    def test_orientation(self) -> None:
        samples = DEEP[..., :3]
        data = tiff(samples, extratags=[(274, "H", 1, 6, True)])  # 6: the stored row 0 is the right side
        check(decode_picture(data, "a"), np.rot90(samples, -1))

    def test_first_page_only(self) -> None:
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as writer:
            writer.write(DEEP[..., :3], photometric="rgb", metadata=None)
            writer.write(DEEP[:4, :4, :3], photometric="rgb", metadata=None)
        check(decode_picture(buffer.getvalue(), "a"), DEEP[..., :3])


def predicted_floats(row: np.ndarray) -> bytes:
    """(W, C) floats → bytes ordered by significance, each less the one a pixel before it."""
    raw = row.astype(row.dtype.newbyteorder(">")).tobytes()
    size, channels = row.dtype.itemsize, row.shape[1]
    ordered = b"".join(raw[byte::size] for byte in range(size))
    return bytes((each - (ordered[i - channels] if i >= channels else 0)) % 256 for i, each in enumerate(ordered))


def lzw(data: bytes) -> bytes:
    """TIFF's LZW without any compression: 9-bit literals, and a clear code before the codes would grow."""
    codes = []
    for at in range(0, len(data), 250):
        codes += [256, *data[at : at + 250]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def lzw_tiff(samples: np.ndarray, order: str, predictor: bool) -> bytes:
    stored = samples.copy()
    if predictor:
        stored[:, 1:] -= samples[:, :-1]
    strip = lzw(stored.astype(f"{order}u2").tobytes())
    return tiff_by_hand(strip, samples, order, compression=5, predictor=2 if predictor else 1)


def tiff_by_hand(strip: bytes, samples: np.ndarray, order: str, compression: int, predictor: int) -> bytes:
    """One strip in a directory after TIFF 6.0: tifffile writes neither LZW nor floating-point differences by itself."""
    height, width, channels = samples.shape
    depths = struct.pack(f"{order}{channels}H", *[8 * samples.itemsize] * channels)
    kind = {"u": 1, "f": 3}[samples.dtype.kind]
    short = {259: compression, 262: 2, 277: channels, 317: predictor, 339: kind}
    if channels == 4:
        short[338] = 2
    long = {256: width, 257: height, 273: 8 + len(depths), 278: height, 279: len(strip)}
    entries = [(tag, struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0)) for tag, value in short.items()]
    entries += [(tag, struct.pack(f"{order}HHII", tag, 4, 1, value)) for tag, value in long.items()]
    entries.append((258, struct.pack(f"{order}HHII", 258, 3, channels, 8)))
    padding = b"\0" * (len(strip) % 2)
    start = 8 + len(depths) + len(strip) + len(padding)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    table = struct.pack(f"{order}H", len(entries)) + b"".join(raw for _, raw in sorted(entries)) + b"\0\0\0\0"
    return header + depths + strip + padding + table


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_written_tiff_is_read_by_tifffile(bits: int, channels: int) -> None:
    """More rows than one strip holds."""
    largest = 2**bits - 1
    samples = RNG.integers(0, largest, (300, 401, channels), dtype=np.uint8 if bits == 8 else np.uint16, endpoint=True)
    unit = samples / np.float32(largest)
    data = encode_picture(
        unit[..., :3], "tiff", alpha=unit[..., 3] if channels == 4 else None, bits=bits, note="x" * 999
    )
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (page,) = file.pages
        assert np.array_equal(page.asarray(), samples)
        assert len(page.dataoffsets) > 1
        assert page.tags["ExifTag"].value["UserComment"] == "x" * 999
        assert [int(kind) for kind in page.extrasamples] == ([2] if channels == 4 else [])


def test_directories_of_written_tiff_begin_at_even_offsets() -> None:
    """TIFF 6.0, section 2: "The directory may be at any location in the file … but must begin on a word boundary"."""
    for width in range(1, 30):
        data = encode_picture(RNG.random((3, width, 3), dtype=np.float32), "tiff", note="x" * width)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            exif = page.tags[34665]
            assert page.offset % 2 == 0
            assert struct.unpack_from("<I", data, exif.offset + 8)[0] % 2 == 0
            assert exif.value == {"UserComment": "x" * width}


def test_other_deep_files() -> None:
    grey = DEEP[..., 0]
    pgm = b"P5\n13 11\n65535\n" + grey.astype(">u2").tobytes()
    check(decode_picture(pgm, "a"), grey)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG2000", irreversible=False)
    check(decode_picture(buffer.getvalue(), "a"), grey)


def test_kinds_that_are_refused_say_what_to_do() -> None:
    volume = RNG.integers(0, 65536, (4, 16, 16), dtype=np.uint16)
    complex_numbers = np.ones((4, 4, 3), dtype=np.complex64)
    for data in (
        tiff(volume, photometric="minisblack", volumetric=True, tile=(4, 16, 16)),
        tiff(complex_numbers, photometric="rgb"),
    ):
        with pytest.raises(BadInputError) as caught:
            decode_picture(data, "a")
        assert str(caught.value).isprintable()
