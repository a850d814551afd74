"""``cvtool stylize`` when something goes wrong: bad inputs, networks, full disks, Ctrl-C."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from helpers import mean_color

from cvtool.errors import CvtoolError, UsageError, WeightsUnavailableError
from cvtool.images import read_picture

pytestmark = pytest.mark.usefixtures("cat", "wave")


def test_a_single_bad_content_keeps_its_code(cvtool, painter, here: Path) -> None:
    done = cvtool("stylize", "gone.png", "wave.png", "--json")
    assert done.code == 3
    assert "gone.png" in done.err
    assert done.err.count("\n") == 1
    assert json.loads(done.out)["input"] == "gone.png"
    assert painter.loads == [], "told before the network is loaded"
    assert not (here / "gone-stylize.png").exists()


def test_a_bad_content_does_not_stop_the_others(cvtool, painter, here: Path) -> None:
    (here / "cut.png").write_bytes((here / "cat.png").read_bytes()[:60])
    done = cvtool("stylize", "gone.png", "cat.png", "cut.png", "--style", "wave.png", "--json", "-q")
    assert done.code == 3
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(line["input"], "error" in line) for line in lines] == [
        ("gone.png", True),
        ("cat.png", False),
        ("cut.png", True),
    ]
    assert (here / "cat-stylize.png").exists()
    assert len(done.err.splitlines()) == 3
    assert "2 of 3" in done.err.splitlines()[-1]


def test_a_bad_style_ends_the_run(cvtool, painter, here: Path) -> None:
    done = cvtool("stylize", "cat.png", "wave.png", "gone.png")
    assert done.code == 3
    assert "gone.png" in done.err
    assert painter.calls == []
    assert not (here / "cat-stylize.png").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [(WeightsUnavailableError("No weights of 'x': looked for x.pth. Give --weights."), 4), (UsageError("No."), 2)],
)
def test_a_network_that_cannot_be_loaded_ends_the_run(cvtool, painter, error: CvtoolError, code: int) -> None:
    def fail() -> None:
        raise error

    painter.during = fail
    done = cvtool("stylize", "cat.png", "wave.png", "--style", "wave.png")
    assert (done.code, done.err) == (code, f"cvtool: error: {error}\n")
    assert len(painter.calls) == 1


def test_a_picture_that_cannot_be_written(cvtool, painter, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    done = cvtool("stylize", "cat.png", "wave.png", "-o", "x.png")
    assert done.code == 1
    assert "x.png" in done.err
    assert "disk is full" in done.err
    assert sorted(p.name for p in here.iterdir()) == ["cat.png", "wave.png"]


# Ctrl-C


def test_ctrl_c_writes_the_picture_so_far(cvtool, painter) -> None:
    painter.during = lambda: signal.raise_signal(signal.SIGINT)
    done = cvtool("stylize", "cat.png", "wave.png", "--style", "wave.png", "--json")
    assert done.code == 130
    last = done.err.splitlines()[-1]
    assert last.startswith("cvtool: interrupted: ")
    assert "cat-stylize.png" in last
    assert mean_color(read_picture("cat-stylize.png").pixels) == [100, 30, 15]
    assert [json.loads(line)["stopped_by"] for line in done.out.splitlines()] == ["interrupt"]
    assert len(painter.calls) == 1, "the other contents are left"


def test_ctrl_c_twice_ends_at_once(cvtool, painter, here: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    painter.during = twice
    done = cvtool("stylize", "cat.png", "wave.png")
    assert done.code == 130
    assert done.err.splitlines()[-1].startswith("cvtool: interrupted: ")
    assert not (here / "cat-stylize.png").exists()
