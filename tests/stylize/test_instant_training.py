"""Training a painter: it learns, follows its plan, and goes on exactly where it was."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cvtool.models.loader import Model, load
from cvtool.stylize.instant import training
from cvtool.stylize.instant.data import Shelf, read_shelf
from cvtool.stylize.instant.options import InstantTrainOptions, PainterOptions
from cvtool.stylize.instant.training import Check, DivergedError, Trainer, prepare

NETWORK = PainterOptions(width=8, embedding=8)
SHORT = InstantTrainOptions(steps=6, every=3, batch=2, samples=2, precision="fp32")


def make_pictures(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        chance = np.random.default_rng(number)
        coarse = Image.fromarray(chance.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((80, 64), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def model() -> Model:
    return load("efficientnet-lite0")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = make_pictures(tmp_path_factory.mktemp("pictures"), 12)
    return read_shelf([str(folder)], held_out=0.2, fewest=2)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of a size for tests; the phases stay three."""
    monkeypatch.setattr(training, "PHASES", ((0.0, 32), (0.6, 48), (0.9, 64)))
    monkeypatch.setattr(training, "CHECK_SIZE", 48)
    monkeypatch.setattr(training, "SHOWN", 2)
    monkeypatch.setattr(training, "MEASURED", 4)


def begun(model: Model, shelf: Shelf, options: InstantTrainOptions = SHORT) -> Trainer:
    return prepare(shelf, shelf, NETWORK, options, model)


def test_loss_falls_on_what_it_learns_from(model: Model, shelf: Shelf) -> None:
    trainer = begun(model, shelf, InstantTrainOptions(steps=36, every=12, batch=4, samples=2, ema=0.5))
    checks: list[Check] = []
    assert trainer.run(on_check=checks.append)
    assert checks[-1].facts["loss"] < 0.97 * checks[0].facts["loss"]
    assert trainer.position.best == min(check.facts["held_out_loss"] for check in checks)


def test_checks_come_when_they_are_due(model: Model, shelf: Shelf) -> None:
    checks: list[Check] = []
    steps: list[int] = []
    trainer = begun(model, shelf)
    trainer.run(on_check=checks.append, on_step=lambda: steps.append(trainer.position.step))
    assert [check.step for check in checks] == [3, 6]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert checks[0].tiles.shape == (3, 2, 48, 48, 3)
    assert all(math.isfinite(value) for value in checks[1].record().values())


def test_pictures_grow_and_batches_shrink(model: Model, shelf: Shelf) -> None:
    trainer = begun(model, shelf, InstantTrainOptions(steps=10, batch=8, precision="fp32"))
    assert [trainer.size_at(step) for step in (0, 5, 6, 9)] == [(32, 8), (32, 8), (48, 4), (64, 2)]


def test_the_rate_rises_and_falls(model: Model, shelf: Shelf) -> None:
    trainer = begun(model, shelf, InstantTrainOptions(steps=40, precision="fp32"))
    rates = []
    for step in range(40):
        trainer.position.step = step
        rates.append(trainer._rate())
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.01


def test_going_on_ends_where_an_uninterrupted_run_ends(model: Model, shelf: Shelf, tmp_path: Path) -> None:
    whole = begun(model, shelf)
    whole.run(on_check=lambda check: None)

    first = begun(model, shelf)
    assert not first.run(on_check=lambda check: None, stop=lambda: first.position.step == 4)
    torch.save(first.state(), tmp_path / "state.pt")
    second = begun(model, shelf)
    second.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.run(on_check=lambda check: None)

    for one, other in ((whole.painter, second.painter), (whole.average, second.average)):
        theirs = other.state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())
    assert second.position.best == whole.position.best


def test_the_average_forgets_how_it_began(model: Model, shelf: Shelf) -> None:
    trainer = begun(model, shelf)
    trainer.run(on_check=lambda check: None)
    with torch.no_grad():
        pairs = zip(trainer.average.parameters(), trainer.painter.parameters(), strict=True)
        apart = sum(float((mean - now).abs().sum()) for mean, now in pairs)
        size = sum(float(now.abs().sum()) for now in trainer.painter.parameters())
    assert 0 < apart < 0.05 * size


def test_a_budget_becomes_steps_and_is_kept(model: Model, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that ticks half a second at each look, so that the machine's load does not matter."""
    now = iter(range(10**6))
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(now) / 2)
    monkeypatch.setattr(Trainer, "_check", lambda self, start: None)
    monkeypatch.setattr(training, "PROBE", 3)
    trainer = begun(model, shelf, InstantTrainOptions(budget=45.0, batch=2, precision="fp32"))
    trainer.run(on_check=lambda check: None)
    assert 25 <= trainer.position.total <= 32  # three looks a step
    assert trainer.position.seconds <= 1.05 * 45


def test_numbers_that_are_not_finite_end_the_run(model: Model, shelf: Shelf) -> None:
    trainer = begun(model, shelf)
    with torch.no_grad():
        trainer.painter.color.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="--rate"):
        trainer.run(on_check=lambda check: None)
