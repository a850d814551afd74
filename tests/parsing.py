"""The command line's own parser, asked without carrying anything out; all commands by the words that call them."""

from __future__ import annotations

from typing import Any

import typer

from cvtool.cli.main import app


def _flattened(commands: dict[str, typer.core.TyperCommand], before: str = "") -> dict[str, typer.core.TyperCommand]:
    found = {}
    for name, command in commands.items():
        found[before + name] = command
        found.update(_flattened(getattr(command, "commands", {}), f"{before}{name} "))
    return found


COMMANDS = _flattened(typer.main.get_command(app).commands)
"""Those of groups included, and the groups."""


def parse(words: list[str]) -> dict[str, Any]:
    """Go through the groups to the command, and let it read its options: what it would be called with.

    Up to Typer 0.28 files are still texts here, and lists tuples: they became what the command asks for at its call.
    """
    command = typer.main.get_command(app)
    name = "cvtool"
    while hasattr(command, "commands") and words:
        head = " ".join(words[:2]) if " ".join(words[:2]) in command.commands else words[0]
        if head.startswith("-"):
            break
        command.resolve_command(typer.Context(command), list(words))  # complains of what there is not
        words = words[len(head.split()) :]
        command, name = command.commands[head], head
    return command.make_context(name, list(words)).params
