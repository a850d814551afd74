"""How threads wait for each other on a machine that has other work, too."""

from __future__ import annotations

import os
import time
from pathlib import Path

RUNNING = Path("/proc/loadavg")
"""Where Linux tells how many threads want to run at this moment."""
_LOOKS, _PAUSE = 40, 0.005
"""What a pipe feeds starts when we do, and is busy with that for a tenth of a second."""


def wait_as_the_machine_is() -> None:
    """Called before torch is imported: where others want to run, let OpenMP's threads sleep while they wait.

    By default they spin, which is quicker on an idle machine (by a fifth to a half for small pictures), and on a busy
    one keeps from the processor the very thread that is waited for: seen to take thirty times as long. Does nothing
    where the user has set ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT``, and where nobody tells (not on Linux).
    """
    if "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ and others() > 0:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def others() -> int:
    """How many other threads want to run, each time that one looks for a fifth of a second; 0 where nobody tells."""
    least = 1 << 20
    for _ in range(_LOOKS):
        try:
            least = min(least, int(RUNNING.read_text("ascii").split()[3].split("/")[0]) - 1)
        except (OSError, ValueError, IndexError):
            return 0
        if least <= 0:
            return 0
        time.sleep(_PAUSE)
    return least
