"""The pictures of a run: its grids, and the page that shows it all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cvtool.animation import encode_animation
from cvtool.cli.gan_generator import GAP, GRID_WIDTH, WIDEST_CELL, as_cell, fitting_scale
from cvtool.cli.run_sheets import Sheets, write_report
from cvtool.gan.labels import in_turn
from cvtool.gan.report import page
from cvtool.gan.use_options import JudgeOptions, WalkOptions
from cvtool.grids import contact_sheet
from cvtool.images import encode_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from cvtool.gan.evaluation import Judge
    from cvtool.gan.networks import Generator
    from cvtool.training import RunDirectory

WALK_SIDE = 192  # pixels
SEED = 0


def write_grid(
    run: Path, step: int, pictures: NDArray[np.uint8], columns: int, classes: Sequence[str], note: str
) -> None:
    """The pictures (N, S, S, C) of a check as samples/step-NNNNNN.png; a row is named after its class.

    Args:
        run: its directory.
        step: of the check.
        pictures: row by row.
        columns: pictures in a row.
        classes: their names, in turn.
        note: what made them.
    """
    names = [classes[row % len(classes)] for row in range(len(pictures) // columns)] if classes else []
    sheets_of(run).write(step, _sheet(pictures, columns, names, note=note))


def sheets_of(run: Path) -> Sheets:
    """The grids of a run's checks."""
    return Sheets(run, "step-{:06d}.png")


def write_page(
    run: RunDirectory,
    generator: Generator,
    judge: Judge,
    reference: NDArray[np.uint8],
    command: str,
    title: str,
) -> None:
    """The run as report.html.

    Args:
        run: with at least one check.
        generator: its best one.
        judge: knows the features of `reference`.
        reference: real pictures (N, S, S, C).
        command: that repeats the run.
        title: of the page.
    """
    records = run.records()
    sheets = sheets_of(run.path)
    files = [(each["step"], sheets.file(each["step"])) for each in records]
    grids = [(step, file.read_bytes()) for step, file in files if file.exists()]
    text = page(
        run.read_config(),
        records,
        grids,
        walk=_walk(generator, str(judge.model.device)),
        neighbours=_neighbours(generator, judge, reference),
        command=command,
        title=title,
    )
    write_report(run.path, text)


def _sheet(
    pictures: NDArray[np.uint8],
    columns: int,
    names: Sequence[str] = (),
    heads: Sequence[str] = (),
    note: str | None = None,
) -> bytes:
    """Pictures in rows → PNG."""
    size = pictures.shape[1]
    scale = fitting_scale(size, columns, GRID_WIDTH, WIDEST_CELL)
    cells = [as_cell(each, scale) for each in pictures]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    sheet = contact_sheet(rows, row_labels=names, column_labels=heads, cell=size * scale, gap=GAP)
    return encode_picture(sheet, "png", note=note)


def _stops(generator: Generator, count: int) -> tuple[Tensor, Tensor | None]:
    """Noise of the first seeds, classes in turn."""
    from cvtool.gan.sampling import class_weights, latents

    classes = generator.shape.classes
    z = latents(generator, range(SEED, SEED + count))
    return z, class_weights(in_turn(range(classes), count), classes) if classes else None


def _walk(generator: Generator, device: str) -> bytes:
    """A closed walk as an animated WebP."""
    from cvtool.gan.interpolation import walk
    from cvtool.gan.sampling import sample

    options = WalkOptions()
    classes = generator.shape.classes
    count = min(classes, options.most_stops) if classes > 1 else options.stops
    way = walk(generator, *_stops(generator, count), frames=options.per_leg * count, loop=True)
    pictures = sample(generator, way.z, way.labels, device)
    scale = fitting_scale(generator.shape.size, 1, WALK_SIDE, WALK_SIDE)
    return encode_animation([as_cell(each, scale) for each in pictures], "webp", options.fps, 1 / options.fps)


def _neighbours(generator: Generator, judge: Judge, reference: NDArray[np.uint8]) -> bytes:
    """Samples beside the real pictures most like them."""
    from cvtool.gan.sampling import sample

    options = JudgeOptions()
    pictures = sample(generator, *_stops(generator, options.shown), str(judge.model.device))
    rows, _ = judge.nearest(pictures, options.neighbours)
    shown = np.concatenate([pictures[:, None], reference[rows]], axis=1)
    heads = ["sample", "nearest", *[""] * (options.neighbours - 1)]
    return _sheet(shown.reshape(-1, *pictures.shape[1:]), options.neighbours + 1, heads=heads)
