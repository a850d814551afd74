"""The parts under every command: error table, batches, Ctrl-C, JSON lines, the line that repeats a picture."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import warnings
from dataclasses import dataclass

import pytest
import typer

from cvtool.cli import main as main_module
from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.failures import explain
from cvtool.cli.frames import FrameCollector
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.main import run
from cvtool.cli.options import parse_list, parse_seconds
from cvtool.errors import (
    BadInputError,
    CvtoolError,
    GoalNotReachedError,
    Interrupted,
    UnsuitableInputError,
    UsageError,
    WeightsUnavailableError,
)


class OutOfMemoryError(RuntimeError):
    """Called like torch's."""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("no"), 2, "no"),
        (BadInputError("bad"), 3, "bad"),
        (WeightsUnavailableError("gone"), 4, "gone"),
        (GoalNotReachedError("missed"), 5, "missed"),
        (Interrupted("stopped"), 130, "stopped"),
        (CvtoolError("odd"), 1, "odd"),
        (KeyboardInterrupt(), 130, ""),
        (typer.BadParameter("wrong"), 2, "wrong"),
        (MemoryError(), 1, "--size"),
        (OutOfMemoryError("CUDA out of memory"), 1, "--size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 1, "--size"),
        (RuntimeError("shapes differ"), 1, "unexpected failure: RuntimeError: shapes differ.*--debug"),
        (ValueError(), 1, "unexpected failure: ValueError.*--debug"),
        (PermissionError(13, "Permission denied", "x.png"), 1, "Permission denied.*x.png"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_the_error_table(error: BaseException, code: int, message: str) -> None:
    import re

    failure = explain(error)
    assert failure.exit_code == code
    assert re.search(message, failure.message)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """A command ``cvtool fail`` that raises what it is told to."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    raised: list[BaseException] = []

    @app.callback()
    def root() -> None: ...

    @app.command()
    def fail(debug: bool = False) -> None:
        raise raised[0]

    monkeypatch.setattr(main_module, "app", app)
    return raised


@pytest.mark.parametrize("error", [BadInputError("first\nsecond\tthird\x1b[31m"), RuntimeError("a\nb"), KeyError("x")])
def test_an_error_is_one_line_without_traceback(cvtool, failing, error: Exception) -> None:
    failing.append(error)
    done = cvtool("fail")
    assert done.code == getattr(error, "exit_code", 1)
    assert done.out == ""
    assert done.err.startswith("cvtool: error: ")
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err


def test_debug_shows_the_traceback(cvtool, failing) -> None:
    failing.append(RuntimeError("deep inside"))
    done = cvtool("fail", "--debug")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "in fail" in done.err
    assert done.err.splitlines()[-1].startswith("cvtool: error: unexpected failure")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["stylize", "--sizes", "3", "a", "b"], "'cvtool stylize --help'"),
        (["stylize", "--size", "big", "a", "b"], "'cvtool stylize --help'"),
        (["stylize", "--strength", "101", "a", "b"], "'cvtool stylize --help'"),
        (["stylize", "a", "b", "--size"], "'cvtool stylize --help'"),
        (["caption", "describe", "a", "--json=1"], "'cvtool caption describe --help'"),
        (["stylize", "--optimizer", "sgd", "a", "b"], "'adam', 'lbfgs'"),
        (["stylize"], "CONTENT"),
        (["stylise"], "'stylize'"),
        (["--sizes"], "'cvtool --help'"),
        (["info"], "--files-from"),
    ],
)
def test_wrong_usage_is_one_line_with_a_hint(cvtool, words: list[str], hint: str) -> None:
    done = cvtool(*words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("cvtool: error: ")
    assert hint in done.err


@pytest.mark.parametrize("group", [[], ["caption"], ["gan"]], ids=lambda words: "-".join(words) or "cvtool")
def test_a_group_alone_shows_its_help(cvtool, group: list[str]) -> None:
    done = cvtool(*group)
    assert (done.code, done.err) == (0, "")
    assert " ".join(["Usage: cvtool", *group, "[OPTIONS]"]) in done.out
    assert done.out == cvtool(*group, "--help").out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["stylize", "--strength", "300", "a", "b"], ("0", "100")),
        (["stylize", "--seed", "-1", "a", "b"], ("0", "4294967295")),
        (["saliency", "--batch", "0", "a"], ("1",)),
    ],
)
def test_a_number_out_of_range_is_told_with_its_range(cvtool, words: list[str], wanted: tuple[str, ...]) -> None:
    """In our words, or in those of Typers that tell both ends by themselves."""
    done = cvtool(*words)
    assert done.code == 2
    assert "Input should" not in done.err
    assert f"'{words[1]}'" in done.err
    assert all(re.search(rf"\b{number}\b", done.err) for number in wanted)


def test_a_reader_that_went_away_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    """As in ``cvtool assets | head -0``: quiet, and the exit code a shell gives for SIGPIPE."""
    import subprocess
    import sys

    reader, writer = os.pipe()
    os.close(reader)
    # With a buffer, as usual: what is left in it must not complain at the end either.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    words = [sys.executable, "-m", "cvtool", "assets"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_warnings_are_one_line_and_quiet_hides_them(cvtool, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

    @app.callback()
    def root() -> None: ...

    @app.command()
    def warn(quiet: bool = False) -> None:
        Console(quiet=quiet).warn("watch out")
        warnings.warn("odd\nvalue", stacklevel=1)

    monkeypatch.setattr(main_module, "app", app)
    assert cvtool("warn").err == "cvtool: warning: watch out\ncvtool: warning: odd value\n"
    assert cvtool("warn", "--quiet").err == ""


# batches


@dataclass(frozen=True)
class Named:
    name: str


def in_batch(names: list[str], errors: dict[str, Exception], **console: bool) -> list[str]:
    """Do nothing for every name, or raise its error; the names that were reached."""
    reached: list[str] = []

    def work(given: Named) -> None:
        reached.append(given.name)
        if given.name in errors:
            raise errors[given.name]

    try:
        for_each([Named(name) for name in names], work, command="test", console=Console(**console))
    finally:
        in_batch.reached = reached  # type: ignore[attr-defined]
    return reached


def test_one_bad_input_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInputError, match=r"1 of 3 .*: b"):
        in_batch(["a", "b", "c"], {"b": BadInputError("b is broken")}, json=True)
    assert in_batch.reached == ["a", "b", "c"]  # type: ignore[attr-defined]
    out, err = capsys.readouterr()
    assert err == "cvtool: error: b is broken\n"
    (line,) = out.splitlines()
    assert json.loads(line).items() >= {"input": "b", "error": "b is broken"}.items()


def test_a_message_without_the_name_gets_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInputError):
        in_batch(["a.png", "b"], {"a.png": MemoryError()})
    assert capsys.readouterr().err.startswith("cvtool: error: a.png: out of memory")


def test_one_that_is_too_large_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInputError, match=r"1 of 3 .*: b\.png\."):
        in_batch(
            ["a.png", "b.png", "c.png"], {"b.png": UnsuitableInputError("a side of 9 pixels is too large")}, json=True
        )
    assert in_batch.reached == ["a.png", "b.png", "c.png"]  # type: ignore[attr-defined]
    out, err = capsys.readouterr()
    assert err == "cvtool: error: b.png: a side of 9 pixels is too large\n"
    assert json.loads(out).items() >= {"input": "b.png", "error": "a side of 9 pixels is too large"}.items()


def test_a_single_bad_input_keeps_its_own_error() -> None:
    with pytest.raises(GoalNotReachedError, match=r"^missed$"):
        in_batch(["a"], {"a": GoalNotReachedError("missed")})
    with pytest.raises(UnsuitableInputError, match=r"^too large$"):
        in_batch(["a"], {"a": UnsuitableInputError("too large")})
    with pytest.raises(MemoryError):
        in_batch(["a"], {"a": MemoryError()})


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ({"a": GoalNotReachedError("x"), "b": GoalNotReachedError("x")}, 5),
        ({"a": GoalNotReachedError("x"), "b": BadInputError("x")}, 3),
        ({"a": MemoryError()}, 3),
    ],
)
def test_the_code_of_several(errors: dict[str, Exception], code: int) -> None:
    with pytest.raises(CvtoolError) as raised:
        in_batch(["a", "b", "c"], errors)
    assert raised.value.exit_code == code


@pytest.mark.parametrize("error", [UsageError("x"), WeightsUnavailableError("x"), Interrupted("x"), RuntimeError("x")])
def test_what_would_meet_the_next_input_too_ends_all(error: Exception) -> None:
    with pytest.raises(type(error)):
        in_batch(["a", "b"], {"a": error})
    assert in_batch.reached == ["a"]  # type: ignore[attr-defined]


# Ctrl-C


def test_what_comes_too_late_for_one_picture_stops_before_the_next() -> None:
    with stop_on_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_on_interrupt():
        raise AssertionError("nothing more is begun")
    with stop_on_interrupt() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
    with stop_on_interrupt() as stop:  # it was heard
        assert not stop()


def test_what_comes_before_an_error_stops_before_the_next_too() -> None:
    def break_off() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), stop_on_interrupt():
        break_off()
    with pytest.raises(KeyboardInterrupt), stop_on_interrupt():
        raise AssertionError("nothing more is begun")


def test_what_comes_too_late_for_a_part_stops_the_whole() -> None:
    with stop_on_interrupt() as stop:
        with stop_on_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
        assert stop()
    with stop_on_interrupt() as stop:
        assert not stop()


def test_the_first_interrupt_asks_the_second_ends() -> None:
    before = signal.getsignal(signal.SIGINT)
    notices: list[str] = []
    with stop_on_interrupt(lambda: notices.append("stopping")) as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        assert notices == ["stopping"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert notices == ["stopping"]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_is_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), stop_on_interrupt():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_have_no_handler_and_never_stop() -> None:
    answers: list[bool] = []

    def work() -> None:
        with stop_on_interrupt() as stop:
            answers.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]


# options


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("2m", 120), ("1.5m", 90), ("90", 90), ("1h", 3600), (" 0.5 s ", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "-3s", "2d", "nan", "inf", "1m30s", "5ms"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match=r"--budget.*60s"):
        parse_seconds(text, "--budget")


def test_lists() -> None:
    assert parse_list(" 3, 4 ,5", int, "--steps", "numbers") == (3, 4, 5)
    assert parse_list("", int, "--steps", "numbers") == ()
    for text in ("3,,4", "x", "3,", ","):
        with pytest.raises(UsageError, match=r"--steps .* is not numbers"):
            parse_list(text, int, "--steps", "numbers")


# frames


def test_frames_stay_few_and_evenly_spaced() -> None:
    import numpy as np

    collector = FrameCollector(limit=8)
    for step in range(100):
        collector(np.full((2, 3, 3), step / 255, np.float32))
    frames = collector.frames(np.ones((2, 3, 3), np.float32))
    steps = [int(frame[0, 0, 0]) for frame in frames]
    assert steps[-1] == 255
    assert steps[0] == 0
    assert 4 <= len(steps) - 1 <= 8
    assert len(set(np.diff(steps[:-1]).tolist())) == 1


def test_large_frames_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    collector = FrameCollector(limit=100)
    for _ in range(90):
        collector(np.zeros((2, 3, 3), np.float32))
    monkeypatch.setattr("cvtool.cli.frames.MOST_BYTES", 30 * 20 * 30 * 3)
    monkeypatch.setattr("cvtool.cli.frames.FEWEST_FRAMES", 4)
    assert len(collector.frames(np.zeros((20, 30, 3), np.float32))) == 30 + 1
    assert len(collector.frames(np.zeros((200, 300, 3), np.float32))) == 4 + 1
    assert len(FrameCollector().frames(np.zeros((20, 30, 3), np.float32))) == 1


def test_large_frames_are_forgotten_while_they_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    frame = 20 * 30 * 3
    monkeypatch.setattr("cvtool.cli.frames.MOST_BYTES", 10 * frame)
    monkeypatch.setattr("cvtool.cli.frames.FEWEST_FRAMES", 4)
    for scale, most in ((1, 10), (2, 4)):  # two of the larger ones would fit: too few for an animation
        collector = FrameCollector(limit=100)
        for step in range(100):
            collector(np.full((20 * scale, 30 * scale, 3), step / 255, np.float32))
            assert len(collector._kept) <= most
        frames = collector.frames(np.ones((20 * scale, 30 * scale, 3), np.float32))
        steps = [int(frame[0, 0, 0]) for frame in frames[:-1]]
        assert steps[0] == 0
        assert len(steps) > most / 2
        assert len(set(np.diff(steps).tolist())) == 1


def test_frames_have_the_size_of_the_last() -> None:
    import numpy as np

    collector = FrameCollector()
    collector(np.full((4, 6, 3), 0.25, np.float32))
    first, last = collector.frames(np.zeros((8, 12, 3), np.float32))
    assert first.shape == last.shape
    assert (first == 64).all()
    assert (last == 0).all()


def test_frames_have_the_levels_of_a_picture_file() -> None:
    import io

    import numpy as np
    from PIL import Image

    from cvtool.images import encode_picture

    between = (np.arange(255, dtype=np.float32) + 0.5).reshape(5, 17, 3) / 255
    (frame,) = FrameCollector().frames(between)
    np.testing.assert_array_equal(frame, np.asarray(Image.open(io.BytesIO(encode_picture(between, "png")))))


def test_run_returns_what_the_process_would_exit_with() -> None:
    assert run(["--version"]) == 0
    assert run(["--nonsense"]) == 2
