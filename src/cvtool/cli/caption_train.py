"""``cvtool caption train``: learn to describe pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cvtool.caption.options import Cell, Engine, ModelOptions, TrainOptions
from cvtool.cli import options as shared
from cvtool.cli.caption_data import DataOption, SkipBad, SplitFile
from cvtool.cli.console import Console
from cvtool.cli.protected import place_of, refuse_input, refuse_inside
from cvtool.errors import UsageError
from cvtool.models.cards import DEFAULT_MODEL

MODEL = ModelOptions()
TRAIN = TrainOptions()
CAPTIONER, REWARDS, SEES = "The captioner", "Self-critical epochs", "The network that sees"
"""Where ``--help`` lists options; the others come first."""


def train(
    context: typer.Context,
    data: DataOption,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN_DIR", help="Directory of the run.")],
    split_file: SplitFile = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="FILE.h5",
            show_default="RUN_DIR/features.h5",
            help="Features of the pictures, as 'caption features' writes them; what is missing is computed first.",
        ),
    ] = None,
    model: Annotated[str, shared.model_option()] = DEFAULT_MODEL,
    weights: shared.Weights = None,
    cell: Annotated[
        Cell, typer.Option("--cell", rich_help_panel=CAPTIONER, help="What remembers from word to word.")
    ] = MODEL.cell,
    attention: Annotated[
        bool,
        typer.Option(
            "--attention/--no-attention",
            rich_help_panel=CAPTIONER,
            help="Look at places of the picture for every word.",
        ),
    ] = MODEL.attention,
    layers: Annotated[
        int, typer.Option("--layers", rich_help_panel=CAPTIONER, min=1, max=8, help="Recurrent layers.")
    ] = MODEL.layers,
    hidden: Annotated[
        int, typer.Option("--hidden", rich_help_panel=CAPTIONER, min=1, help="Width of the recurrent layers.")
    ] = MODEL.hidden,
    embedding: Annotated[
        int, typer.Option("--embedding", rich_help_panel=CAPTIONER, min=1, help="Width of the word vectors.")
    ] = MODEL.embedding,
    dropout: Annotated[
        float, typer.Option("--dropout", rich_help_panel=CAPTIONER, min=0, max=0.95, help="Share left out in training.")
    ] = MODEL.dropout,
    tie: Annotated[
        bool,
        typer.Option(
            "--tie/--no-tie",
            rich_help_panel=CAPTIONER,
            help="Use the word vectors as the weights of the last layer, too.",
        ),
    ] = MODEL.tie,
    epochs: Annotated[int, typer.Option("--epochs", min=0, help="Passes over people's captions.")] = TRAIN.epochs,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Pictures a step, with all their captions.")
    ] = TRAIN.batch,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Learning rate.")] = TRAIN.rate,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Steps in which the rate grows.")] = TRAIN.warmup,
    decay: Annotated[float, typer.Option("--decay", min=0, help="Weight decay.")] = TRAIN.decay,
    smoothing: Annotated[float, typer.Option("--smoothing", min=0, max=0.9, help="Label smoothing.")] = TRAIN.smoothing,
    scheduled: Annotated[
        float,
        typer.Option("--scheduled", min=0, max=1, help="Share of the network's own words in the last epoch's input."),
    ] = TRAIN.scheduled,
    clip: Annotated[float, typer.Option("--clip", min=0.001, help="Largest norm of the gradient.")] = TRAIN.clip,
    threshold: Annotated[
        int, typer.Option("--threshold", min=1, help="Words seen less often become <UNK>.")
    ] = TRAIN.threshold,
    longest: Annotated[
        int, typer.Option("--max-length", min=1, max=100, help="Words of a caption at most.")
    ] = TRAIN.longest,
    average: Annotated[
        int,
        typer.Option(
            "--average", metavar="EPOCHS", min=1, help="Judge and keep the mean weights of so many last epochs."
        ),
    ] = TRAIN.average,
    patience: Annotated[
        int,
        typer.Option(
            "--patience",
            min=1,
            help="Epochs without a better CIDEr-D before this part of the training ends; then --scst.",
        ),
    ] = TRAIN.patience,
    scst: Annotated[
        int,
        typer.Option(
            "--scst",
            rich_help_panel=REWARDS,
            metavar="EPOCHS",
            min=0,
            help="Self-critical epochs on CIDEr-D afterwards.",
        ),
    ] = TRAIN.scst,
    scst_rate: Annotated[
        float, typer.Option("--scst-rate", rich_help_panel=REWARDS, min=0, help="Their learning rate.")
    ] = TRAIN.scst_rate,
    scst_temperature: Annotated[
        float,
        typer.Option("--scst-temperature", rich_help_panel=REWARDS, min=0.01, help="Temperature at which they draw."),
    ] = TRAIN.scst_temperature,
    scst_anchor: Annotated[
        float,
        typer.Option(
            "--scst-anchor",
            rich_help_panel=REWARDS,
            min=0,
            help="Weight of the loss of people's captions beside the reward.",
        ),
    ] = TRAIN.scst_anchor,
    scst_samples: Annotated[
        int, typer.Option("--scst-samples", rich_help_panel=REWARDS, min=2, help="Captions they draw for each picture.")
    ] = TRAIN.scst_samples,
    finetune: Annotated[
        bool,
        typer.Option(
            "--finetune",
            rich_help_panel=SEES,
            show_default="off",
            help="Also train the network that sees, from the pictures; best on a GPU.",
        ),
    ] = TRAIN.finetune,
    finetune_from: Annotated[
        str,
        typer.Option(
            "--finetune-from",
            rich_help_panel=SEES,
            metavar="LAYER",
            show_default="all",
            help="Train that network from this layer on only, e.g. blocks.5: minutes instead of hours on a CPU.",
        ),
    ] = TRAIN.finetune_from,
    finetune_rate: Annotated[
        float, typer.Option("--finetune-rate", rich_help_panel=SEES, min=0, help="The network's learning rate.")
    ] = TRAIN.finetune_rate,
    start: Annotated[
        Path | None,
        typer.Option(
            "--init", metavar="FILE", show_default="random", help="Start with the weights and words of a checkpoint."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, show_default="all", help="Train on the first N pictures only."),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            "--engine", rich_help_panel=CAPTIONER, help="torch, or the readable NumPy one (small runs, no attention)."
        ),
    ] = Engine.torch,
    resume: Annotated[
        bool, typer.Option("--resume", show_default="off", help="Go on to the end that an uninterrupted run reaches.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", show_default="off", help="Start again in a directory that is not empty.")
    ] = False,
    skip_bad: SkipBad = False,
    device: shared.Device = "auto",
    precision: shared.PrecisionOption = shared.Precision.auto,
    seed: shared.Seed = TRAIN.seed,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Train a captioner on pictures with captions.

    Writes best.safetensors (by CIDEr-D of its own captions on the development split), last.safetensors, samples/ (some
    development pictures with their captions after each epoch), metrics.jsonl, report.html, and what --resume needs.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on, --overwrite starts again. Give one of them.")
    read = (place_of(data), split_file, start, weights)
    refuse_input(output, read, "--output")
    if overwrite:  # --features may lie there: a file that is named is kept
        refuse_inside(output, read)
    console = Console(json=json, quiet=quiet, verbose=verbose)
    model_options = ModelOptions(
        cell=cell, attention=attention, layers=layers, hidden=hidden, embedding=embedding, dropout=dropout, tie=tie
    )
    train_options = TrainOptions(
        epochs=epochs,
        batch=batch,
        rate=rate,
        warmup=warmup,
        decay=decay,
        smoothing=smoothing,
        scheduled=scheduled,
        clip=clip,
        threshold=threshold,
        longest=longest,
        average=average,
        patience=patience,
        scst=scst,
        scst_rate=scst_rate,
        scst_temperature=scst_temperature,
        scst_anchor=scst_anchor,
        scst_samples=scst_samples,
        finetune=finetune or bool(finetune_from),
        finetune_from=finetune_from,
        finetune_rate=finetune_rate,
        seed=seed,
        precision=precision.value,
    )
    from cvtool.cli.caption_request import Request
    from cvtool.cli.caption_trainer import carry_out

    carry_out(
        Request(
            data=data,
            split_file=split_file,
            skip_bad=skip_bad,
            run=output,
            features=features,
            model=model,
            weights=weights,
            device=device,
            start=start,
            limit=limit,
            engine=engine,
            model_options=model_options,
            train_options=train_options,
        ),
        context,
        console,
        resume=resume,
        overwrite=overwrite,
    )
