"""Metrics of a run as TensorBoard's event files, for those whose habit that is and who installed the extra."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"


class EventFiles:
    """Event files below a run's directory; does nothing where TensorBoard is not installed.

    ``metrics.jsonl`` is what counts: the events repeat it, and are written anew from it when a run goes on.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / FOLDER
        self._writer: Any = None

    def add(self, record: Mapping[str, Any]) -> None:
        """The numbers of a line of metrics, at its step (else its epoch)."""
        if importlib.util.find_spec("tensorboard") is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._path))
        step = record.get("step", record.get("epoch", 0))
        for name, value in record.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in ("step", "epoch"):
                self._writer.add_scalar(name, value, global_step=step)
        self._writer.flush()

    def restart(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Forget everything but `records`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        shutil.rmtree(self._path, ignore_errors=True)
        for record in records:
            self.add(record)
