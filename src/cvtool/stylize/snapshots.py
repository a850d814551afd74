"""Snapshots of a run in safetensors files: written whole or not at all, read without running anything."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from cvtool.errors import BadInputError
from cvtool.files import read_input, write_atomically
from cvtool.stylize.run import Snapshot

_KEY = "stylize"


def write_snapshot(path: Path, snapshot: Snapshot, note: str = "") -> None:
    """Write a snapshot; `note` is the provenance that `cvtool info` shows."""
    metadata = {_KEY: json.dumps(dict(snapshot.facts)), **({"cvtool": note} if note else {})}
    write_atomically(path, save(dict(snapshot.tensors), metadata))


def read_snapshot(path: Path) -> Snapshot:
    """Read what `write_snapshot` wrote.

    Raises:
        BadInputError: missing, truncated, or not a snapshot of stylize.
    """
    data = read_input(path)
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        facts = json.loads(header["__metadata__"][_KEY])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"'{path}' is not a checkpoint of stylize, or is broken. Start again without --resume."
        ) from error
    return Snapshot(facts, tensors)
