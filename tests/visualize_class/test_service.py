"""From targets to pictures: where the answer is known, the pictures are that answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cvtool.errors import CvtoolError, UsageError
from cvtool.models.loader import Model
from cvtool.progress import Step
from cvtool.visualize_class import Target, VisualizeOptions, visualize
from cvtool.visualize_class.methods import METHODS
from cvtool.visualize_class.options import Method

QUICK = {
    Method.fourier: VisualizeOptions(method=Method.fourier, size=40, steps=12, views=2),
    Method.maco: VisualizeOptions(method=Method.maco, size=40, steps=80, views=3),
    Method.cs231n: VisualizeOptions(method=Method.cs231n, size=32, steps=12),
    Method.deepdream: VisualizeOptions(method=Method.deepdream, size=40, steps=12),
}


def test_every_name_has_a_method_and_a_paper() -> None:
    assert set(METHODS) == set(Method) == set(QUICK)
    for method, spec in METHODS.items():
        assert spec.method is method
        assert spec.paper
        assert spec.steps > 0


@pytest.mark.parametrize("method", list(Method))
def test_the_score_rises_and_is_that_of_the_saved_picture(small: Model, method: Method) -> None:
    (found,) = visualize([Target(index=3)], small, QUICK[method])
    assert found.score > found.score_of_start
    assert found.steps == QUICK[method].steps
    assert found.stopped_by == "steps"
    assert found.pixels.dtype == np.float32
    np.testing.assert_array_equal(found.pixels, np.rint(found.pixels * 255).astype(np.float32) / np.float32(255))
    assert found.of_target is not None
    assert found.of_target.index == 3
    assert found.predictions[0].probability >= found.of_target.probability


@pytest.mark.parametrize("method", list(Method))
def test_the_same_seed_gives_the_same_picture(small: Model, method: Method) -> None:
    one, two, other = (
        visualize([Target(index=1)], small, replace(QUICK[method], seed=seed))[0].pixels for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).mean() > 1e-3


@pytest.mark.parametrize("method", list(Method))
def test_company_does_not_change_a_picture(small: Model, method: Method) -> None:
    """But for rounding: alone, and together with another class."""
    (alone,) = visualize([Target(index=1)], small, replace(QUICK[method], steps=3))
    together = visualize([Target(index=4), Target(index=1)], small, replace(QUICK[method], steps=3))
    assert [found.target.index for found in together] == [4, 1]
    np.testing.assert_allclose(together[1].pixels, alone.pixels, atol=3 / 255)
    assert np.abs(together[0].pixels - alone.pixels).mean() > 1 / 255


def test_the_ascent_finds_the_best_picture_of_a_linear_network(linear: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Class 0 counts the brightness of the left half, class 1 blue less red in the right half."""
    from cvtool.visualize_class.methods import cs231n

    monkeypatch.setattr(cs231n, "JITTER", 2)
    options = VisualizeOptions(method=Method.cs231n, size=24, steps=60)
    left, right = visualize([Target(index=0), Target(index=1)], linear, options)
    assert left.pixels[:, :12].mean() > left.pixels[:, 12:].mean() + 0.1
    blue, red = right.pixels[:, 12:, 2].mean(), right.pixels[:, 12:, 0].mean()
    assert blue > red + 0.1


def test_a_step_of_the_course_is_its_formula(linear: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without jitter and blur, x + 25 · (∂ score / ∂ x − 2 · 0.001 · x), clamped, in units of deviations."""
    from cvtool.visualize_class.methods import cs231n

    monkeypatch.setattr(cs231n, "JITTER", 0)
    monkeypatch.setattr(cs231n, "BLUR_EVERY", 10**9)
    monkeypatch.setattr(cs231n, "blurred", lambda x, sigma: x)
    (found,) = visualize([Target(index=1)], linear, VisualizeOptions(method=Method.cs231n, steps=2, seed=3))
    mean, deviation = np.array(cs231n.MEAN)[:, None, None], np.array(cs231n.DEVIATION)[:, None, None]
    x = torch.randn((3, 24, 24), generator=torch.Generator().manual_seed(3)).double().numpy()
    slope = linear.module.weights[1].double().numpy() * deviation
    for _ in range(2):
        x = np.clip(x + 25 * (slope - 2e-3 * x), -mean / deviation, (1 - mean) / deviation)
    expected = (x * deviation + mean).transpose(1, 2, 0)
    np.testing.assert_allclose(found.pixels, expected, atol=0.6 / 255)


def test_diverse_pictures_are_less_alike(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvtool.visualize_class import climbing
    from cvtool.visualize_class.objectives import Question

    def likeness(weight: float) -> float:
        monkeypatch.setattr(climbing, "DIVERSITY", weight)
        found = visualize([Target(index=2)], small, replace(QUICK[Method.fourier], diversity=3, steps=30))
        assert len(found) == 3
        x = torch.from_numpy(np.stack([each.pixels for each in found])).permute(0, 3, 1, 2)
        asked = Question.of(small, [Target(index=2)] * 3, compare=True, precision="fp32")
        return float(asked.look(x).likeness)

    assert likeness(50.0) < likeness(0.0) - 0.005


def test_transparent_pictures_have_an_opacity(small: Model) -> None:
    (found,) = visualize([Target(index=2)], small, replace(QUICK[Method.fourier], transparent=True))
    assert found.alpha is not None
    assert found.alpha.shape == found.pixels.shape[:2]
    assert found.alpha.min() < found.alpha.max()


def test_opacity_falls_where_nothing_is_needed(linear: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right half of the picture has no weight in class 0."""
    from cvtool.visualize_class.methods import fourier

    still = replace(fourier.RECIPE, smallest=1, smallest_in_the_end=1, rotate=0, mirror=False, noise=0, statistics=0)
    monkeypatch.setattr(fourier, "RECIPE", still)
    options = VisualizeOptions(size=24, steps=60, transparent=True)
    (found,) = visualize([Target(index=0)], linear, options)
    assert found.alpha is not None
    assert found.alpha[:, 14:].mean() < 0.4


def test_a_start_is_kept_by_no_steps_and_left_by_many(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvtool.visualize_class.methods import fourier

    monkeypatch.setattr(fourier, "RECIPE", replace(fourier.RECIPE, statistics=0.0))
    photo = np.random.default_rng(0).random((30, 60, 3)).astype(np.float32) * 0.8 + 0.1
    for method in (Method.fourier, Method.cs231n, Method.deepdream):
        stopped = visualize([Target(index=0)], small, replace(QUICK[method], size=60), init=photo, stop=lambda: True)[0]
        assert stopped.pixels.shape == (30, 60, 3)
        assert (stopped.steps, stopped.stopped_by) == (0, "interrupt")
        np.testing.assert_allclose(stopped.pixels, photo, atol=1.5 / 255)
        moved = visualize([Target(index=0)], small, replace(QUICK[method], size=60, steps=40), init=photo)[0]
        assert moved.score_of_start == stopped.score
        if method is not Method.cs231n:  # whose penalty outweighs this small network's gradient
            assert moved.score > stopped.score


def test_stopping_gives_the_picture_so_far(small: Model) -> None:
    asked = iter([False] * 5 + [True] * 100)
    (found,) = visualize([Target(index=0)], small, QUICK[Method.fourier], stop=lambda: next(asked))
    assert (found.steps, found.stopped_by) == (5, "interrupt")


def test_networks_take_turns(small: Model, linear: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(small, card=replace(small.card, name="other", input_size=24))
    seen = []
    original = type(small).normalize
    monkeypatch.setattr(
        type(small), "normalize", lambda self, x: seen.append((self.card.name, len(x))) or original(self, x)
    )
    visualize([Target(index=0)], [small, other], replace(QUICK[Method.fourier], steps=4))
    views = [name for name, count in seen if count == 2]
    assert views == ["small", "other"] * 2


def test_progress_and_previews(small: Model) -> None:
    steps: list[Step] = []
    pictures: list[np.ndarray] = []
    visualize([Target(index=0)], small, QUICK[Method.fourier], progress=steps.append, preview=pictures.append)
    assert [step.done for step in steps] == [5, 10, 12]
    assert all(step.total == 12 and "score" in step.metrics for step in steps)
    assert [picture.shape for picture in pictures] == [(40, 40, 3)] * 3


def test_judges_rank_the_class(small: Model) -> None:
    (found,) = visualize([Target(index=3)], small, QUICK[Method.fourier], judges=[small])
    (verdict,) = found.verdicts
    assert found.of_target is not None
    assert verdict.probability == pytest.approx(found.of_target.probability, abs=1e-4)
    order = [each.index for each in found.predictions]
    assert verdict.rank == order.index(3) + 1


def test_the_spectrum_of_pictures_is_used(small: Model) -> None:
    flat = np.full((40, 40, 3), 0.5, np.float32)
    flat[::2] = 0.9  # stripes: one frequency only
    (found,) = visualize([Target(index=0)], small, QUICK[Method.maco], spectrum_of=[flat])
    assert np.abs(np.diff(found.pixels, axis=1)).mean() < 0.1 * np.abs(np.diff(found.pixels, axis=0)).mean()


@pytest.mark.parametrize(
    ("targets", "options", "says"),
    [
        ([], {}, "at least one"),
        ([Target(index=0), Target(layer="act2")], {}, "one by one"),
        ([Target(index=0)], {"method": Method.maco, "transparent": True}, "fourier"),
        ([Target(index=9)], {}, "No class 9"),
    ],
)
def test_what_cannot_be_done(small: Model, targets: list[Target], options: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        visualize(targets, small, VisualizeOptions(**options))


def test_networks_that_do_not_fit_together(small: Model, linear: Model) -> None:
    with pytest.raises(UsageError, match="different classes"):
        visualize([Target(index=0)], [small, linear])
    with pytest.raises(UsageError, match="one network"):
        visualize([Target(layer="act2")], [small, small])
    features_only = replace(small, card=replace(small.card, abilities=("features",)))
    with pytest.raises(UsageError, match="no classifier"):
        visualize([Target(index=0)], features_only)
    with pytest.raises(UsageError, match="cannot start"):
        visualize([Target(index=0)], small, QUICK[Method.maco], init=np.zeros((8, 8, 3), np.float32))


def test_a_score_that_is_no_number_is_told(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvtool.visualize_class import objectives

    monkeypatch.setattr(objectives, "class_scores", lambda logits, targets: logits[:, 0] * float("nan"))
    with pytest.raises(CvtoolError, match="no longer a number"):
        visualize([Target(index=0)], small, QUICK[Method.fourier])
