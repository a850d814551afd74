"""``cvtool caption check``: the backward passes derived by hand against automatic differentiation."""

from __future__ import annotations

from typing import Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.console import Console
from cvtool.errors import CvtoolError


def check(
    cells: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CELL",
            show_default="all",
            help="rnn, lstm or gru; with attention as lstm+scaled-dot or lstm+additive.",
        ),
    ] = None,
    seed: shared.Seed = 0,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Compare hand-derived gradients with torch's.

    A table of every output and gradient of the NumPy cells with its largest relative error, in double precision.
    """
    from cvtool.caption.check import CHECKED, LARGEST_ERROR, check

    console = Console(json=json, quiet=quiet, verbose=verbose)
    rows = check(tuple(cells) if cells else CHECKED, seed)
    for row in rows:
        console.result("caption check", seed=seed, cell=row.cell, quantity=row.quantity, error=row.relative_error)
    if not json:
        lines = [(row.cell, row.quantity, f"{row.relative_error:.1e}") for row in rows]
        console.table(lines, header=("cell", "output or gradient", "relative error"))
    wrong = [row for row in rows if not row.relative_error <= LARGEST_ERROR]  # as NaN is
    if wrong:
        worst = max(wrong, key=lambda row: row.relative_error)
        raise CvtoolError(
            f"{worst.cell}, {worst.quantity}: the two differ by {worst.relative_error:.1e}, "
            f"more than {LARGEST_ERROR:.0e}."
        )
