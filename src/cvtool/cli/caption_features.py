"""``cvtool caption features``: what a network sees in the pictures of a data set, kept in an HDF5 file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.caption_data import DataOption, SkipBad, SplitFile, checked, known_in
from cvtool.cli.caption_features_makers import Wanted, features_maker
from cvtool.cli.console import Console
from cvtool.cli.protected import place_of, refuse_input
from cvtool.errors import UsageError
from cvtool.models.cards import DEFAULT_MODEL

if TYPE_CHECKING:
    from cvtool.caption.extractor import Extractor


def features(
    context: typer.Context,
    data: DataOption,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.h5", help="File to write, or to add what it lacks to.")
    ],
    split_file: SplitFile = None,
    spatial: Annotated[
        bool, typer.Option("--spatial/--pooled", help="Keep the features of every place, which attention needs.")
    ] = True,
    flipped: Annotated[
        bool, typer.Option("--flip/--no-flip", help="Also keep those of the mirror images, to train on.")
    ] = True,
    components: Annotated[
        int,
        typer.Option("--pca", metavar="K", min=0, help="Train on K principal components of them; 0 on all features."),
    ] = 0,
    skip_bad: SkipBad = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            show_default="none",
            help="Captioner whose network to use, with its fine-tuned weights if it has any.",
        ),
    ] = None,
    model: Annotated[str, shared.model_option()] = DEFAULT_MODEL,
    weights: shared.Weights = None,
    device: shared.Device = "auto",
    precision: shared.PrecisionOption = shared.Precision.auto,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Compute the features of pictures once.

    For any number of trainings on a data set. Can be stopped and started again: only pictures that
    the file lacks are computed.
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    started = time.perf_counter()
    refuse_input(output, (place_of(data), split_file, checkpoint, weights), "--output")
    wanted = Wanted(output, console, spatial=spatial, flipped=flipped, components=components, skip_bad=skip_bad)
    with features_maker(context, wanted, device) as maker:
        known = known_in(None if skip_bad else output)
        found = checked(data, split_file, console, skip_bad=skip_bad, decode=True, known=known, find=maker.problems)
        file = maker.complete(found.pictures, lambda: _extractor(checkpoint, model, weights, device, precision.value))
    seconds = time.perf_counter() - started
    origin = file.origin
    console.result(
        "caption features",
        input=data,
        output=str(output),
        model=origin.model,
        device=_name_of(device),
        seconds=round(seconds, 1),
        images=len(file.names),
        channels=origin.channels,
        places=list(origin.places) if file.has_spatial else None,
        fingerprint=origin.fingerprint,
        size_mb=round(output.stat().st_size / 1e6, 1),
    )
    if not json:
        console.line(f"{output}: {len(file.names)} pictures, {origin.channels} features, {seconds:.0f} s")


def _extractor(checkpoint: Path | None, model: str, weights: Path | None, device: str, precision: str) -> Extractor:
    from cvtool.caption.checkpoint import extractor_of, read_checkpoint
    from cvtool.caption.extractor import Extractor
    from cvtool.models.loader import load
    from cvtool.tensors import choose_device

    place = choose_device(device)
    if checkpoint is None:
        return Extractor(load(model, device=place, weights=weights), precision=precision)
    captioner = read_checkpoint(checkpoint)
    if model not in (DEFAULT_MODEL, captioner.model):
        raise UsageError(f"'{checkpoint}' brings its own network, {captioner.model}. Leave out --model.")
    return extractor_of(captioner, device=place, weights=weights, precision=precision)


def _name_of(device: str) -> str:
    from cvtool.tensors import choose_device

    return str(choose_device(device))
