"""``cvtool gan``: the commands around generators."""

from __future__ import annotations

from typing import ClassVar

import typer

from cvtool.cli.commands import Group, show_help


class _Commands(Group):
    places: ClassVar = {
        "train": "gan_train:train",
        "sample": "gan_sample:sample",
        "interpolate": "gan_interpolate:interpolate",
        "invert": "gan_invert:invert",
        "evaluate": "gan_evaluate:evaluate",
        "export": "gan_export:export",
    }


app = typer.Typer(
    cls=_Commands,
    callback=show_help,
    invoke_without_command=True,
    rich_markup_mode=None,
    help="Make pictures up; train your own generator.",
)
