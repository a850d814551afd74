"""Fool: change pictures until a network sees something else in them, and prove it on what is saved."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.errors import UsageError
from cvtool.fool.attacks import ATTACKS
from cvtool.fool.goal import Goal, check_confidence
from cvtool.fool.options import SURE, FoolOptions, Norm
from cvtool.fool.problem import Best, Problem
from cvtool.fool.registry import AttackSpec, Kind
from cvtool.fool.survival import Wear
from cvtool.models.cards import ModelCard
from cvtool.models.folding import fold_batch_norm
from cvtool.models.framing import classify, classify_all, frame_for, lens, takes_any_size
from cvtool.models.loader import Model
from cvtool.models.predictions import Prediction, best_predictions, check_class, prediction_of
from cvtool.progress import Progress, Stop, never, silent
from cvtool.similarity import psnr, ssim
from cvtool.tensors import to_pixels, to_tensor

Pixels = NDArray[np.float32]

USUAL_EPS = {Norm.linf: 8 / 255, Norm.l2: 3.0, Norm.l1: 60.0}
"""Of attacks that need one: those that robustness on ImageNet is usually reported at."""


@dataclass(frozen=True)
class View:
    """What a network says of a picture as it is in its file.

    Attributes:
        predictions: the likeliest classes, best first.
        of_label, of_target: the probabilities that matter; `of_target` is None without a target.
        margin: logit of the wrong class in front minus that of the best other; above 0: fooled.
    """

    predictions: tuple[Prediction, ...]
    of_label: Prediction
    of_target: Prediction | None
    margin: float


@dataclass(frozen=True, eq=False)
class FoolResult:
    """A changed picture, and how well it does.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1], of the levels that its file can have.
        success: the goal is reached by `pixels`.
        label: the class that the network saw in the original.
        target: the class that it is to see, or None for any other.
        original, adversarial: what the network says.
        linf, l2, l1, l0: the change, of values in [0, 1]; l0 in pixels.
        ssim, psnr: likeness of the two pictures; psnr in dB.
        survived: by kind of wear, whether the wrong class is still in front after it.
        options: as used, with what the method chose.
        norm, eps, steps: as used.
        forward, backward: passes of single pictures through the network, of a batch in equal parts.
        seconds: wall time, of a batch in equal parts.
    """

    pixels: Pixels
    success: bool
    label: int
    target: int | None
    original: View
    adversarial: View
    linf: float
    l2: float
    l1: float
    l0: int
    ssim: float
    psnr: float
    survived: dict[str, bool]
    options: FoolOptions
    norm: Norm
    eps: float
    steps: int
    forward: int
    backward: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Victim:
    """A network made ready to be attacked: batch norms folded, its way with sizes known."""

    model: Model
    any_size: bool = True

    @classmethod
    def of(cls, model: Model) -> Victim:
        """Prepare a network.

        Raises:
            UsageError: it has no classifier, or only one output.
        """
        if "classify" not in model.card.abilities or model.card.classes == 1:
            raise UsageError(f"'{model.card.name}' does not tell classes apart. Try efficientnet-lite0.")
        return cls(replace(model, module=fold_batch_norm(model.module, model.card.input_size)), takes_any_size(model))


def fool(
    pictures: Sequence[Pixels],
    model: Model | Victim,
    options: FoolOptions | None = None,
    *,
    target: int | Sequence[int] | None = None,
    masks: Sequence[NDArray[np.float32]] | None = None,
    wears: Sequence[Wear] = (),
    container: Callable[[Tensor], Tensor] | None = None,
    progress: Progress = silent,
    stop: Stop = never,
) -> list[FoolResult]:
    """Pictures (H, W, 3) float32 in [0, 1], of any sizes → a changed one for each.

    Args:
        pictures: sRGB.
        model: a classifier; a `Victim` made of it once saves time when called often.
        options: see `FoolOptions`.
        target: the class to be seen, one for all or one each; None: any but the one that is seen now.
        masks: (H, W) each, 1 where pixels may change.
        wears: what the change must survive.
        container: what a lossy file does to pictures (N, 3, H, W), differentiable; None for a lossless one.
        progress: hears of steps.
        stop: asked between steps; ends with the best so far.

    Raises:
        UsageError: the options contradict each other, or the network does not have such a class.
    """
    options = options or FoolOptions()
    victim = model if isinstance(model, Victim) else Victim.of(model)
    spec = check_options(options, targeted=target is not None)
    wanted = [target] * len(pictures) if target is None or isinstance(target, int) else list(target)
    for index in wanted:
        if index is not None:
            check_class(index, victim.model.card.classes)
    results: dict[int, FoolResult] = {}
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, pixels in enumerate(pictures):
        groups[pixels.shape].append(number)
    if spec.together and len(groups) > 1:
        raise UsageError(f"{spec.method.value} makes one change for all pictures, so they must be of one size.")
    for numbers in groups.values():
        together = len(numbers) if spec.together else options.batch
        for start in range(0, len(numbers), together):
            part = numbers[start : start + together]
            job = _Job(victim, options, spec, wears, container)
            found = job.run(
                [pictures[n] for n in part],
                [wanted[n] for n in part],
                None if masks is None else [masks[n] for n in part],
                progress,
                stop,
            )
            results.update(zip(part, found, strict=True))
    return [results[number] for number in range(len(pictures))]


def check_options(options: FoolOptions, *, targeted: bool) -> AttackSpec:
    """The attack that is asked for.

    Raises:
        UsageError: it cannot do what is asked.
    """
    spec = ATTACKS[options.method]
    check_confidence(options.confidence)
    if options.norm is not None and options.norm not in spec.norms:
        able = ", ".join(name.value for name, each in ATTACKS.items() if options.norm in each.norms)
        raise UsageError(f"{spec.method.value} does not measure in {options.norm.value}. These do: {able}.")
    if options.eps is not None and not 0 < options.eps < math.inf:
        raise UsageError(f"An eps of {options.eps:g} leaves nothing to change. Give one above 0, such as 8/255.")
    if options.minimize and spec.kind is Kind.bounded:
        able = ", ".join(name.value for name, each in ATTACKS.items() if each.kind is Kind.minimal)
        raise UsageError(f"{spec.method.value} takes what eps allows and minimizes nothing. These do: {able}.")
    if targeted and spec.untargeted_only:
        able = ", ".join(name.value for name, each in ATTACKS.items() if not each.untargeted_only)
        raise UsageError(f"{spec.method.value} cannot aim at a class. Give --untargeted, or one of: {able}.")
    return spec


def confidence_of(options: FoolOptions) -> float | None:
    """The probability that the wrong class must reach, or None if it only has to come first."""
    if options.minimize:
        return None
    limited = options.eps is not None or ATTACKS[options.method].kind is Kind.bounded
    return options.confidence or (None if limited else SURE)


def judge(result: FoolResult, pixels: Pixels, victim: Victim) -> FoolResult:
    """The same result, with what the network says of `pixels` (H, W, 3), which were read back from its file."""
    logits = classify(pixels, victim.model, result.options.resize, victim.any_size)
    target = None if result.target is None else torch.tensor([result.target])
    goal = Goal(torch.tensor([result.label]), target, confidence_of(result.options))
    success = bool(goal.reached(logits[None])) and all(result.survived.values())
    return replace(result, success=success, adversarial=_view(logits, goal, victim.model.card, result.options.top_k))


@dataclass(frozen=True, eq=False)
class _Job:
    """Pictures of one size, attacked together."""

    victim: Victim
    options: FoolOptions
    spec: AttackSpec
    wears: Sequence[Wear]
    container: Callable[[Tensor], Tensor] | None

    def run(
        self,
        pictures: Sequence[Pixels],
        targets: Sequence[int | None],
        masks: Sequence[NDArray[np.float32]] | None,
        progress: Progress,
        stop: Stop,
    ) -> list[FoolResult]:
        started = time.perf_counter()
        originals = [self._written(pixels) for pixels in pictures]
        before = self._classify([self._saved(pixels) for pixels in originals])
        problem = self._problem(originals, before, targets, masks, progress, stop)
        if self.wears or bool(problem.goal.reached(before.to(problem.x.device)).any()):
            problem.ask(problem.x)  # perhaps nothing is to be done
        if not bool(problem.best.found.all()):
            self.spec.run(problem)
        changed = [self._written(to_pixels(picture)) for picture in problem.best.picture]
        after = self._classify([self._saved(pixels) for pixels in changed])
        seconds = (time.perf_counter() - started) / len(pictures)
        return [
            self._result(row, (originals[row], before[row]), (changed[row], after[row]), problem, seconds)
            for row in range(len(pictures))
        ]

    def _written(self, pixels: Pixels) -> Pixels:
        """The original in the levels that its file can have."""
        if self.options.levels is None:
            return pixels
        top = np.float32(self.options.levels - 1)
        rounded: Pixels = np.rint(pixels * top) / top
        return rounded

    def _saved(self, pixels: Pixels) -> Pixels:
        """As the file brings the picture back."""
        if self.container is None:
            return pixels
        with torch.no_grad():
            return to_pixels(self.container(to_tensor(pixels, self.victim.model.device)))

    def _classify(self, pictures: Sequence[Pixels]) -> Tensor:
        return classify_all(pictures, self.victim.model, self.options.resize, self.victim.any_size)

    def _look(self, height: int, width: int) -> Callable[[Tensor], Tensor]:
        card = self.victim.model.card
        frame = frame_for(height, width, card, self.options.resize, self.victim.any_size)
        return lens(frame, card, self.victim.model.device)

    def _problem(
        self,
        originals: Sequence[Pixels],
        before: Tensor,
        targets: Sequence[int | None],
        masks: Sequence[NDArray[np.float32]] | None,
        progress: Progress,
        stop: Stop,
    ) -> Problem:
        model, options = self.victim.model, self.options
        x = torch.cat([to_tensor(pixels, model.device) for pixels in originals])
        label = before.argmax(1)
        wanted = None if targets[0] is None else torch.tensor([t or 0 for t in targets], device=x.device)
        norm = options.norm or self.spec.norms[0]
        eps = options.eps or (USUAL_EPS[norm] if self.spec.kind is Kind.bounded else math.inf)
        plain = self._look(*x.shape[2:])
        container = self.container
        look = plain if container is None else lambda pictures: plain(container(pictures))
        return Problem(
            model=model,
            x=x,
            look=look,
            goal=Goal(label.to(x.device), wanted, confidence_of(options)),
            norm=norm,
            eps=eps,
            options=options,
            steps=options.steps or self.spec.steps,
            best=Best(x),
            rows=torch.arange(len(x), device=x.device),
            mask=None if masks is None else torch.stack([torch.from_numpy(mask)[None] for mask in masks]).to(x),
            survive=tuple(self._worn(wear, container) for wear in self.wears),
            progress=progress,
            stop=stop,
        )

    def _worn(self, wear: Wear, container: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
        """From written pictures to what the network sees after the wear."""

        def look(pictures: Tensor) -> Tensor:
            worn = wear.apply(pictures if container is None else container(pictures))
            return self._look(*worn.shape[2:])(worn)

        return look

    def _result(
        self,
        row: int,
        first: tuple[Pixels, Tensor],
        last: tuple[Pixels, Tensor],
        problem: Problem,
        seconds: float,
    ) -> FoolResult:
        """From picture and logits before and after."""
        (original, before), (pixels, after) = first, last
        goal = problem.goal.only(torch.tensor([row], device=problem.x.device)).on("cpu")
        label = int(goal.label)
        change = (pixels - original).astype(np.float64)
        device = self.victim.model.device
        survived = {}
        for wear in self.wears:
            worn = to_pixels(wear.apply(to_tensor(self._saved(pixels), device)))
            survived[wear.name] = bool(goal.margin(self._classify([worn])) > 0)
        return FoolResult(
            pixels=pixels,
            success=bool(goal.reached(after[None])) and all(survived.values()),
            label=label,
            target=None if goal.target is None else int(goal.target),
            original=_view(before, goal, self.victim.model.card, self.options.top_k),
            adversarial=_view(after, goal, self.victim.model.card, self.options.top_k),
            linf=float(np.abs(change).max()),
            l2=float(np.linalg.norm(change)),
            l1=float(np.abs(change).sum()),
            l0=int((change != 0).any(2).sum()),
            ssim=ssim(original, pixels),
            psnr=psnr(original, pixels),
            survived=survived,
            options=replace(self.options, norm=problem.norm, steps=problem.steps),
            norm=problem.norm,
            eps=problem.eps,
            steps=problem.steps,
            forward=_share(problem.counts, "forward", len(problem.x)),
            backward=_share(problem.counts, "backward", len(problem.x)),
            seconds=seconds,
        )


def _view(logits: Tensor, goal: Goal, card: ModelCard, top_k: int) -> View:
    chances = logits.softmax(0)
    target = None if goal.target is None else prediction_of(card, chances, int(goal.target))
    return View(
        best_predictions(card, chances, top_k),
        prediction_of(card, chances, int(goal.label)),
        target,
        float(goal.margin(logits[None])),
    )


def _share(counts: Counter[str], name: str, among: int) -> int:
    return math.ceil(counts[name] / among)
