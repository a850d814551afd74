"""Watching a folder: which of its files are new or changed, and complete. By looking again and again, on any system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cvtool.files import PICTURE_SUFFIXES

SETTLED = 2.0
"""Seconds since the last change after which a file that is there at the first look is taken to be complete."""

TEMPORARY_STARTS, TEMPORARY_ENDS = (".", "~", "#"), ("~", "#")
"""How programs mark files that are not for others; suffixes such as .part are no picture's anyway."""


@dataclass(frozen=True)
class Found:
    """A file as one look at the folder shows it: `size` in bytes, `changed` in nanoseconds since 1970."""

    path: Path
    size: int
    changed: int

    @property
    def state(self) -> tuple[int, int]:
        """What is another when the file has been written to."""
        return self.size, self.changed


def pictures_in(folder: Path) -> list[Found]:
    """The pictures directly inside a folder, sorted by name; files that cannot be asked about are left out.

    Raises:
        OSError: the folder itself cannot be read.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_picture(entry.name):
                continue
            try:
                facts = entry.stat()
                if entry.is_file():
                    found.append(Found(Path(entry.path), facts.st_size, facts.st_mtime_ns))
            except OSError:  # gone since, or a link to nowhere
                continue
    return sorted(found, key=lambda each: each.path.name)


@dataclass
class FolderWatch:
    """Remembers what it saw of a folder, and tells each file once it is complete, and again when it was replaced.

    A file is complete when two looks in a row show it with the same size and time of change, and not empty. At the
    first look it is enough that nothing has happened to it for `SETTLED` seconds.

    Attributes:
        folder: what is watched; not what lies in folders below.
        ignored: files in it that are never told of; absolute, links resolved.
        scan: gives the files of a folder, or raises `OSError`.
        now: seconds since 1970.
        reachable: whether the last look could read the folder.
    """

    folder: Path
    ignored: frozenset[Path] = frozenset()
    scan: Callable[[Path], Iterable[Found]] = pictures_in
    now: Callable[[], float] = time.time
    reachable: bool = True
    _told: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _last: dict[Path, tuple[int, int]] | None = None

    def look(self) -> list[Path]:
        """Look once: the files that are complete, and new or changed since they were told, in order of their names.

        A folder that cannot be read (a drive that was unplugged) holds nothing for now; what was told is remembered.
        """
        try:
            found = [each for each in self.scan(self.folder) if not self._ignores(each.path)]
        except OSError:
            self.reachable = False
            return []
        self.reachable = True
        ready = [each for each in found if each.size and self._told.get(each.path) != each.state and self._still(each)]
        self._last = {each.path: each.state for each in found}
        self._told.update((each.path, each.state) for each in ready)
        return [each.path for each in ready]

    def _ignores(self, path: Path) -> bool:
        return path.name in self._ignored_names and path.resolve() in self.ignored

    @cached_property
    def _ignored_names(self) -> frozenset[str]:
        return frozenset(path.name for path in self.ignored)

    def _still(self, each: Found) -> bool:
        if self._last is None:
            return self.now() - each.changed / 1e9 >= SETTLED
        return self._last.get(each.path) == each.state


def _is_picture(name: str) -> bool:
    if name.startswith(TEMPORARY_STARTS) or name.endswith(TEMPORARY_ENDS):
        return False
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES
