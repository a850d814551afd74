"""Commands that are imported when they are asked for: each costs hundredths of a second with all its options."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from cvtool.cli.failures import TYPER_ERROR
from cvtool.cli.options import INPUTS, NETWORK, RESULTS

T = TypeVar("T")


class _Command(TyperCommand):
    """Its help lists the options in sections, by their ``rich_help_panel``; plain Typer knows only one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            complaint: Any = error
            if isinstance(error, TYPER_ERROR):  # the parser does not say which command's option lacks its value
                complaint.ctx = complaint.ctx or ctx
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        records = ((_section(param), _record(param, ctx)) for param in self.get_params(ctx))
        for name, listed in in_sections((section, each) for section, each in records if each is not None).items():
            with formatter.section(name):
                formatter.write_dl(listed)


def _record(param: Any, ctx: Any) -> tuple[str, str] | None:
    """What the help says of a parameter, without the types of Python that newer Typers show."""
    record: tuple[str, str] | None = param.get_help_record(ctx)
    if record is None:
        return None
    name, text = record
    if param.param_type_name == "argument":
        return name.partition(" <")[0], text
    return _FLOAT.sub(" X", _INT.sub(" N", name)), text


_INT, _FLOAT = re.compile(r" <int( range)?>$"), re.compile(r" <float( range)?>$")


def _section(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return RESULTS if param.name == "help" else getattr(param, "rich_help_panel", None) or "Options"


def in_sections(items: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """What belongs to each section, in the order of the help: those that several commands share come last."""
    found: dict[str, list[T]] = {}
    for section, item in items:
        found.setdefault(section, []).append(item)
    shared = {name: found.pop(name) for name in (INPUTS, NETWORK, RESULTS) if name in found}
    return found | shared


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
        alone.command(name, cls=_Command)(found)
        command = typer.main.get_command(alone)
    command.name = name
    return command
