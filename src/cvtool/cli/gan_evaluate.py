"""``cvtool gan evaluate``: how far a generator's pictures are from real ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvtool.cli import options as shared
from cvtool.cli.console import Console
from cvtool.cli.gan_data import CacheOption, DataOption, FitOption, SkipBad, absolute, checked
from cvtool.cli.gan_generator import (
    GAP,
    CheckpointOption,
    Opened,
    TruncationOption,
    as_cell,
    fitting_scale,
    note,
    open_generator,
)
from cvtool.cli.outputs import check_writable, make_folder
from cvtool.cli.protected import place_of
from cvtool.cli.repeat import command_line
from cvtool.errors import BadInputError
from cvtool.gan.picture_options import Color, PictureOptions
from cvtool.gan.use_options import FEWEST_JUDGED, JudgeOptions
from cvtool.models.cards import DEFAULT_MODEL

if TYPE_CHECKING:
    from cvtool.gan.datasets import Pictures
    from cvtool.gan.evaluation import Evaluation
    from cvtool.gan.judging import Judgement

DEFAULTS = JudgeOptions()
PICTURE_DEFAULTS = PictureOptions()
CELL = 84  # pixels
ROWS = {
    "fd": "Fréchet distance",
    "kd": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "nearest": "nearest",
}


def evaluate(
    context: typer.Context,
    data: DataOption,
    checkpoint: CheckpointOption = None,
    samples: Annotated[
        int,
        typer.Option(
            "--samples",
            metavar="N",
            min=FEWEST_JUDGED,
            max=100_000,
            help="Generated pictures, and real ones to compare them with.",
        ),
    ] = DEFAULTS.samples,
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            metavar="MODEL@PX",
            show_default=f"{DEFAULT_MODEL} at a size near the pictures'",
            help="Network that compares, and the size it sees; numbers by different ones cannot be compared.",
        ),
    ] = None,
    nearest: Annotated[
        Path | None,
        typer.Option(
            "--nearest",
            metavar="FILE",
            show_default="none",
            help="Also draw generated pictures beside the real ones that are most like them.",
        ),
    ] = None,
    truncation: TruncationOption = None,
    fit: FitOption = PICTURE_DEFAULTS.fit,
    skip_bad: SkipBad = False,
    cache: CacheOption = None,
    weights: shared.Weights = None,
    device: shared.Device = "auto",
    precision: Annotated[
        shared.Precision,
        typer.Option(
            "--precision",
            help="Number format of the comparing network; others than fp32 move distances and are named with them.",
        ),
    ] = shared.Precision.fp32,
    seed: shared.Seed = DEFAULTS.seed,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Measure how far a generator is from real pictures.

    Other real pictures are measured, too, for scale. Distances fall with the number of pictures:
    compare only what was measured with the same --samples.
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    started = time.perf_counter()
    if nearest is not None:
        from cvtool.images import format_of

        format_of(nearest)
        read = [place_of(data), checkpoint, weights]
        check_writable(nearest, [each for each in read if each is not None], "--nearest")
    opened = open_generator(checkpoint)

    from cvtool.gan.features import default_features, feature_model
    from cvtool.gan.judging import judge
    from cvtool.tensors import choose_device

    place = choose_device(device)
    model = feature_model(
        features or default_features(opened.checkpoint.generator.shape.size),
        device=place,
        weights=weights,
        precision=precision.value,
    )
    train, test = _pictures(opened, data, fit, skip_bad, cache, console)
    options = JudgeOptions(samples=samples, seed=seed)
    with console.progress() as progress:
        judged = judge(
            opened.checkpoint, train, test, model, options, device=place, truncation=truncation, progress=progress
        )
    if opened.classes and train.classes != opened.classes:
        console.warn(f"'{data}' has other classes than the generator, which therefore made as many of each of its own.")
    if judged.found.reference < samples:
        console.warn(f"there are only {judged.found.reference} real pictures to compare {samples} samples with.")
    if nearest is not None:
        replaced = {"checkpoint": None if opened.bundled else opened.path, "data": absolute(data)}
        replaced["nearest"] = nearest.name
        line = command_line(context, [], replaced=replaced)
        options_used: dict[str, Any] = {"data": data, "samples": samples, "truncation": truncation}
        text = note(opened, "gan evaluate", line, options_used, device=str(place), seed=seed)
        _draw(nearest, judged, text)
        console.say(f"samples and the real pictures most like them -> {nearest}")
    console.result(
        "gan evaluate",
        input=data,
        output=None if nearest is None else str(nearest),
        model=opened.name,
        device=str(place),
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
        **judged.found.facts(),
        real=None if judged.real is None else {**judged.real.facts(), "split": judged.real_from},
        learned_from_this=opened.checkpoint.fingerprint == train.fingerprint,
    )
    if not json:
        _tell(judged, console)


def _pictures(
    opened: Opened, data: str, fit: Any, skip_bad: bool, cache: Path | None, console: Console
) -> tuple[Pictures, Pictures | None]:
    """Those to learn from, and those set apart for tests, if there are any; both as the generator makes them."""
    from cvtool.gan.datasets import BadPicturesError

    shape = opened.checkpoint.generator.shape
    color = Color.grey if shape.channels == 1 else Color.rgb
    options = PictureOptions(size=shape.size, color=color, fit=fit, skip_bad=skip_bad)
    train = checked(data, options, console, cache=cache)
    try:
        return train, checked(data, options, console, cache=cache, split="test")
    except BadPicturesError:
        raise
    except BadInputError as error:
        console.detail(f"no pictures set apart for tests: {error}")
        return train, None


def _tell(judged: Judgement, console: Console) -> None:
    columns = [("generated", judged.found)]
    if judged.real is not None:
        columns.append(("real" if judged.real_from == "test" else "real (held back)", judged.real))
    header = ["", *(name for name, _ in columns)]
    console.table([[text, *(_cell(each, key) for _, each in columns)] for key, text in ROWS.items()], header)
    found = judged.found
    against = "" if judged.real is None else f", {judged.real.samples} real ones from '{judged.real_from}'"
    console.say(
        f"{found.samples} generated pictures{against}, against {found.reference} real ones from 'train', "
        f"by {found.feature_model}"
    )


def _cell(found: Evaluation, key: str) -> str:
    facts = found.facts()
    if f"{key}_low" in facts:
        return f"{facts[key]:.4g} ({facts[f'{key}_low']:.4g} to {facts[f'{key}_high']:.4g})"
    return f"{facts[key]:.3f}"


def _draw(path: Path, judged: Judgement, text: str) -> None:
    from cvtool.files import write_atomically
    from cvtool.grids import contact_sheet
    from cvtool.images import encode_picture, format_of

    size = judged.samples.shape[1]
    scale = fitting_scale(size, 1, CELL, max(CELL, size))
    rows = [
        [as_cell(one, scale), *(as_cell(each, scale) for each in others)]
        for one, others in zip(judged.samples, judged.nearest, strict=True)
    ]
    count = len(rows[0]) - 1
    heads = ["generated", "nearest real", *(f"{number}." for number in range(2, count + 1))]
    sheet = contact_sheet(rows, column_labels=heads, cell=size * scale, gap=GAP)
    make_folder(path.parent)
    write_atomically(path, encode_picture(sheet, format_of(path), note=text))
