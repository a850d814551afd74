"""Text, JSON and folders, read with errors that say which file and what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cvtool.errors import BadInputError
from cvtool.files import read_input, shown

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """Lines of a text file with their numbers from 1, without line ends; None for a line that is not UTF-8.

    Raises:
        BadInputError: the file cannot be read, is UTF-16, or is no text.
    """
    data = read_input(path)
    if data[:2] in _UTF16:
        raise BadInputError(f"'{shown(path)}' is UTF-16, not UTF-8. Save it as UTF-8.")
    if b"\0" in data:
        raise BadInputError(f"'{shown(path)}' is not a text file. Check the path.")
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError:
            yield number, None


def read_json(path: Path, what: str) -> Any:
    """What a JSON file holds; `what` says in messages what it should be, e.g. ``"COCO captions file"``.

    Raises:
        BadInputError: it cannot be read or is not JSON in UTF-8.
    """
    return parse_json(read_input(path), str(path), what)


def parse_json(data: bytes | str, name: str, what: str, *, unique_keys: bool = False) -> Any:
    """The same for what was read already; with `unique_keys` an object that has a key twice is refused."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_unique if unique_keys else None)
    except UnicodeDecodeError as error:
        raise BadInputError(f"'{shown(name)}' is not UTF-8, so it is no {what}. Save it as UTF-8.") from error
    except RecursionError as error:
        raise BadInputError(f"'{shown(name)}' is nested too deeply to be a {what}. Check the path.") from error
    except ValueError as error:
        raise BadInputError(f"'{shown(name)}' is no {what}: {shown(error)}. Check the path.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' is there twice")
    return found


def folder_of_pictures(folders: Sequence[Path], names: Sequence[str]) -> Path:
    """The folder that holds the most of the pictures `names`; the first of those that exist if none holds any.

    Raises:
        BadInputError: none of the folders can be read.
    """
    best: tuple[int, Path] | None = None
    wanted = set(names)
    for folder in folders:
        try:
            present = len(wanted.intersection(os.listdir(folder)))
        except (OSError, ValueError):
            continue
        if best is None or present > best[0]:
            best = (present, folder)
    if best is None:
        raise BadInputError(f"The folder '{shown(folders[0])}' of the pictures cannot be read. Check the path.")
    return best[1]
