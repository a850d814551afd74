"""Tensors with a record of what they are, in safetensors files: written whole or not at all, read without running
anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cvtool.files import write_atomically


def write_tensors(path: Path, tensors: Mapping[str, Tensor], key: str, record: Mapping[str, Any], note: str) -> None:
    """Write tensors, contiguous and on the CPU, with a record under `key`; `note` is what `cvtool info` shows."""
    metadata = {key: json.dumps(dict(record)), **({"cvtool": note} if note else {})}
    write_atomically(path, save(dict(tensors), metadata))


def decode_tensors(data: bytes, key: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The bytes of a file → the record under `key`, and the tensors.

    Raises:
        ValueError: they are broken, or have no such record.
    """
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return dict(json.loads(header["__metadata__"][key])), tensors
    except (SafetensorError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no record '{key}' in a whole file") from error
