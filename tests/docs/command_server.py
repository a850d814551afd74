"""Runs ``cvtool`` for others: imports once what takes seconds, then forks for each command line that comes in.

    python command_server.py SOCKET

A message is the current folder and the words, with null bytes between, and stdin, stdout, stderr; the answer is one
byte, the exit code. Work that would take long is asked for in small.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback

import timm  # noqa: F401 - so that the forks have it
import torch

from cvtool.cli.main import run
from cvtool.models import loader  # noqa: F401

SMALL = {
    "stylize": ["--size", "64", "--steps", "2"],
    "fool": ["--steps", "2"],
    "visualize-class": ["--size", "64", "--steps", "2"],
}
"""What is added to a command: an option that is given twice counts as the last one says."""


def in_small(words: list[str]) -> list[str]:
    return words + SMALL.get(words[0], []) if words else words


def answer(line: socket.socket) -> None:
    data, files, _, _ = socket.recv_fds(line, 1 << 16, 3)
    folder, *words = data.decode(errors="surrogateescape").split("\0")
    child = os.fork()
    if child == 0:
        for number, file in enumerate(files):
            os.dup2(file, number)
        sys.stdin, sys.stdout, sys.stderr = (open(n, "rww"[n]) for n in range(3))  # noqa: SIM115 - the old were of others
        os.chdir(folder)
        try:
            code = run(in_small(words))
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            code = 99
        os._exit(code)
    for file in files:
        os.close(file)
    # A thread waits: two commands of one pipe run at the same time.
    threading.Thread(target=_tell, args=(line, child)).start()


def _tell(line: socket.socket, child: int) -> None:
    _, status = os.waitpid(child, 0)
    line.send(bytes([os.waitstatus_to_exitcode(status) % 256]))
    line.close()


def main() -> None:
    torch.set_num_threads(1)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(sys.argv[1])
        door.listen()
        os.write(1, b"ready\n")
        while True:
            answer(door.accept()[0])


if __name__ == "__main__":
    main()
