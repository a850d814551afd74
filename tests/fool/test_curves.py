"""The drawing of robustness against known steps and pixels."""

from __future__ import annotations

import numpy as np
import pytest

from cvtool.fool.curves import HEIGHT, WIDTH, Curve, draw_curves, nice_step, steps
from cvtool.fool.options import Norm

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def test_steps_are_the_share_of_pictures():
    curve = Curve("ddn", Norm.l2, (0.3, 0.1), 4, None)
    assert steps(curve, 1.0, 0.5) == [(0, 0), (0.1, 0), (0.1, 0.25), (0.3, 0.25), (0.3, 0.5), (0.5, 0.5)]


@pytest.mark.parametrize(("most", "step"), [(1, 0.2), (4, 1), (6, 1), (0.05, 0.01), (61, 20), (1200, 200), (0.5, 0.1)])
def test_ticks_are_round(most, step):
    assert nice_step(most) == pytest.approx(step)


def places(drawn: np.ndarray, color: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.nonzero((np.rint(255 * drawn) == color).all(2))


def test_the_better_method_is_further_up_and_left():
    quick = Curve("pgd", Norm.linf, (1 / 255, 2 / 255, 2 / 255, 2 / 255), 4, 4 / 255)
    slow = Curve("fgsm", Norm.linf, (4 / 255, 4 / 255), 4, 4 / 255)
    drawn = draw_curves([quick, slow])
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    assert drawn.dtype == np.float32
    (rows, columns), (lower, _) = places(drawn, BLUE), places(drawn, ORANGE)
    axes = columns < 600  # the rest is the legend
    assert rows[axes].min() < lower[np.nonzero(places(drawn, ORANGE)[1] < 600)].min()
    assert len(rows[~axes]) > 0


def test_every_norm_has_axes_of_its_own_and_many_names_fit():
    many = [Curve(f"method {number}", Norm.l2, (0.1 * number,), 3, None) for number in range(17)]
    drawn = draw_curves([*many, Curve("fgsm", Norm.linf, (), 3, 8 / 255)])
    assert drawn.shape == (2 * HEIGHT, WIDTH, 3)
    assert (drawn[:, -2:] == 1).all()  # no name runs over the edge
    assert (drawn[HEIGHT - 3 : HEIGHT] == 1).all()


def test_nothing_fooled_is_a_line_on_the_ground():
    drawn = draw_curves([Curve("square", Norm.l2, (), 3, None)])
    rows, columns = places(drawn, BLUE)
    assert np.ptp(rows[columns < 600]) < 5
