"""Saliency: which pixels a network's score rests on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cvtool.errors import UsageError, is_out_of_memory
from cvtool.models.folding import fold_batch_norm
from cvtool.models.framing import Frame, all_shown, back, frame_for, takes_any_size
from cvtool.models.loader import Model
from cvtool.models.predictions import Prediction, best_predictions, check_class, prediction_of, probabilities
from cvtool.progress import Progress, silent
from cvtool.saliency.methods import METHODS
from cvtool.saliency.options import Method, Reduce, SaliencyOptions
from cvtool.saliency.question import Question, batch_of
from cvtool.saliency.registry import reduced
from cvtool.tensors import to_batch

Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which pixels a score rests on, and how that was found.

    Attributes:
        map: (H, W) float32 of the picture, as computed: neither normalised nor clipped.
        signed: the map has negative values that mean something.
        method: that made it.
        target: the class whose score is explained.
        contrast: the class it is set against, or None.
        predictions: the likeliest classes, best first.
        layer: whose activations were weighed, or None.
        facts: what else the method has to tell, e.g. ``completeness_error``.
        seen: (h, w, 3) what the network saw.
        seen_map: (h, w) the map on that.
        frame: where the picture lies on it.
        options: as used.
        seconds: wall time; of a batch, in equal parts.
    """

    map: NDArray[np.float32]
    signed: bool
    method: Method
    target: Prediction
    contrast: Prediction | None
    predictions: tuple[Prediction, ...]
    layer: str | None
    facts: dict[str, float]
    seen: Pixels
    seen_map: NDArray[np.float32]
    frame: Frame
    options: SaliencyOptions
    seconds: float


@dataclass(frozen=True, eq=False)
class Explainer:
    """A network made ready to be asked: batch norms folded, its way with sizes known."""

    model: Model
    any_size: bool = field(default=True)

    @classmethod
    def of(cls, model: Model) -> Explainer:
        """Prepare a network.

        Raises:
            UsageError: it has no classifier, so there is no score to explain.
        """
        if "classify" not in model.card.abilities:
            raise UsageError(f"'{model.card.name}' has no classifier, so no score to explain. Try efficientnet-lite0.")
        return cls(replace(model, module=fold_batch_norm(model.module, model.card.input_size)), takes_any_size(model))


def explain(
    pictures: Sequence[Pixels],
    model: Model | Explainer,
    options: SaliencyOptions | None = None,
    *,
    target: int | None = None,
    contrast: int | None = None,
    baseline: Pixels | None = None,
    progress: Progress = silent,
) -> list[Explanation]:
    """Pictures (H, W, 3) float32 in [0, 1], of any sizes → one explanation for each.

    Args:
        pictures: sRGB.
        model: a classifier; an `Explainer` made of it once saves time when called often.
        options: see `SaliencyOptions`.
        target: class index; None explains each picture's likeliest class.
        contrast: explain why `target` and not this class.
        baseline: a picture instead of the one that `options.baseline` names.
        progress: hears of rounds.

    Raises:
        UsageError: no classifier, a class that the network does not have, or a method that does not fit it.
    """
    options = options or SaliencyOptions()
    explainer = model if isinstance(model, Explainer) else Explainer.of(model)
    if contrast is not None:
        check_contrast(options.method)
        check_other_class(target, contrast)
    card = explainer.model.card
    frames = [frame_for(each.shape[0], each.shape[1], card, options.resize, explainer.any_size) for each in pictures]
    results: dict[int, Explanation] = {}
    for numbers in _alike(frames, batch_of(options, explainer.model.device)):
        jobs = [(pictures[number], frames[number]) for number in numbers]
        found = explain_framed(jobs, explainer.model, options, target, contrast, baseline, progress)
        results.update(zip(numbers, found, strict=True))
    return [results[number] for number in range(len(pictures))]


def check_contrast(method: Method) -> None:
    """Whether a method can say why one class and not another.

    Raises:
        UsageError: it cannot; names those that can.
    """
    if not METHODS[method].contrasts:
        able = ", ".join(name.value for name, each in METHODS.items() if each.contrasts)
        raise UsageError(f"{method.value} cannot contrast two classes. These can: {able}.")


def check_other_class(target: int | None, contrast: int | None) -> None:
    """Whether a contrast leaves something to explain.

    Raises:
        UsageError: it is the target.
    """
    if target is not None and target == contrast:
        raise UsageError("The target and the contrast are one class, which leaves no score to explain. Give two.")


def _alike(frames: Sequence[Frame], most: int) -> Iterator[list[int]]:
    """Numbers of pictures that enter the network at the same size, at most `most` together."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        groups[frame.canvas].append(number)
    for numbers in groups.values():
        for start in range(0, len(numbers), most):
            yield numbers[start : start + most]


def explain_framed(
    jobs: Sequence[tuple[Pixels, Frame]],
    model: Model,
    options: SaliencyOptions,
    target: int | None,
    contrast: int | None,
    baseline: Pixels | None = None,
    progress: Progress = silent,
) -> list[Explanation]:
    """Explain pictures whose frames have one canvas; when memory runs out, again with half as much at a time."""
    try:
        return _explain_once(jobs, model, options, target, contrast, baseline, progress)
    except (RuntimeError, MemoryError) as error:
        batch = batch_of(options, model.device)
        if batch == 1 or not is_out_of_memory(error):
            raise
    if model.device.type == "cuda":
        torch.cuda.empty_cache()
    smaller = replace(options, batch=batch // 2)
    found = []
    for start in range(0, len(jobs), batch // 2):
        part = jobs[start : start + batch // 2]
        found += explain_framed(part, model, smaller, target, contrast, baseline, progress)
    return found


def _explain_once(
    jobs: Sequence[tuple[Pixels, Frame]],
    model: Model,
    options: SaliencyOptions,
    target: int | None,
    contrast: int | None,
    baseline: Pixels | None,
    progress: Progress,
) -> list[Explanation]:
    started = time.perf_counter()
    pictures, frames = [pixels for pixels, _ in jobs], [frame for _, frame in jobs]
    seen = all_shown(pictures, frames, model.card)
    x = to_batch(seen, model.device)
    if x.device.type == "cpu":
        x = x.contiguous(memory_format=torch.channels_last)
    asked = Question(model, x, torch.zeros(len(x), dtype=torch.long), None, options)
    with torch.no_grad():
        chances = probabilities(asked.logits(x))
    count = chances.shape[1]
    chosen = chances.argmax(1) if target is None else _all_of(check_class(target, count), chances)
    other = None if contrast is None else _all_of(check_class(contrast, count), chances)
    custom = None
    if baseline is not None:
        fitted = [fit(baseline, frame) for frame in frames]
        custom = to_batch(all_shown(fitted, frames, model.card), model.device)
    question = replace(asked, target=chosen, contrast=other, custom_baseline=custom, progress=progress)
    spec = METHODS[options.method]
    attribution = spec.explain(question).detach().float()
    how = options.reduce or spec.reduce
    maps = attribution if how is None or attribution.ndim == 3 else reduced(attribution, how)
    signed = options.method is Method.occlusion or (attribution.ndim == 4 and how is Reduce.sum)
    planes = maps.cpu().numpy()
    # At once: number by number, a GPU would be waited for a dozen times for each picture.
    chances, chosen, other = chances.cpu(), chosen.cpu(), None if other is None else other.cpu()
    seconds = (time.perf_counter() - started) / len(jobs)
    return [
        Explanation(
            map=back(plane, frame),
            signed=signed,
            method=options.method,
            target=prediction_of(model.card, chances[i], int(chosen[i])),
            contrast=None if other is None else prediction_of(model.card, chances[i], int(other[i])),
            predictions=best_predictions(model.card, chances[i], options.top_k),
            layer=question.layers[0] if question.layers else None,
            facts={name: values[i] for name, values in question.notes.items()},
            seen=seen[i],
            seen_map=plane,
            frame=frame,
            options=options,
            seconds=seconds,
        )
        for i, (plane, frame) in enumerate(zip(planes, frames, strict=True))
    ]


def fit(baseline: Pixels, frame: Frame) -> Pixels:
    """A baseline picture at the size of the picture that it stands for."""
    from cvtool.images import resize

    return resize(baseline, *frame.picture)


def _all_of(index: int, like: torch.Tensor) -> torch.Tensor:
    return torch.full((len(like),), index, dtype=torch.long, device=like.device)
