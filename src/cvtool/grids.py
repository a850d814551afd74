"""Contact sheets: several pictures in rows and columns, with labels."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cvtool.codecs.rasters import unit
from cvtool.errors import UsageError
from cvtool.images import fit_longer_side, resize

SMALLEST_FONT = 10  # pixels
CELLS_PER_LETTER = 16  # the height of a cell is this many times the height of its label
INK = (40, 40, 40)
LEAST_CELL, MOST_CELL = 160, 512
"""Pixels; narrower ones have no room for labels, wider ones only enlarge the file."""
ELLIPSIS = "…"

Cell = NDArray[Any] | None


def contact_sheet(
    rows: Sequence[Sequence[Cell]],
    *,
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    cell: int = 320,
    gap: int = 8,
) -> NDArray[np.float32]:
    """Pictures in rows → one picture (H, W, 3) float32 in [0, 1] on white.

    Args:
        rows: pictures (H, W, 3) or grey (H, W), float in [0, 1] or uint8, of any sizes; each is scaled to fit its
            cell and centred. None leaves a cell empty; so does the missing end of a row shorter than the others.
        column_labels: one above each column, or none at all. A label too long for its cell is cut with "…".
        row_labels: one left of each row, or none at all.
        cell: side of a square cell in pixels.
        gap: white pixels between cells and around the sheet.

    Raises:
        UsageError: no cells, a size below what can be drawn, labels that do not match the cells, or a cell that is
            not a picture.
    """
    columns = max((len(row) for row in rows), default=0)
    _check(rows, columns, column_labels, row_labels, cell, gap)
    font = ImageFont.load_default(max(SMALLEST_FONT, cell // CELLS_PER_LETTER))
    shown_rows = [_shortened(label, font, cell) for label in row_labels]
    left = gap + (max(_width(label, font) for label in shown_rows) + gap if shown_rows else 0)
    top = gap + (_height(font) + gap if column_labels else 0)
    pitch = cell + gap
    sheet = np.ones((top + len(rows) * pitch, left + columns * pitch, 3), dtype=np.float32)

    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            if picture is not None:
                _place(sheet, _fitted(picture, cell), top + row * pitch, left + column * pitch, cell)
    for column, label in enumerate(column_labels):
        text = _shortened(label, font, cell)
        _write(sheet, text, font, gap, left + column * pitch + (cell - _width(text, font)) // 2)
    for row, text in enumerate(shown_rows):
        _write(sheet, text, font, top + row * pitch + (cell - _height(font)) // 2, gap)
    return sheet


def strip(
    row: Sequence[NDArray[np.float32] | None], labels: Sequence[str], cell: int | None = None, gap: int = 8
) -> NDArray[np.float32]:
    """Pictures of one size under their labels, without the white that a square cell leaves above and below them.

    `cell` is the longer side of each, None for its own within `LEAST_CELL` and `MOST_CELL`.
    """
    first = row[0]
    assert first is not None
    cell = min(MOST_CELL, max(LEAST_CELL, *first.shape[:2])) if cell is None else cell
    height, _ = fit_longer_side(first.shape[0], first.shape[1], cell)
    whole, spare = contact_sheet([row], column_labels=labels, cell=cell, gap=gap), (cell - height) // 2
    top = whole.shape[0] - gap - cell
    return np.concatenate([whole[:top], whole[top + spare : top + spare + height], whole[-gap:]])


def sheet(cells: Sequence[tuple[str, NDArray[np.float32]]], columns: int = 5, cell: int = 256) -> NDArray[np.float32]:
    """Labelled pictures of one size, `columns` a row, each row under its labels."""
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    width = min(columns, len(cells))
    strips = []
    for row in rows:
        rest = width - len(row)
        pictures = [*(picture for _, picture in row), *[None] * rest]
        strips.append(strip(pictures, [*(label for label, _ in row), *[""] * rest], cell))
    return np.concatenate(strips)


def captioned(
    cells: Sequence[tuple[str, NDArray[Any]]], columns: int = 3, cell: int = 256, lines: int = 3, gap: int = 8
) -> NDArray[np.float32]:
    """Pictures of any sizes, `columns` a row, each above its text → one picture (H, W, 3) in [0, 1] on white.

    Args:
        cells: text and picture (H, W, 3) or grey (H, W), float in [0, 1] or uint8; each is scaled to fit its cell.
        columns: pictures a row.
        cell: side of a square cell in pixels; what no picture needs of its height is left out.
        lines: there is room for below each picture; the rest of a longer text is cut with "…".
        gap: white pixels between cells and around the sheet.

    Raises:
        UsageError: no cells, a size below what can be drawn, or a cell that is not a picture.
    """
    rows = [[picture for _, picture in cells[start : start + columns]] for start in range(0, len(cells), columns)]
    _check(rows, min(columns, len(cells)), (), (), cell, gap)
    font = ImageFont.load_default(max(SMALLEST_FONT, cell // CELLS_PER_LETTER))
    texts = [_wrapped(text, font, cell, lines) for text, _ in cells]
    pictures = [_fitted(picture, cell) for _, picture in cells]
    high, line = max(len(picture) for picture in pictures), _height(font)
    pitch = high + gap // 2 + line * lines + gap
    sheet = np.ones((gap + len(rows) * pitch, gap + min(columns, len(cells)) * (cell + gap), 3), dtype=np.float32)
    for number, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
        top, left = gap + number // columns * pitch, gap + number % columns * (cell + gap)
        height, width = picture.shape[:2]
        sheet[top + high - height : top + high, left + (cell - width) // 2 :][:, :width] = picture
        for place, words in enumerate(text):
            indent = (cell - _width(words, font)) // 2
            _write(sheet, words, font, top + high + gap // 2 + place * line, left + max(0, indent))
    return sheet


def _wrapped(text: str, font: Font, width: int, lines: int) -> list[str]:
    """`text` in at most so many lines, each at most `width` pixels wide; what does not fit is cut with "…"."""
    words = text.split()
    found: list[str] = []
    while words and len(found) < lines - 1:
        count = next((n for n in range(len(words), 1, -1) if _width(" ".join(words[:n]), font) <= width), 1)
        found.append(_shortened(" ".join(words[:count]), font, width))
        words = words[count:]
    return [*found, _shortened(" ".join(words), font, width)] if words else found


def _check(
    rows: Sequence[Sequence[Cell]],
    columns: int,
    column_labels: Sequence[str],
    row_labels: Sequence[str],
    cell: int,
    gap: int,
) -> None:
    if columns == 0:
        raise UsageError("A contact sheet needs at least one picture. Give some.")
    if cell < 1 or gap < 0:
        raise UsageError(f"Cells of {cell} pixels with gaps of {gap} cannot be drawn. Use at least 1 and 0.")
    if column_labels and len(column_labels) != columns:
        raise UsageError(f"{len(column_labels)} column labels do not match {columns} columns. Give one for each.")
    if row_labels and len(row_labels) != len(rows):
        raise UsageError(f"{len(row_labels)} row labels do not match {len(rows)} rows. Give one for each.")


def _fitted(picture: NDArray[Any], cell: int) -> NDArray[np.float32]:
    """The picture as (h, w, 3) in [0, 1] whose longer side is `cell`."""
    colored = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture
    if colored.ndim != 3 or colored.shape[2] != 3 or 0 in colored.shape:
        raise UsageError(f"An array of shape {picture.shape} is not a picture. Give (height, width, 3).")
    pixels = _as_unit(colored)
    height, width = fit_longer_side(pixels.shape[0], pixels.shape[1], cell)
    return pixels if pixels.shape[:2] == (height, width) else resize(pixels, height, width)


def _as_unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """uint8 levels, or floats in [0, 1] (clipped) → float32 in [0, 1]."""
    return unit(pixels) if pixels.dtype == np.uint8 else np.clip(np.nan_to_num(pixels.astype(np.float32)), 0, 1)


def _place(sheet: NDArray[np.float32], picture: NDArray[np.float32], top: int, left: int, cell: int) -> None:
    height, width = picture.shape[:2]
    top, left = top + (cell - height) // 2, left + (cell - width) // 2
    sheet[top : top + height, left : left + width] = picture


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _width(text: str, font: Font) -> int:
    return int(np.ceil(font.getlength(text)))


def _height(font: Font) -> int:
    return int(font.getbbox("Åg")[3])


def _shortened(label: str, font: Font, width: int) -> str:
    """`label` on one line, cut so that it is at most `width` pixels wide."""
    text = "".join(c for c in " ".join(str(label).split()) if c.isprintable())
    if _width(text, font) <= width:
        return text
    fitting = bisect_right(range(len(text)), width, key=lambda length: _width(text[:length] + ELLIPSIS, font))
    return text[: max(0, fitting - 1)].rstrip() + ELLIPSIS


def _write(sheet: NDArray[np.float32], text: str, font: Font, top: int, left: int) -> None:
    height, width = _height(font), max(1, _width(text, font))
    # A label never reaches over the edge of the sheet, not even a lone "…" over a cell narrower than itself.
    height, width = min(height, sheet.shape[0] - top), min(width, sheet.shape[1] - left)
    strip = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(strip).text((0, 0), text, font=font, fill=INK)
    sheet[top : top + height, left : left + width] = unit(np.asarray(strip))
