"""Decoded pictures kept on the disk, so that the next run of the same data starts at once and needs little memory.

For each place and choice of options there is a small JSON file that says what was decoded, and an array that is mapped
into memory. The array is published first and whole; a JSON file that does not fit its array counts for nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import CvtoolError
from cvtool.files import write_atomically
from cvtool.gan.datasets.data import Pictures
from cvtool.problems import Problem

FORMAT = 1
"""Raised whenever the same files and options give other pixels."""

_WORK = "decoding-"
_STALE = 86400  # seconds after which what a killed run left behind is removed
_ZEROS = bytes(1 << 20)


def cache_home() -> Path:
    """``$XDG_CACHE_HOME``, or ``~/.cache``; without a home a place where nothing can be kept."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.devnull if home.startswith("~") else home)


def default_cache() -> Path:
    """Where decoded pictures are kept unless another place is asked for."""
    return cache_home() / "cvtool" / "gan"


class Cache:
    """Pictures of one data set with one choice of options.

    Args:
        folder: made when needed; if it cannot be written, arrays are made in memory and nothing is kept.
        key: what says which data set and which options.
        state: changes whenever the data set's files do.
    """

    def __init__(self, folder: Path, key: Sequence[object], state: str) -> None:
        self._folder = folder
        self._state = f"{FORMAT} {state}"
        name = hashlib.sha256(json.dumps([FORMAT, *key], default=str).encode()).hexdigest()[:32]
        self._record = folder / f"{name}.json"

    def find(self) -> Pictures | None:
        """What was kept, if the data set is as it was."""
        try:
            record = json.loads(self._record.read_bytes())
            if record["state"] != self._state:
                return None
            pixels = _mapped(self._folder / Path(record["pixels"]).name)
            labels = None if record["labels"] is None else np.array(record["labels"], dtype=np.int64)
            fits = list(pixels.shape) == record["shape"] and (labels is None or len(labels) == len(pixels))
            if not fits or pixels.dtype != np.uint8:
                return None
            if labels is not None:
                labels.setflags(write=False)
            problems = tuple(Problem(name, what) for name, what in record["problems"])
            return Pictures(
                pixels, labels, tuple(record["classes"]), record["name"], str(record["fingerprint"]), problems
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent, or of something else
            return None

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """Room for arrays, in the block; what is not kept by then is gone."""
        place = self._folder / f"{_WORK}{secrets.token_hex(8)}"
        work: Path | None = place
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _remove_stale(self._folder)
            place.mkdir()
        except OSError:
            work = None
        try:
            yield Workspace(work)
        finally:
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)

    def keep(self, pictures: Pictures, space: Workspace) -> Pictures:
        """The same pictures, mapped from the cache if they can be kept there."""
        file = space.file_of(pictures.pixels)
        if file is None:
            return pictures
        target = self._record.with_name(f"{self._record.stem}-{secrets.token_hex(4)}.npy")
        record = {
            "state": self._state,
            "pixels": target.name,
            "shape": pictures.pixels.shape,
            "labels": None if pictures.labels is None else pictures.labels.tolist(),
            "classes": pictures.classes,
            "name": pictures.name,
            "fingerprint": pictures.fingerprint,
            "problems": [[problem.name, problem.what] for problem in pictures.problems],
        }
        before = self._kept_file()
        try:
            os.replace(file, target)
            write_atomically(self._record, json.dumps(record).encode())
        except (OSError, CvtoolError):
            with suppress(OSError):
                target.unlink()
            return pictures  # its array stays mapped though the file has no name any more
        if before is not None:
            with suppress(OSError):  # another run may have removed it; one that has it open keeps it
                before.unlink()
        return self.find() or pictures

    def _kept_file(self) -> Path | None:
        try:
            return self._folder / Path(json.loads(self._record.read_bytes())["pixels"]).name
        except (OSError, ValueError, KeyError, TypeError):
            return None


class Workspace:
    """Makes arrays in files of a folder, or in memory where there is no folder or no room in it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._files: list[tuple[NDArray[np.uint8], Path]] = []

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array of uint8 with undefined contents.

        Raises:
            CvtoolError: there is neither room on the disk nor in memory.
        """
        if self._folder is not None and 0 not in shape:
            path = self._folder / f"{len(self._files)}.npy"
            try:
                array = _made(path, shape)
            except (OSError, ValueError):
                with suppress(OSError):
                    path.unlink()
            else:
                self._files.append((array, path))
                return array
        try:
            return np.empty(shape, dtype=np.uint8)
        except MemoryError as error:
            size = int(np.prod(shape, dtype=np.float64)) >> 20
            raise CvtoolError(f"The pictures need {size} MiB. Ask for a smaller --size, or name a --cache.") from error

    def file_of(self, array: NDArray[np.uint8]) -> Path | None:
        """Where an array made here lies, with all of its contents written; None for one in memory."""
        for made, path in self._files:
            if np.shares_memory(made, array) and made.shape == array.shape:
                try:
                    made.base.flush()  # type: ignore[union-attr]
                except OSError:
                    return None
                return path
        return None


def _made(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    mapped: Any = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    # A page of a mapped file for which the disk has no room kills the process: the room is taken before.
    with open(path, "r+b") as file:
        _reserve(file.fileno(), os.fstat(file.fileno()).st_size)
    array: NDArray[np.uint8] = np.asarray(mapped)
    return array


def _reserve(handle: int, size: int) -> None:
    """Take room on the disk for the whole of a new file, whose contents may be lost.

    Raises:
        OSError: there is not enough.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            return os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    os.lseek(handle, 0, os.SEEK_END)  # not every system can: what is missing is written
    for start in range(0, size, len(_ZEROS)):
        os.pwrite(handle, _ZEROS[: size - start], start)
    return None


def _mapped(path: Path) -> NDArray[np.uint8]:
    array: NDArray[np.uint8] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    return array


def _remove_stale(folder: Path) -> None:
    for left in folder.glob(f"{_WORK}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE:
                shutil.rmtree(left, ignore_errors=True)
