"""Lets tests import the scripts in docs/, and runs shell commands with a ``cvtool`` that starts at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "docs"), str(Path(__file__).parent)]

CLIENT = """#!{python} -ES
import os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    words = "\\0".join([os.getcwd(), *sys.argv[1:]])
    socket.send_fds(line, [words.encode(errors="surrogateescape")], [0, 1, 2])
    os._exit(line.recv(1)[0])
"""


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for PATH with a ``cvtool`` that does less work, and an ``sbatch`` that runs an array here and now."""
    folder = tmp_path_factory.mktemp("bin")
    address = str(folder / "socket")
    client = folder / "cvtool"
    client.write_text(CLIENT.format(python=sys.executable, address=address))
    array = folder / "sbatch"
    array.write_text('#!/bin/sh\nfor id in 0 1 2 3; do SLURM_ARRAY_TASK_ID=$id sh "$2" || exit; done\n')
    for each in (client, array):
        each.chmod(0o755)
    server = [sys.executable, str(Path(__file__).parent / "command_server.py"), address]
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with subprocess.Popen(server, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield folder
        process.terminate()
