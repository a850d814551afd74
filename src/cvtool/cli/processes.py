"""Commands that torchrun starts several times: who speaks, and when a run goes on by itself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvtool.errors import BadInputError, Interrupted, UsageError
from cvtool.launch import identity, launch
from cvtool.run_files import read_config

if TYPE_CHECKING:
    from cvtool.distributed import Group

LINGER_SECONDS = 1.0
"""How long a silent process that ends in error leaves the others time to speak."""
TOGETHER = ("caption train", "gan train")
"""Commands that train one model together."""
SHARING = ("caption describe", "caption features", "saliency", "fool", "stylize")
"""Commands whose inputs are shared out, see `cvtool.cli.sharing`."""

_was_together = False


def enter(arguments: Sequence[str]) -> None:
    """Called before anything else: only the first process says anything, until another fails.

    Raises:
        UsageError: the command would do the same in every process.
    """
    place = launch()
    if place is None or place.size == 1:
        return
    if not place.is_main:
        hush()
    words = " ".join(arguments[:2])
    known = any(words == each or words.startswith(f"{each} ") for each in (*TOGETHER, *SHARING))
    if not known or words == "stylize train-instant":
        together = ", ".join((*TOGETHER, *SHARING))
        raise UsageError(f"'cvtool {words}' runs in one process; several can share: {together}.")


def linger() -> None:
    """Called by a process that ends in error: torchrun ends all when the first has, and one of them is to speak."""
    with suppress(UsageError):  # `enter` has told of it
        place = launch()
        if place is not None and not place.is_main and sys.stderr is not sys.__stderr__:
            time.sleep(LINGER_SECONDS)


def leave(code: int) -> None:
    """End at once a process that was `together` with others; does nothing in any other.

    While Python takes itself apart, a thread of torch's process groups that still lets go of a tensor ends the process
    with SIGABRT ("terminate called without an active exception", now and then, after all was done and written), and
    torchrun would start everything again.
    """
    if _was_together:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


@contextmanager
def together(device: str) -> Iterator[Group]:
    """A block of all processes of the launch, see `cvtool.distributed.joined`; of a failure the first to fail speaks.

    Raises:
        UsageError: the processes cannot have devices of their own.
        CvtoolError: they do not find each other.
    """
    from cvtool.distributed import fails_first, joined

    global _was_together
    with joined(device) as group:
        _was_together = group.size > 1
        try:
            yield group
        except (Interrupted, KeyboardInterrupt):  # all were asked to stop, and the first says what it has written
            if group.is_main:
                fails_first(group)
            raise
        except BaseException:
            if group.size > 1:
                _speak() if fails_first(group) else hush()
            raise


def goes_on(run: Path, *, resume: bool, overwrite: bool) -> bool:
    """Whether to go on with what is in a run's directory.

    Either that was asked for, or this very launch began it: torchrun started its processes again, or a queue the job.
    """
    place = launch()
    if resume or place is None:
        return resume
    try:
        config = read_config(run, "")
    except BadInputError:
        return False
    return config.get("launch") == identity() or (place.restarts > 0 and not overwrite)


def company(group: Group) -> dict[str, Any]:
    """What a run's configuration keeps of the processes; they may be others when it goes on."""
    return {"processes": group.size, **({} if launch() is None else {"launch": identity()})}


def hush() -> None:
    """Say nothing more."""
    if sys.stderr is sys.__stderr__:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 # for as long as the process lives


def _speak() -> None:
    if sys.__stderr__ is not None:
        sys.stderr = sys.__stderr__
