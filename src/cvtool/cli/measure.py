"""What a run cost: memory and time of this process."""

from __future__ import annotations

import sys
import time

_STARTED = time.monotonic()


def seconds_since_start() -> float:
    """Seconds since this module was imported, which is as good as the start of the process."""
    return time.monotonic() - _STARTED


def peak_memory_mb() -> float | None:
    """Most memory this process has held at once, in MB (10⁶ bytes); None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def duration(seconds: float) -> str:
    """In words: ``40 s``, ``3.2 min`` or ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def cost(seconds: float) -> str:
    """In words: the time, and the most memory that this process has held."""
    memory = peak_memory_mb()
    return f"{seconds:.1f} s in all" + ("" if memory is None else f", peak memory {memory:.0f} MB")
