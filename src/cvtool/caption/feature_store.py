"""Files of features that grow: rows are added, and what is in a file stays valid whenever the program dies. No torch.

HDF5 keeps an index of where things lie, which a program that is killed while it changes leaves broken. So all room is
made in a copy first, which takes the file's place when it is complete. Then rows are only written into room that is
there, and one number, ``count``, says how many are valid.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cvtool import __version__
from cvtool.caption.features import (
    FLIPPED,
    FORMAT,
    FORMAT_VERSION,
    NAMES,
    PCA_COMPONENTS,
    PCA_MEAN,
    POOLED,
    SIZES,
    SPATIAL,
    Origin,
    Pca,
    check_origin,
    read_header,
    read_names,
)
from cvtool.errors import CvtoolError, UsageError
from cvtool.files import atomic_path, shown
from cvtool.hdf5 import VERSIONS, Placement, dataset, open_file, opened, placement

if TYPE_CHECKING:
    import h5py

POOLED_CHUNK = 32
"""Pooled rows stored together; they are small."""


class FeatureWriter:
    """An open file of features to add rows to; made by `writing`."""

    def __init__(self, file: h5py.File, raw: BinaryIO, path: Path, kinds: Sequence[str]) -> None:
        self._file, self._raw, self._path = file, raw, path
        _, self.count = read_header(file)
        self._text = dataset(file, NAMES, 1, "S").dtype
        self._places = {name: placement(file[name], len(file[name])) for name in (NAMES, SIZES, *kinds)}

    def add(self, names: Sequence[str], sizes: Sequence[int], values: Mapping[str, NDArray[np.float16]]) -> None:
        """Write rows and make them valid.

        Args:
            names: of B pictures.
            sizes: of their files in bytes.
            values: float16 for every kind in the file: ``"pooled"`` (B, C), ``"spatial"`` (B, h·w, C), flipped ones.

        Raises:
            CvtoolError: features that are not numbers, or the disk is full; earlier rows stay valid.
        """
        if not all(np.isfinite(part).all() for kind, part in values.items() if kind.startswith(POOLED)):
            raise CvtoolError(f"The features of '{shown(names[0])}' or near it are not numbers. Try --precision fp32.")
        try:
            # Not through HDF5: when the disk is full it keeps what it could not write, and crashes when it ends.
            for kind, part in {NAMES: _encoded(names, self._text), SIZES: np.array(sizes, np.int64), **values}.items():
                self._write(self._places[kind], part)
            self._file.attrs.modify("count", np.int64(self.count + len(names)))
            self._file.flush()
        except (OSError, RuntimeError) as error:
            raise _cannot_write(self._path, error) from error
        self.count += len(names)

    def _write(self, place: Placement, part: NDArray[Any]) -> None:
        for first, count in place.pieces(self.count, len(part)):
            rows = np.ascontiguousarray(part[first - self.count : first - self.count + count])
            self._raw.seek(place.start(first))
            self._raw.write(rows.data)
        self._raw.flush()


@contextmanager
def writing(path: Path, origin: Origin, names: Sequence[str], kinds: Sequence[str]) -> Iterator[FeatureWriter]:
    """A file with room for pictures `names` that it does not have yet; it is made if there is none.

    Args:
        path: of the file.
        origin: what makes the rows; that of a file which is there must be the same.
        names: of the pictures to come.
        kinds: which features to store, e.g. ``("pooled", "spatial")``; those of a file which is there must be the same.

    Raises:
        BadInputError: what is there is something else, broken, or of another network.
        UsageError: what is there has other kinds.
        CvtoolError: there is no room on the disk.
    """
    longest = max((len(name.encode()) for name in names), default=1)
    if not path.exists():
        _make(path, origin, kinds, len(names), longest)
    else:
        _make_room(path, origin, kinds, len(names), longest)
    file = open_file(path, "r+")
    try:
        with open(path, "r+b") as raw:
            yield FeatureWriter(file, raw, path, kinds)
    finally:
        _close(file, path)


def existing_sizes(path: Path, origin: Origin) -> dict[str, int]:
    """Pictures that a file already has → the sizes their files had, in bytes; empty if there is no file.

    Raises:
        BadInputError: it is something else, broken, or of another network.
    """
    if not path.exists():
        return {}
    with opened(path) as file:
        found, count = read_header(file)
        check_origin(path, found, origin.fingerprint)
        names = read_names(file, count)
        return dict(zip(names, dataset(file, SIZES, 1, "i")[:count].tolist(), strict=True))


def store_pca(path: Path, pca: Pca) -> None:
    """Keep principal components in a file of features, in place of those it may have.

    Raises:
        BadInputError: the file is broken.
        CvtoolError: there is no room on the disk.
    """
    with _copied(path) as file:
        for name, values in ((PCA_MEAN, pca.mean), (PCA_COMPONENTS, pca.components)):
            if name in file:
                del file[name]
            file[name] = values


def kinds_of(*, spatial: bool, flipped: bool) -> tuple[str, ...]:
    """Names of the datasets that a file has."""
    plain = (POOLED, SPATIAL) if spatial else (POOLED,)
    return plain + (tuple(kind + FLIPPED for kind in plain) if flipped else ())


def _make(path: Path, origin: Origin, kinds: Sequence[str], rows: int, longest: int) -> None:
    import h5py

    _check_space(path, _row_bytes(origin, kinds) * rows)
    with atomic_path(path) as temporary, _written(path), h5py.File(temporary, "w", libver=VERSIONS) as file:
        for name, text in (
            ("format", FORMAT),
            ("cvtool_version", __version__),
            ("model", origin.model),
            ("fingerprint", origin.fingerprint),
        ):
            # Of fixed length: others lie in a heap without checksums, where one wrong byte makes HDF5 search for ever.
            file.attrs.create(name, text.encode(), dtype=h5py.string_dtype("utf-8", len(text.encode())))
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs["channels"] = origin.channels
        file.attrs["places"] = origin.places
        file.attrs["count"] = np.int64(0)
        _make_names(file, rows, longest)
        _make_dataset(file, SIZES, (rows,), np.dtype(np.int64), 1024)
        for kind in kinds:
            shape = _row_shape(origin, kind)
            _make_dataset(file, kind, (rows, *shape), np.dtype(np.float16), 1 if len(shape) > 1 else POOLED_CHUNK)


def _make_room(path: Path, origin: Origin, kinds: Sequence[str], more: int, longest: int) -> None:
    locked = open_file(path, "r+")  # while a copy takes its place, nobody else may write to it
    try:
        count = _check_kinds(locked, path, origin, kinds)
        names = read_names(locked, count)
        old = dataset(locked, NAMES, 1, "S")
        lengths = [len(locked[name]) for name in (NAMES, SIZES, *kinds)]
        if min(lengths) >= count + more and old.dtype.itemsize >= longest:
            return
        longest = max(longest, old.dtype.itemsize)
        _check_space(path, path.stat().st_size + _row_bytes(origin, kinds) * more)
        with _copied(path) as file:
            for name in (SIZES, *kinds):
                file[name].resize(count + more, axis=0)
            del file[NAMES]
            _make_names(file, count + more, longest)
            if names:
                file[NAMES][:count] = _encoded(names, file[NAMES].dtype)
    finally:
        locked.close()


def _check_kinds(file: h5py.File, path: Path, origin: Origin, kinds: Sequence[str]) -> int:
    """How many rows of an open file are valid, once it is found to be of this origin and these kinds."""
    found, count = read_header(file)
    check_origin(path, found, origin.fingerprint)
    present = [kind for kind in kinds_of(spatial=True, flipped=True) if kind in file]
    if set(present) != set(kinds):
        raise UsageError(
            f"'{shown(path)}' has {', '.join(present)} features; asked for are {', '.join(kinds)}. "
            "Give the options it was made with, or another file."
        )
    dataset(file, SIZES, 1, "i")
    for kind in kinds:
        dataset(file, kind, 1 + len(_row_shape(origin, kind)), "f")
    return count


@contextmanager
def _copied(path: Path) -> Iterator[h5py.File]:
    """A copy of the file, open for changes in the block; it takes the file's place at the end."""
    with atomic_path(path) as temporary, _written(path):
        shutil.copyfile(path, temporary)
        file = open_file(temporary, "r+")
        try:
            yield file
        finally:
            _close(file, path)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise _cannot_write(path, error) from error


def _close(file: h5py.File, path: Path) -> None:
    try:
        file.close()
    except (OSError, RuntimeError) as error:
        raise _cannot_write(path, error) from error


def _encoded(names: Sequence[str], dtype: np.dtype[Any]) -> NDArray[np.bytes_]:
    return np.array([name.encode() for name in names], dtype=dtype)


def _make_names(file: h5py.File, rows: int, longest: int) -> None:
    import h5py

    # Of fixed length: texts of any length lie in a heap, whose index would change with every row.
    _make_dataset(file, NAMES, (rows,), h5py.string_dtype("utf-8", longest), 1024)


def _make_dataset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunk: int) -> None:
    """A dataset that can grow along its first axis and whose room is on the disk from the start, not written to."""
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((chunk, *shape[1:]))
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)  # the same features make the same file
    space = h5py.h5s.create_simple(shape, (h5py.h5s.UNLIMITED, *shape[1:]))
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype, logical=True), space, dcpl=properties)


def _row_shape(origin: Origin, kind: str) -> tuple[int, ...]:
    places = origin.places[0] * origin.places[1]
    return (places, origin.channels) if kind.startswith(SPATIAL) else (origin.channels,)


def _row_bytes(origin: Origin, kinds: Sequence[str]) -> int:
    return sum(2 * int(np.prod(_row_shape(origin, kind))) for kind in kinds)


def _check_space(path: Path, needed: int) -> None:
    parent = path.parent
    if not parent.is_dir():
        return  # atomic_path has the words for that
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise CvtoolError(
            f"Cannot write '{shown(path)}': the features need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. "
            "Free some space or choose another directory."
        )


def _cannot_write(path: Path, error: Exception) -> CvtoolError:
    """HDF5 buries the system's reason in a long text of its own."""
    reason = re.search(r"error message = '([^']*)'", str(error))
    text = reason.group(1) if reason else shown(error)[:120]
    return CvtoolError(f"Cannot write '{shown(path)}': {text}. Free some space or choose another directory.")
