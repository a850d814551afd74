"""From a SPEC to pictures: ``KIND:PATH``, ``fashion-mnist``, or a path that is recognised by what it holds."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError, UnknownNameError, UsageError, nearest_names
from cvtool.files import opened_input, shown
from cvtool.gan.datasets import fashion
from cvtool.gan.datasets.archives import TarOrigin, ZipOrigin
from cvtool.gan.datasets.cache import Cache, default_cache
from cvtool.gan.datasets.data import SPLITS, Origin, Pictures
from cvtool.gan.datasets.decoding import decode
from cvtool.gan.datasets.folders import FolderOrigin
from cvtool.gan.datasets.hdf5 import Hdf5Origin
from cvtool.gan.datasets.idx import IdxOrigin, picture_files
from cvtool.gan.picture_options import LARGEST, SMALLEST, Conditional, PictureOptions
from cvtool.problems import BadPicturesError, Problem
from cvtool.progress import Progress, silent
from cvtool.tars import opened_tar

__all__ = ["KINDS", "default_cache", "read_pictures"]

FEWEST = 2
"""Pictures that a data set must have."""

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_HINT = "Use fashion-mnist, idx:DIR, folder:DIR, zip:FILE, tar:FILE, h5:FILE#DATASET or a path."


def _hdf5(place: str) -> Origin:
    path, _, dataset = place.rpartition("#") if "#" in place and not Path(place).is_file() else (place, "", "")
    return Hdf5Origin(Path(path), dataset)


KINDS: dict[str, Callable[[str], Origin]] = {
    "idx": lambda place: IdxOrigin(Path(place)),
    "folder": lambda place: FolderOrigin(Path(place)),
    "zip": lambda place: ZipOrigin(Path(place)),
    "tar": lambda place: TarOrigin(Path(place)),
    "h5": _hdf5,
}
"""What a SPEC may begin with, before the colon."""


def read_pictures(
    spec: str,
    options: PictureOptions | None = None,
    *,
    cache: Path | None = None,
    split: str = "train",
    progress: Progress = silent,
) -> Pictures:
    """The pictures that a SPEC names, all of one size, decoded once and kept in a cache.

    Args:
        spec: ``fashion-mnist``, ``idx:DIR``, ``folder:DIR``, ``zip:FILE``, ``tar:FILE``, ``h5:FILE#dataset``, or a path
            alone.
        options: what is made of the pictures; None for the defaults.
        cache: folder of the cache; None for `default_cache`. If it cannot be written, the pictures are kept in memory.
        split: ``"train"`` or ``"test"``; a data set without folders or files for tests is all ``"train"``.
        progress: hears of pictures decoded, in the stage ``"decoding"``; nothing when they are in the cache.

    Raises:
        UsageError: no such kind of data set, or options out of range.
        BadPicturesError: pictures that cannot be used, and `options.skip_bad` is off.
        BadInputError: the data is missing, broken, without pictures, without the split, or without two classes where
            ``conditional`` is ``yes``.
        CvtoolError: neither disk nor memory has room for the pictures.
    """
    options = options or PictureOptions()
    _check(options, split)
    origin = _origin(spec)
    kept = {name: value for name, value in asdict(options).items() if name != "skip_bad"}
    store = Cache(cache or default_cache(), [type(origin).__name__, origin.place, split, kept], origin.state())
    pictures = store.find()
    if pictures is None:
        pictures = _decoded(origin, options, split, store, progress)
    if pictures.problems and not options.skip_bad:
        raise _too_bad(origin.name, pictures.problems)
    return pictures


def _decoded(origin: Origin, options: PictureOptions, split: str, store: Cache, progress: Progress) -> Pictures:
    source = origin.open(split, options.conditional)
    chosen = _chosen(source.count, options.limit)
    with store.workspace() as space:
        decoded = decode(source, chosen, options, space.allocate, progress)
        problems = (*source.found, *decoded.problems)
        if len(decoded.rows) < FEWEST:
            raise _too_few(origin.name, len(decoded.rows), problems)
        labels = None if source.labels is None else source.labels[chosen][decoded.rows]
        labels, classes = _conditional(labels, source.classes, options.conditional, origin.name)
        pictures = Pictures.of(decoded.pixels, labels, classes, origin.name, problems)
        return store.keep(pictures, space)


def _check(options: PictureOptions, split: str) -> None:
    if split not in SPLITS:
        raise UsageError(f"No split '{shown(split)}'. Use one of {', '.join(SPLITS)}.")
    if options.size is not None and not SMALLEST <= options.size <= LARGEST:
        raise UsageError(f"A size of {options.size} pixels is not between {SMALLEST} and {LARGEST}.")
    if options.limit is not None and options.limit < FEWEST:
        raise UsageError(f"A limit of {options.limit} pictures is too few. Use {FEWEST} or more.")


def _chosen(count: int, limit: int | None) -> NDArray[np.int64]:
    """Numbers spread evenly: data sets are often sorted by class, and their beginning is one class only."""
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.arange(limit, dtype=np.int64) * count // limit


def _conditional(
    labels: NDArray[np.int64] | None, classes: tuple[str, ...], wanted: Conditional, name: str
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Labels and classes without those that have no picture, or (None, ())."""
    if labels is not None and wanted is not Conditional.no:
        present, labels = np.unique(labels, return_inverse=True)
        if len(present) > 1:
            return labels.reshape(-1).astype(np.int64), tuple(classes[number] for number in present.tolist())
    if wanted is Conditional.yes:
        raise BadInputError(
            f"'{shown(name)}' has no two classes to be told apart. Give each a folder or label, or --conditional no."
        )
    return None, ()


def _too_bad(name: str, problems: tuple[Problem, ...]) -> BadPicturesError:
    number = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return BadPicturesError(
        f"'{shown(name)}' has {number}. Mend the pictures, or go on without them with --skip-bad.", problems
    )


def _too_few(name: str, count: int, problems: tuple[Problem, ...]) -> BadPicturesError:
    there = f"{count} picture" if count == 1 else f"{count} pictures"
    why = f" that can be used, the first that cannot: {problems[0]}" if problems else ""
    return BadPicturesError(f"'{shown(name)}' has only {there}{why}. Give at least {FEWEST}.", problems)


def _origin(spec: str) -> Origin:
    if spec == fashion.NAME:
        return fashion.fashion_mnist()
    kind, colon, place = spec.partition(":")
    if colon and kind in KINDS:
        if not place:
            raise UsageError(f"'{shown(spec)}' names no place. {_HINT}")
        return KINDS[kind](place)
    if not spec:
        raise UsageError(f"No data set is named. {_HINT}")
    path = Path(spec)
    if "\0" not in spec and path.exists():
        return _recognised(path)
    file, hash_sign, _ = spec.rpartition("#")
    if hash_sign and Path(file).is_file():
        return _hdf5(spec)
    if colon and kind.isidentifier() and len(kind) > 1:  # C:\data is a path
        raise UnknownNameError("kind of data set", shown(kind), [*KINDS, fashion.NAME], _HINT)
    if nearest_names(spec, [fashion.NAME]):
        raise UnknownNameError("data set", shown(spec), [*KINDS, fashion.NAME], _HINT)
    raise BadInputError(f"There is no '{shown(spec)}'. {_HINT}")


def _recognised(path: Path) -> Origin:
    """What lies at a path that is there."""
    if path.is_dir():
        return IdxOrigin(path) if picture_files(path) else FolderOrigin(path)
    with opened_input(path, lasting=True) as file:
        start = file.read(8)
        if start == _HDF5_MAGIC:
            return Hdf5Origin(path)
        if start.startswith(b"PK") or zipfile.is_zipfile(path):
            return ZipOrigin(path)
        if "ubyte" in path.name:
            return IdxOrigin(path)
        if _is_tar(file):
            return TarOrigin(path)
    raise BadInputError(f"'{shown(path)}' is no data set in a form that is known. {_HINT}")


def _is_tar(file: IO[bytes]) -> bool:
    try:
        with opened_tar(file):
            return True
    except tarfile.ReadError:
        return False
