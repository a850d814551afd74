"""Class visualisation: find pictures that excite a class, or a unit inside, and ask networks what they see in them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.codecs.rasters import rounded
from cvtool.errors import CvtoolError, UsageError
from cvtool.images import fit_longer_side, over, resize
from cvtool.models.cards import Resize
from cvtool.models.framing import classify, takes_any_size
from cvtool.models.loader import Model
from cvtool.models.predictions import Prediction, best_predictions, prediction_of, probabilities
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.tensors import to_pixels, to_tensor
from cvtool.visualize_class.methods import METHODS
from cvtool.visualize_class.objectives import Question, check_target
from cvtool.visualize_class.options import Target, VisualizeOptions
from cvtool.visualize_class.parametrizations import magnitude_of
from cvtool.visualize_class.registry import MethodSpec, Moment, Task
from cvtool.visualize_class.transforms import WHOLE, view

Pixels = NDArray[np.float32]

REPORT_EVERY = 5  # steps; reading a score makes a GPU wait
TOGETHER = 8  # targets on a device that gains from it


@dataclass(frozen=True)
class Verdict:
    """What one network says of a picture as it is saved.

    Attributes:
        model: its name.
        probability: of the target.
        rank: of the target among all classes, 1 is first.
        sees: name of the class that it puts first.
    """

    model: str
    probability: float
    rank: int
    sees: str


@dataclass(frozen=True, eq=False)
class Visualization:
    """A picture, and how well it does.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1], of the 256 levels that its file can have.
        alpha: (H, W) float32 in [0, 1], of 256 levels; None for a picture without transparency.
        target: what it was to excite.
        of_target: the class and its probability for the first network; None for a unit inside.
        predictions: the classes that the first network gives `pixels` (on grey, where they are transparent).
        score: the logit of the class, or the activation of the unit, of `pixels` as a whole.
        score_of_start: the same of what the search began with.
        verdicts: of the judges.
        options: as used.
        steps: as many as were done.
        stopped_by: ``"steps"`` or ``"interrupt"``.
        seconds: wall time; of several pictures found together in equal parts.
    """

    pixels: Pixels
    alpha: Pixels | None
    target: Target
    of_target: Prediction | None
    predictions: tuple[Prediction, ...]
    score: float
    score_of_start: float
    verdicts: tuple[Verdict, ...]
    options: VisualizeOptions
    steps: int
    stopped_by: str
    seconds: float

    def visible(self) -> Pixels:
        """The picture (H, W, 3) as it is shown: where it is transparent, on grey."""
        return on_grey(self.pixels, self.alpha)


def visualize(
    targets: Sequence[Target],
    models: Model | Sequence[Model],
    options: VisualizeOptions | None = None,
    *,
    init: Pixels | None = None,
    spectrum_of: Sequence[Pixels] = (),
    judges: Sequence[Model] = (),
    progress: Progress = silent,
    stop: Stop = never,
    preview: Callable[[Pixels], None] | None = None,
) -> list[Visualization]:
    """Targets → `VisualizeOptions.diversity` pictures for each, those of one target one after the other.

    Args:
        targets: all classes, or all in one layer. They are worked on together: the memory grows with their number.
        models: one network, or several that take turns; the first one's opinion is reported.
        options: see `VisualizeOptions`.
        init: a picture (h, w, 3) in [0, 1] to start from, instead of noise.
        spectrum_of: pictures whose mean spectrum ``maco`` keeps; () for what is usual.
        judges: networks that are asked about the results.
        progress: hears every few steps.
        stop: asked before each step; the pictures so far are the result.
        preview: called every few steps with the first picture so far.

    Raises:
        UsageError: no such class, layer or channel, or options that do not fit together.
        CvtoolError: the search left the numbers.
    """
    started = time.monotonic()
    networks = [models] if isinstance(models, Model) else list(models)
    options = options or VisualizeOptions()
    check(targets, networks, options, init=init is not None)
    spec = METHODS[options.method]
    options = replace(
        options,
        size=options.size or spec.size or networks[0].card.input_size,
        steps=options.steps or spec.steps,
        views=options.views or spec.views,
    )
    task = _task(targets, networks, options, init, spectrum_of)
    moment, steps, start = _climb(task, spec, progress, stop, preview)
    found, begun = _saved(moment.pictures()), _saved(start)
    seconds = (time.monotonic() - started) / len(found)
    return [
        _judged(pixels, alpha, begun[number], task, number, networks[0], judges, options, steps, seconds)
        for number, (pixels, alpha) in enumerate(found)
    ]


def batch_of(options: VisualizeOptions, device: torch.device) -> int:
    """Targets at a time. A CPU is busy with one: more take as long as one after the other."""
    return options.batch or (1 if device.type == "cpu" else TOGETHER)


def check(targets: Sequence[Target], models: Sequence[Model], options: VisualizeOptions, *, init: bool) -> None:
    """Refuse what cannot be done, before any work.

    Raises:
        UsageError: see `visualize`.
    """
    spec = METHODS[options.method]
    if not targets or not models:
        raise UsageError("Nothing to visualise. Give at least one target and one network.")
    if any(target.layer != targets[0].layer for target in targets):
        raise UsageError(
            "Classes and units, or units of several layers, cannot be found together. Run them one by one."
        )
    if any(model.card.classes != models[0].card.classes for model in models) and targets[0].layer is None:
        names = ", ".join(f"{model.card.name} ({model.card.classes})" for model in models)
        raise UsageError(f"Networks with different classes cannot take turns: {names}.")
    if targets[0].layer is not None and len(models) > 1:
        raise UsageError("A layer belongs to one network, so others cannot take turns with it. Give one network.")
    if options.transparent and not spec.transparent:
        able = ", ".join(name.value for name, each in METHODS.items() if each.transparent)
        raise UsageError(f"{options.method.value} cannot leave anything transparent. This can: {able}.")
    if init and not spec.takes_start:
        able = ", ".join(name.value for name, each in METHODS.items() if each.takes_start)
        raise UsageError(f"{options.method.value} cannot start from a picture. These can: {able}.")
    for model in models:
        for target in targets:
            check_target(target, model)


def _task(
    targets: Sequence[Target],
    models: Sequence[Model],
    options: VisualizeOptions,
    init: Pixels | None,
    spectrum_of: Sequence[Pixels],
) -> Task:
    """Everything the method needs; the networks are tried once, so that what does not exist is told at once."""
    assert options.size is not None
    assert options.steps is not None
    assert options.views is not None
    several = options.diversity > 1
    wanted = [target for target in targets for _ in range(options.diversity)]
    questions = [Question.of(model, wanted, compare=several, precision=options.precision) for model in models]
    height, width, start = options.size, options.size, None
    if init is not None:
        height, width = fit_longer_side(init.shape[0], init.shape[1], options.size)
        start = to_tensor(resize(init, height, width), models[0].device).expand(len(wanted), -1, -1, -1).clone()
    magnitude = None
    if spectrum_of:
        magnitude = magnitude_of([to_tensor(pixels)[0] for pixels in spectrum_of], height, width)
    for question, model in zip(questions, models, strict=True):
        side = model.card.input_size
        with torch.no_grad():
            question.look(torch.zeros(len(wanted), 3, side, side, device=model.device))
    return Task(
        questions=tuple(questions),
        height=height,
        width=width,
        steps=options.steps,
        views=options.views,
        seeds=tuple(options.seed + number % options.diversity for number in range(len(wanted))),
        transparent=options.transparent,
        start=start,
        magnitude=magnitude,
    )


def _climb(
    task: Task, spec: MethodSpec, progress: Progress, stop: Stop, preview: Callable[[Pixels], None] | None
) -> tuple[Moment, int, Tensor]:
    """Run the method → (where it ended, steps done, the pictures at the start)."""
    search = spec.search(task)
    moment = next(search)  # the start, before the first step
    start, done = moment.pictures(), 0
    while done < task.steps and not stop():
        moment = next(search)
        done += 1
        if done % REPORT_EVERY == 0 or done == task.steps:
            terms = {name: float(value) for name, value in moment.terms.items()}
            if not all(math.isfinite(value) for value in terms.values()):
                raise CvtoolError("The score is no longer a number. Use --precision fp32, or another --seed.")
            progress(Step(spec.method.value, done, task.steps, terms))
            if preview is not None:
                pixels, alpha = _saved(moment.pictures()[:1])[0]
                preview(on_grey(pixels, alpha))
    return moment, done, start


def on_grey(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """(H, W, 3) as seen on grey where `alpha` (H, W) is below 1."""
    return pixels if alpha is None else over(pixels, alpha, 0.5)


def _saved(pictures: Tensor) -> list[tuple[Pixels, Pixels | None]]:
    """Pictures (N, C, H, W) → pixels and opacity of each, rounded to the levels of a file."""
    found: list[tuple[Pixels, Pixels | None]] = []
    for picture in pictures:
        alpha = None if len(picture) == 3 else rounded(picture[3].float().cpu().numpy())
        found.append((rounded(to_pixels(picture[:3])), alpha))
    return found


def _judged(
    pixels: Pixels,
    alpha: Pixels | None,
    begun: tuple[Pixels, Pixels | None],
    task: Task,
    number: int,
    model: Model,
    judges: Sequence[Model],
    options: VisualizeOptions,
    steps: int,
    seconds: float,
) -> Visualization:
    """Ask the first network and the judges what they see in a picture as it is saved."""
    target, seen = task.questions[0].targets[number], on_grey(pixels, alpha)
    of_target: Prediction | None = None
    predictions: tuple[Prediction, ...] = ()
    if target.index is not None:
        chances = probabilities(_asked(seen, model)[None])[0]
        of_target = prediction_of(model.card, chances, target.index)
        predictions = best_predictions(model.card, chances, options.top_k)
    return Visualization(
        pixels=pixels,
        alpha=alpha,
        target=target,
        of_target=of_target,
        predictions=predictions,
        score=_score(seen, task, number),
        score_of_start=_score(on_grey(*begun), task, number),
        verdicts=tuple(_verdict(seen, each, target) for each in judges) if target.index is not None else (),
        options=options,
        steps=steps,
        stopped_by="steps" if steps == task.steps else "interrupt",
        seconds=seconds,
    )


def _score(pixels: Pixels, task: Task, number: int) -> float:
    """Of a picture as a whole: the logit of its class as `classify` shows it, or the activation of its unit."""
    question = task.questions[0]
    target = question.targets[number]
    if target.index is not None:
        return float(_asked(pixels, question.model)[target.index])
    side = question.model.card.input_size
    whole = view(to_tensor(pixels, question.model.device), WHOLE, side)
    with torch.no_grad():
        return float(replace(question, targets=(target,), compare=None).look(whole).scores[0])


def _asked(pixels: Pixels, model: Model) -> Tensor:
    square = pixels.shape[0] == pixels.shape[1]
    return classify(pixels, model, Resize.fit, square or takes_any_size(model))


def _verdict(pixels: Pixels, judge: Model, target: Target) -> Verdict:
    assert target.index is not None
    logits = _asked(pixels, judge)
    chances = probabilities(logits[None])[0]
    rank = int((logits > logits[target.index]).sum()) + 1
    first = best_predictions(judge.card, chances, 1)[0]
    return Verdict(judge.card.name, float(chances[target.index]), rank, first.name)
