"""Shots side by side in processes of their own. A frame depends on its shot only, so their number changes nothing."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from cvtool.errors import CvtoolError, Interrupted
from cvtool.progress import Stop
from cvtool.stylize.video.painting import Job, paint_shot
from cvtool.stylize.video.shots import Shot

if TYPE_CHECKING:
    from cvtool.models.loader import Model

LOOK_EVERY = 0.25
"""Seconds between two looks at what the processes have done."""


def paint_shots(
    job: Job, shots: Sequence[Shot], reload: Callable[[], Model], processes: int, stop: Stop, look: Callable[[], None]
) -> None:
    """Paint `shots` by so many processes.

    Args:
        job: what they have in common.
        shots: the longest is begun first.
        reload: loads the network; can be sent to another process.
        processes: at most one per shot is started.
        stop: asked a few times a second.
        look: called a few times a second.

    Raises:
        Interrupted: `stop` turned true.
        CvtoolError: what one of the processes raised, or that one ended unexpectedly.
    """
    import torch

    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    halt = context.Event()
    # As many threads as one process would use: rounding depends on their number, and the result must not.
    setting = (halt, torch.get_num_threads())
    with ProcessPoolExecutor(min(processes, len(shots)), context, initializer=_begin, initargs=setting) as pool:
        longest_first = sorted(shots, key=lambda shot: -shot.frames)
        waiting: set[Future[None]] = {pool.submit(_paint, job, shot, reload) for shot in longest_first}
        try:
            failure = _watch(waiting, halt, stop, look)
        finally:
            halt.set()
            pool.shutdown(wait=True, cancel_futures=True)
    if stop():
        raise Interrupted("stopped")
    if failure is not None:
        raise failure


def _watch(waiting: set[Future[None]], halt: Any, stop: Stop, look: Callable[[], None]) -> BaseException | None:
    """Wait for the end of all; the first failure ends the others early."""
    failure: BaseException | None = None
    while waiting:
        finished, waiting = wait(waiting, timeout=LOOK_EVERY, return_when=FIRST_EXCEPTION)
        look()
        for future in finished:
            error = None if future.cancelled() else future.exception()
            if isinstance(error, BrokenProcessPool):
                error = CvtoolError(
                    "A process that painted a shot ended unexpectedly, perhaps for want of memory. Use fewer --jobs."
                )
            if error is not None and not isinstance(error, Interrupted):
                failure = failure or error
        if failure is not None or stop():
            halt.set()
            for future in waiting:
                future.cancel()
    return failure


# In the other process:

_halt: Any = None
_model: Model | None = None


def _begin(halt: Any, threads: int) -> None:
    import torch

    global _halt
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one decides
    torch.set_num_threads(threads)
    _halt = halt


def _paint(job: Job, shot: Shot, reload: Callable[[], Model]) -> None:
    global _model
    if _stopped():
        raise Interrupted("stopped")
    if _model is None:
        _model = reload()
    paint_shot(job, shot, _model, _stopped)


def _stopped() -> bool:
    parent = multiprocessing.parent_process()
    return _halt.is_set() or (parent is not None and not parent.is_alive())
