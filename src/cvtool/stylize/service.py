"""Style transfer: paint one picture in the style of others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cvtool.errors import BadInputError, UsageError
from cvtool.hooks import auto_layers
from cvtool.images import resize
from cvtool.models.loader import Model
from cvtool.progress import Progress, Stop, never, silent
from cvtool.stylize import color
from cvtool.stylize.extractor import Extractor
from cvtool.stylize.objective import Anchor, Region
from cvtool.stylize.options import Colors, Init, Optimizer, StylizeOptions, shares_of
from cvtool.stylize.planning import Forecast, foresee
from cvtool.stylize.preparation import (
    FADE_BELOW,
    Objectives,
    check_regions,
    first_picture,
    only_inside,
    prepare_colors,
)
from cvtool.stylize.pyramid import after_a_guess, output_size, plan_scales
from cvtool.stylize.recipes import RECIPES
from cvtool.stylize.run import Listeners, Run, Snapshot
from cvtool.stylize.style_files import StyleFile
from cvtool.stylize.styles import (
    Style,
    StyleBook,
    check_fits,
    digest,
    digest_of,
    measure_style,
)
from cvtool.tensors import choose_dtype, to_pixels

Pixels = NDArray[np.float32]

STYLE_TILE = 1024
"""Side of the tiles, in pixels, on which a style is looked at whose moments are kept."""


@dataclass(frozen=True, eq=False)
class StylizeResult:
    """A painted picture, and how it came to be.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1].
        options: as used, with every choice that was left to the recipe filled in.
        plan: the scales (height, width, steps) that were done.
        content_loss, style_loss, tv_loss: the last values, each as it enters at strength 50.
        stopped_by: ``steps``, ``budget``, ``plateau`` or ``interrupt``.
        seconds: wall time.
    """

    pixels: Pixels
    options: StylizeOptions
    plan: tuple[tuple[int, int, int], ...]
    content_loss: float
    style_loss: float
    tv_loss: float
    stopped_by: str
    seconds: float

    @property
    def steps(self) -> int:
        """Optimisation steps in all."""
        return sum(steps for _, _, steps in self.plan)


def stylize(
    content: Pixels,
    styles: Sequence[Style],
    model: Model,
    options: StylizeOptions | None = None,
    *,
    regions: Sequence[Region] = (),
    init: Pixels | None = None,
    anchor: Anchor | None = None,
    book: StyleBook | None = None,
    foretold: Callable[[Forecast], None] | None = None,
    progress: Progress = silent,
    stop: Stop = never,
    preview: Callable[[Pixels], None] | None = None,
    keep: Callable[[Snapshot], None] | None = None,
    resume: Snapshot | None = None,
) -> StylizeResult:
    """Content (H, W, 3) and styles (h, w, 3), float32 in [0, 1] → the content painted in the styles.

    Gatys, Ecker, Bethge (2016), with the changes that `losses` and `recipes` name.

    Args:
        content: what is painted.
        styles: one or several pictures or style files; `StylizeOptions.style_weights` mixes them.
        model: any convolutional network of `cvtool.models.loader.load`.
        options: None for the defaults.
        regions: what is painted with what; what is in none of them stays exactly as it is in the resized content.
            () paints all with the mixture of all styles.
        init: a picture to start from (any size) instead of `StylizeOptions.init`.
        anchor: a picture (any size) that the result is held to, such as the frame before.
        book: remembers what was measured of the styles; give the same one to several calls.
        foretold: told before large work begins what it will take.
        progress: hears every few steps.
        stop: asked before each step; the picture so far is the result.
        preview: called every few steps with the picture so far, at the size of the current scale.
        keep: called now and then with a snapshot from which `resume` continues; on a CPU the continued run equals the
            uninterrupted one bit for bit.
        resume: a snapshot of a run with the same pictures, options and network.

    Raises:
        UsageError: options that do not fit together, layers that do not exist.
        UnsuitableInputError: the content is too large, for the memory there is or at all.
        BadInputError: `resume` belongs to another run, or is broken.
    """
    started = time.monotonic()
    options = resolve(options or StylizeOptions(), model, len(styles))
    check_fits(styles, model, options.style_layers)
    check_regions(regions, styles)
    recipe = RECIPES[options.recipe]
    height, width = output_size(content.shape[0], content.shape[1], options.size)
    final = resize(content, height, width)
    plan = plan_scales(
        height, width, smallest=recipe.smallest, steps=recipe.steps, wanted=options.steps, own_size=not options.size
    )
    guessed = options.init is Init.instant and init is None
    if guessed and not options.steps:
        plan = after_a_guess(plan)
    if options.strength == 0:
        nothing = tuple((scale.height, scale.width, 0) for scale in plan)
        seconds = time.monotonic() - started
        return StylizeResult(final, options, nothing, 0.0, 0.0, 0.0, "steps", seconds)

    if guessed:
        from cvtool.stylize.instant.service import painter_on

        init = painter_on(model.device).paint(content, styles, options).pixels
    canvas, paints = prepare_colors(final, styles, options)
    forecast = None
    if options.tile is None or options.max_memory is not None or foretold is not None:
        forecast = foresee(
            canvas,
            paints,
            plan,
            model,
            options,
            regions=len(regions),
            anchor=anchor is not None,
            checkpoint=keep is not None,
        )
    options = replace(options, tile=forecast.tile if forecast is not None else options.tile or 0)
    if forecast is not None and foretold is not None:
        foretold(forecast)
    objectives = Objectives(canvas, paints, regions, anchor, book or StyleBook(), model, options, recipe)
    assert options.optimizer is not None
    run = Run(
        recipe=recipe,
        optimizer_name=options.optimizer,
        plan=plan,
        picture=first_picture(canvas, paints, regions, options, init, model.device),
        objective=objectives.at,
        budget=options.budget,
        may_end_early=not options.steps and options.budget is None,  # who names steps or a time gets them
        fp16=choose_dtype(model.device, options.precision) == torch.float16,
        replay=options.max_memory is None and not options.tile,
    )
    job = _job(content, styles, regions, init, anchor, model, options)
    if resume is not None:
        _check_same_job(resume, job)
        run.restore(resume)
    run.run(
        Listeners(
            progress,
            stop,
            None if preview is None else lambda picture: preview(to_pixels(picture)),
            None if keep is None else lambda snapshot: keep(Snapshot({**snapshot.facts, "job": job}, snapshot.tensors)),
        )
    )
    painted = to_pixels(run.result())
    if painted.shape != final.shape:
        painted = resize(painted, height, width)
    if options.preserve_colors is Colors.luminance:
        painted = color.with_luminance(final, color.luminance(painted))
    if options.strength < FADE_BELOW:
        painted = final + np.float32(options.strength / FADE_BELOW) * (painted - final)
    if regions:
        painted = only_inside(regions, painted, final)
    terms = {"content": 0.0, "style": 0.0, "tv": 0.0, **run.terms}
    return StylizeResult(
        painted,
        options,
        tuple((scale.height, scale.width, scale.steps) for scale in run.plan),
        terms["content"],
        terms["style"],
        terms["tv"],
        run.stopped_by,
        time.monotonic() - started,
    )


def resolve(options: StylizeOptions, model: Model, styles: int) -> StylizeOptions:
    """Fill in what was left to the recipe or the network, and check that it fits together.

    Raises:
        UsageError: a value out of its range, no style, or a number of weights that is not the number of styles.
    """
    recipe = RECIPES[options.recipe]
    weights = shares_of(options, styles)
    style_layers, content_layers = options.style_layers, options.content_layers
    if not style_layers or not content_layers:
        automatic: tuple[tuple[str, ...], tuple[str, ...]]
        if recipe.published == model.card.name:
            automatic = recipe.style_layers, recipe.content_layers
        elif model.card.style_layers:
            automatic = model.card.style_layers, model.card.content_layers
        else:
            automatic = auto_layers(model.module, model.card.input_size)
        count = len(recipe.style_weights) or None  # a recipe with weights for four layers looks at the first four
        style_layers, content_layers = style_layers or automatic[0][:count], content_layers or automatic[1]
    optimizer = options.optimizer or recipe.optimizer
    if optimizer is Optimizer.lbfgs and choose_dtype(model.device, options.precision) == torch.float16:
        raise UsageError("L-BFGS cannot search along lines in fp16. Use --optimizer adam, or --precision fp32 or bf16.")
    return replace(
        options,
        style_layers=style_layers,
        content_layers=content_layers,
        optimizer=optimizer,
        style_weights=weights,
        tv=recipe.tv if options.tv is None else options.tv,
        init=options.init or recipe.init,
    )


def save_style(
    styles: Sequence[Style], pictures: Sequence[Mapping[str, Any]], model: Model, options: StylizeOptions
) -> StyleFile:
    """The mixture of styles as a style file, which needs no picture any more.

    Args:
        styles: as in `stylize`.
        pictures: what to remember of each.
        model: as in `stylize`.
        options: whose weights and style layers count.
    """
    options = resolve(options, model, len(styles))
    check_fits(styles, model, options.style_layers)
    margin = RECIPES[options.recipe].margin
    extractor = Extractor(model, options.style_layers, (), margin, options.precision, options.tile or STYLE_TILE)
    kept = [{**each, "weight": weight} for each, weight in zip(pictures, options.style_weights, strict=True)]
    return measure_style(styles, options.style_weights, extractor, kept)


def _job(
    content: Pixels,
    styles: Sequence[Style],
    regions: Sequence[Region],
    init: Pixels | None,
    anchor: Anchor | None,
    model: Model,
    options: StylizeOptions,
) -> dict[str, Any]:
    """What must be the same for a snapshot to be continued."""
    job = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
    for free in ("budget", "tile", "max_memory"):  # other limits for a continued run are fine
        del job[free]
    planes = [plane for region in regions for plane in (region.content, region.style_part) if plane is not None]
    pictures = {
        "content": [content],
        "init": [] if init is None else [init],
        "regions": planes,
        "anchor": [] if anchor is None else [anchor.pixels, anchor.weight],
    }
    hashes = {name: [digest(each) for each in some] for name, some in pictures.items()}
    hashes["styles"] = [digest_of(style) for style in styles]
    hashes["regions"] += [str(region.style) for region in regions]
    return {**job, **hashes, "model": model.card.name, "weights": model.fingerprint}


def _check_same_job(snapshot: Snapshot, job: dict[str, Any]) -> None:
    theirs = snapshot.facts.get("job")
    theirs = theirs if isinstance(theirs, dict) else {}
    for name, value in job.items():
        if theirs.get(name) != value:
            raise BadInputError(
                f"The checkpoint belongs to another run: {name} was {theirs.get(name)!r}, now it is {value!r}. "
                "Repeat the command that began it, with --resume."
            )
