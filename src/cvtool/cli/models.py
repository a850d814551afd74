"""``cvtool models``: the networks that can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cvtool.cli import options
from cvtool.cli.console import Console
from cvtool.errors import UnknownNameError
from cvtool.models.cards import CARDS

if TYPE_CHECKING:
    from cvtool.models.listing import ModelRow


def models(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", show_default="all networks", help="Part of a name.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """List the networks.

    For each: the name that --model takes, what it is for, the licence and size of its weights, and whether they are
    on this machine.
    """
    from cvtool.models.listing import rows

    console = Console(json=json, quiet=quiet, verbose=verbose)
    found = rows(text or "")
    if not found:
        raise UnknownNameError("model", text or "", CARDS, "'cvtool models' lists the installed ones.")
    for row in found:
        console.result(
            "models",
            model=row.name,
            origin=row.origin,
            abilities=list(row.abilities),
            licence=row.licence or None,
            size_mb=row.size_mb or None,
            weights_here=row.path is not None,
            path=None if row.path is None else str(row.path),
            note=row.note or None,
        )
    if not json:
        console.table([_cells(row) for row in found], header=("NAME", "FOR", "MB", "LICENCE", "WEIGHTS"))


def _cells(row: ModelRow) -> tuple[str, ...]:
    size = f"{row.size_mb:.0f}" if row.size_mb else "-"
    weights = " ".join(part for part in (str(row.path or ""), row.note) if part) or "not on this machine"
    return (row.name, ", ".join(row.abilities), size, row.licence or "-", weights)
