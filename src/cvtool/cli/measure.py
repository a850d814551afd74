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


def cost(seconds: float) -> str:
    """In words: the time, and the most memory that this process has held."""
    memory = peak_memory_mb()
    return f"{seconds:.1f} s in all" + ("" if memory is None else f", peak memory {memory:.0f} MB")
