"""Ctrl-C, and SIGTERM alike, as a polite request: the first asks the work to stop, the second ends it at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cvtool.launch import launch
from cvtool.progress import Stop, never

ONE_REQUEST = 1.0
"""Seconds in which two signals are one: torchrun passes on what the terminal has sent to all."""

terminated = threading.Event()
"""Set when SIGTERM came; who was pressed Ctrl-C is not started again, who was told to end by torchrun may be."""


unheard = threading.Event()
"""Set when work ended without asking again after it was to stop: what would come next does not begin."""
_handlers: list[Callable[[int, FrameType | None], None]] = []
"""Of the blocks that are open, the innermost last."""


def was_terminated() -> bool:
    """Whether SIGTERM has asked this process to end."""
    return terminated.is_set()


@contextmanager
def stop_on_interrupt(notice: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Lend a `Stop` that turns True at the first SIGINT or SIGTERM; a second one raises `KeyboardInterrupt`.

    Args:
        notice: called once, at the first signal, e.g. to tell the user that the work is stopping.

    SIGTERM is how torchrun, queues and containers ask. In a process that torchrun started only SIGINT is told of, and
    asked again it does not end at once: all processes get the signal, some of them twice. The handlers that were there
    before are put back at the end. Outside the main thread, where Python allows no handlers, the lent `Stop` never
    turns True.

    Raises:
        KeyboardInterrupt: the work before this was asked to stop at its very end, and so did not hear of it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield never
        return

    end_if_unheard()
    asked: float | None = None
    heard = False
    launched = launch() is not None

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        now = time.monotonic()
        if signum == signal.SIGTERM:
            terminated.set()
        if asked is not None:
            if launched and (signum != signal.SIGINT or now - asked < ONE_REQUEST):
                return
            raise KeyboardInterrupt
        asked = now
        if signum == signal.SIGINT or not launched:
            notice()

    def stop() -> bool:
        nonlocal heard
        heard = asked is not None
        return heard

    previous = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    _handlers.append(handle)
    try:
        yield stop
    except KeyboardInterrupt:  # asked twice: there is nothing to go on with
        heard = True
        raise
    finally:
        _handlers.pop()
        for each, handler in previous.items():
            # None: the previous handler was not set from Python, so it cannot be put back by it.
            signal.signal(each, handler if handler is not None else signal.SIG_DFL)
        if asked is not None and not heard:
            if _handlers:  # the work is part of another's, which can still hear of it
                _handlers[-1](signal.SIGINT, None)
            else:
                unheard.set()


@contextmanager
def finish_on_interrupt(notice: Callable[[], None] = lambda: None, *, stopped: bool = False) -> Iterator[Stop]:
    """As `stop_on_interrupt`, for writing what is computed: that begins even if the work before was asked to stop.

    The lent `Stop` is True from the start then, and Ctrl-C ends at once.

    Args:
        notice: as there.
        stopped: the work before was asked, and heard of it.
    """
    if stopped or unheard.is_set():
        unheard.clear()
        yield lambda: True
        return
    with stop_on_interrupt(notice) as stop:
        yield stop


def end_if_unheard() -> None:
    """Called before work begins.

    Raises:
        KeyboardInterrupt: the work before this was asked to stop at its very end, and so did not hear of it.
    """
    if unheard.is_set():
        unheard.clear()
        raise KeyboardInterrupt


def end_on_terminate() -> None:
    """Let SIGTERM end the program as a second Ctrl-C does, so that no half-written file stays behind."""

    def handle(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if "RANK" not in os.environ:  # torchrun ends its processes by its own rules
        signal.signal(signal.SIGTERM, handle)
