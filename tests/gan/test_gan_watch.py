"""When a run is in trouble and, more often, when it is not. The sequences are like those of real runs."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from cvtool.gan.watch import Watch

# step, fd, coverage, precision, accuracy_d
HEALTHY = [
    (100, 150.0, 0.05, 0.10, 0.72),
    (200, 80.0, 0.20, 0.45, 0.70),
    (300, 45.0, 0.38, 0.60, 0.74),
    (400, 30.0, 0.50, 0.70, 0.76),
    (500, 24.0, 0.55, 0.72, 0.77),
    (600, 22.0, 0.60, 0.74, 0.79),
]


def fed(watch: Watch, rows: list[tuple[int, float, float, float, float]], **more: object) -> list[str | None]:
    names = ("step", "fd", "coverage", "precision", "accuracy_d")
    return [watch.verdict({**dict(zip(names, row, strict=True)), "samples": 2000, **more}) for row in rows]


def verdicts(rows: list[tuple[int, float, float, float, float]], **more: object) -> list[str | None]:
    return fed(Watch(), rows, **more)


def after_health(*rows: tuple[float, float, float, float]) -> list[str | None]:
    """What is said of further checks, each fd, coverage, precision, accuracy."""
    more = [(700 + 100 * i, *row) for i, row in enumerate(rows)]
    found = verdicts(HEALTHY + more)
    assert found[: len(HEALTHY)] == [None] * len(HEALTHY)
    return found[len(HEALTHY) :]


class TestNoFalseAlarm:
    def test_a_healthy_run(self):
        assert verdicts(HEALTHY) == [None] * 6

    @pytest.mark.parametrize("samples", [100, 2000])
    def test_noise_of_a_converged_run(self, samples: int):
        # Coverage is a share of `samples` pictures; the distance jitters by a tenth; the discriminator is nearly sure.
        for seed in range(30):
            chance = np.random.default_rng(seed)
            rows = [
                (
                    100 * i,
                    float(20 * (1 + 0.1 * chance.standard_normal())),
                    chance.binomial(samples, 0.3) / samples,
                    0.7,
                    0.98,
                )
                for i in range(60)
            ]
            assert verdicts(rows, samples=samples) == [None] * 60

    def test_coverage_of_few_samples_is_noise(self):
        # 0.06 of 50 pictures are three, none are three less.
        rows = [(i, 100.0 - i, coverage, 0.5, 0.8) for i, coverage in enumerate([0.02, 0.04, 0.06, 0.0, 0.0, 0.0])]
        rows = [(i, 101.0, *row[2:]) if i > 2 else row for i, row in enumerate(rows)]
        assert verdicts(rows, samples=50) == [None] * 6
        assert verdicts(rows, reference=50) == [None] * 6  # a share of as many real ones
        assert verdicts(rows, samples=5000)[-1]

    def test_one_bad_check_that_passes(self):
        assert after_health((50.0, 0.25, 0.5, 0.9), (23.0, 0.58, 0.74, 0.8)) == [None, None]

    def test_less_coverage_but_more_than_half(self):
        assert after_health(*[(25.0, 0.36, 0.7, 0.8)] * 4) == [None] * 4

    def test_the_first_two_checks(self):
        assert verdicts([(1, 10.0, 0.9, 0.9, 0.5), (2, 1000.0, 0.0, 0.0, 1.0)]) == [None, None]

    def test_a_plateau_with_a_sure_discriminator(self):
        assert after_health(*[(22.5, 0.6, 0.74, 0.999)] * 8) == [None] * 8

    def test_improving_while_saturated(self):
        assert after_health(*[(22.0 - i, 0.6, 0.74, 1.0) for i in range(1, 8)]) == [None] * 7

    def test_best_distance_so_far_with_less_coverage(self):
        # Going back would lead to this very state.
        assert after_health((20.0, 0.05, 0.9, 0.8)) == [None]

    def test_an_autoencoder_that_covers_little(self):
        watch = Watch()
        facts = {"fd": 90.0, "coverage": 0.004, "precision": 0.0, "loss": 250.0}
        assert [watch.verdict({"step": i, **facts}) for i in range(12)] == [None] * 12

    def test_slow_but_learning(self):
        rows = [(i, 150 * 0.97**i, 0.0, 0.0, 0.97) for i in range(12)]
        assert verdicts(rows) == [None] * 12

    def test_what_cannot_be_measured_of_this_data(self):
        # E.g. all real pictures are the same: nothing is nearer than their distance of 0.
        assert verdicts(HEALTHY, nearest=math.inf, kd_low=math.nan, fd_low=math.nan, feature_model="f") == [None] * 6

    def test_a_wide_interval(self):
        # Three times the distance, but nobody knows that: both intervals are wide.
        rows = [(i, fd, 0.5, 0.5, 0.8) for i, fd in enumerate([10.0, 10.0, 10.0, 30.0, 30.0])]
        watch = Watch()
        ends = [{"fd_low": 0.3 * row[1], "fd_high": 2 * row[1]} for row in rows]
        assert [fed(watch, [row], **end)[0] for row, end in zip(rows, ends, strict=True)] == [None] * 5


class TestTrouble:
    def test_coverage_halved_twice(self):
        first, second = after_health((30.0, 0.28, 0.7, 0.8), (32.0, 0.27, 0.7, 0.8))
        assert first is None
        assert second == "coverage fell from 0.60 at step 600 to 0.27: the samples repeat a few pictures"

    def test_coverage_all_but_gone(self):
        (only,) = after_health((40.0, 0.05, 0.1, 0.8))
        assert only == "coverage fell from 0.60 at step 600 to 0.05"  # nor do they look real

    def test_distance_doubled_twice(self):
        first, second = after_health((46.0, 0.5, 0.6, 0.8), (47.0, 0.5, 0.6, 0.8))
        assert first is None
        assert second == "the Fréchet distance rose from 22 at step 600 to 47"

    def test_distance_four_times(self):
        (only,) = after_health((90.0, 0.5, 0.6, 0.8))
        assert only == "the Fréchet distance rose from 22 at step 600 to 90"

    def test_saturated_and_getting_worse(self):
        found = after_health(*[(25.0, 0.55, 0.7, 0.998)] * 3)
        assert found[:2] == [None, None]
        assert found[2] == ("the discriminator is right in 99.8% of cases and the samples got no better since step 600")

    def test_saturated_before_anything_was_learned(self):
        rows = [(1, 149.0, 0.01, 0.0, 0.9)] + [(i, 150.0, 0.012, 0.0, 1.0) for i in range(2, 5)]
        assert [bool(each) for each in verdicts(rows)] == [False, False, False, True]

    def test_a_discriminator_that_gave_up(self):
        """As seen on small colour pictures with too high a rate; the coverage alone would not have told."""
        rows = [
            (1231, 1139.0, 0.73, 0.7, 0.624),
            (2462, 957.0, 0.79, 0.7, 0.613),
            (3693, 1024.0, 0.74, 0.7, 0.570),
            (4924, 1133.0, 0.70, 0.7, 0.521),
            (6155, 1232.0, 0.65, 0.7, 0.503),
            (7386, 1338.0, 0.62, 0.7, 0.510),
        ]
        found = verdicts(rows)
        assert found[:5] == [None] * 5
        assert found[5] == "the discriminator only guesses, and the samples got worse since step 2462"

    def test_a_discriminator_that_guesses_while_the_samples_stay_good(self):
        assert after_health(*[(22.5, 0.6, 0.74, 0.51)] * 5) == [None] * 5

    def test_never_begun(self):
        found = verdicts([(i, 150.0 + i % 2, 0.0, 0.0, 0.97) for i in range(5)])
        assert found[:4] == [None] * 4
        assert found[4] == "the samples are as unlike the data at step 4 as they were at step 0"

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("name", ["loss_g", "loss_d", "fd", "coverage"])
    def test_not_finite_in_the_very_first_check(self, name: str, bad: float):
        assert Watch().verdict({"step": 1, "fd": 1.0, "coverage": 0.5, name: bad}) == f"{name} is not finite any more"

    def test_told_that_not_finite_with_nothing_measured(self):
        assert "not finite" in (Watch().verdict({"step": 1, "finite": False}) or "")
        assert Watch().verdict({"step": 1, "finite": True, "loss_g": 1.0}) is None


class TestGoingBackAndOn:
    def test_compared_with_the_best_again_after_going_back(self):
        watch = Watch()
        *_, trouble = fed(watch, [*HEALTHY, (700, 100.0, 0.0, 0.0, 0.9)])
        assert trouble
        watch.went_back()
        # The collapsed check is forgotten: one check of doubled distance is not two in a row …
        assert fed(watch, [(800, 50.0, 0.5, 0.6, 0.8)]) == [None]
        # … but the best one before it is not.
        assert fed(watch, [(900, 50.0, 0.5, 0.6, 0.8)]) == ["the Fréchet distance rose from 22 at step 600 to 50"]

    def test_going_back_before_anything_was_seen(self):
        watch = Watch()
        watch.went_back()
        assert fed(watch, HEALTHY) == [None] * 6

    @pytest.mark.parametrize("cut", range(9))
    def test_goes_on_from_its_state_through_json(self, cut: int):
        rows = [*HEALTHY, (700, 46.0, 0.5, 0.6, 0.8), (800, 47.0, 0.5, 0.6, 0.8)]
        whole = verdicts(rows)
        first, second = Watch(), Watch()
        before = fed(first, rows[:cut])
        second.load_state(json.loads(json.dumps(first.state(), allow_nan=False)))
        assert before + fed(second, rows[cut:]) == whole
        assert whole[-1]


def test_neither_watch_nor_report_imports_torch():
    code = "import sys, cvtool.gan.watch, cvtool.gan.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
