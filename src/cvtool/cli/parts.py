"""What processes that share a batch tell each other: small files in a hidden folder beside the results.

Files, since what is told must outlive the processes: one that was killed and is started again finds what it did, and
machines need nothing in common but the folder of the results. In the folder are

    inputs          the list of inputs, as the first process found it
    part-RANK       what a process did: a line for an input that is begun, one with its record when it is done
    state-RANK      which attempt the process is in, a number that grows as long as it lives, and whether it has ended
    failed-ATTEMPT  why all have to end
    outcome         what the batch ended with, for processes that are started again after that

A line that is cut off, by a kill or a full disk, is no line.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvtool.cli.outputs import BEGUN, FINISHED
from cvtool.errors import CvtoolError, UsageError
from cvtool.files import atomic_path, write_atomically, write_error
from cvtool.launch import Launch, attempt

PREFIX = ".cvtool-parts-"
BEAT_SECONDS = 5.0
"""Between two signs of life."""
PATIENCE_SECONDS = 300.0
"""How long a process may give no sign of life. torchrun notices the dead at once; others may not."""
POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""How long the first process waits for what the others have finished when all stop; torchrun gives 30."""


class FailedElsewhere(CvtoolError):
    """Another process had to end the batch; told by the first.

    Args:
        message: what was wrong.
        exit_code: what the command ends with.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Parts:
    """The folder, as seen by one process.

    Attributes:
        folder: made by whoever comes first.
        place: this process among the others.
    """

    folder: Path
    place: Launch

    def __post_init__(self) -> None:
        self._attempt = attempt()
        self._failed = self.folder / f"failed-{hashlib.sha256(self._attempt.encode()).hexdigest()[:16]}"
        self._beat = 0
        self._alive: threading.Event | None = None
        self._lock = threading.Lock()

    @property
    def inputs(self) -> Path:
        """The file with the list of inputs."""
        return self.folder / "inputs"

    def write_inputs(self, write: Callable[[Path], None]) -> None:
        """Make the list of inputs, whole or not at all."""
        with atomic_path(self.inputs) as temporary:
            write(temporary)

    # Signs of life.

    def begin(self) -> None:
        """Give signs of life from now on."""
        self._alive = threading.Event()
        self._say("working")
        threading.Thread(target=self._beat_on, args=(self._alive,), daemon=True).start()

    def end(self) -> None:
        """Say that nothing more comes from this process."""
        if self._alive is not None:
            self._alive.set()
        self._say("ended")

    def _beat_on(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(CvtoolError, OSError):
                self._say("working", ended)

    def _say(self, word: str, ended: threading.Event | None = None) -> None:
        with self._lock:
            if ended is not None and ended.is_set():
                return
            self._beat += 1
            path = self.folder / f"state-{self.place.rank}"
            write_atomically(path, f"{self._attempt} {os.getpid()}.{self._beat} {word}".encode())

    def has_ended(self, rank: int) -> bool:
        """Whether a process has ended its work in this attempt."""
        return self._ended(self.state(rank))

    def _ended(self, state: str) -> bool:
        return state.startswith(f"{self._attempt} ") and state.endswith(" ended")

    def wait(self, ready: Callable[[], bool], ranks: range, seconds: float | None = None) -> bool:
        """Wait until `ready`; whether it became so.

        Args:
            ready: asked again and again.
            ranks: of processes that are waited for.
            seconds: how long at most; None: as long as they give signs of life.

        Raises:
            FailedElsewhere: a process had to end the batch.
            CvtoolError: a process gives no sign of life.
        """
        began = time.monotonic()
        seen = dict.fromkeys(ranks, ("", began))
        while not ready():
            now = time.monotonic()
            if seconds is not None:
                if now - began > seconds:
                    return False
            else:
                self.check()
                for rank in ranks:
                    state, since = self.state(rank), seen[rank]
                    if state != since[0]:
                        seen[rank] = (state, now)
                    elif now - since[1] > PATIENCE_SECONDS and not self._ended(state):
                        raise CvtoolError(
                            f"Process {rank} of {self.place.size} gave no sign of life in '{self.folder}' for "
                            f"{PATIENCE_SECONDS:.0f} s. All machines need that folder and the same command line."
                        )
            time.sleep(POLL_SECONDS)
        return True

    def others_ended(self) -> bool:
        """Whether all other processes have ended their work in this attempt."""
        return all(self.has_ended(rank) for rank in self.others)

    @property
    def others(self) -> range:
        """Ranks of the processes that the first waits for."""
        return range(1, self.place.size)

    def state(self, rank: int) -> str:
        """What a process last said; "" for nothing yet."""
        return _read(self.folder / f"state-{rank}")

    # Failures of all.

    def fail(self, message: str, exit_code: int) -> bool:
        """Let all end; whether this process was the first to ask for it."""
        if self._failed.exists():
            return False
        write_atomically(self._failed, json.dumps([message, exit_code]).encode())
        return True

    def check(self) -> None:
        """Look whether all have to end.

        Raises:
            FailedElsewhere: they have.
        """
        text = _read(self._failed)
        if text:
            message, code = json.loads(text)
            raise FailedElsewhere(message, code)

    def settle(self, message: str, exit_code: int) -> None:
        """Keep what the batch ended with."""
        write_atomically(self.folder / "outcome", json.dumps([message, exit_code]).encode())

    def settled(self) -> FailedElsewhere | None:
        """What the batch ended with before, if it did."""
        text = _read(self.folder / "outcome")
        return FailedElsewhere(*json.loads(text)) if text else None

    def remove(self) -> None:
        """Delete the folder with all that was told."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # What was done.

    def journal(self) -> Journal:
        """Where this process writes what it did, after what it did before."""
        return Journal(self.folder / f"part-{self.place.rank}")

    def known(self, total: int) -> bytearray:
        """What all processes did before: for each of `total` inputs 0, `BEGUN` or `FINISHED`."""
        found = bytearray(total)
        for path in self._files():
            for _, number, record in _lines(path):
                if number < total:
                    found[number] = max(found[number], FINISHED if record else BEGUN)
        return found

    def records(self, total: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """What was done, by number of the input, in its order; ten bytes of memory for each of `total` inputs."""
        files = self._files()
        where, offsets = array("H", bytes(2 * total)), array("Q", bytes(8 * total))
        for index, path in enumerate(files, 1):
            for offset, number, record in _lines(path):
                if record and number < total:
                    where[number], offsets[number] = index, offset
        opened = [open(path, "rb") for path in files]  # noqa: SIM115 (closed below)
        try:
            for number in range(total):
                if where[number]:
                    file = opened[where[number] - 1]
                    file.seek(offsets[number])
                    yield number, json.loads(file.readline().split(b" ", 1)[1])
        finally:
            for file in opened:
                file.close()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("part-*"))


class Journal:
    """A file to which lines are added; what is cut off at its end is left behind."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = open(path, "ab")  # noqa: SIM115 (for as long as the work)
        except OSError as error:
            raise write_error(path, error) from error
        if self._file.tell():
            self._write(b"\n")

    def begun(self, number: int) -> None:
        """An input is about to be worked on."""
        self._write(b"%d\n" % number)

    def finished(self, number: int, record: dict[str, Any]) -> None:
        """All about an input that is done."""
        self._write(b"%d %s\n" % (number, json.dumps(record).encode("ascii")))

    def close(self) -> None:
        """No more comes."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise write_error(self._path, error) from error


def folder_of(place: Path, words: str, launch_name: str) -> Path:
    """Where the parts of a command lie: the same for all processes of a launch, and for those it starts again."""
    name = hashlib.sha256(f"{launch_name}\0{words}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return place / f"{PREFIX}{name}"


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno == errno.ESTALE:  # it was replaced at this moment, on a file server
            return ""
        raise UsageError(f"Cannot read '{path}': {error.strerror}. All processes need that folder.") from error


def _lines(path: Path) -> Iterator[tuple[int, int, bool]]:
    """Whole lines of a part: where each begins, the number of its input, whether it holds a record."""
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            number, blank, record = line.partition(b" ")
            if line.endswith(b"\n") and number.strip().isdigit() and (not blank or record.endswith(b"}\n")):
                yield offset, int(number), bool(blank)
            offset += len(line)
