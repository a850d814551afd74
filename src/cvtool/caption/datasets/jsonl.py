"""``jsonl:FILE``: one ``{"image": …, "captions": […]}`` a line, with ``"split"`` where wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cvtool.caption.datasets.data import SPLIT_NAMES, Reading
from cvtool.caption.datasets.reading import parse_json
from cvtool.errors import BadInputError
from cvtool.files import read_lines, shown


def read_jsonl(file: Path) -> Reading:
    """Captions from lines of JSON; a picture's path is taken from the file's folder on.

    Pictures without ``"split"`` are split by hash when none has one, and else are for training.

    Raises:
        BadInputError: the file cannot be read.
    """
    reading = Reading.empty()
    lines: dict[str, int] = {}
    for number, line in read_lines(file):
        where = f"{file.name}:{number}"
        if line is None:
            reading.report(where, "is not UTF-8")
        elif line.strip():
            try:
                name, captions, split = _entry(parse_json(line, where, "line of captions", unique_keys=True))
            except (BadInputError, KeyError, TypeError, ValueError) as error:
                reading.report(where, _why(error))
                continue
            if name in lines:
                reading.report(name, f"is on two lines of {file.name}, {lines[name]} and {number}")
                continue
            lines[name] = number
            reading.captions[name] = captions
            reading.paths[name] = file.parent / name
            if split is not None:
                reading.splits[name] = split
    if reading.splits:
        reading.splits = {name: reading.splits.get(name, "train") for name in reading.captions}
    return reading


def _entry(data: Any) -> tuple[str, list[str], str | None]:
    """A line's JSON → (name, captions, split)."""
    if not isinstance(data, dict):
        raise TypeError("it is not an object")
    name, captions = data["image"], data["captions"]
    if not isinstance(name, str) or not name:
        raise TypeError("'image' is not a path")
    if not isinstance(captions, list) or not all(isinstance(each, str) for each in captions):
        raise TypeError("'captions' is not a list of texts")
    split = data.get("split")
    if split is not None and str(split).lower() not in SPLIT_NAMES:
        raise ValueError(f"there is no split '{split}'")
    return name, [each.strip() for each in captions], None if split is None else SPLIT_NAMES[str(split).lower()]


def _why(error: Exception) -> str:
    if isinstance(error, BadInputError):
        return "is not JSON, is nested too deeply, or has a key twice"
    why = f"it has no '{error.args[0]}'" if isinstance(error, KeyError) else str(error)
    return f'is no {{"image": …, "captions": […]}}: {shown(why)}'
