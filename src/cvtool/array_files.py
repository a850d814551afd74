"""Numbers in ``.npy`` files from anywhere: nothing is unpickled, and a header cannot ask for memory."""

from __future__ import annotations

import io
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BROKEN = (
    *(EOFError, OSError, TypeError, LookupError, OverflowError, RecursionError, MemoryError),
    *(SyntaxError, TokenError),  # a header is an expression of Python
)


def decode_numbers(data: bytes) -> NDArray[Any]:
    """The bytes of a ``.npy`` file → its numbers, floating point or whole, of any shape.

    Raises:
        ValueError: they are no such file, hold something else, or less than they say.
    """
    try:
        file = io.BytesIO(data)
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        # A header may claim any size, and memory would be taken for it before the numbers are missed.
        if dtype.kind not in "fiu" or min(shape, default=0) < 0 or prod(shape) * dtype.itemsize > len(data):
            raise ValueError("other than numbers, or more than there are")
        found: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
        return found
    except _BROKEN as error:
        raise ValueError("no whole .npy file of numbers") from error


def mapped_numbers(path: Path) -> NDArray[Any]:
    """A ``.npy`` file → its numbers, of any kind and shape, which stay in the file until they are looked at.

    Raises:
        ValueError: it is no such file, holds objects, or less than it says.
    """
    try:
        found: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")  # np.load would take archives, too
        return found
    except _BROKEN as error:
        raise ValueError("no whole .npy file of numbers") from error
