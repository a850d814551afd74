"""Broken and malicious files of weights, checkpoints, states and arrays, by every command line that reads one."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captioners import tiny
from hardening.materials import nested, safetensors, write, write_good
from hardening.pictures import fifo, loop
from hardening.registry import add

from cvtool.caption import checkpoint as captions
from cvtool.gan import checkpoint as generators
from cvtool.gan.networks import Shape, build
from cvtool.gan.options import Arch, NetworkOptions
from cvtool.stylize.instant import checkpoint as painters
from cvtool.stylize.instant.network import Painter
from cvtool.stylize.instant.options import PainterOptions
from cvtool.stylize.losses import Moments
from cvtool.stylize.run import Snapshot
from cvtool.stylize.snapshots import write_snapshot
from cvtool.stylize.style_files import COLORS, StyleFile, write_style

SAFETENSORS_READERS = (
    "gan sample --checkpoint BAD -o out.png",
    "gan interpolate --checkpoint BAD -o out.png",
    "gan export --checkpoint BAD -o out.pt",
    "gan invert good.png --checkpoint BAD",
    "caption describe good.png --checkpoint BAD",
    "stylize good.png good.png --instant --painter BAD",
    "stylize good.png --style BAD",
    "stylize good.png good.png --size 32 --steps 1 --resume BAD",
    "saliency good.png --weights BAD",
    "fool good.png --untargeted --weights BAD",
    "visualize-class 281 --weights BAD",
    "info BAD",
)
TORCH_READERS = (
    "saliency good.png --weights BAD",
    "fool good.png --untargeted --weights BAD",
    "visualize-class 281 --weights BAD",
    "stylize good.png good.png --size 32 --steps 1 --weights BAD",
    "saliency good.png --model squeezenet1_1 --weights BAD",
)
ARRAY_READERS = ("gan sample --latent BAD -o out.png", "visualize-class --layer bn1 --direction BAD")


def meet(name: str, make: Callable[[str], object], line: str, suffix: str) -> None:
    """A file that `make` writes under the name it is given; ``good.png`` lies beside it."""
    bad = f"bad.{suffix}"
    add(name, lambda: (write_good(), make(bad)), line.replace("BAD", bad))


def headers() -> dict[str, bytes]:
    """Safetensors files whose header lies."""
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

    def tensor(**changes: object) -> bytes:
        return safetensors({"a": {**one, **changes}}, bytes(8))

    plain = json.dumps({"a": one})[1:-1]
    return {
        "empty": b"",
        "seven bytes": bytes(7),
        "a length of 2⁶³": safetensors({"a": one}, bytes(8), 2**63),
        "a length of 2⁶⁴ − 1": safetensors({"a": one}, bytes(8), 2**64 - 1),
        "a length of 2⁴⁰": safetensors({"a": one}, bytes(8), 2**40),
        "a length of 0": safetensors({"a": one}, bytes(8), 0),
        "a length behind the end": safetensors({"a": one}, bytes(8), 2000),
        "no JSON": safetensors(b"{" * 50, bytes(8)),
        "a list": safetensors([one], bytes(8)),
        "a number": safetensors(7, bytes(8)),
        "brackets in brackets": safetensors(nested(100_000).encode()),
        "objects in objects": safetensors(nested(50_000, '{"a":', "}", "1").encode()),
        "brackets in its metadata": safetensors({"__metadata__": {"gan": nested(100_000), "caption": nested(10**5)}}),
        "numbers in its metadata": safetensors({"__metadata__": {"gan": 1}}),
        "a list for metadata": safetensors({"__metadata__": []}),
        "Latin-1": safetensors('{"ä": 1}'.encode("latin-1")),
        "NaN": safetensors(b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}', bytes(8)),
        "negative offsets": tensor(data_offsets=[-8, 0]),
        "offsets backwards": tensor(data_offsets=[8, 0]),
        "offsets beyond the end": tensor(data_offsets=[0, 2**40], shape=[2**38]),
        "offsets of 2⁶³": tensor(data_offsets=[2**63, 2**63 + 8]),
        "a shape of 2⁶⁰": tensor(shape=[2**60]),
        "a shape whose product overflows": tensor(shape=[2**32, 2**32]),
        "a shape below nothing": tensor(shape=[-2]),
        "a shape that fits not": tensor(shape=[3]),
        "a million dimensions": tensor(shape=[1] * 10**6),
        "an unknown type": tensor(dtype="F31"),
        "overlapping tensors": safetensors({"a": one, "b": {**one, "data_offsets": [4, 12]}}, bytes(12)),
        "a hole": safetensors({"a": one, "b": {**one, "data_offsets": [16, 24]}}, bytes(24)),
        "a key twice": safetensors(f"{{{plain}, {plain}}}".encode(), bytes(8)),
        "bytes left over": safetensors({"a": one}, bytes(800)),
        "10 000 empty tensors": safetensors(
            {str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(10_000)}
        ),
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "a zip": b"PK\x03\x04" + bytes(100),
    }


class Escape:
    """What runs a command if anybody unpickles it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, ("touch escaped",)


class Chained:
    """The same, by way of things that look harmless."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return eval, ("__import__('pathlib').Path('escaped').touch()",)


def torch_file(content: object, *, legacy: bool = False) -> bytes:
    """As ``torch.save`` writes it."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def repacked(data: bytes, change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A PyTorch file with other contents of its members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for member in old.infolist():
            new.writestr(member.filename, change(member.filename, old.read(member)))
    return buffer.getvalue()


@cache
def small() -> bytes:
    """A whole PyTorch file."""
    return torch_file({"a.weight": torch.zeros(64), "b.bias": torch.ones(3)})


def opcodes(*parts: bytes) -> bytes:
    """A pickle by hand."""
    return b"\x80\x02" + b"".join(parts) + b"."


def pickles() -> dict[str, bytes]:
    """PyTorch files that would do something when they are unpickled, or are broken."""
    whole = small()
    giant = torch_file({"a.weight": torch.zeros(1 << 26)})
    itself: dict[str, object] = {}
    itself["state_dict"] = itself
    return {
        "a pickle that runs a command": pickle.dumps(Escape()),
        "a pickle that evaluates": pickle.dumps(Chained()),
        "a pickle of protocol 0": pickle.dumps({"a": Escape()}, 0),
        "a torch file that runs a command": torch_file({"a.weight": torch.zeros(2), "x": Escape()}),
        "an old torch file that runs a command": torch_file({"a": Escape()}, legacy=True),
        "a torch file that evaluates": torch_file([Chained()]),
        "a command in a key": torch_file(OrderedDict({"state_dict": {"a": Chained()}})),
        "a pickle behind a torch file": whole + pickle.dumps(Escape()),
        "a member that is such a pickle": repacked(
            whole, lambda name, data: pickle.dumps(Escape()) if name.endswith("data.pkl") else data
        ),
        "a whole module": torch_file(torch.nn.Linear(2, 2)),
        "persistent ids of a file": opcodes(b"X\x0b\0\0\0/etc/passwd", b"Q"),
        "an endless pickle": b"\x80\x02" + b"]" * 10**5,
        "memos without end": opcodes(b"]" + b"".join(b"r" + struct.pack("<I", 2**31 - n) for n in range(1, 3))),
        "bytes of 2⁴⁰": opcodes(b"\x8e" + struct.pack("<Q", 2**40)),
        "a text of 2³¹": opcodes(b"X" + struct.pack("<I", 2**31 - 1)),
        "bytearray(10¹²)": opcodes(b"cbuiltins\nbytearray\n", b"\x8a\x06" + (10**12).to_bytes(6, "little"), b"\x85R"),
        "tuples in tuples": opcodes(b")" + b"\x85" * 10**5),
        "a compressed storage of 256 MiB": repacked(giant, lambda name, data: data, zipfile.ZIP_DEFLATED),
        "a storage that is cut": repacked(whole, lambda name, data: data[:5] if "/data/" in name else data),
        "no tensors": torch_file({"a": 1}),
        "a list of tensors": torch_file([torch.zeros(2)]),
        "a bare tensor": torch_file(torch.zeros(2)),
        "sparse tensors": torch_file({"a.weight": torch.zeros(3).to_sparse()}),
        "names that are numbers": torch_file({1: torch.zeros(2)}),
        "wrappers in wrappers": torch_file({"state_dict": {"model": {"state_dict": {}}}}),
        "a wrapper that holds itself": torch_file(itself),
        "a wrapper that holds itself, by an old torch": torch_file(itself, legacy=True),
        "nothing": b"",
        "text": b"weights\n" * 100,
        "a page": b"<!doctype html><title>404</title>",
        "a zip of something else": repacked(whole, lambda name, data: b"").replace(b"archive", b"another"),
    } | {f"a torch file cut at {part} eighths": whole[: len(whole) * part // 8] for part in range(1, 8)}


def arrays() -> dict[str, bytes]:
    """``.npy`` files that lie, or hold objects."""

    def npy(header: str, body: bytes = b"", version: bytes = b"\1\0") -> bytes:
        size = struct.pack("<H" if version == b"\1\0" else "<I", len(header))
        return b"\x93NUMPY" + version + size + header.encode("latin-1") + body

    def shaped(shape: str, kind: str = "<f4") -> bytes:
        return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n", bytes(64))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Escape()], dtype=object), allow_pickle=True)
    numbers = io.BytesIO()
    np.save(numbers, np.full((1, 100), np.nan, np.float32))
    return {
        "objects": buffer.getvalue(),
        "a shape of 2⁴⁰": shaped("(1099511627776,)"),
        "a shape of 2⁶⁴": shaped("(18446744073709551616,)"),
        "a shape below nothing": shaped("(-1,)"),
        "a shape that is code": shaped("(__import__('os').system('touch escaped'),)"),
        "brackets in brackets": npy(nested(100_000), version=b"\2\0"),
        "a header of 4 GiB": b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + b"{",
        "an unknown version": npy("{}", version=b"\x09\0"),
        "a header that breaks off": npy("{'descr': ("),
        "a header that breaks off in a text": npy("{'descr': '''"),
        "numbers of no kind": npy("{'descr': (), 'fortran_order': False, 'shape': (4,)}\n", bytes(64)),
        "texts": shaped("(4,)", "<U4"),
        "numbers that are none": numbers.getvalue(),
        "nothing": b"",
        "half a magic": b"\x93NUM",
        "a pickle": pickle.dumps(Escape()),
        "a zip of arrays": b"PK\x03\x04" + bytes(60),
        "no rows": shaped("(0, 3)"),
        "nine dimensions": shaped("(1,1,1,1,1,1,1,1,16)"),
    }


def add_raw() -> None:
    """Broken files, whatever they should have held; the readers take turns."""
    readers = cycle(SAFETENSORS_READERS)
    for name, data in headers().items():
        meet(f"safetensors of {name}", partial(_put, data=data), next(readers), "safetensors")
    readers, others = cycle(TORCH_READERS), cycle(SAFETENSORS_READERS)
    for name, data in pickles().items():
        meet(f"weights: {name}", partial(_put, data=data), next(readers), "pth")
        if "that" in name:
            meet(f"safetensors that is {name}", partial(_put, data=data), next(others), "safetensors")
    for name, data in arrays().items():
        for line in ARRAY_READERS:
            meet(f"array of {name}: {line.split(' ')[0]}", partial(_put, data=data), line, "npy")


def add_published_names() -> None:
    """Weights that are called as the published files call them, and cannot be brought to our names."""
    codes = {"block1_conv1_W_q": torch.full((64, 3, 3, 3), 200, dtype=torch.uint8), "block1_conv1_b": torch.zeros(64)}
    for name, tensors in {
        "codes beyond their table": {**codes, "block1_conv1_W_table": torch.zeros(3)},
        "a table without dimensions": {**codes, "block1_conv1_W_table": torch.tensor(1.0)},
        "a table of tables": {**codes, "block1_conv1_W_table": torch.zeros(256, 2)},
        "a block without number": {"_conv_stem.weight": torch.zeros(1), "_blocks.x._bn0.weight": torch.zeros(1)},
        "a block of another digit": {"_conv_stem.weight": torch.zeros(1), "_blocks.².a.b": torch.zeros(1)},
        "a block below nothing": {"_conv_stem.weight": torch.zeros(1), "_blocks.-99.a.b": torch.zeros(1)},
    }.items():
        make = partial(_put, data=torch_file(tensors))
        meet(f"weights with {name}", make, TORCH_READERS[0], "pth")


def add_places() -> None:
    """Things at a checkpoint's path that are no files."""
    places: dict[str, Callable[[str], object]] = {
        "no file": lambda name: None,
        "a folder": os.mkdir,
        "a pipe": fifo,
        "an endless device": lambda name: os.symlink("/dev/zero", name),
        "a broken link": lambda name: os.symlink("nowhere", name),
        "a loop of links": loop,
    }
    readers = cycle(SAFETENSORS_READERS)
    for name, make in places.items():
        for _ in range(3):
            line = next(readers)
            meet(f"checkpoint that is {name}: {line.split(' --')[0]}", make, line, "safetensors")
    for line in (*SAFETENSORS_READERS, *TORCH_READERS[-2:], ARRAY_READERS[0]):
        long = line.replace("BAD", "a" * 300 + ".safetensors")
        add(f"checkpoint with a name of 300 letters: {line}", write_good, long)


def _put(name: str, data: bytes) -> None:
    write(name, data)


def _generator(path: Path) -> None:
    options = NetworkOptions(arch=Arch.dcgan, width=4, latent=4)
    network, _ = build(options, Shape(16, 1, 2))
    generators.write_checkpoint(path, generators.Checkpoint(network, options, ("a", "b"), "data", "print", {}), "{}")


def _captioner(path: Path) -> None:
    from captioners import VOCABULARY

    found = captions.Checkpoint(tiny(), VOCABULARY, "efficientnet-lite0", "0" * 64, 8)
    captions.write_checkpoint(path, found, "{}")


def _painter(path: Path) -> None:
    painters.write_checkpoint(path, painters.Checkpoint(Painter(PainterOptions(width=8, embedding=8))), "{}")


def _style(path: Path) -> None:
    moments = tuple(Moments(torch.zeros(3), torch.eye(3)) for _ in ("bn1", COLORS))
    write_style(path, StyleFile({64: moments}, ("bn1",), "efficientnet-lite0", "0" * 64, ({"path": "a"},)))


def _snapshot(path: Path) -> None:
    facts = {
        "tree": {},
        "index": 0,
        "done": 1,
        "steps": [1],
        "terms": {},
        "stopped_by": "",
        "spent": 0.0,
        "history": [],
    }
    write_snapshot(path, Snapshot(facts, {"a": torch.zeros(1)}))


RECORDS: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "gan": (_generator, "gan sample --checkpoint BAD -o out.png"),
    "caption": (_captioner, "caption describe good.png --checkpoint BAD"),
    "painter": (_painter, "stylize good.png good.png --instant --painter BAD"),
    "style": (_style, "stylize good.png --style BAD --size 32 --steps 1"),
    "stylize": (_snapshot, "stylize good.png good.png --size 32 --steps 1 --resume BAD"),
}
"""The record's key in the file → who writes a whole one, and who reads it."""

STRANGE: Mapping[str, Any] = {
    "null": None,
    "a list": [1],
    "a text": "x",
    "−1": -1,
    "10¹²": 10**12,
    "Infinity": float("inf"),
    "NaN": float("nan"),
    "an object": {"a": 1},
    "brackets": "DEEP",
}
HARMLESS = {"data", "fingerprint", "contents", "styles", "facts", "model", "pictures"}
"""Parts of a record that are for people, or only compared: they may be any text."""


def with_record(make: Callable[[Path], None], key: str, change: Callable[[dict[str, Any]], None], name: str) -> None:
    """A checkpoint whose record says something else, written as `name`."""
    path = Path(name)
    make(path)
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    record = json.loads(header["__metadata__"][key])
    change(record)
    deep = nested(100_000)
    header["__metadata__"][key] = json.dumps(record).replace('"DEEP"', deep)
    path.write_bytes(safetensors(header, data[end:]))


def add_records() -> None:
    """Checkpoints whole as files, whose record says what cannot be."""
    for key, (make, line) in RECORDS.items():
        record = _record_of(make, key)
        strange = cycle(STRANGE.items())
        for part in record:
            if part in HARMLESS:
                continue
            meet(
                f"{key}: a record without {part}", partial(with_record, make, key, _without(part)), line, "safetensors"
            )
            for _ in range(3):
                name, value = next(strange)
                change = _changed(part, value)
                meet(f"{key}: {part} is {name}", partial(with_record, make, key, change), line, "safetensors")
        for part, old in dict(record.get("options", {})).items():
            if isinstance(old, bool) or part in ("dropout", "tie", "cell", "arch", "attention", "spectral"):
                continue
            for name in ("−1", "10¹²", "Infinity", "a text"):
                change = _option(part, STRANGE[name])
                meet(f"{key}: option {part} is {name}", partial(with_record, make, key, change), line, "safetensors")


def _record_of(make: Callable[[Path], None], key: str) -> dict[str, Any]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "whole.safetensors")
        make(path)
        data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found: dict[str, Any] = json.loads(header["__metadata__"][key])
    return found


def _without(part: str) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.pop(part)


def _changed(part: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.update({part: value})


def _option(part: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["options"].update({part: value})


for each in (add_raw, add_published_names, add_places, add_records):
    each()
