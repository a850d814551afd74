"""``cvtool stylize``: paint one picture in the style of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import typer

from cvtool.cli import options as shared
from cvtool.cli import stylize_options as these
from cvtool.cli.batch import worth_preparing
from cvtool.cli.console import Console
from cvtool.cli.input_lists import inputs_of, list_file
from cvtool.cli.inputs import FilesRead, Input, expand, one_file, paths_of, refuse_second_stdin
from cvtool.cli.options import Format, finite, parse_list, parse_seconds
from cvtool.cli.outputs import Destination, ResultNames, Skipping, check_besides, plan_outputs
from cvtool.cli.repeat import given_names
from cvtool.cli.reporting import plan_report
from cvtool.cli.sharing import refuse_stdin, shares
from cvtool.cli.stylize_inputs import Styles, contents_and_styles, mask_pairs, weights_per_picture
from cvtool.cli.stylize_instant import Instant
from cvtool.cli.stylize_modes import refuse_beside
from cvtool.cli.stylize_painter import Extras, Painter
from cvtool.cli.stylize_sheet import parse_strengths, plan_finals, plan_sheets
from cvtool.cli.stylize_video import ClipPainter, parse_rate, plan_clips
from cvtool.cli.stylize_watch import plan_watch, watch_folder
from cvtool.cli.watching import FolderWatch
from cvtool.errors import UsageError
from cvtool.memory import parse_bytes
from cvtool.stylize.options import Init, StylizeOptions
from cvtool.stylize.recipes import RECIPES
from cvtool.stylize.video.options import VideoOptions

DEFAULTS = StylizeOptions()
VIDEO = VideoOptions()
DEFAULT_PRECISION = shared.Precision(DEFAULTS.precision)


def stylize(
    context: typer.Context,
    content: these.Content = None,
    more: these.More = None,
    style: these.Style = None,
    style_weight: these.StyleWeight = None,
    strength: these.Strength = DEFAULTS.strength,
    size: these.Size = DEFAULTS.size,
    steps: these.Steps = None,
    optimizer: these.OptimizerOption = DEFAULTS.optimizer,
    init: these.InitOption = None,
    preserve_colors: these.PreserveColors = DEFAULTS.preserve_colors,
    style_scale: these.StyleScale = DEFAULTS.style_scale,
    tv: these.Tv = DEFAULTS.tv,
    budget: these.Budget = None,
    recipe: these.RecipeOption = DEFAULTS.recipe,
    style_layers: these.StyleLayers = None,
    content_layers: these.ContentLayers = None,
    mask: these.Mask = None,
    content_mask_from_alpha: these.ContentMaskFromAlpha = False,
    save_style: these.SaveStyle = None,
    tile: these.Tile = "auto",
    max_memory: these.MaxMemory = None,
    bits: these.BitsOption = these.Bits.auto,
    keep_profile: these.KeepProfile = False,
    sheet: these.Sheet = None,
    strengths: these.Strengths = None,
    sheet_size: these.SheetSize = these.DRAFTS.size,
    watch: these.Watch = None,
    instant: these.InstantOption = False,
    painter: these.PainterOption = None,
    video: these.Video = False,
    frame_steps: these.FrameSteps = VIDEO.frame_steps,
    steadiness: these.Steadiness = VIDEO.steadiness,
    fps: these.Fps = None,
    jobs: these.Jobs = VIDEO.jobs,
    animate: these.Animate = None,
    preview: these.Preview = None,
    checkpoint: these.Checkpoint = None,
    resume: these.Resume = None,
    report: shared.ReportOption = None,
    skip_existing: shared.SkipExisting = False,
    files_from: shared.FilesFrom = None,
    null: shared.Null = False,
    recursive: shared.Recursive = False,
    model: these.ModelOption = None,
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
    arguments = [] if content is None else [content, *(more or [])]
    refuse_beside(given_names(context))
    if watch is not None:
        if style and arguments:
            raise UsageError("With --watch, the contents are what appears in its folder: give styles only.")
        content_words: Sequence[str] = []
        style_words: Sequence[str] = style or arguments
        if not style_words:
            raise UsageError("A style is missing: cvtool stylize --watch FOLDER STYLE -o RESULTS.")
    else:
        if files_from is not None and not style:
            raise UsageError("--files-from lists contents. Name the style by --style FILE.")
        alone = save_style is not None or files_from is not None
        content_words, style_words = contents_and_styles(arguments, style, alone=alone)
    unshared = {
        "--report": report is not None,
        "--sheet": sheet is not None,
        "--video": video,
        "--watch": watch is not None,
        "--save-style": save_style is not None,
    }
    sharing = shares(context, beside=output, unshared=unshared)
    contents: Sequence[Input] = []
    if not video and (content_words or files_from is not None):  # a clip may be a folder
        contents = sharing.inputs(lambda: inputs_of(content_words, files_from, null=null, recursive=recursive))
    styles = [expand([word], recursive=recursive) for word in style_words]
    options = StylizeOptions(
        strength=finite(strength, "--strength"),
        size=size,
        steps=parse_list(steps or "", _count, "--steps", "a number of steps, or one per scale as in 300,200"),
        optimizer=optimizer,
        init=Init(init) if init in _INIT_NAMES else None,
        preserve_colors=preserve_colors,
        style_scale=_positive(style_scale, "--style-scale"),
        style_weights=weights_per_picture(styles, style_weight or []),
        tv=None if tv is None else finite(tv, "--tv"),
        recipe=recipe,
        budget=None if budget is None else parse_seconds(budget, "--budget"),
        seed=seed,
        style_layers=parse_list(style_layers or "", str, "--style-layers", "a list of layers such as conv1,conv2"),
        content_layers=parse_list(
            content_layers or "", str, "--content-layers", "a list of layers such as conv1,conv2"
        ),
        precision=precision.value,
        tile=_tile(tile),
        max_memory=None if max_memory is None else parse_bytes(max_memory, "--max-memory"),
    )
    style_files = tuple(file for group in styles for file in group)
    if mask and content_mask_from_alpha:
        raise UsageError("--mask and --content-mask-from-alpha both say where to paint. Leave one out.")
    given_styles = Styles(
        style_files,
        None if init is None or init in _INIT_NAMES else one_file(init, "--init"),
        mask_pairs(mask or [], len(style_files)),
        content_mask_from_alpha,
    )
    refuse_second_stdin(chain(contents, given_styles.inputs), files_from)
    refuse_stdin(sharing, chain(contents, given_styles.inputs))
    extras = Extras(animate=animate, preview=preview, checkpoint=checkpoint, resume=resume, save_style=save_style)
    others = (*paths_of(given_styles.inputs), weights, list_file(files_from))
    inputs = FilesRead(contents, (*others, resume, painter))
    if video:
        ClipPainter(
            context=context,
            console=console,
            options=options,
            video=VideoOptions(frame_steps=frame_steps, steadiness=finite(steadiness, "--steadiness"), jobs=jobs),
            styles=given_styles,
            rate=parse_rate(fps),
            resume=resume,
            model_name=model or RECIPES[recipe].model,
            weights=weights,
            device_name=device,
        ).paint_all(plan_clips(content_words, output=output, inputs=inputs))
        return
    # A sheet and a watch say themselves where things go.
    destinations = (
        []
        if sheet is not None or watch is not None
        else plan_outputs(
            ResultNames(contents, "stylize"),
            output=output,
            format=format,
            inputs=inputs,
            json=json,
            collected=files_from is not None or any(given.collected for given in contents),
        )
    )
    page = plan_report(context, console, report, results=len(contents), inputs=inputs, destinations=destinations)
    _check_bits(bits, destinations)
    _check_extras(extras, destinations, FilesRead(contents, others))

    worker = Painter(
        context=context,
        console=console,
        options=options,
        styles=given_styles,
        extras=extras,
        model_name=model or RECIPES[recipe].model,
        weights=weights,
        device_name=device,
        bits=None if bits is these.Bits.auto else int(bits.value),
        keep_profile=keep_profile,
        instant=Instant(painter, device) if instant else None,
        report=page,
    )
    if sheet is not None:
        wanted = _strengths(context, strengths, strength)
        sheets = plan_sheets(
            contents, sheet, styles=len(style_files), columns=len(wanted), size=sheet_size, inputs=inputs
        )
        finals = plan_finals(contents, style_files, wanted, output=output, format=format, inputs=inputs)
        worker.prepare()
        if len(contents) > 1:
            worker.load()
        worker.draft(contents, sheets, finals, wanted, sheet_size)
        return
    if watch is not None:
        results = plan_watch(watch, output=output, format=format, inputs=inputs)
        worker.prepare()
        worker.warm_up()
        ignored = frozenset(path.resolve() for path in inputs)
        watch_folder(FolderWatch(Path(watch), ignored), worker.paint, results, console)
    sharing.divide(len(contents), 1)
    skipping = Skipping(skip_existing)
    places = enumerate(sharing.own(destinations))

    def paint(given: Input) -> None:
        number, place = next(places)
        if skipping.skips(number, [place]):
            skipping.count += 1
        else:
            worker.paint(given, place)

    def prepare() -> None:
        worker.prepare()
        if worth_preparing(len(contents), skipping, sharing.own(destinations)):
            worker.load()
        worker.save_style()

    try:
        with page.written(console):
            sharing.for_each(
                sharing.own(contents),
                paint,
                command="stylize",
                console=console,
                device=device,
                before=prepare,
                skipping=skipping,
            )
    finally:
        skipping.tell(console)


_INIT_NAMES = frozenset(member.value for member in Init)


def _strengths(context: typer.Context, strengths: str | None, strength: float) -> tuple[float, ...]:
    """The columns of a sheet: those asked for, the one --strength asked for, or the usual ones."""
    if strengths is not None:
        return parse_strengths(strengths)
    return (strength,) if "strength" in given_names(context) else these.DRAFTS.strengths


def _check_bits(bits: these.Bits, destinations: Sequence[Destination]) -> None:
    unable = next((d.format for d in destinations if d.format not in (Format.png, Format.tiff)), None)
    if bits is these.Bits.sixteen and unable is not None:
        raise UsageError(f"--bits 16 is for png and tiff; {unable.value} has 8 bits per channel.")


def _check_extras(extras: Extras, destinations: Sequence[Destination], inputs: Iterable[Path]) -> None:
    """What is written besides the pictures must belong to one picture, and be safe to write."""
    single = [option for option in extras.given() if option != "--save-style"]
    if len(destinations) > 1 and single:
        option = single[0]
        raise UsageError(f"{option} is for a single content, but there are {len(destinations)}. Run them one by one.")
    if extras.preview is not None:
        from cvtool.images import format_of

        format_of(extras.preview)
    if extras.animate is not None:
        from cvtool.animation import animation_format

        animation_format(extras.animate)
    if extras.save_style is not None and extras.save_style.suffix.lower() != ".safetensors":
        raise UsageError(
            f"--save-style '{extras.save_style}' must end in .safetensors, so that it is known as a style."
        )
    taken = {destination.path.absolute() for destination in destinations if destination.path is not None}
    for option, path in extras.written().items():
        # --checkpoint may go on in the file that --resume reads; nothing else may touch that.
        protected = inputs if option == "--checkpoint" or extras.resume is None else chain(inputs, [extras.resume])
        check_besides(path, protected, option, taken)


def _tile(text: str) -> int | None:
    """Pixels of a tile; 0 for none, None to choose."""
    if text in ("auto", "off"):
        return None if text == "auto" else 0
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise UsageError(f"--tile '{text}' is not auto, off, or a number of pixels such as 1024.")
    return int(text)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:  # 0 is fine: a scale may be left out
        raise ValueError(f"{number} is no number of steps")
    return number


def _positive(value: float, option: str) -> float:
    if not finite(value, option) > 0:
        raise UsageError(f"{option} {value:g} is not above 0.")
    return value
