"""Where the rows of HDF5 datasets lie, also of those that claim to have more than there is."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from cvtool.errors import BadInputError
from cvtool.hdf5 import VERSIONS, placement

CLAIMED = 1 << 26


@pytest.fixture
def liar(tmp_path: Path) -> Path:
    """Five rows in chunks of one, and a shape of very many."""
    with h5py.File(tmp_path / "liar.h5", "w", libver=VERSIONS) as file:
        made = file.create_dataset("x", (CLAIMED, 4), "f2", chunks=(1, 4))
        made[:5] = np.arange(20).reshape(5, 4)
    return tmp_path / "liar.h5"


def test_rows_are_found_without_room_for_those_that_are_claimed(liar: Path) -> None:
    data = liar.read_bytes()
    with h5py.File(liar) as file:
        tracemalloc.start()
        found = placement(file["x"], 3)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 1 << 20
    for number in range(3):
        start = found.start(number)
        row = np.frombuffer(data[start : start + found.row], np.float16)
        np.testing.assert_array_equal(row, np.arange(4 * number, 4 * number + 4))


def test_rows_that_are_claimed_and_not_there(liar: Path) -> None:
    with h5py.File(liar) as file:
        tracemalloc.start()
        for rows in (6, CLAIMED):
            with pytest.raises(BadInputError, match="is not there in full"):
                placement(file["x"], rows)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(placement(file["x"], 5).offsets) == 5
        assert len(placement(file["x"], 0).offsets) == 0
    assert most < 1 << 20
