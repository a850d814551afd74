"""``cvtool visualize-class``: pictures of what a network takes for a class, or of what a unit inside looks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.inputs import Input, expand, one_file, paths_of, refuse_second_stdin
from cvtool.cli.outputs import Destination, check_besides, plan_outputs, result_name
from cvtool.cli.reporting import plan_report
from cvtool.cli.targets import check_classes
from cvtool.cli.visualize_class_worker import Files, Job, Visualizing, Wish
from cvtool.errors import UsageError
from cvtool.models.cards import CARDS, DEFAULT_MODEL
from cvtool.visualize_class.options import ENSEMBLE, Method, Target, Unit, VisualizeOptions

DEFAULTS = VisualizeOptions()
DEFAULT_PRECISION = shared.Precision(DEFAULTS.precision)
BY_METHOD = "the method's"
TAKES_TURNS = frozenset({Method.fourier, Method.maco})
"""Methods that ask several networks in turn unless one is named: they look for what all of them take for the class."""


def visualize_class(
    context: typer.Context,
    classes: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLASS", show_default="none", help="Classes: index, name or WordNet id; none: --layer."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", show_default="none", help="Look inside: what excites this layer."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel",
            metavar="N",
            show_default="the whole layer",
            help="Channel of the layer, anywhere in the picture; repeatable, or as 3,5,8.",
        ),
    ] = None,
    neuron: Annotated[
        list[str] | None,
        typer.Option(
            "--neuron",
            metavar="N",
            show_default="none",
            help="Channel of the layer, at its central place only; repeatable, or as 3,5,8.",
        ),
    ] = None,
    direction: Annotated[
        Path | None,
        typer.Option(
            "--direction",
            metavar="FILE.npy",
            show_default="none",
            help="A direction in the layer: one number per channel.",
        ),
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            "--method",
            show_default=f"{DEFAULTS.method.value}; {Method.deepdream.value} for --init with --layer",
            help="How the picture is found.",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="PX", min=32, max=4096, show_default=BY_METHOD, help="Longer side in pixels."),
    ] = DEFAULTS.size,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, show_default=BY_METHOD, help="Number of optimisation steps."),
    ] = DEFAULTS.steps,
    views: Annotated[
        int | None,
        typer.Option(
            "--views",
            metavar="N",
            min=1,
            show_default=BY_METHOD,
            help="Random views of the picture that the network sees at each step.",
        ),
    ] = DEFAULTS.views,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="FILE", show_default="noise", help="Picture to start from; with --layer: DeepDream."
        ),
    ] = None,
    spectrum: Annotated[
        list[str] | None,
        typer.Option(
            "--spectrum",
            metavar="FILE",
            show_default="about 1 / frequency",
            help="Pictures, or folders of them, whose mean spectrum maco keeps; repeatable.",
        ),
    ] = None,
    diversity: Annotated[
        int,
        typer.Option(
            "--diversity", metavar="N", min=1, help="Number of pictures of each target, kept from being alike."
        ),
    ] = DEFAULTS.diversity,
    transparent: Annotated[
        bool,
        typer.Option("--transparent", show_default="off", help="Leave what the network does not need transparent."),
    ] = DEFAULTS.transparent,
    animate: Annotated[
        Path | None,
        typer.Option(
            "--animate",
            metavar="FILE",
            show_default="none",
            help="Also write how the picture came to be: .gif, .mp4, .webp.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet", metavar="FILE", show_default="none", help="Also write all pictures on one sheet, with labels."
        ),
    ] = None,
    ensemble: Annotated[
        list[str] | None,
        typer.Option(
            "--ensemble",
            metavar="MODEL",
            show_default=f"{', '.join(ENSEMBLE[1:])}, for fourier and maco, unless --model or --layer is given",
            autocompletion=lambda: list(CARDS),
            help="A network that takes turns with --model; repeatable, or as a,b. NAME=FILE gives its weights.",
        ),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            metavar="MODEL",
            show_default="none",
            autocompletion=lambda: list(CARDS),
            help="Also ask this network what it sees; repeatable, or as a,b. NAME=FILE gives its weights.",
        ),
    ] = None,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="K", min=1, help="Number of predictions to report.")
    ] = DEFAULTS.top_k,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            show_default="1 on the CPU, 8 elsewhere",
            help="Targets that are worked on together.",
        ),
    ] = DEFAULTS.batch,
    report: shared.ReportOption = None,
    model: Annotated[str | None, shared.model_option(show_default=DEFAULT_MODEL)] = None,
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
    """Make pictures of what a network takes for a class.

    With --layer they show what a channel or neuron looks for: cvtool visualize-class --layer blocks.4 --channel 7
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    wishes = _wishes(classes or [], layer, channel, neuron, direction)
    start = None if init is None else one_file(init, "--init")
    chosen = method or (Method.deepdream if layer is not None and start is not None else DEFAULTS.method)
    spectra = tuple(expand(spectrum or []))
    if spectra and chosen is not Method.maco:
        raise UsageError("--spectrum is for --method maco, which keeps a spectrum. Give both.")
    pictures = [*spectra, *([start] if start is not None else [])]
    refuse_second_stdin(pictures)
    options = VisualizeOptions(
        method=chosen,
        size=size,
        steps=steps,
        views=views,
        diversity=diversity,
        transparent=transparent,
        batch=batch,
        top_k=top_k,
        seed=seed,
        precision=precision.value,
    )
    networks = _networks(model, _names(ensemble), layer, chosen)
    check_classes([wish.text for wish in wishes if wish.target is None], networks[0])
    jobs = [Job(wish, variant, diversity) for wish in wishes for variant in range(diversity)]
    others = [Path(name.partition("=")[2]) for name in (*_names(ensemble), *_names(judge)) if "=" in name]
    read = [*paths_of(pictures), *others, *(path for path in (weights, direction) if path is not None)]
    destinations = plan_outputs(
        [_result_name(job, start) for job in jobs],
        output=output,
        format=format,
        inputs=read,
        json=json,
    )
    _check_extras(animate, sheet, destinations, read)
    page = plan_report(context, console, report, results=len(destinations), inputs=read, destinations=destinations)
    work = Visualizing(
        context=context,
        console=console,
        options=options,
        wishes=tuple(wishes),
        jobs=tuple(jobs),
        destinations=tuple(destinations),
        files=Files(start, spectra, direction, weights, animate, sheet),
        model_names=networks,
        judge_names=_names(judge),
        device_name=device,
        report=page,
    )
    work.prepare()
    try:
        with page.written(console):
            for_each(jobs, work.visualize, command="visualize-class", console=console)
    finally:
        work.finish()


def _result_name(job: Job, start: Input | None) -> str:
    """A picture that grew out of another is called after that one, and tells what was looked for."""
    if start is None:
        return result_name(job.file_stem, "visualize-class", job.detail)
    return result_name(start.stem, "visualize-class", result_name(job.file_stem, job.detail))


def _wishes(
    classes: Sequence[str],
    layer: str | None,
    channel: Sequence[str] | None,
    neuron: Sequence[str] | None,
    direction: Path | None,
) -> list[Wish]:
    """What is asked for: classes by their names, or units of one layer."""
    if bool(classes) == (layer is not None):
        raise UsageError("Say what to visualise: CLASS, or --layer with --channel, --neuron or --direction.")
    if layer is None:
        for option, given in (("--channel", channel), ("--neuron", neuron), ("--direction", direction)):
            if given:
                raise UsageError(f"{option} names something of a layer. Give --layer, too.")
        return [Wish(name) for name in dict.fromkeys(classes)]
    if sum(bool(given) for given in (channel, neuron, direction)) > 1:
        raise UsageError("--channel, --neuron and --direction exclude each other. Give one of them.")
    if direction is not None:
        if direction.suffix.lower() != ".npy":
            raise UsageError(f"--direction '{direction}' must be a .npy file with one number per channel.")
        return [Wish(f"{layer}-direction", Target(layer=layer))]
    unit = Unit.neuron if neuron else Unit.channel
    numbers = [number for word in neuron or channel or () for number in _numbers(word, unit)]
    targets = [Target(layer=layer, unit=unit, number=number) for number in dict.fromkeys(numbers)]
    return [Wish(target.name, target) for target in targets or [Target(layer=layer)]]


def _numbers(text: str, unit: Unit) -> tuple[int, ...]:
    def number(word: str) -> int:
        if not word.isascii() or not word.isdigit():
            raise ValueError
        return int(word)

    return shared.parse_list(text, number, f"--{unit.value}", "a channel's number, or several as in 3,5,8")


def _names(words: Sequence[str] | None) -> tuple[str, ...]:
    """``a b,c`` → each once."""
    names = [name.strip() for word in words or () for name in word.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def _networks(model: str | None, ensemble: tuple[str, ...], layer: str | None, method: Method) -> tuple[str, ...]:
    """The networks that are climbed, `model` first."""
    if layer is not None and ensemble:
        raise UsageError("--layer belongs to one network, so there is no --ensemble with it.")
    if model is None and not ensemble and layer is None and method in TAKES_TURNS:
        return ENSEMBLE
    return tuple(dict.fromkeys([model or DEFAULT_MODEL, *ensemble]))


def _check_extras(
    animate: Path | None, sheet: Path | None, destinations: Sequence[Destination], read: Sequence[Path]
) -> None:
    """What is written besides the pictures must be safe to write, and no other output."""
    if animate is not None:
        from cvtool.animation import animation_format

        animation_format(animate)
        if len(destinations) > 1:
            raise UsageError(f"--animate is for a single picture, but there are {len(destinations)}.")
    if sheet is not None:
        from cvtool.images import format_of

        format_of(sheet)
    taken = {destination.path.absolute() for destination in destinations if destination.path is not None}
    for option, path in (("--animate", animate), ("--sheet", sheet)):
        if path is not None:
            check_besides(path, read, option, taken)
