"""Ctrl-C as a polite request: the first asks the work to stop, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cvtool.progress import Stop, never


@contextmanager
def stop_on_interrupt(notice: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Lend a `Stop` that turns True at the first SIGINT; a second SIGINT raises `KeyboardInterrupt`.

    Args:
        notice: called once, at the first SIGINT, e.g. to tell the user that the work is stopping.

    The handler that was there before is put back at the end. Outside the main thread, where Python
    allows no handlers, the lent `Stop` never turns True.
    """
    if threading.current_thread() is not threading.main_thread():
        yield never
        return

    asked = False

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        notice()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: asked
    finally:
        # None: the previous handler was not set from Python, so it cannot be put back by it.
        signal.signal(signal.SIGINT, previous if previous is not None else signal.SIG_DFL)
