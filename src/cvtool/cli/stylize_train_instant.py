"""``cvtool stylize train-instant``: learn to paint any style in one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.console import Console
from cvtool.cli.protected import place_of, refuse_input, refuse_inside
from cvtool.errors import UsageError
from cvtool.stylize.instant.options import CHECKS, EMBEDDINGS, WIDTHS, InstantTrainOptions, PainterOptions

NETWORK = PainterOptions()
TRAIN = InstantTrainOptions()


def train_instant(
    context: typer.Context,
    content: Annotated[
        list[str],
        typer.Option(
            "--content",
            metavar="SPEC",
            help="Photographs: flickr8k:DIR (its training split), folder:DIR or a folder; may be given again.",
        ),
    ],
    styles: Annotated[
        list[str],
        typer.Option("--styles", metavar="FOLDER", help="Pictures whose styles are learned; may be given again."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN_DIR", help="Directory of the run.")],
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME",
            show_default=f"{TRAIN.budget / 60:g}m",
            help="Time for the run, e.g. 30m; it plans the steps.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, show_default="as the budget allows", help="Steps of the run."),
    ] = TRAIN.steps,
    width: Annotated[
        int, typer.Option("--width", min=WIDTHS[0], max=WIDTHS[-1], help="Channels at half of the picture's size.")
    ] = NETWORK.width,
    embedding: Annotated[
        int,
        typer.Option(
            "--embedding", min=EMBEDDINGS[0], max=EMBEDDINGS[-1], help="Numbers that a style is boiled down to."
        ),
    ] = NETWORK.embedding,
    batch: Annotated[
        int, typer.Option("--batch", min=2, help="Pictures a step at first; fewer once they are larger.")
    ] = TRAIN.batch,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Learning rate at its highest.")] = TRAIN.rate,
    ema: Annotated[
        float, typer.Option("--ema", min=0, max=0.999999, help="Decay of the average over weights.")
    ] = TRAIN.ema,
    photos: Annotated[
        float, typer.Option("--photos", min=0, max=1, help="Share of the styles that are photographs.")
    ] = TRAIN.photos,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0, max=0.5, help="Share of the pictures that only checks look at.")
    ] = TRAIN.held_out,
    every: Annotated[
        int | None,
        typer.Option("--every", metavar="N", min=1, show_default=f"{CHECKS} times a run", help="Steps between checks."),
    ] = TRAIN.every,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Pairs that a check paints, in sixes.")
    ] = TRAIN.samples,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", show_default="untrained weights", help="Painter to train further."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", show_default="off", help="Go on to the end that an uninterrupted run reaches.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", show_default="off", help="Start again in a directory that is not empty.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", show_default="off", help="Go on without pictures that cannot be used.")
    ] = TRAIN.skip_bad,
    device: shared.Device = "auto",
    precision: shared.TrainingPrecision = shared.Precision.auto,
    seed: shared.Seed = TRAIN.seed,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Train a painter for 'cvtool stylize --instant'.

    Writes best.safetensors (the averaged weights with the smallest loss on what was held out), last.safetensors,
    samples/, metrics.jsonl, report.html, and what --resume needs.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on, --overwrite starts again. Give one of them.")
    if budget is not None and steps is not None:
        raise UsageError("--budget and --steps both say when to end. Give one of them.")
    if precision is shared.Precision.fp16:
        raise UsageError("Training overflows in fp16. Use --precision bf16 or fp32.")
    read = (*map(place_of, (*content, *styles)), start)
    refuse_input(output, read, "--output")
    if overwrite:
        refuse_inside(output, read)
    console = Console(json=json, quiet=quiet, verbose=verbose)
    from cvtool.cli.stylize_instant_trainer import Request, carry_out

    request = Request(
        content=tuple(content),
        styles=tuple(styles),
        run=output,
        device=device,
        start=start,
        network=PainterOptions(width=width, embedding=embedding),
        training=InstantTrainOptions(
            steps=steps,
            budget=TRAIN.budget if budget is None else shared.parse_seconds(budget, "--budget"),
            batch=batch,
            rate=rate,
            ema=ema,
            photos=photos,
            held_out=held_out,
            every=every,
            samples=samples,
            skip_bad=skip_bad,
            seed=seed,
            precision=precision.value,
        ),
    )
    carry_out(request, context, console, resume=resume, overwrite=overwrite)
