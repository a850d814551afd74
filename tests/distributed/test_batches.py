"""Batches by several processes: what one would have written, and nothing twice when a process is killed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import pytest
from launching import LIMIT, ends, environment, free_port, start, torchrun
from PIL import Image
from workers import begin, worker

import cvtool.cli.main as program
from cvtool.caption.features import read_features
from cvtool.cli import parts as parts_module
from cvtool.cli.outputs import FINISHED
from cvtool.cli.parts import PREFIX, FailedElsewhere, Parts
from cvtool.cli.shares import Own
from cvtool.errors import CvtoolError
from cvtool.launch import Launch

SIDE = 32
VARYING = {"seconds", "peak_memory_mb", "output"}
"""What may differ; where results lie is compared by their names."""


def picture(path: Path, seed: int) -> Path:
    """Small, and different for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((SIDE, SIDE)).save(path)
    return path


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures, the fourth broken, names of two come again; a list of them. Nobody writes here."""
    folder = tmp_path_factory.mktemp("shelf")
    names = ["a/x.png", "a/y.png", "b/x.png", "b/bad.png", "c/x.png", "c/z.png", "c/y.png"]
    paths = [picture(folder / name, seed) for seed, name in enumerate(names)]
    paths[3].write_bytes(b"no picture")
    (folder / "list").write_text("".join(f"{path}\n" for path in paths))
    return folder


def records(text: str) -> list[dict]:
    """JSON lines without what may differ."""
    found = [json.loads(line) for line in text.splitlines()]
    return [
        {**{key: value for key, value in each.items() if key not in VARYING}, "name": Path(each["output"] or "").name}
        for each in found
    ]


def files(folder: Path) -> dict[str, Any]:
    """All there is, hidden or not; of HDF5 what is in it, since its files hold times."""
    return {path.name: tables(path) if path.suffix == ".h5" else path.read_bytes() for path in folder.iterdir()}


def tables(path: Path) -> dict[str, Any]:
    """Every dataset of an HDF5 file, and its attributes."""
    with h5py.File(path) as file:
        found = {name: (table.dtype, table[()].tolist()) for name, table in file.items()}
        return {**found, "attributes": {name: str(value) for name, value in file.attrs.items()}}


def two(words: Sequence[object]) -> int:
    """The first of two processes is this one, which has torch already; the second must end well and say nothing."""
    launch = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "test"}
    launch |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    line = list(map(str, words))
    with subprocess.Popen(
        [sys.executable, "-m", "cvtool", *line],
        env=environment(**launch, RANK=1, LOCAL_RANK=1),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        with patch.dict(os.environ, {**launch, "RANK": "0", "LOCAL_RANK": "0"}):
            code = program.run(line)
        assert ends([child])[0][:2] == (0, "")
    return code


def compare(
    words: Sequence[object], folder: Path, code: int, capfd: pytest.CaptureFixture[str], out: Callable[[Path], list]
) -> tuple[str, str]:
    """Run in one process and in two, compare everything, and give what two said on stdout and stderr."""
    for name in ("one", "two"):
        (folder / name).mkdir()
    capfd.readouterr()
    assert program.run(list(map(str, [*words, *out(folder / "one")]))) == code
    one_out, one_err = capfd.readouterr()
    assert two([*words, *out(folder / "two")]) == code
    two_out, two_err = capfd.readouterr()
    if "--json" in words:
        assert records(two_out) == records(one_out)
    else:
        assert two_out == one_out
    assert two_err == one_err.replace(str(folder / "one"), str(folder / "two"))
    assert files(folder / "one") == files(folder / "two")
    return two_out, two_err


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun's processes have: sums over other numbers of threads round differently."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    yield
    monkeypatch.undo()
    torch.set_num_threads(before)


def test_saliency_of_two_processes(shelf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["saliency", "--files-from", shelf / "list", "--batch", 2, "--device", "cpu", "--json"]
    out, err = compare(words, tmp_path, 3, capfd, lambda folder: ["-o", f"{folder}/"])
    assert len(out.splitlines()) == 7
    assert err.count("cvtool: error:") == 2
    assert "x-saliency-gradient-3.png" in files(tmp_path / "two")


def test_fool_misses_its_goal_and_tells_of_all(shelf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = [path for path in sorted(shelf.rglob("*.png")) if path.name != "bad.png"][:3]
    how = ["--untargeted", "--method", "fgsm", "--eps", "0.001", "--batch", 1, "--device", "cpu"]
    table = lambda folder: ["-o", f"{folder}/", "--table", folder / "table.csv"]  # noqa: E731
    out, err = compare(["fool", *good, *how], tmp_path, 5, capfd, table)
    assert "fgsm" in out
    assert "inputs missed the goal" in err.splitlines()[-1]
    assert files(tmp_path / "two")["table.csv"].count(b"\n") == 5


def test_captions_of_two_processes(shelf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["caption", "describe", shelf / "c", shelf / "a", "--batch", 2, "--decode", "greedy", "--device", "cpu"]
    out, _ = compare(words, tmp_path, 0, capfd, lambda folder: ["-o", folder / "captions.jsonl"])
    assert [line.split("\t")[0][-7:] for line in out.splitlines()] == [
        f"{name}.png" for name in ("c/x", "c/y", "c/z", "a/x", "a/y")
    ]


def test_features_of_two_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of 19 pictures in groups of 8; two are broken, one each for each process."""
    shelf = tmp_path / "set"
    for number in range(21):
        path = picture(shelf / "train" / f"{number:02d}.png", number)
        path.with_suffix(".txt").write_text("a picture .\n")
        if number in (3, 12):
            path.write_bytes(path.read_bytes()[:60])
    words = [
        "caption",
        "features",
        "--data",
        f"folder:{shelf}",
        "--pooled",
        "--skip-bad",
        "--device",
        "cpu",
    ]
    _, err = compare([*words, "--json"], tmp_path, 0, capfd, lambda folder: ["-o", folder / "f.h5"])
    assert err.count("cvtool: warning: ") == 3
    assert "2 of 21 pictures are left out" in err
    assert len(read_features(tmp_path / "two/f.h5").names) == 19


def test_what_ends_all_is_said_once(shelf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [
        "saliency",
        shelf / "c",
        "--method",
        "grad-cam",
        "--layer",
        "no.such.layer",
        "--batch",
        1,
        "--device",
        "cpu",
        "-o",
        f"{tmp_path}/",
    ]
    assert two(words) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "no.such.layer" in err
    assert not list(tmp_path.iterdir())


def painting(shelf: Path, folder: Path, count: int) -> list[object]:
    """A batch that takes some seconds; every picture a little."""
    contents = [picture(folder.parent / "contents" / f"{number:02d}.png", number) for number in range(count)]
    how = ["--size", SIDE, "--steps", 12, "--device", "cpu", "--json"]
    return ["stylize", *contents, "--style", shelf / "a/x.png", *how, "-o", f"{folder}/"]


def pictures_in(folder: Path) -> list[Path]:
    """Those that have their names; what a killed process had begun stays hidden beside them."""
    return sorted(path for path in folder.glob("*.png") if not path.name.startswith("."))


def until(ready: Callable[[], bool]) -> None:
    for _ in range(LIMIT * 50):
        if ready():
            return
        time.sleep(0.02)
    raise AssertionError("it does not come")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the workers in /proc")
def test_a_killed_process_is_started_again_and_nothing_is_done_twice(shelf: Path, tmp_path: Path) -> None:
    """One content is broken, for which torchrun starts all once more: then there is nothing to do or to say."""
    count, bad, folder = 10, 5, tmp_path / "out"
    words = painting(shelf, folder, count)
    (tmp_path / f"contents/{bad:02d}.png").write_bytes(b"no picture")
    child = begin(torchrun(words, 2, restarts=2))
    until(lambda: child.poll() is not None or len(pictures_in(folder)) >= 3)
    os.kill(worker(child.pid, 1), signal.SIGKILL)
    until(lambda: any(state.read_text().split()[0].endswith(":1") for state in folder.glob(f"{PREFIX}*/state-*")))
    (known,) = folder.glob(f"{PREFIX}*")
    done = [number for number, state in enumerate(Parts(known, Launch()).known(count)) if state == FINISHED]
    results = {number: folder / f"{number:02d}-stylize.png" for number in range(count) if number != bad}
    times = {number: results[number].stat().st_mtime_ns for number in done if number != bad}
    out, err = child.communicate(timeout=LIMIT)
    assert child.returncode == 1  # torchrun's, whatever a process ended with
    assert "exitcode  : 3" in err
    assert [Path(json.loads(line)["input"]).stem for line in out.splitlines()] == [f"{n:02d}" for n in range(count)]
    assert err.count("cvtool: error: ") == 2
    assert 2 <= len(done) < count
    assert times == {number: results[number].stat().st_mtime_ns for number in times}
    assert pictures_in(folder) == sorted(results.values())
    assert not list(folder.glob(f"{PREFIX}*"))


def test_stopped_by_ctrl_c_it_tells_what_is_done(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    children = start(["-m", "cvtool", *painting(shelf, folder, 40)], 2)
    until(lambda: children[0].poll() is not None or len(pictures_in(folder)) >= 4)
    for child in children:
        child.send_signal(signal.SIGINT)
    (code, out, err), other = ends(children)
    assert (code, other[0]) == (130, 130), err
    told = [Path(json.loads(line)["input"]).stem for line in out.splitlines()]
    assert 2 <= len(told) < 40
    assert told == sorted(told)
    there = {path.stem.removesuffix("-stylize") for path in pictures_in(folder)}
    assert there >= set(told)
    assert len(there) <= len(told) + 2  # the signal may fall between a picture's name and the note of it, in each
    assert "cvtool: interrupted: " in err
    assert not list(folder.glob(f"{PREFIX}*"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("saliency a.png b.png --raw m.h5", "--raw"),
        ("saliency a.png b.png --report r.html", "--report"),
        ("saliency a.png b.png --same-scale", "--same-scale"),
        ("saliency a.png -o -", "--output -"),
        ("saliency a.png -", "'-' reads a picture from stdin"),
        ("fool a.png b.png --untargeted --method pgd,universal", "--method universal"),
        ("stylize a.png --style b.png --save-style s.safetensors", "--save-style"),
        ("stylize a.png --style b.png --video", "--video"),
        ("stylize a.png --style b.png --sheet s.png", "--sheet"),
        ("caption describe a.png --attention -", "--attention -"),
        ("stylize train-instant photos", "runs in one process"),
        ("visualize-class cat", "runs in one process"),
    ],
)
def test_what_needs_one_process(
    words: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parts_module, "GRACE_SECONDS", 0)
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    assert program.run(words.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert named in err


@pytest.mark.parametrize(
    ("total", "group", "size"), [(7, 2, 2), (7, 1, 3), (16, 16, 2), (1, 5, 4), (9, 3, 3), (10, 4, 2)]
)
def test_every_input_has_one_process(total: int, group: int, size: int) -> None:
    shares = [Own(range(total), group, rank, size) for rank in range(size)]
    assert sorted(number for share in shares for number in share) == list(range(total))
    for share in shares:
        assert (
            [share[index] for index in range(len(share))] == list(share) == [share.number(i) for i in range(len(share))]
        )
        for start_ in range(0, len(share), group):  # what one process computes together stays together
            assert {number // group for number in share[start_ : start_ + group]} == {share[start_] // group}


def test_lines_that_are_cut_off_do_not_count(tmp_path: Path) -> None:
    mine = Parts(tmp_path, Launch(0, 2))
    journal = mine.journal()
    for number in (0, 2):
        journal.begun(number)
        journal.finished(number, {"at": number})
    journal.begun(4)
    journal.close()
    with open(tmp_path / "part-0", "ab") as file:
        file.write(b'4 {"at": 4')
    again = mine.journal()
    again.begun(3)
    again.finished(3, {"at": 3})
    again.close()
    other = Parts(tmp_path, Launch(1, 2)).journal()
    other.finished(1, {"at": 1})
    other.close()
    assert list(mine.known(6)) == [2, 2, 2, 2, 1, 0]
    assert list(mine.records(6)) == [(number, {"at": number}) for number in range(4)]


def test_a_process_that_gives_no_sign_of_life_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(parts_module, "BEAT_SECONDS", 0.05)
    first, second = (Parts(tmp_path, Launch(rank, 2)) for rank in range(2))
    second.begin()
    began = time.monotonic()
    assert not first.wait(first.others_ended, first.others, 0.5)
    second.end()
    (tmp_path / "state-1").unlink()
    with pytest.raises(CvtoolError, match="Process 1 of 2 gave no sign of life"):
        first.wait(first.others_ended, first.others)
    assert time.monotonic() - began < 5
    second.begin()
    second.fail("all is lost", 4)
    with pytest.raises(FailedElsewhere, match="all is lost") as found:
        first.wait(first.others_ended, first.others)
    assert found.value.exit_code == 4
    second.end()
    assert first.others_ended()
