"""How a batch is shared, its processes one after the other in this one: nobody waits but the first at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cvtool.cli import parts as parts_module
from cvtool.cli.console import Console
from cvtool.cli.inputs import Input
from cvtool.cli.options import Format
from cvtool.cli.outputs import BEGUN, FINISHED, Destination, Skipping
from cvtool.cli.parts import Parts
from cvtool.cli.shared_batch import SharedBatch
from cvtool.errors import BadInputError, CvtoolError, GoalNotReachedError
from cvtool.launch import Launch

NAMES = [f"{number}.png" for number in range(7)]


class Worker:
    """One process with its share: does inputs, tells of them, leaves out what is there."""

    def __init__(self, folder: Path, rank: int, *, json: bool = False, skip: bool = False) -> None:
        self.console, self.done = Console(json=json), list[str]()
        self.kept, self.skipping, self.folder = list[str](), Skipping(skip), folder
        self.batch = SharedBatch(Parts(folder / "parts", Launch(rank, 2)))
        self.fails: dict[str, Exception] = {}

    def begin(self) -> Worker:
        inputs = self.batch.inputs(lambda: [Input(name, Path(name)) for name in NAMES])
        self.batch.divide(len(inputs), 2)
        places = [Destination(given.path, Format.png) for given in inputs]
        self.inputs, self.places = self.batch.own(inputs), enumerate(self.batch.own(places))
        return self

    def run(self) -> None:
        self.batch.for_each(
            self.inputs,
            self.work,
            command="test",
            console=self.console,
            device="cpu",
            kept=self.kept,
            skipping=self.skipping,
        )

    def work(self, given: Input) -> None:
        number, place = next(self.places)
        if self.skipping.skips(number, [place]):
            self.skipping.count += 1
            return
        self.done.append(given.name)
        if given.name in self.fails:
            raise self.fails[given.name]
        assert given.path is not None
        given.path.touch()
        self.kept.append(given.name)
        self.console.line(f"line of {given.name}")
        self.console.warn("the same for all")


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Worker, Worker]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parts_module, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr("cvtool.cli.shared_batch.GRACE_SECONDS", 0.1)
    monkeypatch.setattr("cvtool.cli.shared_batch.hush", lambda: None)
    return lambda **how: (Worker(tmp_path, 0, **how).begin(), Worker(tmp_path, 1, **how).begin())


def test_the_first_tells_all_in_order(pair: Callable, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = pair()
    second.run()
    assert capfd.readouterr() == ("", "")
    first.run()
    out, err = capfd.readouterr()
    assert out.splitlines() == [f"line of {name}" for name in NAMES]
    assert err == "cvtool: warning: the same for all\n"
    assert (first.done, second.done) == (["0.png", "1.png", "4.png", "5.png"], ["2.png", "3.png", "6.png"])
    assert (first.kept, second.kept) == (NAMES, [])
    assert not (tmp_path / "parts").exists()


def test_what_is_there_is_left_out_and_counted(pair: Callable, tmp_path: Path) -> None:
    for name in ("1.png", "3.png", "4.png"):
        (tmp_path / name).touch()
    first, second = pair(skip=True)
    second.run()
    first.run()
    assert (first.done, second.done) == (["0.png", "5.png"], ["2.png", "6.png"])
    assert first.skipping.count == 3


@pytest.mark.parametrize(
    ("errors", "raised", "message"),
    [
        ({"3.png": GoalNotReachedError("missed")}, GoalNotReachedError, "1 of 7 inputs missed the goal: 3.png"),
        (
            {"5.png": BadInputError("bad"), "2.png": GoalNotReachedError("missed")},
            BadInputError,
            "2 of 7 inputs could not be done: 2.png, 5.png",
        ),
    ],
)
def test_errors_of_inputs(
    pair: Callable, errors: dict[str, Exception], raised: type, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = pair(json=True)
    first.fails = second.fails = errors
    second.run()
    with pytest.raises(raised, match=message):
        first.run()
    out, err = capfd.readouterr()
    assert err.count("cvtool: error: ") == len(errors)
    assert out.count('"error": "bad"') == ("5.png" in errors)


def test_what_ends_one_ends_all_and_is_told_by_the_first(pair: Callable, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = pair()
    second.fails = {"3.png": CvtoolError("the disk is full")}
    with pytest.raises(SystemExit) as left:
        second.run()
    assert left.value.code == 0
    with pytest.raises(CvtoolError, match="the disk is full") as found:
        first.run()
    assert found.value.exit_code == 1
    assert first.done == []
    assert capfd.readouterr().out == "line of 2.png\n"


def test_started_again_it_does_what_is_left(
    pair: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    first, second = pair(skip=True)
    second.fails = {"3.png": CvtoolError("the machine burns")}
    with pytest.raises(SystemExit):
        second.run()
    with pytest.raises(CvtoolError):
        first.run()
    (tmp_path / "3.png").touch()  # half of it
    assert list(first.batch.parts.known(7)) == [0, 0, FINISHED, BEGUN, 0, 0, 0]
    assert capfd.readouterr().out == ""  # all will be started again
    (tmp_path / "0.png").touch()
    monkeypatch.setenv("MASTER_PORT", "2")
    first, second = pair(skip=True)
    second.run()
    first.run()
    assert (first.done, second.done) == (["1.png", "4.png", "5.png"], ["3.png", "6.png"])
    assert capfd.readouterr().out.splitlines() == [f"line of {name}" for name in NAMES[1:]]
    assert first.skipping.count == 1
