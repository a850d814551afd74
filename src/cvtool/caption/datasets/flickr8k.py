"""``flickr8k:DIR``: token and split files as distributed; Flickr30k's token file and Kaggle's ``captions.txt`` too."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from cvtool.caption.datasets.data import SPLITS, Reading
from cvtool.errors import BadInputError
from cvtool.files import read_lines, shown
from cvtool.flickr8k import SPLIT_FILE, picture_folder, text_file

TOKEN_FILES = ("Flickr8k.token.txt", "results_20130124.token")
TABLE_FILE = "captions.txt"

_NOT_UTF8 = "is not UTF-8"


def is_flickr8k(folder: Path) -> bool:
    """Whether a folder holds such files."""
    return _captions_file(folder) is not None


def read_flickr8k(folder: Path) -> Reading:
    """Captions of Flickr8k; the pictures that a split file names if there is one, else all.

    Raises:
        BadInputError: there are no such files, or they cannot be read.
    """
    file = _captions_file(folder)
    if file is None:
        looked_for = " or ".join((*TOKEN_FILES, TABLE_FILE))
        raise BadInputError(f"'{shown(folder)}' has no {looked_for}, so it is no Flickr8k folder. Try folder:DIR.")
    reading = Reading.empty()
    if file.name == TABLE_FILE:
        _read_table(file, reading)
    else:
        _read_tokens(file, reading)
    for split in SPLITS:
        _read_split(file.parent / SPLIT_FILE.format(split), split, reading)
    pictures = picture_folder(folder, file, list(reading.splits or reading.captions))
    reading.paths = {name: pictures / name for name in reading.captions}
    return reading


def _captions_file(folder: Path) -> Path | None:
    return text_file(folder, (*TOKEN_FILES, TABLE_FILE))


def _read_tokens(file: Path, reading: Reading) -> None:
    """Lines ``NAME#NUMBER<TAB>CAPTION``; a caption's number may come only once."""
    seen: set[str] = set()
    for number, line in read_lines(file):
        where = f"{file.name}:{number}"
        if line is None:
            reading.report(where, _NOT_UTF8)
            continue
        if not line.strip():
            continue
        key, tab, caption = line.partition("\t")
        name, mark, index = key.rpartition("#")
        if not (tab and mark and name and index.isdecimal()):
            reading.report(where, "is not NAME#NUMBER, a tab and a caption")
        elif key in seen:
            reading.report(name, f"has two captions with the number {index} ({where})")
        else:
            seen.add(key)
            reading.captions.setdefault(name, []).append(caption.strip())


def _read_table(file: Path, reading: Reading) -> None:
    """Comma-separated lines ``image,caption`` under a heading that says so; captions with commas are quoted."""
    rows = csv.reader(_decoded(file, reading))
    try:
        for row in rows:
            where = f"{file.name}:{rows.line_num}"
            if ([cell.strip().lower() for cell in row] == ["image", "caption"] and rows.line_num == 1) or not row:
                continue
            if len(row) != 2 or not row[0].strip():
                reading.report(where, "is not a picture's name, a comma and a caption")
            else:
                reading.captions.setdefault(row[0].strip(), []).append(row[1].strip())
    except csv.Error as error:
        raise BadInputError(f"'{shown(file)}' is no table of captions: line {rows.line_num}: {error}.") from error


def _decoded(file: Path, reading: Reading) -> Iterator[str]:
    for number, line in read_lines(file):
        if line is None:
            reading.report(f"{file.name}:{number}", _NOT_UTF8)
        yield line or ""


def _read_split(file: Path, split: str, reading: Reading) -> None:
    if not file.is_file():
        return
    for number, line in read_lines(file):
        if line is None:
            reading.report(f"{file.name}:{number}", _NOT_UTF8)
        elif line.strip():
            reading.assign(line.strip(), split, file.name)
