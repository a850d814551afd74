"""Curves as charts: points lie where the ticks say, whatever the numbers are."""

from __future__ import annotations

import math

import pytest

from cvtool.charts import MARKED, Chart, Curve, chart, number


def laid_out(values: list[float], **more: object) -> Chart:
    found = chart("t", [Curve("c", range(len(values)), values)], **more)  # type: ignore[arg-type]
    assert found is not None
    return found


class TestCharts:
    def test_points_lie_where_the_ticks_say(self):
        found = laid_out([0.0, 5.0, 10.0])
        y = {tick.text: tick.at for tick in found.y}
        x = {tick.text: tick.at for tick in found.x}
        assert [mark[:2] for mark in found.curves[0].marks] == [
            (x["0.0"], y["0"]), (x["1.0"], (y["4"] + y["6"]) / 2), (x["2.0"], y["10"]),
        ]  # fmt: skip
        assert (y["0"], y["10"]) == (found.bottom, found.top)
        assert (x["0.0"], x["2.0"]) == (found.left, found.right)

    def test_what_is_counted_has_a_name_and_may_have_no_parts(self):
        found = laid_out([3.0, 4.0], by="epoch", finest=1.0)
        assert [tick.text for tick in found.x] == ["0", "1"]
        assert found.summary == "t by epoch. Last: c 4."
        assert [text for _, _, text in found.curves[0].marks] == ["c at epoch 0: 3", "c at epoch 1: 4"]

    def test_logarithmic_over_twenty_fold(self):
        assert not laid_out([10.0, 199.0], may_be_logarithmic=True).logarithmic
        assert not laid_out([0.0, 500.0], may_be_logarithmic=True).logarithmic
        assert laid_out([10.0, 199.0], within=(0.0, 0.0), may_be_logarithmic=True).y[0].text == "0"
        assert laid_out([10.0, 201.0], within=(0.0, 0.0), may_be_logarithmic=True).logarithmic
        found = laid_out([1.0, 10.0, 100.0], may_be_logarithmic=True)
        assert found.logarithmic
        heights = [mark[1] for mark in found.curves[0].marks]
        assert heights[1] == pytest.approx((heights[0] + heights[2]) / 2, abs=0.1)
        assert {"1", "10", "100"} <= {tick.text for tick in found.y}

    def test_gaps_and_steps_that_go_back_break_the_line(self):
        steps, values = [1, 2, 3, 4, 3, 4, 5], [1.0, 2.0, math.nan, 4.0, 5.0, 6.0, 1e31]
        found = chart("t", [Curve("c", steps, values)])
        assert found is not None
        assert [len(line.split()) for line in found.curves[0].lines] == [2, 1, 2]
        assert found.curves[0].last == "6"

    def test_a_band_goes_up_and_comes_back(self):
        found = chart("t", [Curve("c", [0, 1], [2.0, 2.0], [1.0, 1.0], [4.0, 4.0])])
        assert found is not None
        (band,) = found.curves[0].bands
        points = [tuple(map(float, point.split(","))) for point in band.split()]
        assert [x for x, _ in points] == [found.left, found.right, found.right, found.left]
        (high, *_), low = [y for _, y in points], points[-1][1]
        line = found.curves[0].marks[0][1]
        assert high < line < low  # y grows downwards
        assert (low - line) / (line - high) == pytest.approx(0.5, abs=0.01)

    @pytest.mark.parametrize(
        "values",
        [[0.0], [5.0, 5.0], [-3.0, -3.0], [1e-9, 2e-9], [1e29, -1e29], [1e-31, 0.0], [1e-300, 1e-299],
         [123456.0, 123457.0], [0.30000001, 0.3]],
    )  # fmt: skip
    @pytest.mark.parametrize("may_be_logarithmic", [False, True])
    def test_any_range_has_a_few_ticks_that_differ_and_holds_its_points(
        self, values: list[float], may_be_logarithmic: bool
    ):
        found = laid_out(values, may_be_logarithmic=may_be_logarithmic)
        for ticks in (found.x, found.y):
            assert 2 <= len(ticks) <= 12
            assert len({tick.text for tick in ticks}) == len(ticks)
        for _, y, _ in found.curves[0].marks:
            assert found.top <= y <= found.bottom

    def test_many_points_are_not_all_marked(self):
        assert len(laid_out([1.0] * (MARKED + 1)).curves[0].marks) == 2

    def test_nothing_to_draw(self):
        assert chart("t", [Curve("c", [1], [math.nan]), Curve("d", [], [])]) is None

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0.0, "0"), (1.0, "1"), (12345.6, "12,346"), (0.123456, "0.123"), (12.3456, "12.35"), (-0.00012, "-0.00012"),
         (1e20, "1e+20"), (math.nan, "–"), (-math.inf, "–")],
    )  # fmt: skip
    def test_number(self, value: float, text: str):
        assert number(value) == text
