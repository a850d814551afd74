"""What torchrun says of the processes that it started; no torch here, so that the command line may ask first."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from cvtool.errors import UsageError


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were started together.

    Attributes:
        rank, size: its number among all of them, from 0, and how many there are.
        local_rank, local_size: the same on this machine.
        restarts: how often torchrun has started the group again.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0


def launch() -> Launch | None:
    """The launch this process belongs to; None for a process that was started alone.

    Raises:
        UsageError: the variables of a launch are there and make no sense.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    defaults = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RESTART_COUNT": "0"}
    try:
        found = Launch(*(int(os.environ.get(name, defaults.get(name, ""))) for name in names))
    except ValueError as error:
        raise UsageError("RANK and WORLD_SIZE are set, but not as torchrun sets them. Unset them.") from error
    if not (0 <= found.rank < found.size and 0 <= found.local_rank < found.local_size):
        raise UsageError(f"RANK={found.rank} does not fit WORLD_SIZE={found.size}. Unset them, or use torchrun.")
    return found


def identity() -> str:
    """A text that stays the same when torchrun starts its processes again, and that another launch does not have."""
    number = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return number if number != "none" else f"{socket.gethostname()} {os.getppid()}"


def meeting() -> str:
    """As `identity`, and the same on all machines of a launch."""
    place, number = launch() or Launch(), os.environ.get("TORCHELASTIC_RUN_ID", "none")
    where = f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"
    if number != "none":
        return number
    return f"{identity()} {where}" if place.local_size == place.size else where


def attempt() -> str:
    """A text without blanks that all processes of a launch have, until torchrun starts them again."""
    where = f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"
    return f"{'_'.join(where.split())}:{(launch() or Launch()).restarts}"


def restarts_left() -> int:
    """How often torchrun will start the processes again if one ends with an error."""
    try:
        most = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    except ValueError:
        return 0
    return max(0, most - (launch() or Launch()).restarts)
