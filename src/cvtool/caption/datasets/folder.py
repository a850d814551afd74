"""``folder:DIR``: pictures, each with a text file of the same stem, one caption a line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cvtool.caption.datasets.data import SPLIT_NAMES, Reading
from cvtool.errors import BadInputError
from cvtool.files import PICTURE_SUFFIXES, read_lines, shown

TEXT_SUFFIX = ".txt"
NOTES = frozenset({"readme", "license", "licence", "sources"})
"""Text files that may lie about without a picture."""


def is_captioned_folder(folder: Path) -> bool:
    """Whether some picture below a folder has a text file."""
    return any(file.with_suffix(TEXT_SUFFIX).is_file() for file in _files(folder) if _is_picture(file))


def read_folder(folder: Path) -> Reading:
    """Captions beside pictures, at any depth. ``DIR/train``, ``DIR/val`` … are splits; else the split is by hash.

    Raises:
        BadInputError: the folder is not there, or holds no pictures.
    """
    if not folder.is_dir():
        raise BadInputError(f"There is no folder '{shown(folder)}'. Check the path.")
    files = list(_files(folder))
    pictures = [file for file in files if _is_picture(file)]
    if not pictures:
        raise BadInputError(f"'{shown(folder)}' holds no pictures. Check the path.")
    reading = Reading.empty()
    texts = {file.with_suffix("") for file in files if file.suffix.lower() == TEXT_SUFFIX}
    for picture in pictures:
        name = picture.relative_to(folder).as_posix()
        texts_of = [file for file in (picture.with_suffix(TEXT_SUFFIX), picture.with_suffix(".TXT")) if file.is_file()]
        reading.captions[name] = _captions(texts_of[0], name, reading) if texts_of else []
        reading.paths[name] = picture
    for lonely in sorted(texts - {picture.with_suffix("") for picture in pictures}):
        if lonely.name.lower() not in NOTES:
            reading.report(f"{lonely.relative_to(folder).as_posix()}{TEXT_SUFFIX}", "has no picture beside it")
    _split_by_folders(reading)
    return reading


def _split_by_folders(reading: Reading) -> None:
    parts = {name: SPLIT_NAMES.get(name.split("/")[0].lower()) if "/" in name else None for name in reading.captions}
    if any(parts.values()):
        reading.splits = {name: part or "train" for name, part in parts.items()}


def _captions(file: Path, name: str, reading: Reading) -> list[str]:
    captions = []
    for number, line in read_lines(file):
        if line is None:
            reading.report(name, f"has a caption that is not UTF-8 ({file.name}:{number})")
        elif line.strip():
            captions.append(line.strip())
    return captions


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in sorted(files) if not name.startswith("."))


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURE_SUFFIXES
