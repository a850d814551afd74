"""Snapshots of a run in safetensors files: written whole or not at all, read without running anything."""

from __future__ import annotations

from pathlib import Path

from cvtool.errors import BadInputError
from cvtool.files import read_input
from cvtool.stylize.run import Snapshot
from cvtool.tensor_files import decode_tensors, write_tensors

_KEY = "stylize"


def write_snapshot(path: Path, snapshot: Snapshot, note: str = "") -> None:
    """Write a snapshot; `note` is the provenance that `cvtool info` shows."""
    write_tensors(path, snapshot.tensors, _KEY, snapshot.facts, note)


def read_snapshot(path: Path) -> Snapshot:
    """Read what `write_snapshot` wrote.

    Raises:
        BadInputError: missing, truncated, or not a snapshot of stylize.
    """
    data = read_input(path)
    try:
        facts, tensors = decode_tensors(data, _KEY)
    except ValueError as error:
        raise BadInputError(
            f"'{path}' is not a checkpoint of stylize, or is broken. Start again without --resume."
        ) from error
    return Snapshot(facts, tensors)
