"""Several processes on this machine, for tests: started as torchrun would, or by torchrun itself."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "src"
LIMIT = 240  # seconds


def environment(**more: object) -> dict[str, str]:
    """Of a child: it finds this source, and takes one thread."""
    path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    known = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return {**known, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in more.items()}}


def free_port() -> int:
    """A port that nobody listens on now, of those that no outgoing connection takes by itself."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def until(path: Path, child: subprocess.Popen[Any]) -> None:
    """Wait for a file that a child is to write."""
    for _ in range(LIMIT * 50):
        if path.exists():
            return
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)
    raise AssertionError(f"no {path}")


def start(words: Sequence[object], processes: int) -> list[subprocess.Popen[str]]:
    """So many processes of ``python words``, each with the variables that torchrun would set."""
    return start_each([words] * processes)


def start_each(lines: Sequence[Sequence[object]]) -> list[subprocess.Popen[str]]:
    """A group of processes, each with words of its own."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": len(lines)}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            env=environment(**meeting, RANK=rank, LOCAL_RANK=rank, LOCAL_WORLD_SIZE=len(lines)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, words in enumerate(lines)
    ]


def ends(children: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each; all are ended when one takes too long."""
    try:
        texts = [child.communicate(timeout=LIMIT) for child in children]
    finally:
        for child in children:
            child.kill()
    return [(child.returncode, *text) for child, text in zip(children, texts, strict=True)]


def torchrun(words: Sequence[object], processes: int, restarts: int = 0) -> list[str]:
    """The command line by which torchrun starts ``cvtool words``."""
    options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "--monitor-interval=0.2"]
    return [sys.executable, "-m", "torch.distributed.run", *options, "-m", "cvtool", *map(str, words)]
