"""``cvtool gan sample``: pictures from a generator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvtool.cli import options as shared
from cvtool.cli.console import Console
from cvtool.cli.gan_generator import (
    GAP,
    GRID_WIDTH,
    MOST_SEEDS,
    WIDEST_CELL,
    CheckpointOption,
    LabelOption,
    LatentOption,
    Opened,
    SeedsOption,
    TruncationOption,
    as_cell,
    check_fits,
    fitting_scale,
    note,
    open_generator,
    parse_seeds,
    read_latents,
    refuse_latent_with,
    seeds_from,
)
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.outputs import STDOUT, Destination, class_part, plan_outputs, result_name
from cvtool.cli.repeat import command_line
from cvtool.cli.reporting import Report, Shown, plan_report
from cvtool.errors import Interrupted, UsageError
from cvtool.gan.use_options import SAMPLES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from cvtool.gan.sampling import Sampler

MOST_IN_GRID = 10_000
MOST_COLUMNS_OF_CLASSES = 20


def sample(
    context: typer.Context,
    checkpoint: CheckpointOption = None,
    number: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--number",
            metavar="N",
            min=1,
            max=MOST_SEEDS,
            show_default=f"{SAMPLES}, or a few more so that all classes have as many",
            help="Pictures.",
        ),
    ] = None,
    seeds: SeedsOption = None,
    label: LabelOption = None,
    truncation: TruncationOption = None,
    latent: LatentOption = None,
    grid: Annotated[
        bool, typer.Option("--grid/--files", help="All on one picture, or each in a file of its own.")
    ] = True,
    columns: Annotated[
        int | None,
        typer.Option("--columns", metavar="N", min=1, show_default="one a class, or a square", help="Of the grid."),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale",
            metavar="K",
            min=1,
            max=64,
            show_default="so that a grid fills a screen; 1 for files",
            help="Show every pixel as a square of K × K.",
        ),
    ] = None,
    report: shared.ReportOption = None,
    device: shared.Device = "auto",
    precision: shared.PrecisionOption = shared.Precision.fp32,
    seed: shared.Seed = 0,
    output: shared.Output = None,
    format: shared.FormatOption = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Make pictures with a generator.

    The same seed and class give the same picture, however many are made. Without --label the classes take turns.
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    if latent is not None:
        refuse_latent_with(seeds=seeds, number=number, truncation=truncation)
    if seeds is not None and number is not None:
        raise UsageError("--seeds says how many pictures, so -n has no effect. Leave one of them out.")
    given = parse_seeds(seeds) if seeds is not None else None
    if output == STDOUT and not grid:
        raise UsageError("'--output -' takes one picture, but --files makes several. Give --output a folder.")
    protected = [path for path in (checkpoint, latent) if path is not None]
    stem = checkpoint.stem if checkpoint is not None else "generator"
    if grid:
        destinations = plan_outputs(
            [result_name(stem, "sample")], output=output, format=format, inputs=protected, json=json
        )
    opened = open_generator(checkpoint)
    wanted = _wanted(opened, given, seed, number, label, truncation, latent)
    if not grid:
        destinations = plan_outputs(
            [result_name(stem, "sample", detail) for detail in wanted.details],
            output=output, format=format, inputs=protected, json=json, collected=True,
        )  # fmt: skip
    elif len(wanted.z) > MOST_IN_GRID:
        raise UsageError(f"{len(wanted.z)} pictures do not fit one grid. Use --files, or at most {MOST_IN_GRID}.")
    page = plan_report(context, console, report, results=len(destinations), inputs=protected, destinations=destinations)
    work = Sampling(context, console, opened, wanted, device, precision.value, columns, scale, page)
    with page.written(console):
        work.draw_grid(destinations[0]) if grid else work.write_files(destinations)


@dataclass(frozen=True, eq=False)
class Wanted:
    """The pictures asked for.

    Attributes:
        z: noise (N, latent).
        weights: of the classes (N, classes), or None.
        seeds: of each picture; None for noise from a file.
        numbers: classes of each picture; None for a generator without, or for mixed classes from a file.
        period: classes that are taken in turn, 1 if all are one.
        classes: all names.
        latent: file that the noise came from, with its SHA-256.
    """

    z: Tensor
    weights: Tensor | None
    seeds: tuple[int, ...] | None
    numbers: tuple[int, ...] | None
    period: int
    classes: tuple[str, ...]
    latent: tuple[Path, str] | None = None

    @property
    def details(self) -> list[str]:
        """What tells the files of the pictures apart."""
        digits = len(str(max(self.seeds or (len(self.z),))))
        marks = [f"{mark:0{digits}}" for mark in self.seeds or range(1, len(self.z) + 1)]
        if self.numbers is None:
            return marks
        parts = [class_part(self.classes[number], "class") for number in self.numbers]
        return [f"{mark}-{part}" for mark, part in zip(marks, parts, strict=True)]

    def label(self, place: int) -> str | None:
        """Name of one picture's class."""
        return None if self.numbers is None else self.classes[self.numbers[place]]


def _wanted(
    opened: Opened,
    given: tuple[int, ...] | None,
    seed: int,
    number: int | None,
    label: Sequence[str] | None,
    truncation: float | None,
    latent: Path | None,
) -> Wanted:
    from cvtool.gan.sampling import class_weights, latents

    classes, file, weights = opened.classes, None, None
    if latent is not None:
        z, weights, digest = read_latents(latent, opened)
        file, given = (latent, digest), None
    else:
        if given is None:
            turns = len(label_turn(opened, label))
            given = seeds_from(seed, number or SAMPLES + -SAMPLES % turns)
        z = latents(opened.checkpoint.generator, given, truncation)
    numbers = None
    if weights is None or label:
        numbers = opened.numbers(label, len(z))
        weights = None if numbers is None else class_weights(numbers, len(classes))
    period = 1 if numbers is None else len(label_turn(opened, label))
    return Wanted(z, weights, given, numbers, period, classes, file)


def label_turn(opened: Opened, label: Sequence[str] | None) -> tuple[int, ...]:
    """The classes that are taken in turn; one nameless one for a generator without."""
    from cvtool.gan.labels import label_numbers

    return label_numbers(label or (), opened.classes) or tuple(range(len(opened.classes))) or (0,)


@dataclass(frozen=True, eq=False)
class Sampling:
    """Makes the pictures and writes them."""

    context: typer.Context
    console: Console
    opened: Opened
    wanted: Wanted
    device: str
    precision: str
    columns: int | None
    scale: int | None
    page: Report

    @cached_property
    def sampler(self) -> Sampler:
        """The generator on its device."""
        from cvtool.gan.sampling import Sampler
        from cvtool.tensors import choose_device

        return Sampler(self.opened.checkpoint.generator, choose_device(self.device), precision=self.precision)

    def draw_grid(self, destination: Destination) -> None:
        """All pictures on one."""
        from cvtool.grids import contact_sheet
        from cvtool.images import encode_picture

        started = time.perf_counter()
        columns, heads = self._columns()
        size = self.opened.checkpoint.generator.shape.size
        scale = self.scale or fitting_scale(size, columns, GRID_WIDTH, WIDEST_CELL)
        check_fits(len(self.wanted.z), size * scale, "pictures", "Use --files, fewer pictures or less --scale.")
        with self.console.progress() as progress:
            pictures = self.sampler(self.wanted.z, self.wanted.weights, progress=progress)
        made = time.perf_counter() - started
        cells = [as_cell(each, scale) for each in pictures]
        rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
        sheet = contact_sheet(rows, column_labels=heads, cell=size * scale, gap=GAP)
        text = self._note({"columns": columns, "scale": scale, "grid": True}, {"format": destination.format})
        destination.write(encode_picture(sheet, destination.format.value, note=text), self.console)
        self._show(sheet, f"{len(pictures)} pictures", text)
        self._report(destination, started, pictures, sheet.shape, range(len(pictures)))
        self.console.detail(f"{len(pictures) / made:.0f} pictures a second")
        self.console.say(f"{len(pictures)} pictures -> {destination.name}")

    def write_files(self, destinations: Sequence[Destination]) -> None:
        """Each picture in its file.

        Raises:
            Interrupted: by Ctrl-C; what is finished is written.
        """
        started, done = time.perf_counter(), 0
        with (
            stop_on_interrupt(lambda: self.console.say("stopping after this picture …")) as stop,
            self.console.progress() as progress,
        ):
            for part in self.sampler.parts(self.wanted.z, self.wanted.weights, progress=progress, stop=stop):
                for pixels in part:
                    if stop():
                        break
                    self._write_file(destinations[done], done, pixels)
                    done += 1
            stopped = stop() and done < len(destinations)
        folder = destinations[0].path.parent if destinations[0].path else Path()
        if stopped:
            raise Interrupted(f"stopped; {done} of {len(destinations)} pictures are in '{folder}'.")
        self.console.say(f"{done} pictures -> {folder} ({time.perf_counter() - started:.1f} s)")

    def _write_file(self, destination: Destination, place: int, pixels: NDArray[np.uint8]) -> None:
        from cvtool.codecs.rasters import unit
        from cvtool.images import encode_picture

        started = time.perf_counter()
        picture = unit(as_cell(pixels, self.scale or 1))
        wanted = self.wanted
        only: dict[str, Any] = {"format": destination.format, "scale": self.scale or 1}
        if wanted.seeds is not None:  # noise from a file makes all of its pictures again: nothing names one of them
            only |= {"number": None, "seeds": str(wanted.seeds[place])}
            only |= {} if wanted.numbers is None else {"label": [wanted.label(place)]}
        text = self._note({"place": place, "scale": self.scale or 1, "grid": False}, only)
        destination.write(encode_picture(picture, destination.format.value, note=text), self.console)
        self._show(picture, wanted.label(place) or f"Picture {place + 1}", text)
        self._report(destination, started, pixels[None], picture.shape, range(place, place + 1))

    def _show(self, picture: NDArray[np.float32], what: str, note: str) -> None:
        """The picture on the page, with the command in its provenance."""
        from cvtool.provenance import Provenance

        line = Provenance.from_json(note).command_line
        self.page.show(Shown(what, f"{what}, made by {self.opened.name}", picture), command=line)

    def _columns(self) -> tuple[int, list[str]]:
        """How many the grid has, and what stands above them."""
        count, period = len(self.wanted.z), self.wanted.period
        by_class = 1 < period <= min(MOST_COLUMNS_OF_CLASSES, count)
        columns = self.columns or (period if by_class else ceil(sqrt(count)))
        columns = min(columns, count)
        if period > 1 and columns == period and self.wanted.numbers is not None:
            return columns, [self.wanted.label(place) or "" for place in range(columns)]
        return columns, []

    def _note(self, options: dict[str, Any], replaced: dict[str, Any]) -> str:
        wanted = self.wanted
        files = {"checkpoint": None if self.opened.bundled else self.opened.path}
        more: tuple[dict[str, str], ...] = ()
        if wanted.latent is not None:
            files["latent"] = wanted.latent[0]
            more = ({"path": str(wanted.latent[0].resolve()), "sha256": wanted.latent[1]},)
        line = command_line(self.context, [], replaced={**files, **replaced})
        given = {name: self.context.params.get(name) for name in ("number", "seeds", "seed", "label", "truncation")}
        return note(
            self.opened, "gan sample", line, {**given, **options}, inputs=more, device=str(self.sampler.device),
            seed=self._seed,
        )  # fmt: skip

    @property
    def _seed(self) -> int | None:
        return None if self.wanted.seeds is None else self.wanted.seeds[0]

    def _report(
        self,
        destination: Destination,
        started: float,
        pictures: NDArray[np.uint8],
        shape: tuple[int, ...],
        places: range,
    ) -> None:
        wanted = self.wanted
        self.console.result(
            "gan sample",
            input=None if wanted.latent is None else str(wanted.latent[0]),
            output=destination.name,
            model=self.opened.name,
            device=str(self.sampler.device),
            seed=self._seed if wanted.seeds is None else wanted.seeds[places.start],
            seconds=round(time.perf_counter() - started, 3),
            samples=len(pictures),
            size=pictures.shape[1],
            width=shape[1],
            height=shape[0],
            seeds=None if wanted.seeds is None else [wanted.seeds[place] for place in places],
            labels=None if wanted.numbers is None else [wanted.label(place) for place in places],
        )
