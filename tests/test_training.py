"""Run directories: what they refuse, and that a run goes on from its state alone."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from cvtool.errors import BadInputError, CvtoolError, UsageError
from cvtool.run_files import BEST, CONFIG, LAST, METRICS, STATE
from cvtool.training import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """With two lines of metrics, a state, and a third line that came after the state."""
    run = RunDirectory.create(tmp_path / "some" / "run")
    run.write_config({"rate": 0.5, "cell": "lstm"})
    run.log({"epoch": 1})
    run.log({"epoch": 2})
    run.save_state({"weights": torch.arange(3.0), "epoch": 2, "names": ["a", "b"], "deep": {"x": 0.1}})
    run.log({"epoch": 3})
    return run


def metrics(run: RunDirectory) -> list[dict]:
    return [json.loads(line) for line in (run.path / METRICS).read_text().splitlines()]


def test_what_is_written_is_read(run: RunDirectory) -> None:
    assert len(metrics(run)) == run.lines == 3
    again = RunDirectory.open(run.path)
    assert again.read_config() == {"rate": 0.5, "cell": "lstm"}
    state = again.load_state()
    assert state is not None
    assert torch.equal(state.pop("weights"), torch.arange(3.0))
    assert state == {"epoch": 2, "names": ["a", "b"], "deep": {"x": 0.1}}


def test_metrics_that_the_state_does_not_know_are_cut(run: RunDirectory) -> None:
    again = RunDirectory.open(run.path)
    again.load_state()
    assert metrics(again) == [{"epoch": 1}, {"epoch": 2}]
    again.log({"epoch": 3})
    again.save_state({})
    assert again.lines == 3
    assert RunDirectory.open(run.path).load_state() == {}
    assert metrics(again) == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]


def test_a_line_that_was_cut_in_the_middle(run: RunDirectory) -> None:
    text = (run.path / METRICS).read_text()
    (run.path / METRICS).write_text(text[:-4])
    RunDirectory.open(run.path).load_state()
    assert metrics(run) == [{"epoch": 1}, {"epoch": 2}]


def test_without_a_state_everything_starts_again(run: RunDirectory) -> None:
    (run.path / STATE).unlink()
    again = RunDirectory.open(run.path)
    assert again.load_state() is None
    assert metrics(run) == []
    assert again.lines == 0


def test_what_is_there_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"not empty.*--resume.*--overwrite"):
        RunDirectory.create(run.path)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(UsageError, match="not empty"):
        RunDirectory.create(tmp_path / "photos")
    (tmp_path / "file").touch()
    with pytest.raises(CvtoolError, match="cannot be used as a run directory"):
        RunDirectory.create(tmp_path / "file")
    with pytest.raises(CvtoolError, match="cannot be used as a run directory"):
        RunDirectory.check(tmp_path / "file" / "run")
    RunDirectory.check(tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()
    RunDirectory.create(tmp_path / "new")
    assert RunDirectory.create(tmp_path / "new").lines == 0  # still empty


@pytest.mark.parametrize(
    ("link", "ours"),
    [
        *(("state.pt", True), (".lock", True), ("samples", True), ("samples/step-1.png", True)),
        *(("tensorboard/e", True), ("notes", False), (".#notes.md", False), ("env/bin", False)),
    ],
)
def test_a_run_is_not_written_through_links(run: RunDirectory, tmp_path: Path, link: str, ours: bool) -> None:
    path = run.path / link
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "elsewhere")
    if ours:
        with pytest.raises(BadInputError, match="is a link"):
            RunDirectory.open(run.path)
    else:
        RunDirectory.open(run.path)


def test_overwriting_takes_what_is_a_runs_and_nothing_else(run: RunDirectory) -> None:
    for name in (BEST, LAST, "notes.txt", "features.h5"):
        (run.path / name).touch()
    RunDirectory.create(run.path, overwrite=True)
    assert sorted(path.name for path in run.path.iterdir() if path.name != ".lock") == ["features.h5", "notes.txt"]


def test_what_cannot_be_overwritten_is_named(run: RunDirectory) -> None:
    (run.path / BEST).mkdir()
    with pytest.raises(CvtoolError, match=r"best\.safetensors. cannot be removed"):
        RunDirectory.create(run.path, overwrite=True)
    (run.path / BEST).rmdir()
    (run.path / ".cvtool-0.png").mkdir()
    with pytest.raises(CvtoolError, match=r"\.cvtool-0\.png. cannot be removed"), run.locked():
        pytest.fail("was locked")


def test_no_run_to_open(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadInputError, match="no run to resume"):
            RunDirectory.open(path)


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100000])
def test_a_broken_config(run: RunDirectory, data: bytes) -> None:
    (run.path / CONFIG).write_bytes(data)
    with pytest.raises(BadInputError, match=r"config\.json"):
        run.read_config()


HOLD = """
import sys
from pathlib import Path
from cvtool.training import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.readline()
    print("done", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_a_second_run_is_refused(run: RunDirectory) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        before = sorted(path.name for path in run.path.iterdir())
        with pytest.raises(UsageError, match="Another run is at work"), run.locked():
            pytest.fail("both hold the lock")
        with pytest.raises(UsageError, match="Another run is at work"):
            RunDirectory.create(run.path, overwrite=True)
        assert sorted(path.name for path in run.path.iterdir()) == before  # nothing was taken from the other
        other.kill()  # the system lets go of the lock
    with run.locked():
        pass
    with run.locked():
        pass


def test_saving_keeps_the_state_that_is_there_when_it_fails(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CvtoolError, match="disk is full"):
        run.save_state({"epoch": 99})
    monkeypatch.undo()
    assert RunDirectory.open(run.path).load_state()["epoch"] == 2
    assert not list(run.path.glob(".cvtool-*"))


def test_states_are_written_once_in_a_while(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not run.is_due
    monkeypatch.setattr("cvtool.training.SAVE_SECONDS", 0.0)
    assert run.is_due


class Evil:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("was-run",))


def broken_states() -> dict[str, bytes]:
    def saved(value: object, **options: object) -> bytes:
        buffer = io.BytesIO()
        torch.save(value, buffer, **options)
        return buffer.getvalue()

    good = saved({"lines": 1, "state": {"x": torch.zeros(1000)}})
    random = np.random.default_rng(0)
    mutants = {}
    for number in range(30):
        data = bytearray(good)
        for place in random.integers(0, len(data), 20):
            data[place] = random.integers(256)
        mutants[f"mutant {number}"] = bytes(data)
    old = saved({"lines": 1, "state": {}}, _use_new_zipfile_serialization=False)
    return {
        "empty": b"",
        "half": good[: len(good) // 2],
        "head": good[:100],
        "text": b"no state\n" * 100,
        "pickle": pickle.dumps({"lines": 1, "state": {}}),
        "evil pickle": pickle.dumps(Evil()),
        "evil": saved({"lines": 1, "state": Evil()}),
        "list": saved([1, 2]),
        "tensor": saved(torch.zeros(3)),
        "no lines": saved({"state": {}}),
        "lines of text": saved({"lines": "many", "state": {}}),
        "no state": saved({"lines": 1}),
        "state of a number": saved({"lines": 1, "state": 5}),
        "half an old one": old[: len(old) // 2],
        **mutants,
    }


@pytest.mark.parametrize("name", broken_states())
def test_a_broken_state(run: RunDirectory, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path)
    (run.path / STATE).write_bytes(broken_states()[name])
    if name.startswith("mutant"):  # some bytes matter to nobody
        with suppress(BadInputError):
            run.load_state()
    else:
        with pytest.raises(BadInputError, match=r"state\.pt.*--overwrite"):
            run.load_state()
        assert len(metrics(run)) == 3
    assert not Path("was-run").exists()


def test_a_full_disk_while_metrics_are_written_is_one_clear_line(tmp_path, monkeypatch):
    run = RunDirectory.create(tmp_path / "run")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CvtoolError, match="Cannot write"):
        run.log({"step": 1})
    assert run.lines == 0
