"""What comes with the install: demo pictures (photos to work on, styles to borrow) and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cvtool.errors import BadInputError, UnknownNameError, WeightsUnavailableError
from cvtool.files import sha256_of

KINDS = {"photo": "photos", "style": "styles"}
"""What a picture is for → the folder of assets it lies in."""

CHECKPOINTS = {
    "captioner.safetensors": "c7687a2b7402c4e04b2b6620d3b9a5e1f43a384f1f05dfa8ea69d109d5fedf46",
    "generator.safetensors": "2fdab85f0a50717681ee4f90a72be1db3e73ec6425af7d152bbc5e3f2e9e94f8",
    "painter.safetensors": "f3035b75b09c10225464555f91bdbe0de90f4346b2d51f06cf2c2915a1d92d3a",
}
"""The SHA-256 of the bundled checkpoints; who makes one anew writes it here."""

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


def checkpoint(name: str, command: str) -> Path:
    """Where one of the `CHECKPOINTS` lies; `command` trains another like it.

    Raises:
        WeightsUnavailableError: this install has none.
        BadInputError: it is not the one that was published.
    """
    path = asset_folder() / name
    if not path.is_file():
        raise WeightsUnavailableError(
            f"'{path}' is missing: this install has no {path.stem}. Install cvtool again, or train one: '{command}'."
        )
    return published(path)


def published(path: Path) -> Path:
    """The same path, of one of the `CHECKPOINTS`, if the file is the one that was published.

    Raises:
        BadInputError: it is missing, or another one.
    """
    found = sha256_of(path)
    if found != CHECKPOINTS[path.name]:
        raise BadInputError(
            f"'{path}' is not the published file (sha256 {found[:12]}… instead of {CHECKPOINTS[path.name][:12]}…). "
            "Install cvtool again."
        )
    return path


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
