"""Before work begins: tiles that keep it within the memory there is, and how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvtool.images import fit_longer_side, resize
from cvtool.memory import available_memory
from cvtool.models.loader import Model
from cvtool.stylize.extractor import Extractor
from cvtool.stylize.memory import Job, base_memory, choose_tile, limit_of, measure_needs
from cvtool.stylize.objective import balance
from cvtool.stylize.options import Optimizer, StylizeOptions
from cvtool.stylize.pace import measure_pace, work_of
from cvtool.stylize.pyramid import Scale
from cvtool.stylize.recipes import RECIPES
from cvtool.stylize.style_files import StyleFile
from cvtool.stylize.styles import Style
from cvtool.tensors import to_tensor

Pixels = NDArray[np.float32]

ROUGH = 8e3
"""Bytes per pixel that no usual network needs: while that much is free, nothing is measured."""

SMALL = 1.5e6
"""Pixels up to which nothing is measured unless memory is short: it would take longer than it tells."""

SAMPLE = 2048
"""Longer side of the picture in pixels whose pieces are timed."""

LINE_SEARCH = 1.25
"""How often a step of L-BFGS evaluates the loss, on average."""


@dataclass(frozen=True)
class Forecast:
    """What a style transfer will take.

    Attributes:
        tile: side of the tiles in pixels, 0 for none.
        bytes: of memory at most.
        seconds: of time; None where a budget or the options leave it open.
    """

    tile: int
    bytes: int
    seconds: float | None


def foresee(
    canvas: Pixels,
    styles: Sequence[Style],
    plan: Sequence[Scale],
    model: Model,
    options: StylizeOptions,
    *,
    regions: int = 0,
    anchor: bool = False,
    checkpoint: bool = False,
) -> Forecast | None:
    """Choose tiles, and say what the work will take; None for small work, which is done in one go.

    Args:
        canvas: the content.
        styles: as in `service.stylize`.
        plan: the scales.
        model: the network.
        options: as `service.resolve` gives them.
        regions: number of regions.
        anchor, checkpoint: whether there will be one.

    Raises:
        UnsuitableInputError: nothing stays within the memory; says the least that would do.
        UsageError: tiles are asked for, and the network cannot work on them.
    """
    height, width = plan[-1].height, plan[-1].width
    free = available_memory() if model.device.type == "cpu" else None
    roomy = free is None or height * width * ROUGH < free
    if options.tile in (None, 0) and options.max_memory is None and height * width <= SMALL and roomy:
        return None
    recipe = RECIPES[options.recipe]
    longer = max(1, round(max(height, width) * options.style_scale))
    shapes = [
        fit_longer_side(each.shape[0], each.shape[1], longer) for each in styles if not isinstance(each, StyleFile)
    ]
    job = Job(
        height,
        width,
        recipe.margin,
        max((h * w for h, w in shapes), default=0),
        regions,
        lbfgs=options.optimizer is Optimizer.lbfgs,
        fidelity=balance(max(options.strength, 1.0)).fidelity > 0,
        anchor=anchor,
        checkpoint=checkpoint,
    )
    seeing = Extractor(model, options.style_layers, options.content_layers, 0, options.precision)
    needs = measure_needs(model, options.style_layers, options.content_layers, options.precision, regions)
    base = base_memory(model.device)
    limit = limit_of(model.device, base, options.max_memory)
    fit = choose_tile(job, needs, lambda: seeing.field, base, limit, tile=options.tile)
    seconds = None
    if options.budget is None:
        searches = LINE_SEARCH if options.optimizer is Optimizer.lbfgs else 1.0
        work = work_of(plan, fit.tile, seeing.field if fit.tile else None, recipe.margin, shapes, searches)
        sample = resize(canvas, *fit_longer_side(height, width, min(max(height, width), SAMPLE)))
        seconds = work.seconds(measure_pace(seeing, to_tensor(sample, model.device), work, regions))
    return Forecast(fit.tile, fit.bytes, seconds)
