"""Pictures read and computed some at a time, handed out one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import save

from cvtool.cli.inputs import expand
from cvtool.cli.reading import Reading, read_flat
from cvtool.errors import BadInputError


def test_some_at_a_time_a_bad_one_in_its_turn(here):
    for number, name in enumerate("abde"):
        save(f"{name}.png", (60 * number, 0, 0))
    batches = []

    def compute(numbers, pictures):
        batches.append(list(numbers))
        return [float(picture.pixels[..., 0].mean()) for picture in pictures]

    reading = Reading(expand(["a.png", "b.png", "c.png", "d.png", "e.png"]), compute, read_flat, lambda n: n == 3)
    first = reading.take(3)
    assert (first.number, first.answer, batches) == (0, 0.0, [[0, 1]])
    assert [done.number for done in reading.rest()] == [1]
    assert reading.take(3).answer == pytest.approx(60 / 255)
    with pytest.raises(BadInputError, match=r"c\.png"):
        reading.take(3)
    assert reading.take(3) is None
    last = reading.take(3)
    assert (last.number, batches) == (4, [[0, 1], [4]])
    assert len(last.picture.digest) == 64
    np.testing.assert_allclose(last.picture.pixels[0, 0], [180 / 255, 0, 0], atol=1e-6)
