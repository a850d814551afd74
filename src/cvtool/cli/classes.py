"""``cvtool classes``: search the names of ImageNet's classes."""

from __future__ import annotations

from typing import Annotated

import typer

from cvtool.cli import options
from cvtool.cli.console import Console


def classes(
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", show_default="all classes", help="Part of a name, an index or a WordNet id."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Search the names of the ImageNet classes.

    Every name, index or WordNet id can be given where a class is asked for.
    """
    from cvtool.errors import UnknownNameError
    from cvtool.models import imagenet

    console = Console(json=json, quiet=quiet, verbose=verbose)
    found = imagenet.classes() if text is None else imagenet.search(text)
    if not found:
        names = [name for known in imagenet.classes() for name in known.synonyms]
        raise UnknownNameError("class", text or "", names, "'cvtool classes' lists all.")
    for known in found:
        console.result(
            "classes",
            index=known.index,
            wnid=known.wnid,
            name=known.name,
            synonyms=list(known.synonyms),
            definition=known.definition,
        )
    if not json:
        rows = [(str(known.index), known.wnid, ", ".join(known.synonyms)) for known in found]
        console.table(rows, header=("INDEX", "WORDNET", "NAMES"))
