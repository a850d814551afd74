"""``cvtool caption``: the commands around captions."""

from __future__ import annotations

import typer

from cvtool.cli.caption_check import check
from cvtool.cli.caption_describe import describe
from cvtool.cli.caption_evaluate import evaluate
from cvtool.cli.caption_features import features
from cvtool.cli.caption_train import train

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Say in words what pictures show; train your own.")
app.command("describe")(describe)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("features")(features)
app.command("check")(check)
