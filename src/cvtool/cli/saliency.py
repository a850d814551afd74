"""``cvtool saliency``: which pixels a prediction rests on."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli import options as shared
from cvtool.cli.console import Console
from cvtool.cli.input_lists import inputs_of, list_file
from cvtool.cli.inputs import FilesRead, refuse_second_stdin
from cvtool.cli.outputs import ResultNames, Skipping, check_besides, files_of, plan_outputs
from cvtool.cli.repeat import given_names
from cvtool.cli.reporting import plan_report
from cvtool.cli.saliency_explainer import MOST_TOGETHER, Explaining, Request
from cvtool.cli.saliency_notes import METHODS_OWN, uses
from cvtool.cli.saliency_raw import Raw
from cvtool.cli.saliency_report import ALL, AUTO
from cvtool.cli.sharing import refuse_stdin, shares
from cvtool.cli.targets import check_classes
from cvtool.cli.without_effect import refuse_unused
from cvtool.errors import UsageError
from cvtool.models.cards import DEFAULT_MODEL, Resize
from cvtool.saliency.options import Baseline, Method, Reduce, SaliencyOptions

DEFAULTS = SaliencyOptions()
DEFAULT_PRECISION = shared.Precision(DEFAULTS.precision)
NAMES = [*(method.value for method in Method), ALL, AUTO]
BY_METHOD = "the method's"


class View(str, Enum):
    """What picture is made of a map."""

    overlay = "overlay"
    heatmap = "heatmap"
    panel = "panel"
    masked = "masked"


def saliency(
    context: typer.Context,
    images: shared.Images = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            show_default=DEFAULTS.method.value,
            autocompletion=lambda: NAMES,
            help=f"How to attribute the score; repeatable, or as a,b,c. One of {', '.join(NAMES)}. 'all' makes one "
            "sheet of all that fit the network, in minutes; 'auto' takes, of the quick ones, that with the best "
            "insertion − deletion.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="CLASS",
            show_default="the likeliest class",
            help="Class whose score is explained: index, name or WordNet id.",
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            "--contrast", metavar="CLASS", show_default="none", help="Explain why the target and not this class."
        ),
    ] = None,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="K", min=1, help="Number of predictions to report.")
    ] = DEFAULTS.top_k,
    view: Annotated[View, typer.Option("--view", help="What picture is made of the map.")] = View.panel,
    reduce: Annotated[
        Reduce | None,
        typer.Option("--reduce", show_default=BY_METHOD, help="How three channels become one number per pixel."),
    ] = DEFAULTS.reduce,
    resize: Annotated[
        Resize,
        typer.Option(
            "--resize",
            show_default=f"{DEFAULTS.resize.value}; of pictures by 'cvtool fool' what was judged there",
            help="What the network sees: the whole picture undistorted, its central part, or the whole as a square.",
        ),
    ] = DEFAULTS.resize,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", metavar="N", min=1, show_default=BY_METHOD, help="Number of noisy copies, or of RISE's masks."
        ),
    ] = DEFAULTS.samples,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Points of integrated gradients; tripled until the sum is right to 1 %, or there are "
            f"{DEFAULTS.most_steps}.",
        ),
    ] = DEFAULTS.steps,
    noise: Annotated[
        float,
        typer.Option(
            "--noise", metavar="SHARE", min=0, help="Deviation of the noise, a share of the picture's range of values."
        ),
    ] = DEFAULTS.noise,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar=f"{'|'.join(each.value for each in Baseline)}|FILE",
            show_default=BY_METHOD,
            help="What stands for 'nothing to see': for integrated gradients, occlusion, RISE.",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            metavar="NAME",
            show_default="the last with more than one place",
            help="Layer of class activation maps.",
        ),
    ] = DEFAULTS.layer,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate",
            show_default="off",
            help="Also measure the map: insertion, deletion, ROAD, completeness, other seeds, shuffled weights.",
        ),
    ] = False,
    boxes: Annotated[
        str | None,
        typer.Option(
            "--boxes",
            metavar="coco:DIR|voc:DIR",
            show_default="none",
            help="Boxes around the objects: --evaluate then also plays the pointing game and measures the map's share "
            "inside them.",
        ),
    ] = None,
    raw: Annotated[
        Path | None,
        typer.Option(
            "--raw", metavar="FILE", show_default="none", help="Also write the maps as they are: .npy or .h5."
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="FILE",
            show_default="none",
            help="Also write the ranking of the methods that --evaluate finds: .csv or .json.",
        ),
    ] = None,
    same_scale: Annotated[
        bool, typer.Option("--same-scale", show_default="off", help="One colour scale for all pictures of a method.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            show_default="the device's",
            help="Network inputs at a time; halved when memory runs out.",
        ),
    ] = DEFAULTS.batch,
    report: shared.ReportOption = None,
    skip_existing: shared.SkipExisting = False,
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
    """Show which pixels a prediction rests on."""
    console = Console(json=json, quiet=quiet, verbose=verbose)
    unshared = {"--report": report is not None, "--raw": raw is not None, "--same-scale": same_scale}
    sharing = shares(context, beside=output, unshared=unshared)
    inputs = sharing.inputs(lambda: inputs_of(images or [], files_from, null=null, recursive=recursive))
    refuse_second_stdin(inputs, files_from)
    refuse_stdin(sharing, inputs)
    check_classes([target, contrast], model)
    methods = shared.parse_names(method or [DEFAULTS.method.value], NAMES, "method")
    if ALL in methods and len(methods) > 1:
        raise UsageError("--method all already holds the others. Give it alone.")
    if not {ALL, AUTO} & set(methods):  # among so many there is one that looks at it
        refuse_unused(context, METHODS_OWN, methods, uses)
    named = baseline in {each.value for each in Baseline}
    baseline_file = None if baseline is None or named else Path(baseline)
    options = SaliencyOptions(
        reduce=reduce,
        resize=resize,
        samples=samples,
        steps=steps,
        most_steps=max(steps, DEFAULTS.most_steps),
        noise=noise,
        baseline=Baseline(baseline) if named else None,
        layer=layer,
        top_k=top_k,
        batch=batch,
        seed=seed,
        precision=precision.value,
    )
    several = len(inputs) * len(methods) > 1
    read = FilesRead(inputs, (weights, baseline_file, list_file(files_from)))
    destinations = plan_outputs(
        ResultNames(inputs, "saliency", methods),
        output=output,
        format=format,
        inputs=read,
        json=json,
        collected=files_from is not None or any(given.collected for given in inputs),
    )
    for option, value in (("--table", table), ("--boxes", boxes)):
        if value is not None and not evaluate:
            raise UsageError(f"{option} is for what --evaluate measures. Give both.")
    taken = files_of(destinations) if raw or table else set()
    for option, path, suffixes in (("--raw", raw, Raw.SUFFIXES), ("--table", table, (".csv", ".json"))):
        if path is not None:
            if path.suffix.lower() not in suffixes:
                raise UsageError(f"{option} '{path}' must end in {' or '.join(suffixes)}.")
            check_besides(path, read, option, taken)
    if raw is not None and raw.suffix.lower() == ".npy" and several:
        raise UsageError(f"--raw '{raw}' holds one map, but there are several. Give a name that ends in .h5.")
    if raw is not None and any(name in (ALL, AUTO) for name in methods):
        raise UsageError("--raw wants methods by name, not 'all' or 'auto'.")
    if skip_existing and (raw is not None or same_scale):
        option = "--same-scale" if raw is None else "--raw"
        raise UsageError(f"{option} is about all pictures, and --skip-existing leaves some out. Give only one of them.")
    page = plan_report(context, console, report, results=len(destinations), inputs=read, destinations=destinations)

    sharing.divide(len(inputs), batch or MOST_TOGETHER)
    work = Explaining(
        context=context,
        console=console,
        request=Request(
            methods=tuple(methods),
            options=options,
            target=target,
            contrast=contrast,
            baseline=baseline_file,
            view=view,
            evaluate=evaluate,
            boxes=boxes,
            same_scale=same_scale,
            follow="resize" not in given_names(context),
        ),
        inputs=sharing.own(inputs),
        destinations=sharing.own(destinations, len(methods)),
        skipping=Skipping(skip_existing),
        model_name=model,
        weights=weights,
        device_name=device,
        raw=raw,
        table=table,
        report=page,
    )
    try:
        with page.written(console):
            sharing.for_each(
                work.inputs,
                work.explain,
                command="saliency",
                console=console,
                device=device,
                before=lambda: work.prepare(inputs),
                kept=work.measured,
                skipping=work.skipping,
            )
    finally:
        work.skipping.tell(console)
        work.finish()
