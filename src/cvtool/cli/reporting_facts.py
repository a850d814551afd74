"""What ``--json`` says of a result, as the tables of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cvtool.pages import rows, worded

ELSEWHERE = frozenset({"command", "input", "output", "version"})
"""Keys whose values are elsewhere on the page."""
SHARE = "probability"


@dataclass(frozen=True)
class Cell:
    """A value in words.

    Attributes:
        text: as people read it.
        share: in [0, 1], drawn as a bar; None for what is no share of anything.
    """

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """A list of things that are alike, such as predictions."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def numbers(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values of all that is no list of things."""
    plain = _without_lists({key: value for key, value in facts.items() if key not in ELSEWHERE})
    return tuple((_name(key), _cell(key, value).text) for key, value in rows(plain))


def tables(facts: Mapping[str, Any], place: str = "") -> tuple[Table, ...]:
    """The lists of things among the facts, wherever they are: ``adversarial`` with ``predictions`` gives one table."""
    found: list[Table] = []
    for key, value in facts.items():
        path = f"{place}.{key}" if place else key
        if isinstance(value, Mapping):
            found += tables(value, path)
        elif _is_list_of_things(value):
            found.append(_table(_name(path).capitalize(), value))
    return tuple(found)


def _is_list_of_things(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _without_lists(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_lists(value) if isinstance(value, Mapping) else value
        for key, value in facts.items()
        if not _is_list_of_things(value)
    }


def _table(title: str, things: list[Mapping[str, Any]]) -> Table:
    flat = [dict(rows(each)) for each in things]
    columns = tuple(dict.fromkeys(key for each in flat for key in each))
    cells = tuple(tuple(_cell(key, each.get(key)) for key in columns) for each in flat)
    return Table(title, tuple(map(_name, columns)), cells)


def _name(key: str) -> str:
    """``adversarial.log_probability`` → ``adversarial: log probability``."""
    return key.replace("_", " ").replace(".", ": ")


def _cell(key: str, value: object) -> Cell:
    if key.rpartition(".")[2] == SHARE and isinstance(value, float):
        return Cell(f"{value:.1%}", min(1.0, max(0.0, value)))
    return Cell(worded(value))
