"""From a SPEC to a data set: ``KIND:PATH``, or a path that is recognised by what it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cvtool.caption.datasets.coco import is_coco, read_coco
from cvtool.caption.datasets.cs231n import is_cs231n, read_cs231n
from cvtool.caption.datasets.data import CaptionData, Reading, finish
from cvtool.caption.datasets.flickr8k import is_flickr8k, read_flickr8k
from cvtool.caption.datasets.folder import is_captioned_folder, read_folder
from cvtool.caption.datasets.jsonl import read_jsonl
from cvtool.caption.datasets.karpathy import karpathy_file, read_karpathy, read_splits
from cvtool.errors import BadInputError, UnknownNameError, UsageError
from cvtool.files import shown

FORMATS: dict[str, Callable[[Path], Reading]] = {
    "flickr8k": read_flickr8k,
    "coco": read_coco,
    "jsonl": read_jsonl,
    "folder": read_folder,
    "cs231n": read_cs231n,
    "karpathy": read_karpathy,
}
"""What a SPEC may begin with, before the colon."""

_HINT = "Use flickr8k:DIR, coco:DIR, jsonl:FILE, folder:DIR, cs231n:DIR, karpathy:FILE or a path."


def read_captions(spec: str, *, split_file: Path | None = None) -> CaptionData:
    """The data set that a SPEC names; no picture is opened.

    Args:
        spec: ``flickr8k:DIR``, ``coco:DIR``, ``jsonl:FILE``, ``folder:DIR``, ``cs231n:DIR``, ``karpathy:FILE``, or a
            path alone.
        split_file: Karpathy's JSON, or ``{"train": [names], "dev": […], "test": […]}``; its splits replace the set's
            own, and pictures it does not name are left out.

    Raises:
        UsageError: no such kind of data set, or `split_file` for ``cs231n:``, whose splits are fixed.
        BadInputError: the data is missing, laid out otherwise or broken, or no picture has a caption.
    """
    kind, path = _kind_and_path(spec)
    reading = FORMATS[kind](path)
    if split_file is not None:
        if reading.features is not None:
            raise UsageError("The splits of cs231n: are those of its files and cannot be replaced by a split file.")
        reading.splits = read_splits(split_file)
        if not reading.splits.keys() & reading.captions.keys():
            raise BadInputError(f"'{shown(split_file)}' names none of the pictures of '{shown(spec)}'. Check both.")
    return finish(spec, reading)


def _kind_and_path(spec: str) -> tuple[str, Path]:
    kind, colon, place = spec.partition(":")
    if colon and kind in FORMATS:
        if not place:
            raise UsageError(f"'{shown(spec)}' names no place. {_HINT}")
        return kind, Path(place)
    path = Path(spec)
    if "\0" not in spec and path.exists():
        return _recognised(path), path
    if colon and kind.isidentifier() and len(kind) > 1:  # C:\data is a path
        raise UnknownNameError("kind of data set", shown(kind), FORMATS, _HINT)
    raise BadInputError(f"There is no '{shown(spec)}'. {_HINT}" if spec else f"No data set is named. {_HINT}")


def _recognised(path: Path) -> str:
    """The kind of data set that lies at a path."""
    if path.is_file():
        if path.suffix.lower() == ".json":
            return "karpathy"
        return "jsonl"
    for kind, fits in (
        ("cs231n", is_cs231n),
        ("flickr8k", is_flickr8k),
        ("coco", is_coco),
        ("karpathy", lambda folder: karpathy_file(folder) is not None),
        ("folder", is_captioned_folder),
    ):
        if fits(path):
            return kind
    raise BadInputError(f"'{shown(path)}' holds no captions in a form that is known. {_HINT}")
