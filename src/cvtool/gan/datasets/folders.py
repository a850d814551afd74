"""``folder:DIR``: pictures, or a folder for each class, as they lie on the disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError
from cvtool.files import read_input, shown
from cvtool.gan.datasets.data import Item, Source
from cvtool.gan.datasets.layout import is_picture_name, lay_out
from cvtool.gan.picture_options import Conditional
from cvtool.problems import Problem
from cvtool.run_files import is_run


class FolderOrigin:
    """A folder of picture files; links to files and folders are followed, each folder once. Runs inside are left out.

    Raises:
        BadInputError: there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise BadInputError(f"There is no folder '{shown(path)}'. Check the path.")
        self._path = path
        self.place = os.path.realpath(path)
        self.name = Path(self.place).name or self.place
        self._files = dict(sorted(_files(path)))

    def state(self) -> str:
        """Names, sizes and times of all pictures."""
        digest = hashlib.sha256()
        for name, status in self._files.items():
            # The time of change, too: archives often set one and the same time of modification for all.
            facts = [name, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            digest.update(json.dumps(facts).encode() + b"\n")
        return digest.hexdigest()

    def open(self, split: str, conditional: Conditional) -> Source:
        """By the names of the folders, see `lay_out`."""
        names = list(self._files)
        layout = lay_out(names, split, conditional, self._path)

        def items(chosen: NDArray[np.int64]) -> Iterator[Item]:
            for row, number in enumerate(chosen.tolist()):
                name = names[layout.chosen[number]]
                yield Item(row, name, _read(self._path / name, name))

        return Source(len(layout.chosen), layout.labels, layout.classes, items, found=layout.found)


def _read(path: Path, name: str) -> bytes | Problem:
    try:
        return read_input(path)
    except BadInputError as error:
        return Problem(name, f"cannot be used: {error}")


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """All picture files below a folder: path inside it, facts."""
    waiting = [""]
    seen: set[tuple[int, int]] = set()
    while waiting:
        inside = waiting.pop()
        try:
            here = os.stat(folder / inside)
            if (here.st_dev, here.st_ino) in seen:  # a link back up would never end
                continue
            seen.add((here.st_dev, here.st_ino))
            entries = sorted(os.scandir(folder / inside), key=lambda entry: entry.name)
        except OSError as error:
            raise BadInputError(
                f"Cannot read the folder '{shown(folder / inside)}': {error.strerror}. Check its permissions."
            ) from error
        for entry in entries:
            name = f"{inside}{entry.name}"
            # Not by the entry's own methods: of a link to itself they raise, and it is as good as a broken one.
            if os.path.isdir(entry.path) and not entry.name.startswith(".") and not is_run(entry.path):
                waiting.append(f"{name}/")
            elif is_picture_name(name) and os.path.isfile(entry.path):
                yield name, entry.stat()
