"""What tests of faults share: command lines in forked processes, killed at moments that can be repeated."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

from cvtool.cli.main import run

KILLS = int(os.environ.get("CVTOOL_KILLS", "2"))
"""Moments at which each kind of work is killed; 50 for a thorough look."""
WATCHED = {"open", "os.mkdir", "os.remove", "os.rename", "os.truncate"}
"""What Python tells of work on files before it is done."""
LATEST = 0.03
"""Seconds from such a moment to the kill, at most: it may fall in the middle of writing."""


LONGEST = 300.0
"""Seconds that a process may take, on however busy a machine."""


def forked(work: Callable[[], int]) -> int:
    """What a process of its own, with everything imported already, ends with; below 0: of that signal.

    The process it is called from should not have worked itself: threads of libraries are not there in a fork.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + LONGEST
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(f"still at work after {LONGEST} s")
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])


def on_file_work(folder: Path, listener: Callable[[], None]) -> None:
    """From now on, tell `listener` of everything that this process is about to do to files below a folder."""
    place = str(folder)

    def hook(event: str, arguments: Sequence[object]) -> None:
        if event in WATCHED and isinstance(arguments[0], (str, os.PathLike)):
            path = os.path.abspath(os.fspath(arguments[0]))
            if path.startswith(place) and (event != "open" or _writes(arguments)):
                listener()

    sys.addaudithook(hook)


def _writes(arguments: Sequence[object]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def moments(words: Sequence[object], folder: Path) -> int:
    """How often a command line works on files below a folder, run to its end in a process of its own."""
    notes = folder.with_name(folder.name + "-moments")

    def work() -> int:
        count = 0

        def heard() -> None:
            nonlocal count
            count += 1

        on_file_work(folder, heard)
        code = run([str(word) for word in words])
        handle = os.open(notes, os.O_WRONLY | os.O_CREAT)
        os.write(handle, str(count).encode())
        return code

    assert forked(work) == 0
    return int(notes.read_text())


def killed(words: Sequence[object], folder: Path, moment: int, delay: float) -> int:
    """Run a command line, and end it that long after a moment's beginning as abruptly as SIGKILL does."""

    def work() -> int:
        left = moment

        def heard() -> None:
            nonlocal left
            left -= 1
            if left == 0 and delay == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            elif left == 0:  # nobody handles this alarm, so it ends the process between any two instructions
                signal.setitimer(signal.ITIMER_REAL, delay)

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        on_file_work(folder, heard)
        return run([str(word) for word in words])

    return forked(work)


def plan(kind: str, count: int) -> list[tuple[int, float]]:
    """Moments, counted from 1, and delays: the same each time. The first has none, so that one comes in time."""
    chance = random.Random(kind)
    found = [(chance.randint(1, count), chance.choice((0.0, chance.uniform(0, LATEST)))) for _ in range(KILLS)]
    return [(found[0][0], 0.0), *found[1:]]


def assert_whole(folder: Path) -> None:
    """Every file below a folder that has its name is whole; of metrics only the last line may be cut."""
    for path in folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".pt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".jsonl":
            for line in path.read_text("ascii").splitlines(keepends=True):
                if line.endswith("\n"):
                    json.loads(line)
        elif path.suffix in (".png", ".gif"):
            with Image.open(path) as image:
                image.load()


def emptied(folder: Path) -> Path:
    """The folder, with nothing in it."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
