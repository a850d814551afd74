"""Commands that are imported when they are asked for: each costs hundredths of a second with all its options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


def show_help(context: typer.Context) -> None:
    """What a group does where none of its commands is named; given to `typer.Typer` as ``callback``."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


class Group(TyperGroup):
    """A group that knows where its commands are; given to `typer.Typer` as ``cls``.

    Attributes:
        places: by the words that call them, in the order of the help: ``"module:name"`` in this package, of a function
            or of a `typer.Typer`.
    """

    places: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Imported(self.places)  # type: ignore[assignment]


class _Imported(Mapping[str, Any]):
    """Click's commands by name, made when they are looked up."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> Any:
        return _command(name, self._places[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places


def imported(place: str) -> Callable[..., Any] | typer.Typer:
    """What ``"module:name"`` names."""
    module, name = place.split(":")
    found: Callable[..., Any] | typer.Typer = getattr(import_module(f"cvtool.cli.{module}"), name)
    return found


@cache
def _command(name: str, place: str) -> Any:
    found = imported(place)
    command: Any
    if isinstance(found, typer.Typer):
        command = typer.main.get_group(found)
    else:
        alone = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        alone.command(name)(found)
        command = typer.main.get_command(alone)
    command.name = name
    return command
