"""JSON, read with errors that say which file and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cvtool.errors import BadInputError
from cvtool.files import read_input, shown


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
