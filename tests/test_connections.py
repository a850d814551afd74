"""What the system is told of connections; tests/distributed/test_machines.py pulls a cable."""

from __future__ import annotations

import gc
import os
import socket

import pytest

from cvtool.connections import SILENCE, notice_silence


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="finds its connections in /dev/fd")
def test_only_connections_to_others_are_changed() -> None:
    gc.collect()  # or a connection of an earlier test may be gone before it is counted again
    before = notice_silence()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        other, _ = server.accept()
        local, _ = pair = socket.socketpair()
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.connect(("127.0.0.1", 9))
        assert notice_silence() == before + 2
        for each in (one, other):
            assert each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert each.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
        for each in (server, local):
            assert not each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        one.sendall(b"still open")
        assert other.recv(100) == b"still open"
        for each in (other, datagrams, *pair):
            each.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="as Linux names it")
def test_an_answer_is_waited_for_as_long_as_it_says() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        notice_silence()
        idle, between, count = (
            one.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}")) for name in ("IDLE", "INTVL", "CNT")
        )
        assert idle + between * count == SILENCE
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == SILENCE * 1000
