"""HDF5 files from anywhere, opened so that they can only speak of themselves."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError, CvtoolError
from cvtool.files import opened_input, shown

if TYPE_CHECKING:
    import h5py

VERSIONS = ("v108", "v108")
"""Of the format that is written: its index has checksums since 1.8, and from 1.10 on a file that was being changed when
the program was killed cannot be opened."""

MOST_BYTES = 8 << 30
"""Largest array that is read into memory whole."""


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file, open for reading in the block; what HDF5 says of it there becomes a `BadInputError`.

    Raises:
        BadInputError: missing, no HDF5, truncated, broken, or in use by another program.
    """
    file = open_file(path, "r")
    try:
        yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise _broken(path, error) from error
    finally:
        file.close()


def open_file(path: Path, mode: str) -> h5py.File:
    """An HDF5 file that is there, opened for reading (``"r"``) or for changes (``"r+"``).

    Raises:
        BadInputError: missing, no HDF5, truncated, or in use by another program.
        CvtoolError: it may not be changed.
    """
    import h5py

    with opened_input(path, lasting=True):  # the clear words for files that cannot be read at all
        pass
    try:
        return h5py.File(path, mode, libver=VERSIONS if mode == "r+" else None)
    except BlockingIOError as error:
        raise BadInputError(f"'{shown(path)}' is in use by another program. Wait for it to end.") from error
    except PermissionError as error:
        raise CvtoolError(f"Cannot write '{shown(path)}': permission denied. Check its permissions.") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise _broken(path, error) from error


def dataset(file: h5py.File, name: str, dimensions: int, kinds: str) -> h5py.Dataset:
    """The dataset `name` of the file itself, checked.

    Args:
        file: open.
        name: in the file's root.
        dimensions: how many it must have.
        kinds: NumPy's letters of the element kinds that fit, e.g. ``"f"`` or ``"iu"``; ``"O"`` for texts.

    Raises:
        BadInputError: it is not there, has another shape or type, or lies in another file.
    """
    found, path = own_dataset(file, name), file.filename
    if found.ndim != dimensions or found.dtype.kind not in kinds:
        raise BadInputError(
            f"'{shown(path)}': '{name}' is {found.ndim}-dimensional of type {found.dtype}, not what is expected there."
        )
    return found


def own_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset at a place such as ``"train/images"`` of the file itself.

    Raises:
        BadInputError: it is not there, is no dataset, or lies in another file.
    """
    import h5py

    path = file.filename
    # A link, a virtual dataset or external storage could make any file of this machine look like part of this one.
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        inside = "/".join(parts[:depth])
        link = file.get(inside, getlink=True)
        if link is None:
            there = ", ".join(map(shown, list(file)[:5])) or "nothing"
            raise BadInputError(f"'{shown(path)}' has no dataset '{shown(name)}'. It has: {there}.")
        if not isinstance(link, h5py.HardLink):
            raise BadInputError(f"'{shown(path)}': '{shown(inside)}' is a link to elsewhere, which is not followed.")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise BadInputError(f"'{shown(path)}': '{shown(name)}' is not a dataset.")
    if found.is_virtual or found.external:
        raise BadInputError(f"'{shown(path)}': '{shown(name)}' lies in another file, which is not followed.")
    return found


def attribute(file: h5py.File, name: str, kinds: str) -> Any:
    """An attribute of the file: a number, an array of numbers or a text; None if it is not there or of another kind.

    Args:
        file: open.
        name: of the attribute.
        kinds: NumPy's letters of the element kinds that fit: ``"S"`` for texts of fixed length, ``"iu"``, ``"f"``.
    """
    if name not in file.attrs or file.attrs.get_id(name).dtype.kind not in kinds:
        return None
    value = file.attrs[name]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the rows of a dataset lie in its file, so that they can be read and written without HDF5.

    Attributes:
        row: bytes of a row.
        chunk: rows that lie one behind the other.
        offsets: in bytes from the file's start, of each chunk that is needed.
    """

    row: int
    chunk: int
    offsets: NDArray[np.int64]

    def start(self, number: int) -> int:
        """In bytes from the file's start, of a row."""
        return int(self.offsets[number // self.chunk]) + number % self.chunk * self.row

    def pieces(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Rows that lie one behind the other among `count` from `first` on: (the first of them, how many)."""
        while count > 0:
            here = min(count, self.chunk - first % self.chunk)
            yield first, here
            first, count = first + here, count - here


def placement(found: h5py.Dataset, rows: int) -> Placement:
    """Where the first `rows` rows of a dataset lie.

    Raises:
        BadInputError: it has fewer, they are compressed, not whole in a chunk, or not in the file.
    """

    def fail(what: str) -> BadInputError:
        return BadInputError(f"'{shown(found.file.filename)}': '{found.name}' {what}. Make the file again.")

    if len(found) < rows:
        raise fail(f"has {len(found)} rows, not {rows}")
    if found.chunks is None or found.chunks[1:] != found.shape[1:] or found.id.get_create_plist().get_nfilters():
        raise fail("is compressed or laid out otherwise than cvtool does")
    chunk = found.chunks[0]
    row = found.dtype.itemsize * math.prod(found.shape[1:])
    needed = -(-rows // chunk)
    if found.id.get_num_chunks() < needed:  # what the file claims to have may be much more than it has
        raise fail("is not there in full")
    offsets = np.full(needed, -1, dtype=np.int64)

    def note(info: h5py.h5d.StoreInfo) -> None:
        number = info.chunk_offset[0] // chunk
        if number < needed:
            offsets[number] = info.byte_offset

    found.id.chunk_iter(note)
    if needed and (offsets.min() < 0 or offsets.max() + chunk * row > os.path.getsize(found.file.filename)):
        raise fail("is not there in full")
    return Placement(row, chunk, offsets)


def whole(found: h5py.Dataset) -> Any:
    """All of a dataset as an array.

    Raises:
        BadInputError: it claims more than `MOST_BYTES`.
    """
    if found.nbytes > MOST_BYTES:
        raise BadInputError(f"'{shown(found.file.filename)}': '{found.name}' claims to be {found.nbytes >> 30} GiB.")
    return found[()]


def _broken(path: Path, error: Exception) -> BadInputError:
    text = shown(" ".join(str(error.args[0] if error.args else error).split()))
    if "truncated" in text:
        return BadInputError(f"'{shown(path)}' is truncated: the end is missing. Make or fetch it again.")
    if "signature not found" in text:
        return BadInputError(f"'{shown(path)}' is not an HDF5 file. Check the path.")
    return BadInputError(f"'{shown(path)}' is broken: {text[:120]}. Make or fetch it again.")
