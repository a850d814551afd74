"""``cvtool gan``: the commands around generators."""

from __future__ import annotations

import typer

from cvtool.cli.gan_evaluate import evaluate
from cvtool.cli.gan_export import export
from cvtool.cli.gan_interpolate import interpolate
from cvtool.cli.gan_invert import invert
from cvtool.cli.gan_sample import sample
from cvtool.cli.gan_train import train

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make pictures up; train your own generator.")
app.command("train")(train)
app.command("sample")(sample)
app.command("interpolate")(interpolate)
app.command("invert")(invert)
app.command("evaluate")(evaluate)
app.command("export")(export)
