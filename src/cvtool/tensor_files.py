"""Tensors with a record of what they are, in safetensors files: written whole or not at all, read without running
anything.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cvtool.codecs import notes
from cvtool.files import write_atomically


def write_tensors(path: Path, tensors: Mapping[str, Tensor], key: str, record: Mapping[str, Any], note: str) -> None:
    """Write tensors, contiguous and on the CPU, with a record under `key`; `note` is what `cvtool info` shows."""
    metadata = {key: json.dumps(dict(record)), **({notes.KEY: note} if note else {})}
    write_atomically(path, save(dict(tensors), metadata))


def load_torch(file: BinaryIO) -> Any:
    """An open file of ``torch.save`` → its tensors, numbers, texts, lists and mappings, on the CPU.

    Raises:
        ValueError: it is compressed, which PyTorch does not do, and would take more memory than it has bytes.
        Exception: whatever torch's reader runs into on a broken file, or one with other objects in it.
    """
    size = file.seek(0, os.SEEK_END)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > size:
                raise ValueError("it is compressed, which weights are not")
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


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
