"""``cvtool fool``: change a picture until the network sees something else in it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.console import Console
from cvtool.cli.fool_notes import METHODS_OWN, uses
from cvtool.cli.fool_targets import Ranking
from cvtool.cli.fool_worker import Fooling, Request, beside
from cvtool.cli.input_lists import inputs_of, list_file
from cvtool.cli.inputs import FilesRead, Input, refuse_second_stdin
from cvtool.cli.outputs import (
    Destination,
    ResultNames,
    Skipping,
    check_all,
    check_besides,
    class_part,
    files_of,
    plan_outputs,
)
from cvtool.cli.repeat import given_names
from cvtool.cli.reporting import plan_report
from cvtool.cli.sharing import refuse_stdin, shares
from cvtool.cli.targets import check_classes
from cvtool.cli.without_effect import refuse_unused
from cvtool.errors import UsageError
from cvtool.fool.options import SURE, FoolOptions, Method, Norm
from cvtool.models.cards import DEFAULT_MODEL, Resize

DEFAULTS = FoolOptions()
DEFAULT_PRECISION = shared.Precision(DEFAULTS.precision)
NAMES = [method.value for method in Method]
BY_METHOD = "the method's"
NOISE = "noise"
NOT_WITH_ALL_TARGETS = (
    *("method", "norm", "eps", "restarts", "confidence", "minimize", "mask", "from_noise", "survive", "transfer_to"),
    *("view", "explain", "patch_size", "patch_robust", "sticker", "table", "plot", "skip_existing", "report"),
    *("output", "format"),
)
"""Parameters that would have no effect there: the smallest L2 change is looked for, and no picture is written."""


class View(str, Enum):
    """What is drawn besides the picture itself."""

    image = "image"
    panel = "panel"
    difference = "difference"


def fool(
    context: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", show_default="none", help="Pictures, or folders or tars of them; none: --from-noise."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="CLASS",
            show_default="none",
            help="Class that the network shall see: index, name or WordNet id.",
        ),
    ] = None,
    untargeted: Annotated[
        bool, typer.Option("--untargeted", show_default="off", help="Any class but the one that it sees now.")
    ] = False,
    all_targets: Annotated[
        bool,
        typer.Option(
            "--all-targets",
            show_default="off",
            help="Change nothing: list the --top-k wrong classes that are nearest, and how large a change each takes.",
        ),
    ] = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            show_default=DEFAULTS.method.value,
            autocompletion=lambda: NAMES,
            help=f"How to change the picture; repeatable, or as a,b,c. One of {', '.join(NAMES)}.",
        ),
    ] = None,
    norm: Annotated[
        Norm | None,
        typer.Option("--norm", show_default=BY_METHOD, help="How the size of a change is measured, on values 0 to 1."),
    ] = DEFAULTS.norm,
    eps: Annotated[
        str | None,
        typer.Option(
            "--eps",
            metavar="SIZE",
            show_default="the smallest that does it; 8/255 (l2 3, l1 60) for attacks that need a limit",
            help="Largest change in that norm, as 8/255 or 0.03; l0: in pixels.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, show_default=BY_METHOD, help="Number of iterations.")
    ] = DEFAULTS.steps,
    step_size: Annotated[
        str | None,
        typer.Option(
            "--step-size", metavar="SIZE", show_default=BY_METHOD, help="Length of one step, as 2/255 or 0.1."
        ),
    ] = None,
    restarts: Annotated[
        int,
        typer.Option("--restarts", metavar="N", min=0, help="Further random starts of pgd, apgd and square."),
    ] = DEFAULTS.restarts,
    confidence: Annotated[
        float | None,
        typer.Option(
            "--confidence",
            metavar="P",
            show_default=f"{SURE}; within a limit, or with --minimize, it only has to come first",
            help="Probability that the wrong class shall reach, 0 to 1.",
        ),
    ] = DEFAULTS.confidence,
    minimize: Annotated[
        bool,
        typer.Option(
            "--minimize",
            show_default="off",
            help="Look for the smallest change that puts the wrong class in front, or gives it the --confidence asked.",
        ),
    ] = DEFAULTS.minimize,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask", metavar="FILE", show_default="everywhere", help="Picture that is white where pixels may change."
        ),
    ] = None,
    from_noise: Annotated[
        bool,
        typer.Option(
            "--from-noise",
            show_default="off",
            help="Start from noise: a picture of nothing that the network is sure of.",
        ),
    ] = False,
    survive: Annotated[
        str | None,
        typer.Option(
            "--survive",
            metavar="LIST",
            show_default="nothing",
            help="What the change must survive, e.g. jpeg:75,resize:0.5,blur:1 (quality, share, pixels).",
        ),
    ] = None,
    transfer_to: Annotated[
        list[str] | None,
        typer.Option("--transfer-to", metavar="MODEL", show_default="none", help="Also ask this network; repeatable."),
    ] = None,
    view: Annotated[
        View,
        typer.Option("--view", help="Also write the panel original | difference × 10 | result, or the difference."),
    ] = View.image,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", show_default="off", help="Also write what the network looks at (Grad-CAM), before and after."
        ),
    ] = False,
    patch_size: Annotated[
        float,
        typer.Option(
            "--patch-size", metavar="SHARE", min=0.01, max=1, help="Side of the patch, a share of the shorter side."
        ),
    ] = DEFAULTS.patch,
    patch_robust: Annotated[
        bool,
        typer.Option(
            "--patch-robust",
            show_default="off",
            help="Make a patch that fools wherever it is put, somewhat larger, smaller or turned, and tell how often.",
        ),
    ] = DEFAULTS.patch_robust,
    sticker: Annotated[
        bool, typer.Option("--sticker", show_default="off", help="Also write the patch as a picture of its own.")
    ] = False,
    resize: Annotated[
        Resize,
        typer.Option(
            "--resize",
            help="What the network sees: the whole picture undistorted, its central part, or the whole as a square.",
        ),
    ] = DEFAULTS.resize,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="K", min=1, help="Number of predictions to report.")
    ] = DEFAULTS.top_k,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="FILE",
            show_default="none",
            help="Also write how many pictures each method fools within which change: .csv or .json.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            show_default="none",
            help="Also draw the share of pictures that each method fools against the size of the change: .png, .jpg …",
        ),
    ] = None,
    skip_existing: shared.SkipExisting = False,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Pictures at a time, of one size.")
    ] = DEFAULTS.batch,
    report: shared.ReportOption = None,
    files_from: shared.FilesFrom = None,
    null: shared.Null = False,
    recursive: shared.Recursive = False,
    model: shared.Model = DEFAULT_MODEL,
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
    """Change pictures until a network is fooled."""
    console = Console(json=json, quiet=quiet, verbose=verbose)
    goals = {"--target": target is not None, "--untargeted": untargeted, "--all-targets": all_targets}
    asked = [option for option, given in goals.items() if given]
    if not asked:
        raise UsageError("Say what the network shall see: --target CLASS, or --untargeted, or ask for --all-targets.")
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} contradict each other. Choose one.")
    shared.refuse_beside("all_targets", NOT_WITH_ALL_TARGETS, given_names(context))
    if (bool(images) or files_from is not None) == from_noise:
        raise UsageError("Give pictures to change, or --from-noise and none.")
    check_classes([target], model)
    methods = shared.parse_names(method or [DEFAULTS.method.value], NAMES, "method")
    refuse_unused(context, METHODS_OWN, methods, uses)
    one_change = Method.universal.value in methods
    sharing = shares(
        context, beside=output, unshared={"--report": report is not None, "--method universal": one_change}
    )
    inputs = sharing.inputs(
        lambda: (
            [Input(NOISE, Path(NOISE))]
            if from_noise
            else inputs_of(images or [], files_from, null=null, recursive=recursive)
        )
    )
    refuse_second_stdin(inputs, files_from)
    refuse_stdin(sharing, inputs)
    options = FoolOptions(
        norm=norm,
        eps=_number(eps, "--eps"),
        steps=steps,
        step_size=_number(step_size, "--step-size"),
        restarts=restarts,
        confidence=confidence,
        minimize=minimize,
        resize=resize,
        patch=patch_size,
        patch_robust=patch_robust,
        top_k=top_k,
        batch=batch,
        seed=seed,
        precision=precision.value,
    )
    if all_targets:
        ranking = Ranking(console, options, model, weights, device)
        sharing.divide(len(inputs), 1)
        sharing.for_each(
            sharing.own(inputs),
            ranking.rank,
            command="fool",
            console=console,
            device=device,
            before=lambda: ranking.prepare(len(inputs)),
        )
        return
    detail = "untargeted" if target is None else class_part(target, "target")
    details = [detail if len(methods) == 1 else f"{name}-{detail}" for name in methods]
    read = FilesRead([] if from_noise else inputs, (weights, mask, list_file(files_from)))
    destinations = plan_outputs(
        ResultNames(inputs, "fool", details),
        output=output,
        format=format,
        inputs=read,
        json=json,
        collected=files_from is not None or any(given.collected for given in inputs),
    )
    if table is not None and table.suffix.lower() not in (".csv", ".json"):
        raise UsageError(f"--table '{table}' must end in .csv or .json.")
    if plot is not None:
        _check_drawing(plot)
    if sticker and Method.patch.value not in methods:
        raise UsageError("--sticker is about --method patch. Give that, or leave it out.")
    drawn = {view.value: view is not View.image, "explain": explain, "sticker": sticker}
    names = [name for name, wanted in drawn.items() if wanted]
    if names and destinations[0].path is None:
        raise UsageError("--view, --explain and --sticker write a second picture, which '-' has no place for.")

    def second() -> Iterator[Destination]:
        return (beside(each, name) for name in names for each in destinations)

    check_all((str(each.path) for each in second()), read)
    others = {"--table": table, "--plot": plot}
    taken = files_of(chain(destinations, second())) if report or any(others.values()) else set()
    for option, path in others.items():
        if path is not None:
            check_besides(path, read, option, taken)
    page = plan_report(context, console, report, results=len(destinations), inputs=read, taken=taken)
    sharing.divide(len(inputs), batch)
    work = Fooling(
        context=context,
        console=console,
        request=Request(
            tuple(methods),
            options,
            target,
            mask,
            survive,
            tuple(transfer_to or ()),
            view,
            explain,
            sticker,
        ),
        inputs=sharing.own(inputs),
        destinations=sharing.own(destinations, len(methods)),
        skipping=Skipping(skip_existing),
        from_noise=from_noise,
        model_name=model,
        weights=weights,
        device_name=device,
        table=table,
        plot=plot,
        report=page,
    )
    try:
        with page.written(console):
            sharing.for_each(
                work.inputs,
                work.fool,
                command="fool",
                console=console,
                device=device,
                before=lambda: work.prepare(len(inputs)),
                kept=work.measured,
                skipping=work.skipping,
            )
    finally:
        work.skipping.tell(console)
        work.finish()


def _number(text: str | None, option: str) -> float | None:
    """``8/255`` or ``0.03``."""
    if text is None:
        return None
    above, slash, below = text.partition("/")
    try:
        value = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = float("nan")
    if not 0 < value < float("inf"):
        raise UsageError(f"{option} '{text}' is not a size above 0 such as 8/255 or 0.03.")
    return value


def _check_drawing(path: Path) -> None:
    from cvtool.images import format_of

    format_of(path)
