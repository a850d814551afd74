"""Plans of scales, and how they shrink to a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtool.errors import UnsuitableInputError, UsageError
from cvtool.stylize.pyramid import LEAST_STEPS, Scale, fit_to_budget, output_size, plan_scales, spread


def plan(height=384, width=512, smallest=128, steps=(160, 10), wanted=()):
    return plan_scales(height, width, smallest=smallest, steps=steps, wanted=wanted)


def test_scales_grow_by_the_root_of_two():
    assert [(s.width, s.height) for s in plan()] == [(128, 96), (181, 136), (256, 192), (362, 272), (512, 384)]
    assert [s.steps for s in plan()] == [160, 80, 40, 20, 10]


def test_one_scale_without_a_smallest_and_for_small_pictures():
    assert [s.steps for s in plan(smallest=None)] == [160]
    assert [s.steps for s in plan(256, 192)] == [160, 160, 160], "steps on small pictures are cheap"
    assert plan(362, 362)[-1].steps == 40, "half an octave up: the geometric mean of 160 and 10"
    assert [(s.height, s.width, s.steps) for s in plan(1, 1)] == [(1, 1, 160)]


def test_thin_pictures_keep_a_pixel():
    assert all(s.height == 1 for s in plan(1, 5000))


def test_one_number_is_spread_and_a_list_is_taken():
    assert sum(s.steps for s in plan(wanted=(7,))) == 7
    assert [s.steps for s in plan(wanted=(5, 0, 3, 2, 1))] == [5, 0, 3, 2, 1]
    with pytest.raises(UsageError, match="2 numbers, but there are 5 scales"):
        plan(wanted=(5, 3))


def test_the_size_of_a_content_is_its_own_matter():
    """And one that was asked for, that of all contents."""
    assert output_size(200, 100, 0) == (200, 100)
    with pytest.raises(UnsuitableInputError, match="100×16385"):
        output_size(16385, 100, 0)
    with pytest.raises(UsageError) as asked:
        output_size(200, 100, 16385)
    assert not isinstance(asked.value, UnsuitableInputError)
    assert output_size(16385, 100, 16384)[0] == 16384
    for own_size in (True, False):
        with pytest.raises(UsageError) as wanted:
            plan_scales(384, 512, smallest=128, steps=(160, 10), wanted=(5, 3), own_size=own_size)
        assert isinstance(wanted.value, UnsuitableInputError) is own_size


@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 100), min_size=1, max_size=9))
def test_spread_is_exact_and_fair(total, shares):
    numbers = spread(total, shares)
    assert sum(numbers) == total
    for number, share in zip(numbers, shares, strict=True):
        assert abs(number - total * share / sum(shares)) < 1


@given(st.floats(0.01, 1000), st.integers(0, 4), st.floats(1e-7, 1e-4))
def test_a_fitted_plan_takes_no_more_than_the_time(seconds, current, cost):
    scales = plan()
    fitted = fit_to_budget(scales, current, 0, seconds, cost)
    assert fitted[:current] == scales[:current]
    used = sum(s.steps * s.pixels * cost for s in fitted[current:])
    assert used <= seconds * (1 + 1e-9)
    one_more_of_each = sum(s.pixels * cost for s in fitted[current:])
    wanted_all = used + one_more_of_each
    assert wanted_all >= seconds or fitted[-1].steps <= LEAST_STEPS  # nothing worth a round of steps is left over


def test_too_little_time_goes_to_the_last_scale():
    scales = (Scale(10, 10, 100), Scale(20, 20, 100))
    assert [s.steps for s in fit_to_budget(scales, 0, 0, 5.05, 1e-3)] == [2, LEAST_STEPS]


def test_steps_that_were_done_stay():
    scales = (Scale(10, 10, 100), Scale(20, 20, 100))
    assert fit_to_budget(scales, 0, 40, 0.0, 1e-3)[0].steps == 40
