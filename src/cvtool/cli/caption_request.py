"""What ``cvtool caption train`` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvtool.caption.options import Engine, ModelOptions, TrainOptions
from cvtool.cli.runs import plain


@dataclass(frozen=True)
class Request:
    """What is asked of a run; it is kept in its config.json, and a resumed run must ask the same."""

    data: str
    split_file: Path | None
    skip_bad: bool
    run: Path
    features: Path | None
    model: str
    weights: Path | None
    device: str
    start: Path | None
    limit: int | None
    engine: Engine
    model_options: ModelOptions
    train_options: TrainOptions

    def record(self) -> dict[str, Any]:
        """As JSON holds it, without what may differ when a run goes on: places and the device."""
        return plain(self, without=("run", "features", "device", "data", "split_file", "weights", "start"))
