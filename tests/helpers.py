"""What tests of several parts need: pictures in files, stdin from a file, the mean colour."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def save(path: str | Path, color: tuple[int, ...] = (200, 60, 30), size: tuple[int, int] = (48, 32)) -> Path:
    """A plain picture of `size` (width, height) in a file; RGBA for four numbers."""
    where = Path(path)
    where.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(where)
    return where


def piped(path: str | Path) -> io.TextIOWrapper:
    """What stdin is after ``< path``."""
    return io.TextIOWrapper(io.BytesIO(Path(path).read_bytes()))


def mean_color(pixels: np.ndarray) -> list[int]:
    """In levels from 0 to 255."""
    return np.rint(pixels.reshape(-1, 3).mean(0) * 255).astype(int).tolist()
