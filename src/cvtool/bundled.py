"""The demo pictures that come with the install: photos to work on and styles to borrow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cvtool.errors import UnknownNameError

KINDS = {"photo": "photos", "style": "styles"}
"""What a picture is for → the folder of assets it lies in."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True)
class Asset:
    """One bundled picture.

    Attributes:
        name: what ``asset:NAME`` calls it; the file's stem.
        kind: ``"photo"`` or ``"style"``.
        path: where it lies, absolute.
    """

    name: str
    kind: str
    path: Path


def asset_folder() -> Path:
    """The folder of bundled files: inside the installed package, or beside ``src`` in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "assets"
    return installed if installed.is_dir() else package.parents[1] / "assets"


def list_assets() -> list[Asset]:
    """All bundled pictures, photos first, each kind by name; empty when the install carries none."""
    return [
        Asset(path.stem, kind, path)
        for kind, folder in KINDS.items()
        for path in sorted((asset_folder() / folder).glob("*"))
        if path.suffix.lower() in SUFFIXES
    ]


def find_asset(name: str) -> Asset:
    """The bundled picture called `name`; case, ``_`` and ``-`` do not matter.

    Raises:
        UnknownNameError: there is none; the message names the nearest.
    """
    assets = {_folded(asset.name): asset for asset in reversed(list_assets())}  # photos win
    found = assets.get(_folded(name))
    if found is None:
        known = [asset.name for asset in assets.values()]
        raise UnknownNameError("bundled picture", name, known, "'cvtool assets' lists them.")
    return found


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")
