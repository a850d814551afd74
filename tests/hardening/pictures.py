"""Broken and malicious pictures, and every command line that reads one."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from itertools import cycle

from hardening.materials import FORMATS, chunk, nested, note, picture, safetensors, write, write_good
from hardening.registry import BAD_INPUT, DONE, WRONG_USAGE, add

READERS = (
    "saliency BAD",
    "fool BAD --untargeted",
    "fool good.png --untargeted --mask BAD",
    "visualize-class 281 --init BAD -o out.png",
    "visualize-class 281 --method maco --spectrum BAD",
    "caption describe BAD",
    "caption describe BAD --attention words.png",
    "stylize BAD good.png",
    "stylize good.png BAD",
    "stylize good.png good.png --init BAD",
    "stylize good.png good.png --mask BAD=all",
    "stylize good.png good.png --mask good.png=BAD",
    "stylize BAD good.png --instant",
    "stylize good.png --style BAD --save-style style.safetensors",
    "saliency good.png --method rise --baseline BAD",
    "gan invert BAD",
    "info BAD",
)
"""Command lines that read a picture named BAD."""

PARTS = 16
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def meet(
    name: str, make: Callable[[str], object], line: str, suffix: str, *, code: int = BAD_INPUT, says: str = ""
) -> None:
    """Add a picture that `make` writes under the name it is given; ``good.png`` lies beside it."""
    bad = f"bad.{suffix}"

    def both() -> None:
        write_good()
        make(bad)

    add(name, both, line.replace("BAD", bad), code=code, says=says)


def file(data: bytes) -> Callable[[str], object]:
    """Writes just that."""
    return lambda name: write(name, data)


def png(width: int, height: int, bits: int = 8, color: int = 2, body: bytes = b"", *extra: bytes) -> bytes:
    """A PNG that declares a size, whatever it holds."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    return SIGNATURE + head + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    data = bytearray(picture("jpg"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_of(width: int, height: int) -> bytes:
    """A GIF whose screen and first frame claim another size."""
    data = bytearray(picture("gif"))
    data[6:10] = struct.pack("<HH", width, height)
    start = data.rindex(b"\x2c\0\0\0\0") + 5
    data[start : start + 4] = struct.pack("<HH", width, height)
    return bytes(data)


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """A little-endian TIFF of nothing but entries (tag, type, count, value)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


def tiff_of(width: int, height: int, *more: tuple[int, int, int, int]) -> bytes:
    """A TIFF that declares RGB of a size."""
    plain = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 2), 277: (3, 1, 3)}
    plain |= {273: (4, 1, 8), 278: (4, 1, height), 279: (4, 1, 100)} | {tag: tuple(rest) for tag, *rest in more}
    return tiff(*((tag, *rest) for tag, rest in plain.items()))


def webp_of(width: int, height: int) -> bytes:
    """A WebP whose canvas claims a size."""
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (width - 1).to_bytes(3, "little")
    body = b"WEBP" + canvas + (height - 1).to_bytes(3, "little") + picture("webp")[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def endless_text(kind: bytes) -> bytes:
    """A PNG whose compressed text inflates to a gigabyte."""
    squeezed = zlib.compress(bytes(1 << 20), 9)
    deflater = zlib.compressobj(9)
    block = bytes(1 << 24)
    squeezed = b"".join(deflater.compress(block) for _ in range(16)) + deflater.flush()
    head = b"cvtool\0\1\0\0\0" if kind == b"iTXt" else b"cvtool\0\0"
    return png(1, 1, 8, 2, zlib.compress(b"\0\1\2\3"), chunk(kind, head + squeezed))


def with_note(text: str) -> bytes:
    """A whole PNG that says `text` is its provenance."""
    head = b"cvtool\0\0\0\0\0"
    return png(1, 1, 8, 2, zlib.compress(b"\0\1\2\3"), chunk(b"iTXt", head + text.encode()))


def zipped() -> bytes:
    """An archive of one picture."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", picture())
    return buffer.getvalue()


def add_cut_pictures() -> None:
    """Every format, cut at each sixteenth; the readers take turns."""
    readers = cycle(READERS)
    for kind, suffix in FORMATS.items():
        data = picture(kind)
        for part in range(PARTS):
            cut = data[: len(data) * part // PARTS]
            meet(f"{kind} cut at {part} sixteenths", file(cut), next(readers), suffix)


def add_bombs() -> None:
    """Few bytes that claim, or become, very much."""
    huge = 2**31 - 1
    squeezed = zlib.compress(bytes(1 << 20), 9)
    bombs = {
        "png of 2³¹ squared": ("png", png(huge, huge)),
        "png of a line of 2³¹": ("png", png(huge, 1)),
        "png of 100 000 squared": ("png", png(100_000, 100_000, body=squeezed)),
        "png of 14 000 squared": ("png", png(14_000, 14_000, body=squeezed)),
        "png of 100 000 squared, 16 bits": ("png", png(100_000, 100_000, 16, body=squeezed)),
        "png without height": ("png", png(10, 0, body=squeezed)),
        "png without width": ("png", png(0, 10, body=squeezed)),
        "jpg of 65 500 squared": ("jpg", jpeg_of(65_500, 65_500)),
        "gif of 65 535 squared": ("gif", gif_of(65_535, 65_535)),
        "webp of 16 383 squared": ("webp", webp_of(16_383, 16_383)),
        "webp of 2²⁴ squared": ("webp", webp_of(1 << 24, 1 << 24)),
        "tiff of 10⁶ squared": ("tiff", tiff_of(10**6, 10**6)),
        "tiff of 2³² squared": ("tiff", tiff_of(2**32 - 1, 2**32 - 1)),
        "tiff of a million samples": ("tiff", tiff_of(100, 100, (277, 3, 1, 65535))),
        "tiff with an endless list": ("tiff", b"II*\0" + struct.pack("<IHHHIII", 8, 1, 256, 4, 1, 9, 8)),
        "tiff of 2³² strips": ("tiff", tiff_of(100, 100, (273, 4, 2**32 - 1, 8), (279, 4, 2**32 - 1, 8))),
        "bmp of 2³¹ squared": (
            "bmp",
            b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, huge, huge, 1, 24, 0, 0, 0, 0, 0, 0),
        ),
        "ppm of 10⁶ squared": ("ppm", b"P6 1000000 1000000 255\n" + bytes(100)),
        "qoi of 2³² squared": ("qoi", b"qoif" + struct.pack(">IIBB", 2**32 - 1, 2**32 - 1, 3, 0) + bytes(20)),
        "png that inflates to 16 MiB of nothing": ("png", png(10, 10, body=zlib.compress(bytes(1 << 24), 9))),
    }
    readers = cycle(READERS)
    for name, (suffix, data) in bombs.items():
        meet(name, file(data), next(readers), suffix)
    for kind in (b"iTXt", b"zTXt"):
        meet(f"png with a gigabyte in {kind.decode()}", file(endless_text(kind)), "info BAD", "png")


def add_strangers() -> None:
    """Other things that are called pictures."""
    page = b"<!doctype html><html><script>alert(1)</script></html>"
    strangers = {
        "html": ("jpg", page),
        "svg": ("png", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
        "pdf": ("png", b"%PDF-1.7\n1 0 obj\n<</Type/Catalog/OpenAction<</S/JavaScript>>>>\nendobj\n%%EOF"),
        "eps": ("png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) (w) file closefile\n"),
        "zip": ("png", zipped()),
        "zip behind a png's signature": ("png", SIGNATURE + zipped()),
        "zip behind half a png": ("png", picture()[: len(picture()) // 2] + zipped()),
        "program": ("jpg", b"#!/bin/sh\ntouch escaped\n"),
        "elf": ("png", b"\x7fELF" + bytes(200)),
        "pickle": ("jpg", b"\x80\x04cos\nsystem\n(S'touch escaped'\ntR."),
        "safetensors": ("png", safetensors({"__metadata__": {}})),
        "text": ("png", b"just text\n" * 10),
        "blanks": ("png", b" " * 5000),
        "zeros": ("png", bytes(5000)),
        "noise": ("jpg", bytes(range(256)) * 20),
        "utf-16": ("png", "ein Bild".encode("utf-16")),
        "imagemagick script": ("png", b"push graphic-context\nfill 'url(https://localhost/\"|touch escaped\")'\n"),
        "icns": ("png", b"icns" + struct.pack(">I", 100) + bytes(92)),
        "psd": ("png", b"8BPS\0\1" + bytes(60)),
        "tga": ("tga", bytes(2) + b"\2" + bytes(9) + struct.pack("<HHBB", 4, 4, 24, 0) + bytes(48)),
        "wmf": ("png", b"\xd7\xcd\xc6\x9a" + bytes(60)),
    }
    readers = cycle(READERS)
    for name, (suffix, data) in strangers.items():
        meet(f"picture that is {name}", file(data), next(readers), suffix)


def add_notes() -> None:
    """Whole pictures whose record of how they came to be is none."""
    numbers = '{"command": "x", "version": "1", "command_line": "x", "seed": %s}'
    texts = {
        "nothing": "",
        "brackets": nested(100_000),
        "objects": nested(50_000, '{"a":', "}", "1"),
        "a list": "[1, 2]",
        "half of it": note()[:40],
        "a float's NaN": numbers % "NaN",
        "Infinity": numbers % "Infinity",
        "a number of 10 000 digits": numbers % ("9" * 10_000),
        "a list for a command": note().replace('"saliency"', "[1]"),
        "a number for a path": note().replace('"inputs": []', '"inputs": [{"path": 1, "sha256": "x"}]'),
        "a text for inputs": note().replace('"inputs": []', '"inputs": "all"'),
        "null for options": note().replace('"options": {}', '"options": null'),
    }
    for name, text in texts.items():
        meet(f"record that is {name}", file(with_note(text)), "info BAD", "png")


def add_escapes() -> None:
    """Whole pictures whose record, or whose name, would steer the terminal on which it is shown."""
    steering = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\x7f\ncvtool: error: forged\u2028\u202eback"
    texts = {"command": steering, "model": steering, "device": steering, "command_line": "cvtool x; " + steering}
    deep = {
        "options": {steering: [steering]},
        "inputs": [{"path": steering, "sha256": "x"}],
        "environment": {"a": steering},
    }
    evil = with_note(json.dumps({**json.loads(note()), **texts, **deep}))
    meet("record of escapes", file(evil), "info BAD", "png", code=DONE, says="forged")
    meet("record of escapes, as JSON", file(evil), "info BAD --json", "png", code=DONE, says="forged")
    name = "a\x1b[2J\x1b]0;owned\x07\ncvtool: error: forged.png"
    add(
        "name of escapes of a whole picture",
        lambda: (write_good(), write_good(name)),
        ["info", "good.png", name],
        code=DONE,
    )


def fifo(name: str) -> None:
    """A pipe into which nobody writes."""
    os.mkfifo(name)


def unix_socket(name: str) -> None:
    """A socket that nobody listens to."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(name)


def loop(name: str) -> None:
    """A link to a link to itself."""
    os.symlink(name, "other")
    os.symlink("other", name)


def add_places() -> None:
    """Things at a picture's path that are no files, by every reader."""
    places: dict[str, Callable[[str], object]] = {
        "no file": lambda name: None,
        "a folder": lambda name: os.mkdir(name),
        "a pipe": fifo,
        "a socket": unix_socket,
        "a broken link": lambda name: os.symlink("nowhere", name),
        "a loop of links": loop,
        "a link to an endless device": lambda name: os.symlink("/dev/zero", name),
        "a link to nothing": lambda name: os.symlink("/dev/null", name),
        "a file below a file": lambda name: None,
    }
    readers = cycle(READERS)
    for name, make in places.items():
        for _ in range(3):
            line = next(readers)
            if name == "a folder" and "--spectrum" in line:
                line = next(readers)
            if name == "a file below a file":
                line = line.replace("BAD", "good.png/BAD")
            code = WRONG_USAGE if "--mask BAD=all" in line and name == "" else BAD_INPUT
            meet(f"{name}: {line}", make, line, "png", code=code)


def add_names() -> None:
    """Names that hurt terminals, logs and encodings."""
    names = {
        "with a line break": "bad\ncvtool: error: forged.png",
        "with an escape": "bad\x1b[2J\x1b]0;owned\x07.png",
        "with a carriage return": "bad\rgood.png",
        "with a backspace": "bad\x08\x08.png",
        "that turns the line around": "bad\u202egnp.exe",
        "of blanks": " .png",
        "with quotes": "'\"`$(touch escaped)`.png",
        "in Greek": "εικόνα.png",
        "of emoji": "🐈‍⬛.png",
        "that is no UTF-8": os.fsdecode(b"bad\xff\xfe.png"),
        "with a percent sign": "%s%n%x.png",
        "with braces": "{0.__class__}.png",
        "with markup": "[bold red]bad[/].png",
        "with a dash": "./-rf.png",
        "of 250 letters": "a" * 246 + ".png",
        "of a glob": "[a-z]*?.png",
        "like a link": "http://localhost/a.png",
    }
    readers = cycle(("saliency", "caption describe", "info", "gan invert", "fool --untargeted"))
    for name, path in names.items():
        make = partial(write, path, b"no picture")
        line = "info" if name == "of 250 letters" else next(readers)
        add(f"name {name}", make, [*line.split(), path])
    for line in READERS:
        words = [word.replace("BAD", "a" * 5000 + ".png") for word in line.split()]
        # Commands that call their result after the picture find first that it cannot be written.
        named_after = line.startswith(("saliency BAD", "fool BAD", "stylize BAD", "gan invert BAD"))
        add(f"name of 5000 letters: {line}", write_good, words, code=WRONG_USAGE if named_after else BAD_INPUT)
    add("name of NUL", write_good, ["info", "a\0b.png"])
    for line in ("saliency", "stylize good.png", "gan invert"):
        add(f"name of nothing: {line}", write_good, [*line.split(), ""], code=WRONG_USAGE, says="empty name")


def add_folders() -> None:
    """Folders in which something is no picture."""

    def among(make: Callable[[str], object]) -> Callable[[], object]:
        return lambda: (os.mkdir("photos"), make("photos/bad.png"), write_good())

    for name, make in {"a pipe": fifo, "a broken link": lambda path: os.symlink("nowhere", path)}.items():
        for line in ("saliency photos", "stylize good.png --style photos", "visualize-class 281 --spectrum photos"):
            more = " --method maco" if "spectrum" in line else ""
            add(f"folder with {name}: {line}", among(make), line + more)
    add("folder without pictures", lambda: os.mkdir("photos"), "saliency photos")
    add("folder that holds itself", lambda: (os.mkdir("photos"), os.symlink(".", "photos/again")), "info photos")
    add(
        "folder that holds itself, looked through",
        lambda: (os.mkdir("photos"), os.symlink("../photos", "photos/again")),
        "saliency photos --recursive",
    )


for each in (add_cut_pictures, add_bombs, add_strangers, add_notes, add_escapes, add_places, add_names, add_folders):
    each()
