"""Files that other installed packages carry, found without running those packages' code. No torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from cvtool.models.cards import ModelCard


def data_file(location: str) -> Path | None:
    """``import_name/path`` → the file inside that installed package, None when it is not there."""
    package, _, inside = location.partition("/")
    spec = importlib.util.find_spec(package)  # a top-level package is only located by this, not imported
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / inside
        if path.is_file():
            return path
    return None


def weights_path(card: ModelCard) -> Path | None:
    """Where the weights of a bundled network lie, None when its package is not installed."""
    return data_file(card.weights_file)
