"""Pictures as a network is shown them, decoded and framed once and kept on disk.

A plain ``.npy`` file of uint8 (N, S, S, 3), mapped into memory: decoding photographs anew in every epoch would take
longer than the network does. Its name is a hash of the pictures and the framing; it gets that name when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError, CvtoolError
from cvtool.files import atomic_path, shown
from cvtool.progress import Progress, Step, silent

if TYPE_CHECKING:
    from cvtool.caption.datasets.data import CaptionedPicture
    from cvtool.caption.extractor import Extractor

Bytes = NDArray[np.uint8]

SUFFIX = ".npy"
STAGE = "pictures"
_DIGITS = 16
_FILES, _LEFT_OVER = f"pictures-{'[0-9a-f]' * _DIGITS}{SUFFIX}", f".cvtool-*{SUFFIX}"
_TOGETHER = 64  # pictures written at a time


@dataclass(frozen=True, eq=False)
class FramedPictures:
    """Pictures in a file.

    Attributes:
        path: of the file.
        rows: name of a picture → its row.
    """

    path: Path
    rows: Mapping[str, int]
    _pixels: Bytes

    def read(self, numbers: Sequence[int]) -> Bytes:
        """(N, S, S, 3) of some pictures by their rows, a copy."""
        return np.stack([self._pixels[number] for number in numbers])


def framed_pictures(
    pictures: Sequence[CaptionedPicture], extractor: Extractor, folder: Path, progress: Progress = silent
) -> FramedPictures:
    """The file of these pictures in `folder`, which is made if it is not there: whole or not at all.

    Args:
        pictures: with files.
        extractor: whose network is shown them.
        folder: nobody else writes into it meanwhile.
        progress: hears how many are done, in the stage ``"pictures"``.

    Raises:
        BadInputError: a picture cannot be read, or the file is broken.
        CvtoolError: no room on the disk.
    """
    from cvtool.caption.extractor import with_files

    found = with_files(pictures, {}, folder)
    path = folder / f"pictures-{_digest(found, extractor)}{SUFFIX}"
    side = extractor.model.card.input_size
    shape = (len(found), side, side, 3)
    if not path.exists():
        for left_over in folder.glob(_LEFT_OVER):  # of a run that was killed while it wrote
            left_over.unlink(missing_ok=True)
        _write(path, found, extractor, shape, progress)
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"'{shown(path)}' is broken. Delete it; the same command makes it again.") from error
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise BadInputError(f"'{shown(path)}' holds something else. Delete it; the same command makes it again.")
    return FramedPictures(path, {picture.name: row for row, (picture, _) in enumerate(found)}, pixels)


def remove_framed_pictures(folder: Path) -> None:
    """Delete all such files in a folder."""
    for path in (*folder.glob(_FILES), *folder.glob(_LEFT_OVER)):
        path.unlink(missing_ok=True)


def has_framed_pictures(folder: Path) -> bool:
    """Whether there is any such file in a folder: its pictures could be read once."""
    return any(folder.glob(_FILES))


def _digest(pictures: Sequence[tuple[CaptionedPicture, Path]], extractor: Extractor) -> str:
    """Hex digits over names, sizes of files and framing."""
    try:
        sizes = [(picture.name, path.stat().st_size) for picture, path in pictures]
    except OSError as error:
        raise BadInputError(f"Cannot read '{shown(error.filename)}': {error.strerror}. Check the path.") from error
    facts = json.dumps([extractor.framing, sizes])
    return hashlib.sha256(facts.encode()).hexdigest()[:_DIGITS]


def _write(
    path: Path,
    pictures: Sequence[tuple[CaptionedPicture, Path]],
    extractor: Extractor,
    shape: tuple[int, int, int, int],
    progress: Progress,
) -> None:
    from cvtool.caption.extractor import read_ahead

    wanted, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if wanted > free:
        raise CvtoolError(
            f"The decoded pictures take {wanted / 1e9:.1f} GB, and '{shown(path.parent)}' has room for "
            f"{free / 1e9:.1f}. Give another -o."
        )
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        done = 0
        for count, group in read_ahead(pictures, extractor, _TOGETHER):
            # Not through the map: where a full disk is met there, the program is killed.
            file.writelines(np.rint(each.canvas * 255).astype(np.uint8).tobytes() for each in group)
            done += count
            progress(Step(STAGE, done, len(pictures)))
