"""What every training run shares: its directory, and checkpoints from which it goes on exactly.

    run/config.json        all options, versions, the fingerprint of the data
        metrics.jsonl      one line per epoch (or log interval)
        last.safetensors   the weights now, with everything needed to use them
        best.safetensors   the weights that measured best
        state.pt           weights, optimiser and position: what --resume reads (tensors and numbers, no code)
        tensorboard/       the metrics once more, where TensorBoard is installed

Every file is written whole or not at all. The state says how many lines of metrics belong to it, so a run that was
killed between two files goes on from the state alone.
"""

from __future__ import annotations

import errno
import io
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from cvtool.errors import BadInputError, CvtoolError, UsageError
from cvtool.event_files import FOLDER as EVENTS
from cvtool.event_files import EventFiles
from cvtool.files import link_below, read_input, remove, write_atomically, write_error
from cvtool.run_files import BEST, CONFIG, LAST, LOCK, METRICS, SAMPLES, STATE, read_config
from cvtool.tensor_files import load_torch

WRITTEN_SUFFIXES = {".json", ".jsonl", ".safetensors", ".pt", ".html", ".h5", ".npy"}
SAVE_SECONDS = 60.0
"""Between two states on disk within an epoch."""


@dataclass
class RunDirectory:
    """The directory of one run.

    Attributes:
        path: of the directory.
        lines: of metrics written so far.
    """

    path: Path
    lines: int = 0
    _saved: float = field(default_factory=time.monotonic)
    _events: EventFiles = field(init=False)

    def __post_init__(self) -> None:
        self._events = EventFiles(self.path)

    @classmethod
    def create(cls, path: Path, *, overwrite: bool = False) -> RunDirectory:
        """An empty directory for a new run.

        Raises:
            UsageError: it holds something already, or another run is at work in it.
            CvtoolError: it cannot be made.
        """
        cls.check(path, overwrite=overwrite)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from error
        run = cls(path)
        with run.locked():
            for name in (STATE, METRICS, CONFIG, LAST, BEST):
                remove(path / name)
            run._events.restart([])
        return run

    @staticmethod
    def check(path: Path, *, overwrite: bool = False) -> None:
        """Refuse at once what `create` would refuse, but for a run at work in it; nothing is made.

        Raises:
            UsageError: it holds something already.
            CvtoolError: it is no directory, or nothing can be made in it.
        """
        whole = path.absolute()
        there = next(each for each in (whole, *whole.parents) if os.path.lexists(each))
        try:
            names = os.listdir(there) if there == whole or not there.is_dir() else []
            if not os.access(there, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise _unusable(path, error) from error
        if any(name != LOCK for name in names) and not overwrite:
            raise UsageError(f"'{path}' is not empty. Continue with --resume, start again with --overwrite.")

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """The directory of a run that has begun.

        Raises:
            BadInputError: there is no run in it, or something in it is a link to elsewhere.
        """
        if not (path / CONFIG).is_file():
            raise BadInputError(f"'{path}' holds no run to resume: there is no {CONFIG}. Start one without --resume.")
        linked = _link_written_through(path)
        if linked is not None:  # of a run from elsewhere, it would let us write to any file
            raise BadInputError(f"'{linked}' is a link, which is not written through. Put the file itself there.")
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else may train in the directory meanwhile; the system lets go of the lock when the process ends.

        Raises:
            UsageError: somebody does.
            CvtoolError: nothing can be changed in it.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no such locks; two runs in one directory are the user's affair there
            yield
            return
        lock = self.path / LOCK
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise write_error(lock, error) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The run before may have removed the file between our opening and locking it.
                theirs = not lock.exists() or not os.path.samestat(os.fstat(handle), os.stat(lock))
            except OSError:
                theirs = True
            if theirs:
                raise UsageError(f"Another run is at work in '{self.path}'. Wait for it, or use another -o.")
            self._tidy()
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def _tidy(self) -> None:
        """Remove what runs that were killed while they wrote have left behind."""
        for folder in (self.path, self.path / SAMPLES):
            for leftover in folder.glob(".cvtool-*"):
                remove(leftover)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keep what the run was asked for."""
        write_atomically(self.path / CONFIG, (json.dumps(config, indent=2) + "\n").encode())

    def read_config(self) -> dict[str, Any]:
        """What the run was asked for.

        Raises:
            BadInputError: the file is broken.
        """
        return read_config(self.path, "Start again with --overwrite.")

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics.

        Raises:
            CvtoolError: it cannot be written, e.g. because the disk is full.
        """
        path = self.path / METRICS
        try:
            with open(path, "a", encoding="ascii") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(path, error) from error
        self.lines += 1
        self._events.add(record)

    def records(self) -> list[dict[str, Any]]:
        """All lines of the metrics.

        Raises:
            BadInputError: one is no metrics.
        """
        found = []
        for line in self._metrics():
            try:
                found.append(dict(json.loads(line)))
            except (ValueError, TypeError, RecursionError) as error:
                raise self._broken_metrics() from error
        return found

    @property
    def is_due(self) -> bool:
        """Whether the last state is old enough to write another."""
        return time.monotonic() - self._saved >= SAVE_SECONDS

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write what `load_state` reads: a mapping of tensors, numbers, texts, lists and mappings."""
        buffer = io.BytesIO()
        torch.save({"lines": self.lines, "state": dict(state)}, buffer)
        write_atomically(self.path / STATE, buffer.getvalue())
        self._saved = time.monotonic()

    def load_state(self) -> dict[str, Any] | None:
        """The last state, and metrics cut to what it knows; None when the run was killed before the first.

        Raises:
            BadInputError: the file is broken.
        """
        if not (self.path / STATE).exists():
            self._cut_metrics(0)
            return None
        try:
            with warnings.catch_warnings():  # torch's guesses about a broken file
                warnings.simplefilter("ignore")
                found = load_torch(io.BytesIO(read_input(self.path / STATE)))
                lines, state = int(found["lines"]), dict(found["state"])
        except CvtoolError:
            raise
        except Exception as error:  # torch's reader meets broken files with whatever its code runs into
            raise BadInputError(
                f"'{self.path / STATE}' is broken or no state of a run. Start again with --overwrite."
            ) from error
        self._cut_metrics(lines)
        return state

    def _cut_metrics(self, lines: int) -> None:
        kept = self._metrics()[: max(0, lines)]
        write_atomically(self.path / METRICS, "".join(kept).encode("ascii"))
        self.lines = len(kept)
        self._events.restart(self.records())

    def _metrics(self) -> list[str]:
        path = self.path / METRICS
        try:
            return read_input(path).decode("ascii").splitlines(keepends=True) if path.exists() else []
        except UnicodeDecodeError as error:
            raise self._broken_metrics() from error

    def _broken_metrics(self) -> BadInputError:
        return BadInputError(f"'{self.path / METRICS}' is broken. Start again with --overwrite.")


def _link_written_through(run: Path) -> Path | None:
    """A link among what a run writes in its directory; what else lies there is none of its business."""
    folders = (run / SAMPLES, run / EVENTS)
    files = (each for each in run.iterdir() if each.name == LOCK or each.suffix in WRITTEN_SUFFIXES)
    direct = (each for each in (*folders, *files) if each.is_symlink())
    return next(chain(direct, filter(None, map(link_below, folders))), None)


def _unusable(path: Path, error: OSError) -> CvtoolError:
    return CvtoolError(f"'{path}' cannot be used as a run directory: {error.strerror}.")
