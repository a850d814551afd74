"""Ctrl-C while what was computed together is written: the rest is written, too, and then it ends."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers import save

from cvtool.cli.console import Console
from cvtool.cli.inputs import expand
from cvtool.cli.interrupts import end_if_unheard, finish_on_interrupt, stop_on_interrupt, unheard
from cvtool.cli.reading import Done, Reading, read_flat
from cvtool.errors import BadInputError


@pytest.fixture(autouse=True)
def nothing_unheard() -> None:
    unheard.clear()


def test_what_is_computed_is_written_whatever_the_work_was_asked() -> None:
    with stop_on_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
    with finish_on_interrupt() as stop:  # it came too late for that: it is heard of here
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    end_if_unheard()
    with finish_on_interrupt(stopped=True) as stop:  # it was heard: the next is the second
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_what_is_computed_is_written() -> None:
    notices: list[str] = []
    with finish_on_interrupt(lambda: notices.append("writing")) as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert (stop(), notices) == (True, ["writing"])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    end_if_unheard()
    with finish_on_interrupt():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # too late: nothing more is begun
        end_if_unheard()


@pytest.fixture
def reading(here: Path) -> Reading[str]:
    """Four pictures; three are computed together, the first of which is taken."""
    for name in "abcd":
        save(f"{name}.png")
    inputs = expand([f"{name}.png" for name in "abcd"])
    return Reading(inputs, lambda numbers, pictures: [inputs[number].name for number in numbers], read_flat)


@dataclass
class Writer:
    """Remembers what was written; meanwhile Ctrl-C is pressed so often, by name, and one cannot be written."""

    presses: dict[str, int] = field(default_factory=dict)
    bad: str = ""
    written: list[str] = field(default_factory=list)

    def __call__(self, done: Done[str]) -> None:
        for _ in range(self.presses.get(done.answer, 0)):
            signal.raise_signal(signal.SIGINT)
        if done.answer == self.bad:
            raise BadInputError("too odd")
        self.written.append(done.answer)


def write(reading: Reading[str], writer: Writer, *, stopped: bool = False) -> list[str] | None:
    done = reading.take(3)
    assert done is not None
    found = reading.write(done, writer, command="test", console=Console(json=True), stopped=stopped)
    return None if found is None else [each.answer for each in found]


def test_all_that_is_computed_is_written(reading: Reading[str], capsys: pytest.CaptureFixture[str]) -> None:
    writer = Writer({"b.png": 1})
    assert write(reading, writer) is None
    assert writer.written == ["a.png"]
    assert write(reading, writer) == ["b.png", "c.png"]
    assert writer.written == ["a.png", "b.png", "c.png"]
    assert capsys.readouterr().err == "writing what is computed; Ctrl-C again quits at once\n"


@pytest.mark.parametrize(("presses", "stopped"), [(2, False), (1, True)])
def test_the_second_ends_at_once(reading: Reading[str], presses: int, stopped: bool) -> None:
    writer = Writer({"a.png": presses})
    with pytest.raises(KeyboardInterrupt):
        write(reading, writer, stopped=stopped)
    assert writer.written == []


def test_one_of_the_rest_that_cannot_be_written(reading: Reading[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert write(reading, Writer({"a.png": 1}, bad="b.png")) == ["a.png", "c.png"]
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "cvtool: error: b.png: too odd"
    assert json.loads(out).items() >= {"input": "b.png", "error": "too odd"}.items()


def test_one_that_cannot_be_written_meanwhile(reading: Reading[str]) -> None:
    """Its error is told; Ctrl-C is heard of at the next."""
    with pytest.raises(BadInputError, match="too odd"):
        write(reading, Writer({"a.png": 1}, bad="a.png"))
    assert write(reading, Writer()) == ["b.png", "c.png"]


def test_nothing_more_is_computed(reading: Reading[str]) -> None:
    for _ in range(3):
        assert write(reading, Writer()) is None
    with finish_on_interrupt():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        reading.take(3)
