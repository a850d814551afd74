"""What a command asks of torchrun: whether it shares its inputs with others, and what it cannot do then."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import typer

from cvtool.cli.inputs import STDIN, Input
from cvtool.cli.outputs import STDOUT
from cvtool.cli.parts import Parts, folder_of
from cvtool.cli.shared_batch import SharedBatch
from cvtool.cli.shares import Shares
from cvtool.errors import UsageError
from cvtool.launch import launch, meeting


def shares(context: typer.Context, *, beside: Path | str | None, unshared: dict[str, bool] | None = None) -> Shares:
    """How a command shares its inputs with other processes of its launch.

    Args:
        context: of the running command.
        beside: where its results go, as given to ``--output``.
        unshared: options that want one process, and whether they are given.

    Raises:
        UsageError: there are other processes, and such an option or stdin is given.
    """
    place = launch()
    if place is None or place.size == 1:
        return Shares()
    refused = next((option for option, given in (unshared or {}).items() if given), None)
    if refused is not None:
        raise UsageError(f"{refused} needs one process that has all inputs. Leave it out, or torchrun.")
    if str(beside) == STDOUT:
        raise UsageError("'--output -' is for one process. Give --output a folder, or leave out torchrun.")
    params = {name: value for name, value in sorted(context.params.items()) if name not in ("quiet", "verbose")}
    folder = folder_of(_folder(beside), f"{context.command_path} {params!r}", meeting())
    return SharedBatch(Parts(folder, place))


def _folder(output: Path | str | None) -> Path:
    """The folder of the results, by the name alone: they may not be there yet, or half."""
    if output is None:
        return Path()
    text = str(output)
    is_folder = text.endswith(("/", os.sep)) or os.path.isdir(text) or (not Path(text).suffix)
    return Path(text) if is_folder and not isinstance(output, Path) else Path(text).parent


def refuse_stdin(shares: Shares, inputs: Iterable[Input]) -> None:
    """stdin belongs to no single one of several processes.

    Raises:
        UsageError: ``-`` stands for a picture, and there are several processes.
    """
    if shares.shared and any(given.name == STDIN for given in inputs):
        raise UsageError("'-' reads a picture from stdin, which several processes cannot share. Give it as a file.")
