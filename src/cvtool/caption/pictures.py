"""Pictures as a network is shown them, or as far as the first half of it brings them, computed once and kept on disk.

Plain ``.npy`` files, mapped into memory: of uint8 (N, S, S, 3), since decoding photographs anew in every epoch would
take longer than the network does; and of float16 (N, 2, h, w, C), a map of each picture and one of its mirror image,
where only the second half of a network is trained. A file's name is a hash of the pictures and of all that made it; it
gets that name when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvtool.array_files import mapped_numbers
from cvtool.codecs.rasters import to_levels
from cvtool.errors import BadInputError, CvtoolError
from cvtool.files import atomic_path, remove, shown
from cvtool.progress import Progress, Step, silent

if TYPE_CHECKING:
    from cvtool.caption.datasets.data import CaptionedPicture
    from cvtool.caption.extractor import Extractor, Framed
    from cvtool.caption.halfway import Halfway

Rows = NDArray[Any]

SUFFIX = ".npy"
_DIGITS = 16
_FILES = tuple(f"{stage}-{'[0-9a-f]' * _DIGITS}{SUFFIX}" for stage in ("pictures", "maps"))
_LEFT_OVER = f".cvtool-*{SUFFIX}"
_TOGETHER = 64  # pictures written at a time


@dataclass(frozen=True, eq=False)
class KeptRows:
    """An array for each of some pictures, in a file.

    Attributes:
        path: of the file.
        rows: name of a picture → its row.
    """

    path: Path
    rows: Mapping[str, int]
    _values: Rows

    def read(self, numbers: Sequence[int]) -> Rows:
        """(N, ...) of some pictures by their rows, a copy."""
        return np.stack([self._values[number] for number in numbers])


def framed_pictures(
    pictures: Sequence[CaptionedPicture], extractor: Extractor, folder: Path, progress: Progress = silent
) -> KeptRows:
    """The file of these pictures in `folder`, uint8 (N, S, S, 3), made if it is not there: whole or not at all.

    Args:
        pictures: with files.
        extractor: whose network is shown them.
        folder: nobody else writes into it meanwhile.
        progress: hears how many are done, in the stage ``"pictures"``.

    Raises:
        BadInputError: a picture cannot be read, or the file is broken.
        CvtoolError: no room on the disk.
    """
    side = extractor.model.card.input_size

    def levels(group: Sequence[Framed]) -> Rows:
        return np.stack([to_levels(each.canvas) for each in group])

    kept = _Kept("pictures", extractor, extractor.framing, (side, side, 3), np.dtype(np.uint8), levels)
    return kept.of(pictures, folder, progress)


def halfway_maps(
    pictures: Sequence[CaptionedPicture], halfway: Halfway, folder: Path, progress: Progress = silent
) -> KeptRows:
    """The file of the maps in the middle of a network, of pictures and their mirror images: float16 (N, 2, h, w, C).

    As `framed_pictures`, in the stage ``"maps"``.
    """

    def maps(group: Sequence[Framed]) -> Rows:
        canvases = [each.canvas for each in group]
        return np.stack([halfway.before(canvases, flipped=flipped) for flipped in (False, True)], 1)

    extractor = halfway.extractor
    facts = (extractor.origin.fingerprint, halfway.layer, extractor.precision)
    kept = _Kept("maps", extractor, facts, (2, *halfway.shape), np.dtype(np.float16), maps)
    return kept.of(pictures, folder, progress)


def remove_kept_rows(folder: Path) -> None:
    """Delete all such files in a folder."""
    for path in (*_files(folder), *folder.glob(_LEFT_OVER)):
        remove(path)


def has_kept_rows(folder: Path) -> bool:
    """Whether there is any such file in a folder: its pictures could be read once."""
    return bool(_files(folder))


def _files(folder: Path) -> list[Path]:
    return [path for pattern in _FILES for path in folder.glob(pattern)]


@dataclass(frozen=True, eq=False)
class _Kept:
    """How a file of rows is made.

    Attributes:
        stage: its name begins so, and progress is told so.
        facts: all that a row depends on besides the picture, as JSON can hold it.
        shape, dtype: of a row.
        make: pictures → their rows.
    """

    stage: str
    extractor: Extractor
    facts: tuple[object, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[Sequence[Framed]], Rows]

    def of(self, pictures: Sequence[CaptionedPicture], folder: Path, progress: Progress) -> KeptRows:
        """The file of these pictures in a folder."""
        from cvtool.caption.extractor import with_files

        found = with_files(pictures, {}, folder)
        path = folder / f"{self.stage}-{_digest(found, self.facts)}{SUFFIX}"
        shape = (len(found), *self.shape)
        if not path.exists():
            for left_over in folder.glob(_LEFT_OVER):  # of a run that was killed while it wrote
                left_over.unlink(missing_ok=True)
            self._write(path, found, shape, progress)
        try:
            values = mapped_numbers(path)
        except ValueError as error:
            raise BadInputError(f"'{shown(path)}' is broken. Delete it; the same command makes it again.") from error
        if values.shape != shape or values.dtype != self.dtype:
            raise BadInputError(f"'{shown(path)}' holds something else. Delete it; the same command makes it again.")
        return KeptRows(path, {picture.name: row for row, (picture, _) in enumerate(found)}, values)

    def _write(
        self, path: Path, pictures: Sequence[tuple[CaptionedPicture, Path]], shape: tuple[int, ...], progress: Progress
    ) -> None:
        from cvtool.caption.extractor import read_ahead

        wanted, free = int(np.prod(shape)) * self.dtype.itemsize, shutil.disk_usage(path.parent).free
        if wanted > free:
            raise CvtoolError(
                f"What is kept of the pictures takes {wanted / 1e9:.1f} GB, and '{shown(path.parent)}' has room for "
                f"{free / 1e9:.1f}. Give another -o."
            )
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            done = 0
            for count, group in read_ahead(pictures, self.extractor, _TOGETHER):
                # Not through the map: where a full disk is met there, the program is killed.
                file.write(np.ascontiguousarray(self.make(group)).tobytes())
                done += count
                progress(Step(self.stage, done, len(pictures)))


def _digest(pictures: Sequence[tuple[CaptionedPicture, Path]], facts: tuple[object, ...]) -> str:
    """Hex digits over names, sizes of files and all else that the rows depend on."""
    try:
        sizes = [(picture.name, path.stat().st_size) for picture, path in pictures]
    except OSError as error:
        raise BadInputError(f"Cannot read '{shown(error.filename)}': {error.strerror}. Check the path.") from error
    return hashlib.sha256(json.dumps([facts, sizes]).encode()).hexdigest()[:_DIGITS]
