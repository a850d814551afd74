"""torchrun as a child of a test, and the processes that it starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from launching import environment


def worker(parent: int, rank: int) -> int:
    """The process that torchrun started for a rank."""
    for each in Path("/proc").iterdir():
        try:
            fields = (each / "stat").read_text().rpartition(")")[2].split()
            if fields[1] == str(parent) and f"RANK={rank}".encode() in (each / "environ").read_bytes().split(b"\0"):
                return int(each.name)
        except (OSError, IndexError):
            continue
    raise AssertionError(f"torchrun has no process of rank {rank}")


def begin(words: list[str]) -> subprocess.Popen[str]:
    """Start a command line."""
    return subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
