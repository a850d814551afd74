"""The work folder of a clip: finished frames as PNG with what was measured of them, and what work they belong to.

Everything the next frame depends on lies in the finished ones, so that work that was killed goes on to the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvtool.codecs.notes import read_note
from cvtool.errors import BadInputError
from cvtool.files import link_below, read_input, shown, write_atomically, write_error
from cvtool.images import decode_picture, encode_picture

MANIFEST = "manifest.json"
SUFFIX = ".frames"


def work_folder(output: Path) -> Path:
    """Where the frames of `output` are kept until it is written: beside it."""
    return output.with_name(output.name + SUFFIX)


@dataclass(frozen=True)
class WorkFolder:
    """Finished frames of one piece of work; frames are counted from 0 here, and from 1 in names of files."""

    path: Path

    @classmethod
    def open(cls, path: Path, job: Mapping[str, Any]) -> WorkFolder:
        """The folder for `job` (JSON values), made if it is not there.

        Raises:
            BadInputError: there is one, but of other work (says what differs), or with links in it.
            CvtoolError: it cannot be made.
        """
        folder = cls(path)
        wanted = json.loads(json.dumps(job))
        if path.exists():
            folder._check(wanted)
            return folder
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise write_error(path, error) from error
        write_atomically(path / MANIFEST, (json.dumps(wanted, indent=1) + "\n").encode())
        return folder

    def _check(self, wanted: Mapping[str, Any]) -> None:
        where = f"'{shown(self.path)}'"
        remedy = f"Remove {where} to begin anew."
        linked = link_below(self.path)
        if linked is not None:  # of a folder from elsewhere, it would let us write to any file
            raise BadInputError(f"'{shown(linked)}' is a link, which is not written through. {remedy}")
        manifest = self.path / MANIFEST
        try:
            if not manifest.exists() and self.path.is_dir() and self._is_empty():
                write_atomically(manifest, (json.dumps(wanted, indent=1) + "\n").encode())
                return  # killed between the two steps of making it
            there = dict(json.loads(read_input(manifest)))
        except (BadInputError, ValueError, TypeError, OSError, RecursionError) as error:
            raise BadInputError(
                f"{where} is in the way: it holds no work that can be gone on with. {remedy}"
            ) from error
        for name in [*wanted, *there]:
            if there.get(name) != wanted.get(name):
                raise BadInputError(
                    f"{where} belongs to other work: {name} was {_short(there.get(name))}, "
                    f"now it is {_short(wanted.get(name))}. {remedy}"
                )

    def _is_empty(self) -> bool:
        """Whether there is nothing in it but what a process that was killed while writing has left."""
        return all(each.name.startswith(".cvtool-") for each in self.path.iterdir())

    def file(self, number: int) -> Path:
        """Of one frame."""
        return self.path / f"{number + 1:06}.png"

    def has(self, number: int) -> bool:
        """Whether a frame is finished: files are written whole or not at all."""
        return self.file(number).exists()

    def count(self, frames: int) -> int:
        """How many of so many frames are finished."""
        return sum(self.has(number) for number in range(frames))

    def write(self, number: int, pixels: NDArray[np.float32], facts: Mapping[str, float | None]) -> None:
        """Keep a frame (H, W, 3), rounded to 8 bits, with numbers about it.

        Raises:
            CvtoolError: it cannot be written, e.g. because the disk is full.
        """
        write_atomically(self.file(number), encode_picture(pixels, "png", note=json.dumps(dict(facts))))

    def read(self, number: int) -> NDArray[np.float32]:
        """A frame (H, W, 3) as `write` kept it.

        Raises:
            BadInputError: somebody broke it.
        """
        file = self.file(number)
        return decode_picture(read_input(file), str(file)).pixels

    def facts(self, number: int) -> dict[str, float | None]:
        """The numbers that `write` kept with a frame.

        Raises:
            BadInputError: somebody broke it.
        """
        file = self.file(number)
        data = read_input(file)
        try:
            facts = dict(json.loads(read_note(data) or ""))
            return {name: None if value is None else float(value) for name, value in facts.items()}
        except MemoryError:
            raise
        except Exception as error:  # whatever Pillow and JSON raise on what somebody broke
            raise BadInputError(f"'{shown(file)}' is not a frame as it was kept. Remove it, and go on.") from error

    def remove(self, frames: int) -> None:
        """Remove what is kept here, and the folder, unless there is something else in it."""
        with suppress(OSError):
            for number in range(frames):
                self.file(number).unlink(missing_ok=True)
            for leftover in self.path.glob(".cvtool-*"):  # of a process that was killed while writing
                leftover.unlink(missing_ok=True)
            (self.path / MANIFEST).unlink(missing_ok=True)
            self.path.rmdir()


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"
