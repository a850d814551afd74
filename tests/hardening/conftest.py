"""The command line as the tests of it run it, in a world that is watched."""

from __future__ import annotations

import os
import resource
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import typer
from cli.conftest import Outcome, cvtool, here

import cvtool.cli.main as program
from cvtool import files

__all__ = ["cvtool", "here"]

CPU_SECONDS = 10
"""Of a command line that meets a bad input, the import of torch not counted."""
WALL_SECONDS = 60
"""After which a command counts as hanging, on however busy a machine."""
MEMORY = 2 << 30
"""Bytes by which the address space may grow: more is an error in the program under test."""


class TooLong(BaseException):
    """A command hangs; no `Exception`, so that nothing in the program under test catches it."""


@dataclass(frozen=True)
class Fact:
    """What can be seen of a file from outside."""

    kind: int
    size: int
    changed: int


def world(folder: Path) -> dict[str, Fact]:
    """Everything below a folder; of folders only that they are there."""
    found = {}
    for where, below, inside in os.walk(folder):
        for name in [*below, *inside]:
            path = os.path.join(where, name)
            status = os.lstat(path)
            is_folder = stat.S_ISDIR(status.st_mode)
            numbers = (0, 0) if is_folder else (status.st_size, status.st_mtime_ns)
            found[os.path.relpath(path, folder)] = Fact(stat.S_IFMT(status.st_mode), *numbers)
    return found


@contextmanager
def bounded() -> Iterator[None]:
    """In the block memory cannot grow much and time ends."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"still at work after {WALL_SECONDS} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(WALL_SECONDS)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def commands() -> Any:
    """The command line, made ready once: Typer does it anew each time, which takes longer than most refusals."""
    return typer.main.get_command(program.app)


@pytest.fixture(autouse=True)
def _made_once(commands: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "app", commands)


@pytest.fixture
def watched(
    cvtool: Callable[..., Outcome],
    here: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Outcome]:
    """Run ``cvtool`` on a bad input: bounded, with a home and a folder for temporary files of its own.

    Whatever it does, it leaves every file as it was and makes none, but for the cache, in a folder of its own.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    for name, variable in (("home", "HOME"), ("tmp", "TMPDIR")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setattr(files, "PIPE_SECONDS", 0.2)

    def call(*words: str) -> Outcome:
        before = world(tmp_path)
        started = time.process_time()
        with bounded():
            outcome = cvtool(*words)
        assert time.process_time() - started < CPU_SECONDS
        assert world(tmp_path) == before
        return outcome

    return call
