"""``idx:DIR``: files like MNIST's (LeCun, Cortes, Burges), ``train-images-idx3-ubyte``, packed with gzip or not."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError
from cvtool.files import CHUNK_BYTES, opened_input, shown
from cvtool.gan.datasets.data import LARGEST_DATA, Item, Source, no_split
from cvtool.gan.picture_options import Conditional

UNSIGNED_BYTE = 0x08
"""Type of the elements in the header; no other is used for pictures."""

_NAME = re.compile(r"(^|[^a-z])(images?|idx[34])([^a-z].*)?ubyte(\.gz)?$", re.IGNORECASE)
_TEST = re.compile(r"(^|[^a-z0-9])(t10k|test)([^a-z0-9]|$)", re.IGNORECASE)
_GZIP_RATIO = 1040  # nothing packs better with deflate


class IdxOrigin:
    """A folder with such files, or one file of pictures.

    Args:
        path: of the folder or file.
        classes: names of the labels 0, 1, …; () for their numbers.
        name: for people; "" for the path's.

    Raises:
        BadInputError: there are none.
    """

    def __init__(self, path: Path, classes: Sequence[str] = (), name: str = "") -> None:
        self._files = picture_files(path)
        if not self._files:
            what = "does not exist" if not path.exists() else "holds no *images*-ubyte or *images*-ubyte.gz"
            raise BadInputError(f"'{shown(path)}' {what}. Check the path.")
        self._path, self._classes = path, tuple(classes)
        self.place = os.path.realpath(path)
        self.name = name or Path(self.place).name

    def state(self) -> str:
        """Names, sizes and times of the files."""
        with_labels = [each for file in self._files for each in (file, labels_file(file)) if each is not None]
        facts = [(file.name, os.stat(file)) for file in with_labels]
        text = [f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}" for name, status in facts]
        return hashlib.sha256("\n".join(text).encode("utf-8", "surrogateescape")).hexdigest()

    def open(self, split: str, conditional: Conditional) -> Source:
        """The pictures file of the split and the labels beside it, if there are any.

        Raises:
            BadInputError: broken files, or numbers of pictures and labels that differ.
        """
        file = self._of_split(split)
        pixels = read_idx(file)
        if pixels.ndim not in (3, 4) or 0 in pixels.shape or (pixels.ndim == 4 and pixels.shape[3] not in (1, 3)):
            raise BadInputError(
                f"'{shown(file)}' holds an array {pixels.shape}, not pictures (N, H, W) or (N, H, W, 3)."
            )
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        labels: NDArray[np.int64] | None = None
        classes: tuple[str, ...] = ()
        beside = labels_file(file)
        if beside is not None and conditional is not Conditional.no:
            labels, classes = self._labels(beside, len(pixels))

        def items(chosen: NDArray[np.int64]) -> Iterator[Item]:
            for row, number in enumerate(chosen.tolist()):
                yield Item(row, f"{file.name}[{number}]", pixels[number])

        height, width = pixels.shape[1:3]
        return Source(len(pixels), labels, classes, items, shape=(height, width), grey=pixels.shape[3] == 1)

    def _of_split(self, split: str) -> Path:
        tests = [file for file in self._files if _TEST.search(file.name)]
        found = tests if split == "test" else [file for file in self._files if file not in tests]
        if not found:
            raise no_split(self._path, split)
        if len(found) > 1:
            names = ", ".join(shown(file.name) for file in found[:3])
            raise BadInputError(f"'{shown(self._path)}' holds several sets ({names}). Name one of the files: idx:FILE.")
        return found[0]

    def _labels(self, file: Path, count: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        values = read_idx(file)
        if values.shape != (count,):
            raise BadInputError(f"'{shown(file)}' holds {values.shape} labels for {count} pictures. Fetch both again.")
        present, labels = np.unique(values, return_inverse=True)
        named = len(self._classes) > int(present[-1])
        classes = tuple(self._classes[number] if named else str(number) for number in present.tolist())
        return labels.astype(np.int64), classes


def picture_files(path: Path) -> list[Path]:
    """The files of pictures in a folder, sorted, packed ones only where there is no other; or `path` itself."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        return []
    names = {name for name in os.listdir(path) if _NAME.search(name) and "label" not in name.lower()}
    return [path / name for name in sorted(names) if name.removesuffix(".gz") == name or name[:-3] not in names]


def labels_file(pictures: Path) -> Path | None:
    """The file with the labels of those pictures, packed or not, or None."""
    name = pictures.name.removesuffix(".gz").replace("images", "labels").replace("image", "label")
    name = re.sub("idx[34]", "idx1", name)
    if name == pictures.name.removesuffix(".gz"):
        return None
    beside = (pictures.with_name(name), pictures.with_name(f"{name}.gz"))
    return next((file for file in beside if file.is_file()), None)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of bytes in such a file, of any shape.

    Raises:
        BadInputError: it is no IDX file of bytes, or shorter or longer than it says.
    """
    with opened_input(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        most = os.fstat(file.fileno()).st_size * (_GZIP_RATIO if packed else 1)
        try:
            if not packed:
                return _read(file, path, most)
            with gzip.open(file) as unpacked:
                return _read(cast(IO[bytes], unpacked), path, most)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _broken(path, "is truncated or broken") from error


def _read(file: IO[bytes], path: Path, most: int) -> NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTE or not 1 <= magic[3] <= 4:
        raise BadInputError(f"'{shown(path)}' is no IDX file of bytes. Check the path.")
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise _broken(path, "is truncated")
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    size = math.prod(shape)
    if size > min(most, LARGEST_DATA):  # before room is made for it
        raise _broken(path, f"claims to hold {size} bytes and does not")
    values = np.empty(size, dtype=np.uint8)
    done = 0
    while done < size:
        block = file.read(min(CHUNK_BYTES, size - done))
        if not block:
            raise _broken(path, f"is truncated: {done} of {size} bytes are there")
        values[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)
    if file.read(1):
        raise _broken(path, "is longer than it says")
    try:
        return values.reshape(shape)
    except ValueError as error:  # no length along one axis, and more than NumPy can count along the others
        raise _broken(path, "claims a shape that nothing can have") from error


def _broken(path: Path, what: str) -> BadInputError:
    return BadInputError(f"'{shown(path)}' {what}. Fetch it again.")
