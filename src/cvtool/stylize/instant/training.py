"""A run that trains a painter: steps of an optimiser, looked at now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.codecs.rasters import to_levels
from cvtool.errors import CvtoolError, UsageError
from cvtool.models.loader import Model
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.stylize.instant.data import Shelf, Views, batch
from cvtool.stylize.instant.loss import painting_loss
from cvtool.stylize.instant.network import Painter
from cvtool.stylize.instant.options import CHECKS, WEAKEST, InstantTrainOptions, PainterOptions
from cvtool.stylize.instant.painting import painted
from cvtool.stylize.instant.statistics import Encoder, statistics
from cvtool.tensors import autocast, training_precision

PHASES = ((0.0, 128), (0.6, 192), (0.9, 256))
"""Share of the run from which on the pictures have so many pixels a side. Batches shrink as pictures grow."""
PROBE, PROBING = 12, 0.1
"""Steps, or share of a budget, after which the budget becomes a number of steps."""
FEWEST_STEPS = 25
"""Between two checks, at least."""
WARM_UP = 100
"""Steps in which the rate rises; a tenth of the run where that is fewer."""
LONGEST_GRADIENT = 1.0
MEASURED = 32
"""Styles and contents whose maps give the painter its units."""
CHECK_SIZE, CHECK_STRENGTH = 192, 50.0
SHOWN = 6
"""Pairs in the picture of a check."""


class DivergedError(CvtoolError):
    """A run came to nothing."""


@dataclass
class Position:
    """Where a run is; with weights, average and optimiser, all that is needed to go on exactly.

    Attributes:
        step: that comes next, from 0.
        total: steps of the run; 0 while a budget is not yet a number of steps.
        every: steps between checks; 0 likewise.
        best: smallest loss of a check so far.
        sums: of each of the facts since the last check.
        reports: how many steps they are from.
        seconds: spent so far.
        step_seconds: of them on steps alone.
    """

    step: int = 0
    total: int = 0
    every: int = 0
    best: float = math.inf
    sums: dict[str, float] = field(default_factory=dict)
    reports: int = 0
    seconds: float = 0.0
    step_seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Check:
    """What a run came to between two checks.

    Attributes:
        step: done so far.
        facts: means of the training's terms, and as ``held_out_*`` those of the pairs that are never trained on.
        pictures_per_second: painted while training.
        seconds: since the start of the run.
        is_best: no check had a smaller loss on what was held out.
        tiles: contents, styles and paintings (3, `SHOWN`, S, S, 3) uint8.
    """

    step: int
    facts: Mapping[str, float]
    pictures_per_second: float
    seconds: float
    is_best: bool
    tiles: NDArray[np.uint8]

    def record(self) -> dict[str, Any]:
        """As a line of metrics."""
        return {
            "step": self.step,
            **{name: round(value, 5) for name, value in self.facts.items()},
            "pictures_per_second": round(self.pictures_per_second, 2),
            "seconds": round(self.seconds, 2),
            "is_best": self.is_best,
        }


class Trainer:
    """One run: it can be stopped after any step, saved, and continued to the same end.

    Randomness comes from the seed and the step alone, so the position is all the random state there is.

    Args:
        painter: that learns, on the device of the model.
        model: efficientnet-lite0.
        contents, styles: what is learned from and what checks look at.
        options: with a precision that is not ``auto``.
        trained: the painter has learned before: its units are kept.
    """

    def __init__(
        self,
        painter: Painter,
        model: Model,
        contents: Shelf,
        styles: Shelf,
        options: InstantTrainOptions,
        *,
        trained: bool = False,
    ) -> None:
        self._trained = trained
        self.painter, self.options = painter, options
        self.device = model.device
        self.encoder = Encoder(model)
        self.views = Views(contents.train, styles.train, options.photos)
        self._held_out = Views(contents.held_out, styles.held_out, photos=0.25)
        self.average = deepcopy(painter).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(painter.parameters(), lr=options.rate, betas=(0.9, 0.99))
        self.position = Position(total=options.steps or 0)
        if options.steps:
            self.position.every = options.every or max(1, -(-options.steps // CHECKS))

    @property
    def at_check(self) -> bool:
        """Whether the last step was followed by a check."""
        position = self.position
        return bool(position.every) and (position.step % position.every == 0 or position.step == position.total)

    def run(
        self,
        *,
        on_check: Callable[[Check], None],
        on_step: Callable[[], None] = lambda: None,
        progress: Progress = silent,
        stop: Stop = never,
    ) -> bool:
        """Train to the end; False when `stop` ended it before. `on_step` may save, also after a check.

        Raises:
            DivergedError: the weights are no numbers any more.
        """
        position = self.position
        start = time.perf_counter() - position.seconds
        if position.step == 0 and not self._trained:
            self._measure()
        while position.total == 0 or position.step < position.total:
            if stop():
                return False
            self._step()
            position.seconds = time.perf_counter() - start
            progress(Step("training", position.step, position.total, self._means()))
            self._plan()
            if self.at_check:
                on_check(self._check(start))
            on_step()
        return True

    def size_at(self, step: int) -> tuple[int, int]:
        """Side and number of the pictures of a step."""
        done = step / self.position.total if self.position.total else 0.0
        size = max(size for since, size in PHASES if done >= since)
        return size, max(2, round(self.options.batch * (PHASES[0][1] / size) ** 2))

    def _measure(self) -> None:
        """The units of the encoder's maps, from styles and contents."""
        size = PHASES[0][1]
        contents, styles = batch(self.views, size, MEASURED, self.options.seed, 2**31)
        with torch.no_grad():
            for painter in (self.painter, self.average):
                painter.measure(
                    statistics(self.encoder(torch.cat([contents, styles[..., :size, :size]]).to(self.device)))
                )

    def _step(self) -> None:
        position, began = self.position, time.perf_counter()
        size, count = self.size_at(position.step)
        chance = np.random.default_rng([self.options.seed, position.step, 1])
        # Half of the strengths about the default, half anywhere: the painter is judged at the default.
        strength = torch.from_numpy(
            np.where(chance.random(count) < 0.5, CHECK_STRENGTH, chance.uniform(WEAKEST, 100, count)).astype(np.float32)
        ).to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate * self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        facts = self._loss(self.painter, *batch(self.views, size, count, self.options.seed, position.step), strength)[0]
        facts["loss"].backward()  # type: ignore[no-untyped-call]
        length = torch.nn.utils.clip_grad_norm_(self.painter.parameters(), LONGEST_GRADIENT)
        if not bool(torch.isfinite(length)):
            raise DivergedError(f"Step {position.step} made numbers that are not finite. Try a smaller --rate.")
        self.optimizer.step()
        self._follow()
        for name, value in facts.items():
            position.sums[name] = position.sums.get(name, 0.0) + float(value.detach())
        position.reports += 1
        position.step += 1
        position.step_seconds += time.perf_counter() - began

    def _loss(
        self, painter: Painter, contents: Tensor, styles: Tensor, strength: Tensor
    ) -> tuple[Mapping[str, Tensor], Tensor]:
        """The terms of a batch, and what was painted."""
        contents, styles = contents.to(self.device), styles.to(self.device)
        with torch.no_grad(), autocast(self.device, self.options.precision):
            style_maps, wanted = self.encoder(styles), self.encoder(contents, 0)
        style = statistics(style_maps)
        with autocast(self.device, self.options.precision):
            pictures = painted(painter, self.encoder, contents, style, strength)
        # bf16 is no faster here: backwards through depthwise convolutions it is slow on a CPU.
        return painting_loss(self.encoder, pictures.float(), wanted, style, strength), pictures.detach()

    def _rate(self) -> float:
        """Share of the learning rate at the position: a linear rise, then a cosine."""
        position = self.position
        rise = min(WARM_UP, max(1, position.total // 10)) if position.total else WARM_UP
        if position.step < rise or not position.total:
            return min(1.0, (position.step + 1) / rise)
        done = (position.step - rise) / max(1, position.total - rise)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    @torch.no_grad()
    def _follow(self) -> None:
        """The average takes on a share of the weights: at first a larger one, so that it forgets how it began."""
        step = self.position.step
        decay = min(self.options.ema, (1 + step) / (10 + step))
        for mean, now in zip(self.average.parameters(), self.painter.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    def _means(self) -> dict[str, float]:
        return {name: total / max(1, self.position.reports) for name, total in self.position.sums.items()}

    def _plan(self) -> None:
        """With a budget: from the time that steps take to their number; again at every check, as the load changes."""
        position, options = self.position, self.options
        if options.steps is not None:
            return
        probed = position.step >= PROBE or position.seconds > PROBING * options.budget
        if (position.total == 0 and probed) or (position.total and self.at_check):
            pace = position.seconds / position.step
            left = max(0, int((options.budget - position.seconds) / pace))
            position.total = position.step + max(left, 1 if position.total == 0 else 0)
            if not position.every:
                position.every = options.every or max(FEWEST_STEPS, -(-position.total // CHECKS))
        elif position.total and position.seconds > 1.02 * options.budget:
            position.total = position.step

    @torch.no_grad()
    def _check(self, start: float) -> Check:
        position = self.position
        terms: dict[str, float] = {}
        tiles = []
        parts = max(1, self.options.samples // SHOWN)
        for part in range(parts):
            contents, styles = batch(self._held_out, CHECK_SIZE, SHOWN, self.options.seed, part)
            strength = torch.full((SHOWN,), CHECK_STRENGTH, device=self.device)
            found, pictures = self._loss(self.average, contents, styles, strength)
            for name, value in found.items():
                terms[f"held_out_{name}"] = terms.get(f"held_out_{name}", 0.0) + float(value) / parts
            if part == 0:
                shown = torch.nn.functional.interpolate(styles, size=CHECK_SIZE, mode="bilinear", antialias=True)
                tiles = [contents, shown, pictures.float().clamp(0, 1).cpu()]
        position.seconds = time.perf_counter() - start
        loss = terms["held_out_loss"]
        facts = {**self._means(), **terms}
        best = loss < position.best
        position.best = min(position.best, loss)
        position.sums, position.reports = {}, 0
        grid = np.stack([to_levels(each.permute(0, 2, 3, 1).numpy()) for each in tiles])
        pace = position.step_seconds / max(1, position.step)
        return Check(position.step, facts, self.size_at(position.step)[1] / pace, position.seconds, best, grid)

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on exactly: tensors, numbers and texts."""
        return {
            "painter": self.painter.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": asdict(self.position),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.painter.load_state_dict(state["painter"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = Position(**deepcopy(state["position"]))


def prepare(
    contents: Shelf,
    styles: Shelf,
    network: PainterOptions,
    options: InstantTrainOptions,
    model: Model,
    start: Painter | None = None,
) -> Trainer:
    """A run that has not begun: an untrained painter, or the weights of `start`, where `model` computes.

    Raises:
        UsageError: `start` has another shape than `network`.
    """
    options = replace(options, precision=training_precision(model.device, options.precision))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        painter = Painter(network)
    if start is not None:
        if start.options != network:
            raise UsageError(
                f"The painter to start from has --width {start.options.width} and --embedding "
                f"{start.options.embedding}. Give the same."
            )
        painter.load_state_dict(start.state_dict())
    painter.to(model.device).to(memory_format=torch.channels_last)
    return Trainer(painter, model, contents, styles, options, trained=start is not None)
