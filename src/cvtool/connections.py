"""Connections to other machines, told to notice when the other end is gone without a word.

A process that ends closes its connections, and who talks with it notices at once. A machine that loses its power or its
cable closes nothing: who waits for it waits on, since neither gloo nor torch's store ever asks. The system does when it
is told to: TCP keepalive.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress

SILENCE = 60
"""Seconds without an answer after which a connection is taken to be broken."""
_QUESTIONS = 6  # in that time, but for the first half of it


def notice_silence() -> int:
    """Do it for every TCP connection that this process has now; how many those are."""
    half = SILENCE // 2
    wanted = {
        "TCP_KEEPIDLE": half,
        "TCP_KEEPALIVE": half,  # the same on macOS
        "TCP_KEEPINTVL": max(1, half // _QUESTIONS),
        "TCP_KEEPCNT": _QUESTIONS,
        "TCP_USER_TIMEOUT": SILENCE * 1000,  # of what was sent and not acknowledged
    }
    count = 0
    for connection in _connections():
        with suppress(OSError):  # where a system knows a name and refuses it, its own patience holds
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in wanted.items():
                if hasattr(socket, name):
                    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            count += 1
    return count


def _connections() -> Iterator[socket.socket]:
    """Connected TCP sockets, as copies of their descriptors: settings are the socket's, and it stays open."""
    try:
        names = os.listdir("/dev/fd")
    except OSError:  # Windows
        return
    for name in names:
        with suppress(OSError):  # closed meanwhile, or not connected
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    tcp = (
                        connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM
                    )
                    if tcp and connection.getpeername():
                        yield connection
