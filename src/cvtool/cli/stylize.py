"""``cvtool stylize``: paint one picture in the style of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.inputs import Input, expand, paths_of, refuse_second_stdin
from cvtool.cli.options import Format, parse_list, parse_seconds
from cvtool.cli.outputs import Destination, check_writable, plan_outputs, result_name
from cvtool.cli.stylize_painter import Extras, Painter, Styles
from cvtool.errors import UsageError
from cvtool.stylize.options import Colors, Init, Optimizer, Recipe, StylizeOptions
from cvtool.stylize.recipes import RECIPES

DEFAULTS = StylizeOptions()
DEFAULT_PRECISION = shared.Precision(DEFAULTS.precision)
BY_RECIPE = "the recipe's"
BY_MODEL = "the recipe's for this model"


class Bits(str, Enum):
    """Bits per channel of the written picture."""

    eight = "8"
    sixteen = "16"


def _models_of_recipes() -> str:
    usual = RECIPES[DEFAULTS.recipe].model
    others = [f"{spec.model} for {name.value}" for name, spec in RECIPES.items() if spec.model != usual]
    return ", ".join([usual, *others])


def stylize(
    context: typer.Context,
    content: Annotated[str, typer.Argument(metavar="CONTENT", help="The picture to paint, or a folder of them.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STYLE",
            show_default=False,
            help="The style: one picture, several, or folders of them. With --style: further contents.",
        ),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(
            "--style",
            metavar="FILE",
            show_default="the arguments after CONTENT",
            help="A style picture or a folder of them; repeatable. All arguments are contents then.",
        ),
    ] = None,
    style_weight: Annotated[
        list[float] | None,
        typer.Option(
            "--style-weight",
            metavar="W",
            show_default="all alike",
            help="Weight of a style, any number above 0; repeat it once per style, in the same order.",
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            "--strength",
            metavar="PERCENT",
            min=0,
            max=100,
            help="From 0 % (the content) to 100 % (pure style).",
        ),
    ] = DEFAULTS.strength,
    size: Annotated[
        int,
        typer.Option("--size", metavar="PX", min=0, help="Longer side of the result in pixels; 0: the content's own."),
    ] = DEFAULTS.size,
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps",
            metavar="N",
            show_default=BY_RECIPE,
            help="Optimisation steps, spread over the scales; N,N,… gives each scale its own, coarse to fine.",
        ),
    ] = None,
    optimizer: Annotated[
        Optimizer | None,
        typer.Option("--optimizer", show_default=BY_RECIPE, help="How the picture follows its gradient."),
    ] = DEFAULTS.optimizer,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="content|noise|style-stats|FILE",
            show_default=BY_RECIPE,
            help="Where the picture starts: the content, noise, noise with the style's colours, or a file.",
        ),
    ] = None,
    preserve_colors: Annotated[
        Colors,
        typer.Option(
            "--preserve-colors",
            help="Keep the content's colours: 'luminance' paints light and dark only, 'match' recolours the style.",
        ),
    ] = DEFAULTS.preserve_colors,
    style_scale: Annotated[
        float,
        typer.Option(
            "--style-scale", metavar="S", help="Size of the strokes, a factor: 1 as in the style, 2 twice that."
        ),
    ] = DEFAULTS.style_scale,
    tv: Annotated[
        float | None,
        typer.Option(
            "--tv", metavar="W", min=0, show_default=BY_RECIPE, help="Weight of smoothness (total variation), from 0."
        ),
    ] = DEFAULTS.tv,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME",
            show_default="no limit",
            help="Time to spend on one picture, e.g. 60s, 2m or 1.5m; a bare number is seconds.",
        ),
    ] = None,
    recipe: Annotated[
        Recipe, typer.Option("--recipe", help="Which published recipe is run; 'default' is cvtool's own.")
    ] = DEFAULTS.recipe,
    style_layers: Annotated[
        str | None,
        typer.Option("--style-layers", metavar="NAME,…", show_default=BY_MODEL, help="Layers that compare styles."),
    ] = None,
    content_layers: Annotated[
        str | None,
        typer.Option("--content-layers", metavar="NAME,…", show_default=BY_MODEL, help="Layers that compare contents."),
    ] = None,
    bits: Annotated[Bits, typer.Option("--bits", help="Bits per channel; 16 for png and tiff only.")] = Bits.eight,
    animate: Annotated[
        Path | None,
        typer.Option(
            "--animate",
            metavar="FILE",
            show_default="none",
            help="Also write how the picture came to be: .gif, .mp4, .webp.",
        ),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            "--preview",
            metavar="FILE",
            show_default="none",
            help="Keep the picture so far in FILE, about once a second.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            show_default="none",
            help="Save the state of the work, to go on with --resume.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume", metavar="FILE", show_default="none", help="Go on from a checkpoint, with the same inputs."
        ),
    ] = None,
    recursive: shared.Recursive = False,
    model: Annotated[str | None, shared.model_option(show_default=_models_of_recipes())] = None,
    weights: shared.Weights = None,
    device: shared.Device = "auto",
    precision: shared.PrecisionOption = DEFAULT_PRECISION,
    seed: shared.Seed = DEFAULTS.seed,
    output: shared.Output = None,
    format: shared.FormatOption = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Paint a picture in the style of others.

    With --style, all arguments are contents: cvtool stylize --style wave.jpg photos/*.jpg -o painted/
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    contents, styles = _contents_and_styles([content, *(more or [])], style, recursive)
    options = StylizeOptions(
        strength=_finite(strength, "--strength"),
        size=size,
        steps=parse_list(steps or "", _count, "--steps", "a number of steps, or one per scale as in 300,200"),
        optimizer=optimizer,
        init=Init(init) if init in _INIT_NAMES else None,
        preserve_colors=preserve_colors,
        style_scale=_positive(style_scale, "--style-scale"),
        style_weights=_weights_per_picture(styles, style_weight or []),
        tv=None if tv is None else _finite(tv, "--tv"),
        recipe=recipe,
        budget=None if budget is None else parse_seconds(budget, "--budget"),
        seed=seed,
        style_layers=parse_list(style_layers or "", str, "--style-layers", "a list of layers such as conv1,conv2"),
        content_layers=parse_list(
            content_layers or "", str, "--content-layers", "a list of layers such as conv1,conv2"
        ),
        precision=precision.value,
    )
    start = None if init is None or init in _INIT_NAMES else _one_file(init, "--init")
    style_files = [file for group in styles for file in group]
    everything = [*contents, *style_files, *([start] if start else [])]
    refuse_second_stdin(everything)
    extras = Extras(animate=animate, preview=preview, checkpoint=checkpoint, resume=resume)
    destinations = plan_outputs(
        [result_name(given.stem, "stylize") for given in contents],
        output=output,
        format=format,
        inputs=[*paths_of(everything), *(path for path in (weights, resume) if path is not None)],
        json=json,
        collected=any(given.collected for given in contents),
    )
    _check_bits(bits, destinations)
    _check_extras(extras, destinations, [*paths_of(everything), *([weights] if weights is not None else [])])

    painter = Painter(
        context=context,
        console=console,
        options=options,
        styles=Styles(tuple(style_files), start),
        extras=extras,
        model_name=model or RECIPES[recipe].model,
        weights=weights,
        device_name=device,
        bits=int(bits.value),
    )
    painter.prepare()
    jobs = iter(destinations)
    for_each(contents, lambda given: painter.paint(given, next(jobs)), command="stylize", console=console)


_INIT_NAMES = frozenset(member.value for member in Init)


def _contents_and_styles(
    arguments: Sequence[str], style: Sequence[str] | None, recursive: bool
) -> tuple[list[Input], list[list[Input]]]:
    """Contents, and the pictures of each style argument."""
    content_arguments, style_arguments = (arguments, style) if style else (arguments[:1], arguments[1:])
    if not style_arguments:
        raise UsageError("A style is missing: give at least two pictures, CONTENT STYLE, or --style FILE.")
    return (
        expand(content_arguments, recursive=recursive),
        [expand([argument], recursive=recursive) for argument in style_arguments],
    )


def _weights_per_picture(styles: Sequence[Sequence[Input]], weights: Sequence[float]) -> tuple[float, ...]:
    """One weight per style picture; the pictures of a folder share the folder's weight alike."""
    if not weights:
        return ()
    if len(weights) != len(styles):
        raise UsageError(f"--style-weight is given {len(weights)} times for {len(styles)} styles. Give one per style.")
    for weight in weights:
        _positive(weight, "--style-weight")
    return tuple(weight / len(group) for group, weight in zip(styles, weights, strict=True) for _ in group)


def _one_file(argument: str, option: str) -> Input:
    found = expand([argument])
    if len(found) != 1 or found[0].collected:
        raise UsageError(f"{option} takes one file, but '{argument}' stands for several.")
    return found[0]


def _check_bits(bits: Bits, destinations: Sequence[Destination]) -> None:
    unable = next((d.format for d in destinations if d.format not in (Format.png, Format.tiff)), None)
    if bits is Bits.sixteen and unable is not None:
        raise UsageError(f"--bits 16 is for png and tiff; {unable.value} has 8 bits per channel.")


def _check_extras(extras: Extras, destinations: Sequence[Destination], inputs: Sequence[Path]) -> None:
    """What is written besides the pictures must belong to one picture, and be safe to write."""
    if len(destinations) > 1 and extras.given():
        option = next(iter(extras.given()))
        raise UsageError(f"{option} is for a single content, but there are {len(destinations)}. Run them one by one.")
    if extras.preview is not None:
        from cvtool.images import format_of

        format_of(extras.preview)
    if extras.animate is not None:
        from cvtool.animation import animation_format

        animation_format(extras.animate)
    taken = {destination.path.absolute() for destination in destinations if destination.path is not None}
    for option, path in extras.written().items():
        # --checkpoint may go on in the file that --resume reads; nothing else may touch that.
        protected = inputs if option == "--checkpoint" or extras.resume is None else [*inputs, extras.resume]
        check_writable(path, protected, option)
        if path.absolute() in taken:
            raise UsageError(f"{option} '{path}' is already another output. Choose another name.")
        taken.add(path.absolute())


def _count(text: str) -> int:
    number = int(text)
    if number < 0:  # 0 is fine: a scale may be left out
        raise ValueError(f"{number} is no number of steps")
    return number


def _finite(value: float, option: str) -> float:
    if not math.isfinite(value):
        raise UsageError(f"{option} {value} is not a finite number.")
    return value


def _positive(value: float, option: str) -> float:
    if not _finite(value, option) > 0:
        raise UsageError(f"{option} {value:g} is not above 0.")
    return value
