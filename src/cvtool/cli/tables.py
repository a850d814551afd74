"""Tables as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvtool.cli.outputs import make_folder


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the same columns as ``.json`` or ``.csv``; whole or not at all.

    Raises:
        CvtoolError: the file cannot be written.
    """
    from cvtool.files import write_atomically

    make_folder(path.parent)
    write_atomically(path, _json(rows) if path.suffix.lower() == ".json" else _csv(rows))


def _json(rows: Sequence[dict[str, Any]]) -> bytes:
    return (json.dumps(rows, indent=1) + "\n").encode()


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
