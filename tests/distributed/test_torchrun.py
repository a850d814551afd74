"""``cvtool caption train`` by several processes, from words to files: killed, stopped, resumed, and in error."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from distributed.captioners import EPOCHS, assert_same_run, make_set, metrics, training
from launching import LIMIT, ends, start, start_each, torchrun, until
from workers import begin, worker

import cvtool.cli.main as program


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, its features, and the runs that nobody disturbs: by one process and by two; nobody writes here."""
    folder = tmp_path_factory.mktemp("shelf")
    words = ["caption", "features", "--data", f"folder:{make_set(folder / 'set')}", "-o", str(folder / "f.h5"), "-q"]
    assert program.run(words) == 0
    assert program.run([*map(str, training(folder, folder / "one")), "-q"]) == 0
    (code, out, err), other = ends(start(["-m", "cvtool", *training(folder, folder / "two", "--json")], 2))
    assert (code, other) == (0, (0, "", "")), err + other[2]
    assert [json.loads(line).get("epoch") for line in out.splitlines()] == [*range(1, EPOCHS + 1), None]
    return folder


def test_two_processes_learn_what_one_does(shelf: Path) -> None:
    for one, two in zip(metrics(shelf / "one"), metrics(shelf / "two"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["perplexity"] == pytest.approx(one["perplexity"], rel=1e-3)
    configs = [json.loads((shelf / name / "config.json").read_text()) for name in ("one", "two")]
    assert [config["processes"] for config in configs] == [1, 2]
    assert configs[0]["train_options"] == configs[1]["train_options"]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the workers in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_that_is_killed_is_started_again_and_nothing_is_lost(shelf: Path, tmp_path: Path, rank: int) -> None:
    run = tmp_path / "run"
    child = begin(torchrun(training(shelf, run, "-q"), 2, restarts=1))
    until(run / "state.pt", child)
    victim = worker(child.pid, rank)
    os.kill(victim, signal.SIGKILL)
    out, err = child.communicate(timeout=LIMIT)
    assert child.returncode == 0, err
    assert err.count("cvtool: error: Another process of this run has ended") <= 1  # it may be ended before it notices
    assert (
        err.count("failed (exitcode: ") == 1
    )  # by whichever end torchrun notices first, the killed one's or the other's
    assert out.count("epoch 40 ") == 1
    assert_same_run(run, shelf / "two")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_goes_on_with_another_number_of_processes(shelf: Path, tmp_path: Path, number: int) -> None:
    run = tmp_path / "run"
    children = start(["-m", "cvtool", *training(shelf, run)], 2)
    until(run / "state.pt", children[0])
    children[1].send_signal(number)  # one is enough: all agree to stop
    first, second = ends(children)
    assert (first[0], second[0]) == (130, 130), first[2] + second[2]
    assert first[2].count("cvtool: interrupted: Stopped;") == 1
    assert second[1:] == ("", "")
    assert 0 < len(metrics(run)) < EPOCHS
    assert program.run([*map(str, training(shelf, run, "--resume")), "-q"]) == 0
    for one, other in zip(metrics(shelf / "one"), metrics(run), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_what_one_process_finds_wrong_is_said_once(shelf: Path, tmp_path: Path) -> None:
    other = make_set(tmp_path / "other", train=9)
    words = training(shelf, tmp_path / "run", "-q")
    place = words.index("--data") + 1
    specs = (f"folder:{shelf / 'set'}", f"folder:{other}")
    found = ends(start_each([["-m", "cvtool", *words[:place], spec, *words[place + 1 :]] for spec in specs]))
    said = "".join(err for _, _, err in found)
    assert all(code != 0 for code, _, _ in found)
    assert said.count("\n") == 1
    assert "Process 1 has another data set than process 0" in said


def test_what_all_find_wrong_is_said_once(tmp_path: Path) -> None:
    words = ["caption", "train", "--data", f"folder:{tmp_path / 'nowhere'}", "-o", tmp_path / "run"]
    found = ends(start(["-m", "cvtool", *words], 2))
    said = "".join(out + err for _, out, err in found)
    assert [code for code, _, _ in found] == [3, 3]
    assert said.count("\n") == 1
    assert "nowhere" in said


@pytest.mark.parametrize(("processes", "expected"), [(1, "refused\ntaken apart\n"), (2, "refused\n")])
def test_a_process_of_a_group_ends_at_once(processes: int, expected: str) -> None:
    """Threads of torch's process groups may not survive it when Python takes itself apart."""
    program = (
        "import atexit, sys\n"
        "from cvtool.cli import main\n"
        "atexit.register(lambda: print('taken apart', file=sys.__stderr__))\n"
        "sys.argv = ['cvtool', 'caption', 'train', '--data', 'folder:nowhere', '-o', 'run']\n"
        "main.print_error = lambda *_: print('refused', file=sys.stderr)\n"
        "main.main()\n"
    )
    found = ends(start(["-c", program], processes))
    assert [code for code, _, _ in found] == [3] * processes
    assert "".join(out + err for _, out, err in found) == expected
