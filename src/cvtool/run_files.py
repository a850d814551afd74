"""How the files in the directory of a run are called, see `cvtool.training`. No torch here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from cvtool.errors import BadInputError
from cvtool.files import read_input

CONFIG, METRICS, LAST, BEST, STATE = "config.json", "metrics.jsonl", "last.safetensors", "best.safetensors", "state.pt"
SAMPLES, REPORT = "samples", "report.html"
LOCK = ".lock"


def is_run(folder: str | Path) -> bool:
    """Whether a folder is the directory of a run. Its samples are no data, even where it lies among the data."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in (CONFIG, METRICS))


def read_config(run: Path, advice: str) -> dict[str, Any]:
    """What a run was asked for.

    Raises:
        BadInputError: there is no such file, or it is broken; then the message ends with `advice`.
    """
    try:
        found = json.loads(read_input(run / CONFIG))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"'{run / CONFIG}' is broken. {advice}") from error
    if not isinstance(found, dict):
        raise BadInputError(f"'{run / CONFIG}' is not a run's configuration. {advice}")
    return found
