"""The command line that makes a picture again, for its provenance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer

WITHOUT_EFFECT = frozenset(
    {
        *("output", "json", "quiet", "verbose", "debug", "recursive", "report"),
        *("files_from", "null", "skip_existing"),
    }
)
"""Options that all commands have and that do not change a single pixel. (The format is set by the command.)"""


def command_line(
    context: typer.Context,
    arguments: Sequence[str],
    *,
    replaced: Mapping[str, Any] | None = None,
    dropped: frozenset[str] = frozenset(),
) -> str:
    """The options that were given, as a line for the shell, in the order of the command's help.

    Args:
        context: of the running command.
        arguments: what stands instead of the positional arguments: this one result's inputs.
        replaced: parameter → value to write instead of the one given, also where none was given, or where it is one of
            those without effect; None leaves it out. Files are written absolute if they are given as `Path`.
        dropped: parameters that are left out, besides those without effect on the result.
    """
    given = given_names(context) - WITHOUT_EFFECT
    values = {
        each.name: _declared(each, context.params[each.name]) for each in context.command.params if each.name in given
    }
    values |= replaced or {}
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in values and name not in dropped and parameter.param_type_name == "option":
            words += _option(max(parameter.opts, key=len), parameter.secondary_opts, values[name])
    if any(argument.startswith("-") and argument != "-" for argument in arguments):
        words.append("--")
    return shlex.join([*words, *arguments])


def given_names(context: typer.Context) -> frozenset[str]:
    """Parameters given by the user, on the command line or in the environment, rather than left to their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source and not source.name.startswith("DEFAULT"))


def _declared(parameter: Any, value: Any) -> Any:
    """The value of a parameter as its command gets it: up to Typer 0.28 a file is still text in the context.

    Only the type of files has this attribute there; the type itself is not part of Typer's public interface.
    """
    is_file = isinstance(value, str) and hasattr(getattr(parameter, "type", None), "resolve_path")
    return Path(value) if is_file else value


def _option(option: str, opposite: Sequence[str], value: Any) -> list[str]:
    """One option as words: flags alone, lists one by one, enum members by value, paths absolute."""
    if value is None:
        return []
    if isinstance(value, bool):
        return [option] if value else list(opposite[:1])
    if isinstance(value, (list, tuple)):
        return [word for item in value for word in _option(option, opposite, item)]
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Path):
        value = value.resolve()
    text = str(value)
    # A value such as -1 or "-" after a blank would be taken for an option.
    return [f"{option}={text}"] if text.startswith("-") else [option, text]
