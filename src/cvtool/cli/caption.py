"""``cvtool caption``: the commands around captions."""

from __future__ import annotations

from typing import ClassVar

import typer

from cvtool.cli.commands import Group, show_help


class _Commands(Group):
    places: ClassVar = {
        "describe": "caption_describe:describe",
        "train": "caption_train:train",
        "evaluate": "caption_evaluate:evaluate",
        "features": "caption_features:features",
        "check": "caption_check:check",
    }


app = typer.Typer(
    cls=_Commands,
    callback=show_help,
    invoke_without_command=True,
    rich_markup_mode=None,
    help="Say in words what pictures show; train your own.",
)
