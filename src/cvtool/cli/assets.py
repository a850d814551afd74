"""``cvtool assets``: the bundled pictures."""

from __future__ import annotations

from cvtool.bundled import list_assets
from cvtool.cli import options
from cvtool.cli.console import Console


def assets(
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """List the bundled pictures.

    'asset:NAME' stands for one of them wherever a picture is asked for.
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    found = list_assets()
    for asset in found:
        console.result("assets", input=f"asset:{asset.name}", name=asset.name, kind=asset.kind, path=str(asset.path))
    if not json:
        rows = [(f"asset:{asset.name}", asset.kind, str(asset.path)) for asset in found]
        console.table(rows, header=("NAME", "KIND", "PATH"))
