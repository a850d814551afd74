"""Provenance: written into every format, read back by us and by others, and safe against hostile files."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from safetensors.numpy import save_file

from cvtool.codecs import notes
from cvtool.errors import BadInputError
from cvtool.images import encode_picture, note_fits
from cvtool.provenance import Provenance, environment, read_provenance

RECORD = Provenance(
    command="stylize",
    version="1.2.3",
    command_line="cvtool stylize 'a cat.png' wave.jpg --seed 7",
    options={"strength": 62.5, "layers": ["conv1_1"], "tv": None, "mask": {"a": 1}, "animate": False},
    inputs=({"path": "Bjørn/猫 \udcff.png", "sha256": "0" * 64},),
    model="vgg19",
    device="cpu",
    seed=7,
    environment={"python": "3.11.7"},
)
VARIANTS = [("png", 8), ("png", 16), ("jpg", 8), ("webp", 8), ("tiff", 8), ("tiff", 16)]


def pixels(height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize(("format", "bits"), VARIANTS)
def test_round_trip_through_pictures(tmp_path: Path, format: str, bits: int, with_alpha: bool) -> None:
    alpha = pixels()[..., 0] if with_alpha else None
    path = tmp_path / "result"  # the content tells the format, not the name
    path.write_bytes(encode_picture(pixels(), format, alpha=alpha, bits=bits, note=RECORD.to_json()))
    assert read_provenance(path) == RECORD


@pytest.mark.parametrize("note", ["plain", "Grüße, 猫 🐈", '{"a": "b"}', "x" * 200_000, "ä" * 100_000])
@pytest.mark.parametrize(("format", "bits"), VARIANTS)
def test_any_text_comes_back(format: str, bits: int, note: str) -> None:
    """Read here by Pillow alone: text of a PNG, EXIF with its two character codes elsewhere."""
    data = encode_picture(pixels(), format, bits=bits, note=note)
    image = Image.open(io.BytesIO(data))
    if format == "png":
        assert image.text == {"cvtool": note}
        return
    comment = image.getexif().get_ifd(0x8769).get(0x9286)
    if format == "jpg" and len(note) > 65_000:
        assert not note_fits(note, format)
        assert comment is None
        return
    assert note_fits(note, format)
    if note.isascii():
        assert comment == b"ASCII\0\0\0" + note.encode("ascii")
    else:
        assert comment == b"UNICODE\0" + note.encode("utf-16-le")


def test_jpeg_takes_notes_up_to_its_limit() -> None:
    fits = max(length for length in range(65_400, 65_600) if note_fits("x" * length, "jpg"))
    image = Image.open(io.BytesIO(encode_picture(pixels(), "jpg", note="x" * fits)))
    assert len(image.getexif().get_ifd(0x8769)[0x9286]) == fits + 8


@pytest.mark.parametrize("format", ["png", "webp", "tiff"])
def test_no_note_is_longer_than_readers_take(format: str) -> None:
    longest = "x" * notes.MAX_NOTE
    assert notes.read_note(encode_picture(pixels(), format, note=longest)) == longest
    assert not note_fits(longest + "x", format)
    assert notes.read_note(encode_picture(pixels(), format, note=longest + "x")) is None


def test_png_text_is_an_uncompressed_utf8_chunk() -> None:
    """By hand after the PNG specification, 11.3.4.5: keyword, NUL, 0, 0, NUL, NUL, text."""
    data = encode_picture(pixels(), "png", note="Grüße")
    body = b"cvtool\0\0\0\0\0" + "Grüße".encode()
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    assert chunk in data


@pytest.mark.parametrize("kind", ["itxt", "text", "ztxt", "behind"])
def test_png_text_as_other_programs_rewrite_it(tmp_path: Path, kind: str) -> None:
    info = PngImagePlugin.PngInfo()
    if kind == "itxt":
        info.add_itxt("cvtool", RECORD.to_json(), zip=True)
    elif kind != "behind":
        info.add_text("cvtool", RECORD.to_json(), zip=kind == "ztxt")
    buffer = io.BytesIO()
    Image.new("RGB", (3, 3)).save(buffer, "PNG", pnginfo=info)
    data = buffer.getvalue()
    if kind == "behind":  # after the pixels
        body = b"cvtool\0" + RECORD.to_json().encode()
        late = struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
        data = data[:-12] + late + data[-12:]
    (tmp_path / "a.png").write_bytes(data)
    assert read_provenance(tmp_path / "a.png") == RECORD


def test_round_trip_through_a_checkpoint(tmp_path: Path) -> None:
    save_file({"w": np.zeros(3)}, tmp_path / "a.safetensors", metadata={"cvtool": RECORD.to_json(), "other": "x"})
    assert read_provenance(tmp_path / "a.safetensors") == RECORD
    save_file({"w": np.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(BadInputError, match="no provenance"):
        read_provenance(tmp_path / "b.safetensors")
    broken = (tmp_path / "a.safetensors").read_bytes()
    for cut in (1, 8, 9, 30, len(broken) - 1):
        (tmp_path / "c.safetensors").write_bytes(broken[:cut])
        with pytest.raises(BadInputError) as caught:
            read_provenance(tmp_path / "c.safetensors")
        assert str(caught.value).isprintable()


def picture_with(note: str, tmp_path: Path) -> Path:
    path = tmp_path / "evil\nname.png"
    path.write_bytes(encode_picture(pixels(), "png", note=note))
    return path


GOOD = json.loads(RECORD.to_json())
HOSTILE = {
    "text": "not JSON",
    "nothing": "",
    "list": "[]",
    "number": "1",
    "null": "null",
    "nested": "[" * 100_000,
    "nested objects": '{"a":' * 100_000,
    "huge number": "1" * 10_000,
    "no command": json.dumps({k: v for k, v in GOOD.items() if k != "command"}),
    "command list": json.dumps({**GOOD, "command": []}),
    "version number": json.dumps({**GOOD, "version": 1}),
    "seed text": json.dumps({**GOOD, "seed": "7"}),
    "seed true": json.dumps({**GOOD, "seed": True}),
    "seed fraction": json.dumps({**GOOD, "seed": 7.5}),
    "options list": json.dumps({**GOOD, "options": []}),
    "inputs object": json.dumps({**GOOD, "inputs": {}}),
    "inputs texts": json.dumps({**GOOD, "inputs": ["a.png"]}),
    "inputs halves": json.dumps({**GOOD, "inputs": [{"path": "a"}]}),
    "inputs numbers": json.dumps({**GOOD, "inputs": [{"path": 1, "sha256": "0"}]}),
    "environment nested": json.dumps({**GOOD, "environment": {"python": {}}}),
}


@pytest.mark.parametrize("note", HOSTILE.values(), ids=HOSTILE.keys())
def test_malformed_records_are_refused_in_one_line(tmp_path: Path, note: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_provenance(picture_with(note, tmp_path))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert "evil" in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list(GOOD)) | st.text(), inner),
    )
)
def test_no_json_gets_through_as_another_error(value: object) -> None:
    text = json.dumps({**GOOD, **value} if isinstance(value, dict) else value)
    with contextlib.suppress(BadInputError):
        record = Provenance.from_json(text)
        assert isinstance(record.command, str)
        assert record.seed is None or isinstance(record.seed, int)


def test_unknown_keys_are_left_out_and_optional_ones_may_miss() -> None:
    assert Provenance.from_json(json.dumps({**GOOD, "from the future": [1]})) == RECORD
    minimal = Provenance.from_json('{"command": "fool", "version": "1", "command_line": "cvtool fool"}')
    assert minimal == Provenance("fool", "1", "cvtool fool", environment={})


def test_files_without_provenance(tmp_path: Path) -> None:
    for format in ("PNG", "JPEG", "WEBP", "TIFF", "GIF"):
        Image.new("RGB", (3, 3)).save(tmp_path / "a", format)
        with pytest.raises(BadInputError, match="no provenance"):
            read_provenance(tmp_path / "a")
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"JIS\0\0\0\0\0a camera's own comment"
    Image.new("RGB", (3, 3)).save(tmp_path / "a", "JPEG", exif=exif.tobytes())
    with pytest.raises(BadInputError, match="no provenance"):
        read_provenance(tmp_path / "a")


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    whole = encode_picture(pixels(40, 40), "png")
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    for name in ("text.png", "empty.png", "half.png", "none.png", "."):
        with pytest.raises(BadInputError) as caught:
            read_provenance(tmp_path / name)
        assert str(caught.value).isprintable()


class Color(str, Enum):
    red = "r"


@dataclass(frozen=True)
class Options:
    color: Color
    size: tuple[int, int]


def test_values_become_json() -> None:
    options = {
        "path": Path("a/b"),
        "enum": Color.red,
        "nested": Options(Color.red, (1, 2)),
        "eps": float("inf"),
        "numpy": np.float32(0.5),
    }
    text = Provenance("x", "1", "cvtool x", options=options, environment={}).to_json()
    assert json.loads(text)["options"] == {
        "path": str(Path("a/b")),
        "enum": "r",
        "nested": {"color": "r", "size": [1, 2]},
        "eps": "inf",
        "numpy": 0.5,
    }
    assert text.isascii()
    assert "\n" not in text
    assert Provenance.from_json(text).to_json() == text


def test_environment_names_versions_without_importing_them() -> None:
    found = environment()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["numpy"] == np.__version__
    program = (
        "import sys, cvtool.provenance, cvtool.images, cvtool.animation, cvtool.grids\n"
        "cvtool.provenance.environment()\n"
        "print([m for m in ('torch', 'torchvision', 'timm', 'av', 'tifffile') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
