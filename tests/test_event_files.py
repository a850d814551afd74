"""A run's metrics as TensorBoard reads them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from cvtool.event_files import FOLDER
from cvtool.training import RunDirectory


def scalars(run: RunDirectory) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's own reader finds: the (step, value) of each metric."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run.path / FOLDER)).Reload()
    return {
        name: [(each.step, each.value) for each in reader.Scalars(name)] for name in reader.Tags().get("scalars", [])
    }


def test_tensorboard_reads_the_metrics(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.log({"step": 10, "loss": 0.5, "is_best": True, "sample": "a dog"})
    run.log({"step": 20, "loss": 0.25, "coverage": 1})
    assert scalars(run) == {"loss": [(10, 0.5), (20, 0.25)], "coverage": [(20, 1.0)]}


def test_a_run_that_goes_on_has_each_step_once(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.log({"epoch": 1, "loss": 0.5})
    run.save_state({})
    run.log({"epoch": 2, "loss": 9.0})  # the state does not know of it: it was killed
    again = RunDirectory(run.path)
    again.load_state()
    again.log({"epoch": 2, "loss": 0.25})
    assert scalars(again) == {"loss": [(1, 0.5), (2, 0.25)]}


def test_starting_again_forgets(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run").log({"epoch": 1, "loss": 0.5})
    again = RunDirectory.create(tmp_path / "run", overwrite=True)
    again.log({"epoch": 1, "loss": 1.0})
    assert scalars(again) == {"loss": [(1, 1.0)]}


def test_without_tensorboard_there_are_only_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    run = RunDirectory.create(tmp_path / "run")
    run.log({"epoch": 1})
    assert not (run.path / FOLDER).exists()
    assert run.records() == [{"epoch": 1}]
