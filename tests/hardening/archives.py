"""Broken and malicious sets of pictures: archives, folders, IDX and HDF5 files, as ``cvtool gan`` reads them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import cycle

import h5py
import numpy as np
from hardening.materials import picture, write
from hardening.pictures import fifo, loop
from hardening.registry import WRONG_USAGE, add

COMMANDS = ("gan train -o run --steps 1 --data SPEC", "gan evaluate --data SPEC")
OUTSIDE = ("../../outside.png", "/tmp/cvtool-outside.png", "a/../../../outside.png", "..\\..\\outside.png")
"""Names of members that lead out of wherever an archive is unpacked."""

SIZE_OF_BOMBS = 260 << 20
"""Bytes; of a member of an archive 256 MiB are read at most."""

_commands = cycle((COMMANDS[0],) * 4 + COMMANDS[1:])  # the second loads a network first


def meet(name: str, make: Callable[[], object], spec: str, *, code: int = 3, says: str = "") -> None:
    """A set of pictures that cannot be used, by one of the commands in turn."""
    add(name, make, next(_commands).replace("SPEC", spec), code=code, says=says, listed=True)


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data, method)
    return buffer.getvalue()


def link_in_zip(target: str) -> zipfile.ZipInfo:
    """A member that is a symbolic link."""
    info = zipfile.ZipInfo("a.png")
    info.external_attr = 0o120777 << 16
    info.comment = target.encode()
    return info


def tarred(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    """A tar of these."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if data else None)
    return buffer.getvalue()


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """Of a tar."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    info.devmajor = info.devminor = 1
    return info, data


def patched(data: bytes, place: int, new: bytes) -> bytes:
    """With other bytes in the middle."""
    return data[:place] + new + data[place + len(new) :]


def tar_of_size(field: bytes) -> bytes:
    """A tar whose member claims a size, as its header writes it."""
    header = bytearray(tarred(member("a.png", b"x" * 512))[:1024])
    header[124:136] = field.ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header[:512]):06o}\0 ".encode()
    return bytes(header)


def _holes(count: int) -> bytes:
    """The beginning of a tar whose member says where its content has holes, at great length."""
    info = tarfile.TarInfo("a.png")
    info.size = 512
    sparse = {"major": "1", "minor": "0", "name": "a.png", "realsize": "1"}
    info.pax_headers = {f"GNU.sparse.{name}": value for name, value in sparse.items()}
    return info.tobuf(tarfile.PAX_FORMAT) + b"1000000000000\n" + b"0\n" * count


def zips() -> dict[str, bytes]:
    """Archives in which no two pictures can be read."""
    whole = zipped(("a.png", picture()), ("b.png", picture(seed=1)))
    bomb = zipped(("a.png", bytes(SIZE_OF_BOMBS)), method=zipfile.ZIP_DEFLATED)
    directory = whole.index(b"PK\x01\x02")
    encrypted = patched(patched(whole, 6, b"\1\0"), directory + 8, b"\1\0")
    liar = zipped(("a.png", bytes(1 << 20)), ("b.png", bytes(1 << 20)), method=zipfile.ZIP_DEFLATED)
    many = zipped(*((f"{n}.txt", b"") for n in range(5_000)))
    names = {
        "a line break": "a\ncvtool: error: forged.png",
        "an escape": "a\x1b[2J.png",
        "60 000 letters": "a" * 60_000 + ".png",
        "a colour of Rich": "[bold]a[/].png",
    }
    return {
        "nothing": b"",
        "noise": bytes(range(256)) * 10,
        "its end alone": whole[-22:],
        "no pictures": zipped(("a.txt", b"a")),
        "no members": zipped(),
        "a bomb of 260 MiB": bomb,
        "an encrypted member": encrypted,
        "an unknown compression": patched(patched(whole, 8, b"\x63\0"), directory + 10, b"\x63\0"),
        "a wrong checksum": patched(whole, 14, b"abcd").replace(picture()[40:60], bytes(20)),
        "a size that lies": liar.replace(struct.pack("<I", 1 << 20), struct.pack("<I", 10)),
        "a directory beyond the end": whole[:-6] + struct.pack("<I", 2**31) + whole[-2:],
        "5 000 members": many,
        "a link to a file": zipped((link_in_zip("/etc/passwd"), b"/etc/passwd")),
        "a zip in a zip": zipped(("a.png", whole), ("b.png", whole)),
        "pages": zipped(("a.png", b"<html>"), ("b.jpg", b"<html>")),
        "overlapping members": whole[:directory] + whole[directory:].replace(b"b.png", b"a.png"),
        **{f"a way out: {name!r}": zipped((name, picture()), ("c.png", b"")) for name in OUTSIDE},
        **{f"a name of {what}": zipped((name, b"x"), ("b.png", b"x")) for what, name in names.items()},
        **{f"{part} quarters of it": whole[: len(whole) * part // 4] for part in (1, 2, 3)},
    }


def tars() -> dict[str, bytes]:
    """The same for tars."""
    whole = tarred(member("a.png", picture()), member("b.png", picture(seed=1)))
    packed = gzip.compress(whole, mtime=0)
    kinds = {
        "a link": (tarfile.SYMTYPE, "/etc/passwd"),
        "a hard link": (tarfile.LNKTYPE, "/etc/passwd"),
        "a hard link upwards": (tarfile.LNKTYPE, "../../../etc/passwd"),
        "a character device": (tarfile.CHRTYPE, ""),
        "a block device": (tarfile.BLKTYPE, ""),
        "a pipe": (tarfile.FIFOTYPE, ""),
        "a folder": (tarfile.DIRTYPE, ""),
        "an unknown kind": (b"Z", ""),
    }
    pax = tarfile.TarInfo("pax")
    pax.type, record = tarfile.XHDTYPE, b"30 size=99999999999999999999\n"
    pax.size = len(record)
    large = tarfile.TarInfo("pax")
    large.type, large.size = tarfile.XHDTYPE, 8 << 30
    claim = large.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    return {
        "nothing": b"",
        "noise": bytes(range(256)) * 40,
        "zeros": bytes(10240),
        "no pictures": tarred(member("a.txt", b"a")),
        "a gigabyte of zeros, packed": gzip.compress(bytes(1 << 20)) * 1024,
        "packed noise": gzip.compress(bytes(range(256)) * 40),
        "half of it, packed": packed[: len(packed) // 2],
        "a packed stream gone wrong": patched(packed, len(packed) // 2, bytes(40)),
        "xz that is none": b"\xfd7zXZ\0" + bytes(100),
        "bzip2 that is none": b"BZh9" + bytes(100),
        "a size of 8 GiB": tar_of_size(b"77777777777"),
        "a size of 2⁸⁷": tar_of_size(b"\x80" + b"\xff" * 11),
        "a size below nothing": tar_of_size(b"\xff" * 12),
        "a size that is no number": tar_of_size(b"zzzzzzzzzzz"),
        "a record of 10²⁰ bytes": tarred((pax, record), member("a.png", b"x")),
        "a record of 8 GiB": claim,
        "a record of 8 GiB, packed by gzip": gzip.compress(claim),
        "a record of 8 GiB, packed by bzip2": bz2.compress(claim),
        "a record of 8 GiB, packed by xz": lzma.compress(claim),
        "a map of holes without end, packed": gzip.compress(_holes(32 << 20), 1),
        "a wrong checksum": patched(whole, 148, b"000000"),
        "a bomb of 260 MiB": tarred(member("a.png", bytes(SIZE_OF_BOMBS)), mode="w:gz"),
        **{f"a way out: {name!r}": tarred(member(name, picture())) for name in OUTSIDE},
        **{
            f"{what} called a picture": tarred(member("a.png", b"", *rest), member("b.png", b"", *rest))
            for what, rest in kinds.items()
        },
        **{f"{part} quarters of it": whole[: len(whole) * part // 4] for part in (1, 2)},
    }


def add_archives() -> None:
    """Made when they are met: some are large for a moment."""
    for kind, made in (("zip", zips), ("tar", tars)):
        for name in made_names(made):
            meet(f"{kind} of {name}", partial(_write, kind, made, name), f"{kind}:bad.{kind}")
    for name in ("a record of 8 GiB", "a record of 8 GiB, packed by gzip", "a map of holes without end, packed"):
        meet(f"what may be a tar of {name}", partial(_write, "tar", tars, name), "bad.tar")
    for what, make in {
        "a folder": lambda: os.mkdir("bad.zip"),
        "a pipe": lambda: fifo("bad.zip"),
        "an endless device": lambda: os.symlink("/dev/zero", "bad.zip"),
        "a loop of links": lambda: loop("bad.zip"),
        "no file": lambda: None,
    }.items():
        for spec in ("zip:bad.zip", "tar:bad.zip", "bad.zip", "h5:bad.zip#x", "idx:bad.zip"):
            if (what, spec) != ("a folder", "bad.zip"):
                meet(f"{spec} is {what}", make, spec)


def add_tars_as_inputs() -> None:
    """The same tars where pictures are taken; what is cut in the middle still gives a picture, and is not here."""
    for name in made_names(tars):
        if "quarters" not in name:
            make = partial(_write, "tar", tars, name)
            add(f"tar of pictures, {name}", make, "saliency bad.tar -o out/", listed=True)


_made: dict[Callable[[], dict[str, bytes]], dict[str, bytes]] = {}


def made_names(made: Callable[[], dict[str, bytes]]) -> list[str]:
    """What a maker makes."""
    return list(_all(made))


def _all(made: Callable[[], dict[str, bytes]]) -> dict[str, bytes]:
    if made not in _made:
        _made[made] = made()
    return _made[made]


def _write(kind: str, made: Callable[[], dict[str, bytes]], name: str) -> None:
    write(f"bad.{kind}", _all(made)[name])


def idx(*shape: int, kind: int = 8, body: bytes = b"") -> bytes:
    """An IDX file that declares a shape."""
    return bytes((0, 0, kind, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + body


def add_idx() -> None:
    """Like MNIST's, broken."""
    for name, data in {
        "nothing": b"",
        "half a header": idx(3, 3, 3)[:9],
        "2³² pictures": idx(2**32 - 1, 28, 28),
        "2⁹⁶ bytes": idx(2**32 - 1, 2**32 - 1, 2**32 - 1),
        "floats": idx(2, 2, 2, kind=13, body=bytes(32)),
        "a list": idx(9, body=bytes(9)),
        "255 dimensions": bytes((0, 0, 8, 255)) + bytes(4 * 255),
        "no pictures": idx(0, 28, 28),
        "pictures without height": idx(5, 0, 28),
        "too little": idx(10, 4, 4, body=bytes(100)),
        "too much": idx(2, 4, 4, body=bytes(100)),
        "a page": b"<html>404</html>",
        "a packed bomb": gzip.compress(idx(2**16, 2**8, 2**8) + bytes(1 << 24)),
        "a packed file cut in half": gzip.compress(idx(20, 4, 4, body=bytes(range(160)) * 2))[:40],
    }.items():
        meet(f"idx of {name}", partial(write, "set/train-images-idx3-ubyte", data), "idx:set")


def hdf5(make: Callable[[h5py.File], object]) -> Callable[[], None]:
    """Writes a file that `make` fills."""

    def made() -> None:
        with h5py.File("bad.h5", "w") as file:
            make(file)

    return made


def _with_values(value: float) -> Callable[[h5py.File], object]:
    return lambda file: file.create_dataset("x", data=np.full((3, 8, 8), value, np.float32))


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 8, 8), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3, 8, 8))
    file.create_virtual_dataset("x", layout)


def _unknown_filter(file: h5py.File) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((3, 8, 8))
    properties.set_filter(32_999, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    made = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((3, 8, 8)), dcpl=properties)
    made.write_direct_chunk((0, 0, 0), bytes(50), 0)


def add_hdf5() -> None:
    """Pictures in HDF5 files that speak of other files, lie, or cannot be unpacked."""
    makers: dict[str, Callable[[h5py.File], object]] = {
        "nothing": lambda file: None,
        "a soft link": lambda file: file.__setitem__("x", h5py.SoftLink("/y")),
        "a soft link to itself": lambda file: file.__setitem__("x", h5py.SoftLink("/x")),
        "an external link": lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/x")),
        "a virtual dataset": _virtual,
        "external storage": lambda file: file.create_dataset("x", (3, 8, 8), "u1", external=[("/etc/passwd", 0, 192)]),
        "a group": lambda file: file.create_group("x"),
        "a number": lambda file: file.__setitem__("x", 3),
        "no shape": lambda file: file.create_dataset("x", data=h5py.Empty("u1")),
        "2⁴⁰ pictures": lambda file: file.create_dataset("x", (2**40, 28, 28), "u1", chunks=(1, 28, 28)),
        "pictures of 2³⁰ pixels a side": lambda file: file.create_dataset(
            "x", (2, 2**30, 2**30), "u1", chunks=(1, 64, 64)
        ),
        "no pictures": lambda file: file.create_dataset("x", (0, 8, 8), "u1"),
        "texts": lambda file: file.create_dataset(
            "x", data=np.array([[["a"]]], dtype=object), dtype=h5py.string_dtype()
        ),
        "references": lambda file: file.create_dataset("x", (2, 3, 3), dtype=h5py.ref_dtype),
        "records": lambda file: file.create_dataset("x", (2, 3, 3), dtype=[("a", "u1"), ("b", "f4")]),
        "five dimensions": lambda file: file.create_dataset("x", (2, 3, 3, 3, 3), "u1"),
        "seven channels": lambda file: file.create_dataset("x", (2, 5, 5, 7), "u1"),
        "an unknown filter": _unknown_filter,
        "NaN": _with_values(np.nan),
        "infinity": _with_values(np.inf),
        "values of 10³⁰": _with_values(1e30),
        "labels elsewhere": lambda file: (
            file.create_dataset("x", (4, 8, 8), "u1"),
            file.__setitem__("labels", h5py.ExternalLink("/etc/passwd", "/x")),
        ),
        "2⁴⁰ labels": lambda file: (
            file.create_dataset("x", (4, 8, 8), "u1"),
            file.create_dataset("labels", (2**40,), "i8", chunks=(64,)),
        ),
        "labels that are texts": lambda file: (
            file.create_dataset("x", (4, 8, 8), "u1"),
            file.create_dataset("labels", data=["a"] * 4),
        ),
        "two sets": lambda file: (file.create_dataset("a", (4, 8, 8), "u1"), file.create_dataset("b", (4, 8, 8), "u1")),
    }
    for name, make in makers.items():
        meet(f"h5 of {name}", hdf5(make), "bad.h5" if name == "two sets" else "h5:bad.h5#x")
    for part in range(8):
        meet(f"h5 cut at {part} eighths", partial(_cut, part), "h5:bad.h5#x")
    for name, spec in {
        "a name of nothing": "h5:bad.h5#",
        "a way up": "h5:bad.h5#../x",
        "dots": "h5:bad.h5#./x",
    }.items():
        meet(f"h5 by {name}", hdf5(lambda file: file.create_group("y")), spec)


def _cut(part: int) -> None:
    hdf5(lambda file: file.create_dataset("x", data=np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)))()
    with open("bad.h5", "rb") as file:
        data = file.read()
    write("bad.h5", data[: len(data) * part // 8])


def add_folders() -> None:
    """Folders of pictures that are none, and SPECs that name nothing."""

    def among(make: Callable[[str], object]) -> Callable[[], object]:
        return lambda: (write("set/a.png", picture()), make("set/bad.png"))

    for name, make in {
        "half a picture": lambda path: write(path, picture()[:100]),
        "a page": lambda path: write(path, b"<html>"),
        "an empty file": lambda path: write(path, b""),
        "a pipe": fifo,
        "an endless device": lambda path: os.symlink("/dev/zero", path),
        "a broken link": lambda path: os.symlink("nowhere", path),
        "a link to itself": lambda path: os.symlink("bad.png", path),
        "a folder": os.mkdir,
        "the folder itself": lambda path: os.symlink(".", path),
    }.items():
        meet(f"set with {name}", among(make), "folder:set")
    specs = {
        "folder:": WRONG_USAGE,
        "zip:": WRONG_USAGE,
        "fodler:set": WRONG_USAGE,
        "folder:nowhere": 3,
        "": WRONG_USAGE,
        "folder:C:\\pictures": 3,
        "C:\\pictures": 3,
        "zip:C:\\a\\b.zip": 3,
        "\\\\server\\share": 3,
        "folder:" + "a" * 5000: 3,
        "idx:" + "a" * 5000: 3,
        "b" * 5000: 3,
        "h5:" + "a" * 5000 + "#x": 3,
        "h5:nowhere.h5#x": 3,
        "folder:/dev/zero": 3,
        "zip:/dev/zero": 3,
        "tar:/dev/null": 3,
        "/dev/zero": 3,
        "folder:a\nb": 3,
    }
    for spec, code in specs.items():
        shown = spec if len(spec) < 100 else f"{spec[:10]}… of {len(spec)} letters"
        words = next(_commands).split()
        add(f"SPEC {shown!r}", lambda: None, [spec if word == "SPEC" else word for word in words], code=code)


for each in (add_archives, add_tars_as_inputs, add_idx, add_hdf5, add_folders):
    each()
