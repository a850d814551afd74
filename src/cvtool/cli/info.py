"""``cvtool info``: how a result came to be."""

from __future__ import annotations

import dataclasses
import json as json_format
import os
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvtool.cli import options
from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.input_lists import files_of
from cvtool.cli.inputs import Input, refuse_second_stdin
from cvtool.errors import BadInputError
from cvtool.files import read_input, read_stream
from cvtool.run_files import BEST, CONFIG, LAST, read_config

if TYPE_CHECKING:
    from cvtool.provenance import Provenance


def info(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE",
            show_default="those of --files-from",
            help="Pictures, clips, checkpoints or run directories that cvtool wrote; '-' reads one file from stdin.",
        ),
    ] = None,
    files_from: options.FilesFrom = None,
    null: options.Null = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Show what made a picture, clip, checkpoint or run.

    Its inputs, options and versions, and the command line that makes it again.
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    inputs = files_of(files or [], files_from, null=null)
    refuse_second_stdin(inputs, files_from)

    def show(given: Input) -> None:
        started = time.perf_counter()
        found = _read(given)
        console.result(
            "info",
            input=given.name,
            model=found.model,
            device=found.device,
            seed=found.seed,
            seconds=round(time.perf_counter() - started, 3),
            provenance=dataclasses.asdict(found),
        )
        if not json:
            if len(inputs) > 1:
                console.line(f"{given.name}:")
            console.table(_rows(found))

    for_each(inputs, show, command="info", console=console)


def _read(given: Input) -> Provenance:
    from cvtool.provenance import read_provenance

    if given.path is None:
        return _read_pipe(read_stream(sys.stdin.buffer, "stdin"), "stdin")
    try:
        mode = os.stat(given.path).st_mode
    except (OSError, ValueError):  # reading it says why
        mode = 0
    if stat.S_ISFIFO(mode):
        return _read_pipe(read_input(given.path), given.name)
    return _of_run(given.path) if stat.S_ISDIR(mode) else read_provenance(given.path)


def _read_pipe(data: bytes, name: str) -> Provenance:
    """What came through a pipe, by way of a file: the readers look at it more than once."""
    from cvtool.provenance import read_provenance

    with tempfile.NamedTemporaryFile(prefix="cvtool-") as file:
        file.write(data)
        file.flush()
        try:
            return read_provenance(file.name)
        except BadInputError as error:
            raise BadInputError(str(error).replace(file.name, name)) from error


def _of_run(run: Path) -> Provenance:
    """What made a run directory: as its best checkpoint so far knows it, or as it was begun if there is none yet."""
    from cvtool.provenance import Provenance, read_provenance

    for name in (BEST, LAST):
        if os.path.isfile(run / name):
            return read_provenance(run / name)
    config = read_config(run, "Get the run's directory again.") if os.path.isfile(run / CONFIG) else {}
    if "command_line" not in config:
        raise BadInputError(
            f"'{run}' is a folder without a checkpoint. Give a picture, a checkpoint or a run directory."
        )
    record = {name: config.pop(name) for name in ("version", "command_line", "environment") if name in config}
    words = str(record["command_line"]).partition(" -")[0].split()
    return Provenance.from_json(
        json_format.dumps({**record, "command": " ".join(words[1:]), "options": config}), str(run / CONFIG)
    )


def _rows(found: Provenance) -> list[tuple[str, str]]:
    """What is known, in two columns; the command line last, where it is easy to copy."""
    rows = [("command", found.command), ("version", found.version)]
    rows += [("input", f"{entry['path']}  sha256 {entry['sha256']}") for entry in found.inputs]
    facts = (("model", found.model), ("device", found.device), ("seed", found.seed))
    rows += [(name, str(value)) for name, value in facts if value is not None]
    rows += [(f"  {name}", _text(value)) for name, value in found.options.items()]
    rows += [(f"  {name}", version) for name, version in found.environment.items()]
    return [*rows, ("again", found.command_line)]


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
