"""Contact sheets: every pixel of an unlabelled sheet is known; labels only add ink where there is room for them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from cvtool.errors import UsageError
from cvtool.grids import _wrapped, captioned, contact_sheet, sheet, strip

RED, GREEN, BLUE = ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0])


def flat(color: list[float], height: int = 10, width: int = 10) -> np.ndarray:
    return np.full((height, width, 3), color, dtype=np.float32)


def test_every_pixel_of_a_small_sheet() -> None:
    sheet = contact_sheet([[flat(RED), flat(GREEN)], [None, flat(BLUE)]], cell=10, gap=2)
    expected = np.ones((26, 26, 3), dtype=np.float32)
    expected[2:12, 2:12] = RED
    expected[2:12, 14:24] = GREEN
    expected[14:24, 14:24] = BLUE
    assert sheet.dtype == np.float32
    assert np.array_equal(sheet, expected)


def test_pictures_of_the_size_of_a_cell_stay_as_they_are() -> None:
    picture = np.random.default_rng(0).random((12, 12, 3), dtype=np.float32)
    sheet = contact_sheet([[picture]], cell=12, gap=0)
    assert np.array_equal(sheet, picture)


def test_wide_and_tall_pictures_are_centred_on_white() -> None:
    sheet = contact_sheet([[flat(RED, 10, 20), flat(RED, 40, 20)]], cell=20, gap=0)
    red = (sheet == RED).all(axis=2)
    assert red[:, :20].sum() == 10 * 20
    assert red[5:15, :20].all()
    assert red[:, 20:].sum() == 20 * 10
    assert red[:, 25:35].all()
    assert (sheet[~red] == 1).all()


def test_levels_grey_and_floats_mean_the_same() -> None:
    levels = np.arange(100, dtype=np.uint8).reshape(10, 10)
    sheet = contact_sheet([[levels, np.repeat(levels[..., None], 3, axis=2), levels / np.float32(255)]], cell=10, gap=0)
    first, second, third = sheet[:, :10], sheet[:, 10:20], sheet[:, 20:]
    assert np.array_equal(first, second)
    assert np.allclose(first, third, atol=1e-7)
    assert first[9, 9, 1] == np.float32(99) / np.float32(255)


def test_rows_of_several_lengths_and_none_at_all() -> None:
    sheet = contact_sheet([[flat(RED)], [flat(RED), flat(GREEN)], []], cell=10, gap=0)
    assert sheet.shape == (30, 20, 3)
    assert (sheet[:10, 10:] == 1).all()
    assert (sheet[20:] == 1).all()


def test_labels_move_the_pictures_and_put_ink_beside_them() -> None:
    rows = [[flat(RED, 64, 64), flat(GREEN, 64, 64)]]
    plain = contact_sheet(rows, cell=64, gap=4)
    labelled = contact_sheet(rows, column_labels=["one", "two"], row_labels=["row"], cell=64, gap=4)
    extra = labelled.shape[0] - plain.shape[0], labelled.shape[1] - plain.shape[1]
    assert extra[0] > 0
    assert extra[1] > 0
    assert np.array_equal(labelled[extra[0] :, extra[1] :], plain)
    margin_top, margin_left = labelled[: extra[0]], labelled[extra[0] :, : extra[1]]
    dark = margin_top.min(axis=2) < 0.5
    left, right = extra[1] + 4, extra[1] + 4 + 68
    assert dark[:, left : left + 64].any()
    assert dark[:, right : right + 64].any()
    assert not dark[:, :left].any()
    assert (margin_left.min(axis=2) < 0.5).any()


@pytest.mark.parametrize("cell", [1, 8, 30, 200])
def test_no_label_reaches_into_the_next_cell(cell: int) -> None:
    labels = ["a label that is far too long " * 20, "", "line\nbreak\t\x1b[31m 猫"]
    sheet = contact_sheet([[None, None, None]], column_labels=labels, row_labels=labels[:1], cell=cell, gap=8)
    ink = np.flatnonzero((sheet[: -cell - 8].min(axis=2) < 1).any(axis=0))
    left = sheet.shape[1] - 3 * (cell + 8)
    assert sheet.min() >= 0
    if cell >= 30:  # below, not even the ellipsis fits
        assert ink.min() >= left - 1
        assert not ((ink >= left + cell + 1) & (ink < left + 2 * (cell + 8))).any()


def test_longer_label_makes_no_wider_sheet_than_a_cell() -> None:
    wide = contact_sheet([[None]], row_labels=["w" * 500], cell=100, gap=5)
    assert wide.shape[1] <= 5 + 100 + 5 + 100 + 5


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([], {}, "at least one"),
        ([[], []], {}, "at least one"),
        ([[flat(RED)]], {"column_labels": ["a", "b"]}, "2 column labels do not match 1"),
        ([[flat(RED)]], {"row_labels": ["a", "b"]}, "2 row labels do not match 1"),
        ([[flat(RED)]], {"cell": 0}, "0 pixels"),
        ([[flat(RED)]], {"gap": -1}, "-1"),
        ([[np.zeros((4, 4, 2))]], {}, "not a picture"),
        ([[np.zeros((0, 4, 3))]], {}, "not a picture"),
        ([[np.zeros(4)]], {}, "not a picture"),
    ],
)
def test_refusals(rows: list, options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        contact_sheet(rows, **options)


def test_values_outside_the_range_are_clipped() -> None:
    sheet = contact_sheet([[np.full((4, 4), 7.0), np.full((4, 4), -7.0), np.full((4, 4), np.nan)]], cell=4, gap=0)
    assert (sheet[:, :4] == 1).all()
    assert (sheet[:, 4:] == 0).all()


def test_a_sheet_is_its_rows_one_below_the_other() -> None:
    red, blue = np.zeros((2, 40, 60, 3), np.float32)
    red[..., 0] = blue[..., 2] = 1
    found = sheet([("red", red), ("blue", blue), ("again", red)], columns=2, cell=64)
    rows = [strip([red, blue], ["red", "blue"], 64), strip([red, None], ["again", ""], 64)]
    np.testing.assert_array_equal(found, np.concatenate(rows))


# Captions below pictures -----------------------------------------------------------------------------------------

LONG = "a brown dog is running through the tall green grass with a red ball in its mouth beside two other dogs"


def test_a_sheet_has_one_size_whatever_is_said() -> None:
    pictures = [np.full((30, 60, 3), 0.5, np.float32), np.zeros((60, 45), np.uint8), np.zeros((9, 9, 3), np.uint8)]
    found = [captioned([(text, each) for each in pictures], 2, 128) for text in ("", "a dog", LONG * 3, "x" * 999)]
    assert {sheet.shape for sheet in found} == {found[0].shape}
    assert all(0 <= sheet.min() < sheet.max() == 1 for sheet in found)
    empty, short, long, word = found
    assert (empty == short)[:128].all()  # the pictures are above the texts
    assert np.abs(long - empty).sum() > np.abs(short - empty).sum() > 0
    assert np.abs(word - empty).sum() > 0


def test_pictures_stand_on_one_line_above_their_texts() -> None:
    sheet = captioned([("", np.zeros((32, 64, 3), np.uint8)), ("", np.zeros((48, 64, 3), np.uint8))], 2, 64, gap=8)
    dark = [np.flatnonzero((part == 0).all(-1).any(1)) for part in (sheet[:, :72], sheet[:, 72:])]
    assert [(rows[0], rows[-1]) for rows in dark] == [(24, 55), (8, 55)]


def test_a_text_is_wrapped_and_its_rest_cut() -> None:
    font = ImageFont.load_default(16)
    lines = _wrapped(LONG, font, 200, 3)
    assert len(lines) == 3
    assert all(font.getlength(line) <= 200 for line in lines)
    assert (lines[0].split()[0], lines[-1][-1]) == ("a", "…")
    assert " ".join(_wrapped(LONG, font, 200, 99)) == LONG
    assert _wrapped("", font, 200, 3) == []
    assert _wrapped("two  words", font, 200, 1) == ["two words"]


def test_nothing_to_caption() -> None:
    with pytest.raises(UsageError, match="at least one picture"):
        captioned([])
