"""Style transfer: paint one picture in the style of others."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.errors import BadInputError, UsageError
from cvtool.hooks import auto_layers
from cvtool.images import fit_longer_side, resize
from cvtool.models.loader import Model
from cvtool.progress import Progress, Stop, never, silent
from cvtool.stylize import color
from cvtool.stylize.objective import Extractor, Objective
from cvtool.stylize.options import Colors, Init, Optimizer, StylizeOptions
from cvtool.stylize.pyramid import Scale, output_size, plan_scales
from cvtool.stylize.recipes import RECIPES, RecipeSpec
from cvtool.stylize.run import Listeners, Run, Snapshot
from cvtool.tensors import choose_dtype, seeded, to_pixels, to_tensor

Pixels = NDArray[np.float32]

MAX_STYLE_SCALE = 8.0
"""The style picture is resized to this many times the result's size at most."""

FADE_BELOW = 10.0
"""The faintest painting that is optimised. Below, it fades into the content, which strength 0 gives back."""


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
    styles: Sequence[Pixels],
    model: Model,
    options: StylizeOptions | None = None,
    *,
    init: Pixels | None = None,
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
        styles: one or several; `StylizeOptions.style_weights` mixes them.
        model: any convolutional network of `cvtool.models.loader.load`.
        options: None for the defaults.
        init: a picture to start from (any size) instead of `StylizeOptions.init`.
        progress: hears every few steps.
        stop: asked before each step; the picture so far is the result.
        preview: called every few steps with the picture so far, at the size of the current scale.
        keep: called now and then with a snapshot from which `resume` continues; on a CPU the continued run equals the
            uninterrupted one bit for bit.
        resume: a snapshot of a run with the same pictures, options and network.

    Raises:
        UsageError: options that do not fit together, layers that do not exist.
        BadInputError: `resume` belongs to another run.
    """
    started = time.monotonic()
    options = resolve(options or StylizeOptions(), model, len(styles))
    recipe = RECIPES[options.recipe]
    height, width = output_size(content.shape[0], content.shape[1], options.size)
    final = resize(content, height, width)
    plan = plan_scales(height, width, smallest=recipe.smallest, steps=recipe.steps, wanted=options.steps)
    if options.strength == 0:
        nothing = tuple((scale.height, scale.width, 0) for scale in plan)
        seconds = time.monotonic() - started
        return StylizeResult(final, options, nothing, 0.0, 0.0, 0.0, "steps", seconds)

    canvas, paints = _prepare_colors(final, styles, options)
    objectives = _Objectives(canvas, paints, model, options, recipe)
    assert options.optimizer is not None
    run = Run(
        recipe=recipe,
        optimizer_name=options.optimizer,
        plan=plan,
        picture=_start(canvas, paints, options, init, model.device),
        objective=objectives.at,
        budget=options.budget,
        may_end_early=not options.steps and options.budget is None,  # who names steps or a time gets them
        fp16=choose_dtype(model.device, options.precision) == torch.float16,
    )
    job = _job(content, styles, init, model, options)
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
    terms = run.terms or {"content": 0.0, "style": 0.0, "tv": 0.0}
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
    if not 0 <= options.strength <= 100:
        raise UsageError(f"A strength of {options.strength:g} is not between 0 and 100.")
    if not 0 < options.style_scale <= MAX_STYLE_SCALE:
        raise UsageError(f"A style scale of {options.style_scale:g} is not above 0 and at most {MAX_STYLE_SCALE:g}.")
    if styles < 1:
        raise UsageError("No style picture. Give at least one.")
    if options.style_weights and (min(options.style_weights) < 0 or sum(options.style_weights) <= 0):
        raise UsageError("Style weights must not be negative, nor all 0.")
    if options.style_weights and len(options.style_weights) != styles:
        raise UsageError(f"{len(options.style_weights)} style weights for {styles} styles. Give one for each.")
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
    weights = options.style_weights or (1.0,) * styles
    return replace(
        options,
        style_layers=style_layers,
        content_layers=content_layers,
        optimizer=optimizer,
        style_weights=tuple(weight / sum(weights) for weight in weights),
        tv=recipe.tv if options.tv is None else options.tv,
        init=options.init or recipe.init,
    )


class _Objectives:
    """Builds the objective of each scale from the full-size pictures."""

    def __init__(
        self, canvas: Pixels, paints: Sequence[Pixels], model: Model, options: StylizeOptions, recipe: RecipeSpec
    ) -> None:
        self.canvas, self.paints = canvas, paints
        self.device = model.device
        self.options, self.recipe = options, recipe
        layers = (*options.style_layers, *options.content_layers)
        self.extractor = Extractor(model, layers, recipe.margin, options.precision)

    def at(self, scale: Scale) -> Objective:
        """The objective at the size of `scale`."""
        longer = max(1, round(max(scale.height, scale.width) * self.options.style_scale))
        styles = [resize(paint, *fit_longer_side(paint.shape[0], paint.shape[1], longer)) for paint in self.paints]
        assert self.options.tv is not None
        return Objective(
            self.recipe,
            self.extractor,
            style_layers=self.options.style_layers,
            content_layers=self.options.content_layers,
            content=to_tensor(resize(self.canvas, scale.height, scale.width), self.device),
            styles=[to_tensor(style, self.device) for style in styles],
            mix=self.options.style_weights,
            strength=max(self.options.strength, FADE_BELOW),
            tv=self.options.tv,
        )


def _prepare_colors(
    content: Pixels, styles: Sequence[Pixels], options: StylizeOptions
) -> tuple[Pixels, tuple[Pixels, ...]]:
    """What is really optimised when the content's colours are to be kept."""
    if options.preserve_colors is Colors.luminance:
        return color.grey(content), tuple(color.match_luminance(style, content) for style in styles)
    if options.preserve_colors is Colors.match:
        return content, tuple(color.match_colors(style, content) for style in styles)
    return content, tuple(styles)


def _start(
    canvas: Pixels, paints: Sequence[Pixels], options: StylizeOptions, init: Pixels | None, device: torch.device
) -> Tensor:
    """The picture before the first step (1, 3, H, W); noise is drawn on the CPU, so every device has the same."""
    if init is not None:
        return to_tensor(resize(init, *canvas.shape[:2]), device)
    if options.init is Init.content:
        start = canvas
        if RECIPES[options.recipe].recolor:
            recolored = [w * color.match_colors(canvas, p) for p, w in zip(paints, options.style_weights, strict=True)]
            start = canvas + np.float32(options.strength / 100) * (np.sum(recolored, axis=0, dtype=np.float32) - canvas)
        return to_tensor(start, device)
    height, width = canvas.shape[:2]
    noise = torch.randn(height, width, 3, generator=seeded(options.seed)).numpy()
    if options.init is Init.noise:
        return to_tensor(np.clip(0.5 + 0.1 * noise, 0, 1).astype(np.float32), device)
    return to_tensor(color.match_colors(np.clip(0.5 + 0.1 * noise, 0, 1).astype(np.float32), paints[0]), device)


def _job(
    content: Pixels, styles: Sequence[Pixels], init: Pixels | None, model: Model, options: StylizeOptions
) -> dict[str, Any]:
    """What must be the same for a snapshot to be continued."""
    job = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
    del job["budget"]  # giving a continued run another limit is fine
    pictures = {"content": [content], "styles": list(styles), "init": [] if init is None else [init]}
    hashes = {name: [hashlib.sha256(p.tobytes()).hexdigest()[:16] for p in some] for name, some in pictures.items()}
    return {**job, **hashes, "model": model.card.name, "weights": model.fingerprint}


def _check_same_job(snapshot: Snapshot, job: dict[str, Any]) -> None:
    theirs = snapshot.facts.get("job", {})
    for name, value in job.items():
        if theirs.get(name) != value:
            raise BadInputError(
                f"The checkpoint belongs to another run: {name} was {theirs.get(name)!r}, now it is {value!r}. "
                "Repeat the command that began it, with --resume."
            )
