"""Keeping decoders off stderr: they report by exception, and what they print besides is noise to the caller.

What they print through, and Pillow's own limit, belong to the whole process (warning filters, log levels, file
descriptor 2, a global of Pillow), so when several threads read at once the first one in changes it and the last one
out puts it back.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack

from PIL import Image


class Shared:
    """A reusable ``with`` block around process-wide state that may be entered by several threads at once.

    Args:
        change: changes the state, and says on the stack how to put it back.
    """

    def __init__(self, change: Callable[[ExitStack], None]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._users = 0
        self._restore = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._change(self._restore)
            self._users += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._restore.close()


def _without_warnings_and_logs(restore: ExitStack) -> None:
    restore.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    for logger in map(logging.getLogger, ("PIL",)):
        restore.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL + 1)


def _without_stderr(restore: ExitStack) -> None:
    try:
        kept = os.dup(2)
    except OSError:  # no stderr to begin with
        return
    restore.callback(os.close, kept)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    restore.callback(os.dup2, kept, 2)


def _without_pillows_limit(restore: ExitStack) -> None:
    restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = None


no_warnings = Shared(_without_warnings_and_logs)
"""No Python warnings, and no log lines of Pillow, inside the block."""

no_stderr = Shared(_without_stderr)
"""Nothing at all on stderr inside the block, for LibTIFF, which prints there from C. Keep the block short."""

no_pillow_limit = Shared(_without_pillows_limit)
"""No limit of Pillow's on the size of a picture inside the block: for what has been checked against ours."""
