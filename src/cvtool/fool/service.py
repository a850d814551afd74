"""Fool: change pictures until a network sees something else in them, and prove it on what is saved."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.codecs.rasters import rounded
from cvtool.errors import UsageError
from cvtool.fool.attacks import ATTACKS
from cvtool.fool.attacks.patch import holding
from cvtool.fool.goal import Goal, check_confidence
from cvtool.fool.options import SURE, FoolOptions, Norm
from cvtool.fool.problem import Best, Look, Opening, Problem, answer
from cvtool.fool.registry import AttackSpec, Kind, Sees
from cvtool.fool.results import FoolResult, Pixels, Sticker, View
from cvtool.fool.rounding import step_over_rounding
from cvtool.fool.survival import Wear
from cvtool.models.cards import ModelCard
from cvtool.models.folding import fold_batch_norm
from cvtool.models.framing import classify, classify_all, frame_for, lens, takes_any_size
from cvtool.models.loader import Model
from cvtool.models.predictions import best_predictions, check_class, prediction_of
from cvtool.progress import Progress, Stop, never, silent
from cvtool.similarity import psnr, ssim
from cvtool.tensors import choose_dtype, to_batch, to_pixels, to_tensor

TOP_LEVEL = 255
"""Of the 8 bits that people count an eps in."""
USUAL_EPS = {Norm.linf: 8 / 255, Norm.l2: 3.0, Norm.l1: 60.0}
"""Of attacks that need one: those that robustness on ImageNet is usually reported at."""


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
        UsageError: the options contradict each other, the network does not have such a class, or there are more or
            fewer classes or masks than pictures.
    """
    options = options or FoolOptions()
    victim = model if isinstance(model, Victim) else Victim.of(model)
    spec = check_options(options, targeted=target is not None, masked=masks is not None)
    wanted = [target] * len(pictures) if target is None or isinstance(target, int) else list(target)
    counts = {"classes": len(wanted), "masks": len(pictures if masks is None else masks)}
    for what, count in counts.items():
        if count != len(pictures):
            raise UsageError(f"{count} {what} do not match {len(pictures)} pictures. Give one for each.")
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


def usual_norm(spec: AttackSpec, eps: float | None) -> Norm:
    """Of an attack that was told none. A bare eps is understood as everybody writes it: how far any value may move."""
    return Norm.linf if eps is not None and Norm.linf in spec.norms else spec.norms[0]


def check_options(options: FoolOptions, *, targeted: bool, masked: bool = False) -> AttackSpec:
    """The attack that is asked for.

    Raises:
        UsageError: it cannot do what is asked.
    """
    spec = ATTACKS[options.method]
    check_confidence(options.confidence)
    if options.norm is not None and options.norm not in spec.norms:
        able = ", ".join(name.value for name, each in ATTACKS.items() if options.norm in each.norms)
        raise UsageError(f"{spec.method.value} does not measure in {options.norm.value}. These do: {able}.")
    if options.eps is not None:
        _check_eps(options.eps, options.norm or usual_norm(spec, options.eps))
    if options.minimize and spec.kind is Kind.bounded:
        able = ", ".join(name.value for name, each in ATTACKS.items() if each.kind is Kind.minimal)
        raise UsageError(f"{spec.method.value} takes what eps allows and minimizes nothing. These do: {able}.")
    if masked and options.patch_robust:
        raise UsageError("A patch that holds anywhere and a mask that says where contradict each other. Give one.")
    if targeted and spec.untargeted_only:
        able = ", ".join(name.value for name, each in ATTACKS.items() if not each.untargeted_only)
        raise UsageError(f"{spec.method.value} cannot aim at a class. Give --untargeted, or one of: {able}.")
    return spec


def _check_eps(eps: float, norm: Norm) -> None:
    """Values are 0 to 1, so that in linf a limit above 1 is none, and 8 a slip for 8/255; l0 counts pixels."""
    if not 0 < eps < math.inf:
        raise UsageError(f"An eps of {eps:g} leaves nothing to change. Give one above 0, such as 8/255.")
    if norm is Norm.linf and eps > 1:
        meant = f"Did you mean {eps:g}/255?" if eps < TOP_LEVEL else "Give one such as 8/255."
        raise UsageError(f"An eps of {eps:g} in linf limits nothing: values go from 0 to 1. {meant}")
    if norm is Norm.l0 and eps < 1:
        raise UsageError(f"An eps of {eps:g} in l0 is less than a pixel. Give a number of pixels, such as 100.")


def confidence_of(options: FoolOptions) -> float | None:
    """The probability that the wrong class must reach, or None if it only has to come first."""
    limited = options.eps is not None or ATTACKS[options.method].kind is Kind.bounded
    return options.confidence or (None if limited or options.minimize else SURE)


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
        problem = self._problem(originals, targets, masks, progress, stop)
        before = problem.best.logits.clone()
        if self.wears or bool(problem.goal.reached(before).any()):
            problem.ask(problem.x)  # perhaps nothing is to be done
        if not bool(problem.best.found.all()):
            self.spec.run(problem)
            if self._takes_small_steps(problem.norm) and not (stop() or bool(problem.best.found.all())):
                step_over_rounding(problem)
        changed = [self._written(to_pixels(picture)) for picture in problem.best.picture.cpu()]
        after = problem.best.logits if self._exact else self._classify([self._saved(pixels) for pixels in changed])
        before, after, goal = before.cpu(), after.cpu(), problem.goal.on("cpu")  # at once, not number by number
        seconds = (time.perf_counter() - started) / len(pictures)
        with ThreadPoolExecutor() as pool:  # SSIM takes as long as a step of an attack on a GPU
            changes = list(pool.map(_change, originals, changed))
        return [
            self._result(row, changed[row], changes[row], goal.only(torch.tensor([row])), views, problem, seconds)
            for row, views in enumerate(zip(before, after, strict=True))
        ]

    def _takes_small_steps(self, norm: Norm) -> bool:
        small = self.spec.kind is Kind.minimal and self.spec.sees is Sees.gradients and norm is not Norm.l0
        return small and self.options.levels is not None

    def _written(self, pixels: Pixels) -> Pixels:
        """The original in the levels that its file can have."""
        return pixels if self.options.levels is None else rounded(pixels, self.options.levels)

    def _saved(self, pixels: Pixels) -> Pixels:
        """As the file brings the picture back."""
        if self.container is None:
            return pixels
        with torch.no_grad():
            return to_pixels(self.container(to_tensor(pixels, self.victim.model.device)))

    def _classify(self, pictures: Sequence[Pixels]) -> Tensor:
        return classify_all(pictures, self.victim.model, self.options.resize, self.victim.any_size)

    @property
    def _exact(self) -> bool:
        """The attack's own passes are as good as those that files are judged by."""
        return choose_dtype(self.victim.model.device, self.options.precision) == torch.float32

    def _look(self, height: int, width: int) -> Look:
        card = self.victim.model.card
        frame = frame_for(height, width, card, self.options.resize, self.victim.any_size)
        if frame.source == frame.place and frame.picture == frame.canvas:
            return lambda pictures: pictures  # shown pixel by pixel: nothing to resample
        return lens(frame, card, self.victim.model.device)

    def _opening(self, x: Tensor, look: Look) -> Opening:
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            return Opening(leaf, answer(self.victim.model, look(leaf), self.options.precision))

    def _problem(
        self,
        originals: Sequence[Pixels],
        targets: Sequence[int | None],
        masks: Sequence[NDArray[np.float32]] | None,
        progress: Progress,
        stop: Stop,
    ) -> Problem:
        model, options = self.victim.model, self.options
        x = to_batch(originals, model.device)
        wanted = None if targets[0] is None else torch.tensor([t or 0 for t in targets], device=x.device)
        norm = options.norm or usual_norm(self.spec, options.eps)
        eps = options.eps or (USUAL_EPS[norm] if self.spec.kind is Kind.bounded else math.inf)
        plain = self._look(*x.shape[2:])
        container = self.container
        look = plain if container is None else lambda pictures: plain(container(pictures))
        opening = [self._opening(x, look)] if self.spec.opens and self._exact else []
        before = opening[0].logits.detach() if opening else self._classify([self._saved(each) for each in originals])
        best = Best(x, before.to(x.device))
        return Problem(
            model=model,
            x=x,
            look=look,
            goal=Goal(best.logits.argmax(1), wanted, confidence_of(options)),
            norm=norm,
            eps=eps,
            options=options,
            steps=options.steps or self.spec.steps,
            best=best,
            opening=opening,
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
        pixels: Pixels,
        change: dict[str, Any],
        goal: Goal,
        logits: tuple[Tensor, Tensor],
        problem: Problem,
        seconds: float,
    ) -> FoolResult:
        """Of the picture number `row`, with its own goal and its logits (K,) before and after."""
        before, after = logits
        device = self.victim.model.device
        survived = {}
        for wear in self.wears:
            worn = to_pixels(wear.apply(to_tensor(self._saved(pixels), device)))
            survived[wear.name] = bool(goal.margin(self._classify([worn])) > 0)
        return FoolResult(
            pixels=pixels,
            success=bool(goal.reached(after[None])) and all(survived.values()),
            label=int(goal.label),
            target=None if goal.target is None else int(goal.target),
            original=_view(before, goal, self.victim.model.card, self.options.top_k),
            adversarial=_view(after, goal, self.victim.model.card, self.options.top_k),
            **change,
            survived=survived,
            sticker=self._sticker(row, pixels, problem),
            options=replace(self.options, norm=problem.norm, steps=problem.steps),
            norm=problem.norm,
            eps=problem.eps,
            steps=problem.steps,
            forward=_share(problem.counts, "forward", len(problem.x)),
            backward=_share(problem.counts, "backward", len(problem.x)),
            seconds=seconds,
        )

    def _sticker(self, row: int, pixels: Pixels, problem: Problem) -> Sticker | None:
        spot = problem.best.spots.get(row)
        if spot is None:
            return None
        cut = spot.of(to_tensor(pixels, problem.x.device)[0])
        one = problem.only(torch.tensor([row], device=problem.x.device))
        holds = holding(one, cut[None]) if self.options.patch_robust else None
        return Sticker(to_pixels(cut), spot.top, spot.left, holds)


def _change(original: Pixels, pixels: Pixels) -> dict[str, Any]:
    """How far a picture was changed, as `FoolResult` tells it."""
    change = (pixels - original).astype(np.float64)
    return {
        "linf": float(np.abs(change).max()),
        "l2": float(np.linalg.norm(change)),
        "l1": float(np.abs(change).sum()),
        "l0": int((change != 0).any(2).sum()),
        "ssim": ssim(original, pixels),
        "psnr": psnr(original, pixels),
    }


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
