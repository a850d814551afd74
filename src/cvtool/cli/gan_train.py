"""``cvtool gan train``: learn to make pictures up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli import gan_data as data_options
from cvtool.cli import options as shared
from cvtool.cli.console import Console
from cvtool.cli.protected import place_of, refuse_input, refuse_inside
from cvtool.cli.without_effect import refuse_without_effect
from cvtool.errors import UsageError
from cvtool.gan.options import CHECKS, Arch, Augment, Loss, NetworkOptions, Penalty, TrainOptions
from cvtool.gan.picture_options import PictureOptions

GAME = ("loss", "rate_d", "critic_steps", "penalty", "weight", "lazy", "smoothing", "instance_noise", "augment")
"""Parameters that a variational autoencoder has no use for."""
PICTURES = PictureOptions()
NETWORKS = NetworkOptions()
TRAIN = TrainOptions()
RECIPE = "the loss's own"
SHAPE, PLAY = "The two networks", "What they play"
"""Where ``--help`` lists options; the others come first."""


def train(
    context: typer.Context,
    data: data_options.DataOption,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN_DIR", help="Directory of the run.")],
    size: data_options.Size = PICTURES.size,
    color: data_options.ColorOption = PICTURES.color,
    fit: data_options.FitOption = PICTURES.fit,
    conditional: data_options.ConditionalOption = PICTURES.conditional,
    limit: data_options.Limit = PICTURES.limit,
    cache: data_options.CacheOption = None,
    arch: Annotated[
        Arch, typer.Option("--arch", rich_help_panel=SHAPE, help="Family of the two networks.")
    ] = NETWORKS.arch,
    latent: Annotated[
        int,
        typer.Option(
            "--latent", rich_help_panel=SHAPE, min=1, max=4096, help="Random numbers that a picture is made from."
        ),
    ] = NETWORKS.latent,
    width: Annotated[
        int,
        typer.Option(
            "--width", rich_help_panel=SHAPE, min=4, max=512, help="Channels of the widest maps; deeper ones have more."
        ),
    ] = NETWORKS.width,
    minibatch_std: Annotated[
        bool,
        typer.Option(
            "--minibatch-std",
            rich_help_panel=SHAPE,
            show_default="off",
            help="Show the discriminator how much a batch varies.",
        ),
    ] = NETWORKS.minibatch_std,
    spectral: Annotated[
        bool | None,
        typer.Option(
            "--spectral/--no-spectral",
            rich_help_panel=SHAPE,
            show_default=RECIPE,
            help="Spectral normalisation of the discriminator.",
        ),
    ] = NETWORKS.spectral,
    loss: Annotated[
        Loss, typer.Option("--loss", rich_help_panel=PLAY, help="What the two networks play for.")
    ] = TRAIN.loss,
    vae: Annotated[
        bool,
        typer.Option(
            "--vae", rich_help_panel=PLAY, show_default="off", help="Train a variational autoencoder instead."
        ),
    ] = TRAIN.vae,
    kl: Annotated[
        float, typer.Option("--kl", rich_help_panel=PLAY, min=0, help="Weight of the VAE's divergence from the prior.")
    ] = TRAIN.kl,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME",
            show_default=f"{TRAIN.budget / 60:g}m",
            help="Time for the run, e.g. 5m; it plans the steps.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", metavar="N", min=1, show_default="as the budget allows", help="Steps of the generator."
        ),
    ] = TRAIN.steps,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Pictures a step.")] = TRAIN.batch,
    rate_g: Annotated[
        float | None, typer.Option("--rate-g", min=0, show_default=RECIPE, help="Learning rate of the generator.")
    ] = TRAIN.rate_g,
    rate_d: Annotated[
        float | None, typer.Option("--rate-d", min=0, show_default=RECIPE, help="Learning rate of the discriminator.")
    ] = TRAIN.rate_d,
    critic_steps: Annotated[
        int | None,
        typer.Option(
            "--critic-steps",
            rich_help_panel=PLAY,
            min=1,
            show_default=RECIPE,
            help="Steps of the discriminator for each of the generator.",
        ),
    ] = TRAIN.critic_steps,
    penalty: Annotated[
        Penalty | None,
        typer.Option(
            "--penalty", rich_help_panel=PLAY, show_default=RECIPE, help="What keeps the discriminator smooth."
        ),
    ] = TRAIN.penalty,
    weight: Annotated[
        float | None,
        typer.Option(
            "--penalty-weight", rich_help_panel=PLAY, min=0, show_default=RECIPE, help="Weight of the penalty."
        ),
    ] = TRAIN.weight,
    lazy: Annotated[
        int,
        typer.Option(
            "--lazy",
            rich_help_panel=PLAY,
            min=1,
            help="The penalty enters every so many steps, so many times as strong.",
        ),
    ] = TRAIN.lazy,
    fall: Annotated[
        float, typer.Option("--fall", min=0, max=1, help="Share of the run in which the rates fall to 0, at its end.")
    ] = TRAIN.fall,
    ema: Annotated[
        float, typer.Option("--ema", min=0, max=0.99999, help="Decay of the averaged generator.")
    ] = TRAIN.ema,
    smoothing: Annotated[
        float,
        typer.Option("--smoothing", rich_help_panel=PLAY, min=0, max=0.5, help="Taken off the label of real pictures."),
    ] = TRAIN.smoothing,
    instance_noise: Annotated[
        float,
        typer.Option(
            "--instance-noise",
            rich_help_panel=PLAY,
            min=0,
            help="Noise on all the discriminator sees, falling to 0; range is 2.",
        ),
    ] = TRAIN.instance_noise,
    augment: Annotated[
        Augment | None,
        typer.Option(
            "--augment",
            rich_help_panel=PLAY,
            show_default="diff with few pictures, else off",
            help="Changes to all the discriminator sees: diff = DiffAugment, flip = left and right.",
        ),
    ] = TRAIN.augment,
    every: Annotated[
        int | None,
        typer.Option(
            "--every",
            metavar="N",
            min=1,
            show_default=f"{CHECKS} checks a run at most",
            help="Steps from one check to the next.",
        ),
    ] = TRAIN.every,
    samples: Annotated[int, typer.Option("--samples", min=100, help="Pictures judged in a check.")] = TRAIN.samples,
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            metavar="MODEL[@PX]",
            show_default="efficientnet-lite0@48, or more for large pictures",
            help="Network whose features the distances are measured in.",
        ),
    ] = None,
    recover: Annotated[
        bool,
        typer.Option("--recover/--no-recover", help="When the run collapses: go back and on more gently, or stop."),
    ] = TRAIN.recover,
    resume: Annotated[
        bool, typer.Option("--resume", show_default="off", help="Go on to the end that an uninterrupted run reaches.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", show_default="off", help="Start again in a directory that is not empty.")
    ] = False,
    skip_bad: data_options.SkipBad = PICTURES.skip_bad,
    device: shared.Device = "auto",
    precision: shared.TrainingPrecision = shared.Precision.auto,
    seed: shared.Seed = TRAIN.seed,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Train a generator of pictures like yours.

    Writes best.safetensors (the averaged generator with the smallest Fréchet distance), last.safetensors, samples/,
    metrics.jsonl, report.html, and what --resume needs.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on, --overwrite starts again. Give one of them.")
    if budget is not None and steps is not None:
        raise UsageError("--budget and --steps both say when to end. Give one of them.")
    if precision is shared.Precision.fp16:
        raise UsageError("The game's second derivatives overflow in fp16. Use --precision bf16 or fp32.")
    refuse_without_effect(context, GAME if vae else ("kl",), f"with{'' if vae else 'out'} --vae")
    refuse_input(output, (place_of(data),), "--output")
    if overwrite:
        refuse_inside(output, (place_of(data),))
    console = Console(json=json, quiet=quiet, verbose=verbose)
    from cvtool.cli.gan_trainer import Request, carry_out

    request = Request(
        data=data,
        run=output,
        cache=cache,
        device=device,
        features=features,
        picture_options=PictureOptions(
            size=size, color=color, fit=fit, conditional=conditional, skip_bad=skip_bad, limit=limit
        ),
        network_options=NetworkOptions(
            arch=arch, latent=latent, width=width, minibatch_std=minibatch_std, spectral=spectral
        ),
        train_options=TrainOptions(
            loss=loss,
            vae=vae,
            kl=kl,
            steps=steps,
            budget=TRAIN.budget if budget is None else shared.parse_seconds(budget, "--budget"),
            batch=batch,
            rate_g=rate_g,
            rate_d=rate_d,
            critic_steps=critic_steps,
            penalty=penalty,
            weight=weight,
            lazy=lazy,
            fall=fall,
            ema=ema,
            smoothing=smoothing,
            instance_noise=instance_noise,
            augment=augment,
            every=every,
            samples=samples,
            recover=recover,
            seed=seed,
            precision=precision.value,
        ),
    )
    carry_out(request, context, console, resume=resume, overwrite=overwrite)
