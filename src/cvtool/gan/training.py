"""A run: steps of a game, looked at now and then, gone back on when it collapses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.distributed import ALONE, Group
from cvtool.errors import CvtoolError, UsageError
from cvtool.gan.adversarial import Adversarial
from cvtool.gan.datasets.data import Pictures
from cvtool.gan.evaluation import Evaluation, Judge
from cvtool.gan.features import FeatureModel
from cvtool.gan.feeding import Feeder, likely_labels
from cvtool.gan.game import Average, Game
from cvtool.gan.networks import Generator, Shape, build
from cvtool.gan.networks.registry import MINIBATCH_GROUP
from cvtool.gan.networks.shared_norms import share_batch_norms
from cvtool.gan.options import CHECKS, NetworkOptions, TrainOptions, completed
from cvtool.gan.position import Check, Position
from cvtool.gan.sampling import sample
from cvtool.gan.variational import Variational
from cvtool.gan.watch import Watch
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.tensors import autocast, seeded, training_precision

PROBE, PROBING = 30, 0.1
"""Steps, or share of a budget of time, after which the budget becomes a number of steps."""
RECOVERIES = 2
"""How often a run may go back to its best state."""
CHECKING = 0.2
"""Largest share of a budget that checks may take."""
GRID = 10
"""Pictures along each side of the grid of a check; with up to so many classes each has a row."""


class CollapseError(CvtoolError):
    """A run came to nothing, and does not go back any more."""


class Trainer:
    """One run: it can be stopped after any step, saved, and continued to the same end.

    Randomness comes from the seed and the step alone, so the position is all the random state there is.
    """

    def __init__(
        self, game: Game, feed: Feeder, judge: Judge | None, options: TrainOptions, group: Group = ALONE
    ) -> None:
        """Begin a run.

        Args:
            game, feed: what is played, and with which pictures.
            judge: of the pictures; only the first process needs one.
            options, group: of the run; each process has its share of every batch.
        """
        self.game, self.feed, self.judge, self.options, self.group = game, feed, judge, options, group
        self.average = Average(game.generator, options.ema)
        share_batch_norms(game.generator, group)
        self.position = Position(total=options.steps or 0)
        self.watch = Watch()
        self._best: dict[str, Any] = {}
        # A GPU draws for itself: it need not wait for numbers, and what draws them can be recorded.
        self._chance = torch.Generator(feed.device if feed.device.type == "cuda" else "cpu")
        self._plan(0.0, 0.0)

    @property
    def generator(self) -> Generator:
        """The averaged generator, ready to use after a check."""
        return self.average.generator

    @property
    def at_check(self) -> bool:
        """Whether the last step was followed by a check."""
        return bool(self.position.every) and (self.position.step % self.position.every == 0 or self._is_over)

    @property
    def _is_over(self) -> bool:
        position = self.position
        return position.cut or (position.total > 0 and position.step >= position.total)

    @property
    def may_go_back(self) -> bool:
        """Whether the run goes on from its best state when it collapses."""
        return self.options.recover and bool(self._best) and self.position.recoveries < RECOVERIES

    def run(
        self,
        *,
        on_check: Callable[[Check], None],
        on_step: Callable[[], None] = lambda: None,
        progress: Progress = silent,
        stop: Stop = never,
    ) -> bool:
        """Train to the end; False when `stop` ended it before. `on_step` may save, also after a check.

        Of a group all processes stop when one is asked to, and only the first checks, and calls the listeners.

        Raises:
            CollapseError: the run collapsed and may not go back any more.
        """
        position = self.position
        start = time.perf_counter() - position.seconds
        while not self._is_over:
            if self.group.any(stop()):
                return False
            self._step()
            position.seconds = self._clock(start)
            progress(Step("training", position.step, position.total, self._means()))
            probed = position.step >= PROBE or position.seconds > PROBING * self.options.budget
            if position.total == 0 and probed:
                self._plan_by_clock(start)
            out_of_time = self.options.steps is None and position.seconds > 1.1 * self.options.budget
            if position.total and out_of_time:  # slower than planned: end here rather than much later
                position.cut = True
            if self.at_check:
                check = self._check(start)
                if self.group.is_main:
                    on_check(check)
                if check.trouble is not None:
                    self._go_back(check.trouble)
            if self.group.is_main:
                on_step()
        return True

    def _clock(self, start: float) -> float:
        """Seconds since then, as all processes have it: how long a run lasts hangs on them."""
        return self.group.sums({"seconds": (time.perf_counter() - start) / self.group.size})["seconds"]

    def _step(self) -> None:
        position, began = self.position, time.perf_counter()
        self._chance.manual_seed(int(np.random.SeedSequence([self.options.seed, position.step]).generate_state(1)[0]))
        facts = self.game.step(position.step, self.feed, self._chance, position.scale * self._fall(), self._done())
        self.average.add(self.game.generator, position.step)
        facts = self.group.means(facts, self.feed.share)
        for name, value in facts.items():
            total, reports = position.sums.get(name, (0.0, 0))
            position.sums[name] = [total + float(value), reports + 1]
        position.step += 1
        position.step_seconds += time.perf_counter() - began

    def _done(self) -> float:
        """Share of the run that lies behind."""
        return self.position.step / self.position.total if self.position.total else 0.0

    def _fall(self) -> float:
        """What is left of the learning rates."""
        return min(1.0, (1 - self._done()) / self.options.fall) if self.options.fall else 1.0

    def _means(self) -> dict[str, float]:
        return {name: total / reports for name, (total, reports) in self.position.sums.items()}

    def _plan_by_clock(self, start: float) -> None:
        """From the time that steps and a check take to the number of both."""
        position = self.position
        began = time.perf_counter()
        if self.group.is_main:
            self._judged()
        check = time.perf_counter() - began
        position.seconds = self._clock(start)
        self._plan(*self.group.from_main((position.step_seconds / position.step, check)))

    def _plan(self, step: float, check: float) -> None:
        """Steps and checks of the run; with a budget and nothing measured yet, later."""
        position, options = self.position, self.options
        if options.steps is None:
            if not step:
                return
            left = max(options.budget - position.seconds, 0.0)
            checks: float = max(1, min(CHECKS, int(CHECKING * left / max(check, 1e-9))))
            if options.every is not None:
                checks = left / (options.every * step + check)
            position.total = position.step + max(1, int((left - checks * check) / step))
            position.every = options.every or math.ceil(position.total / checks)
        else:
            position.every = options.every or max(1, -(-options.steps // CHECKS))

    def _judged(self) -> tuple[NDArray[np.uint8], Evaluation | None]:
        """The grid and the distances of the average as it is now; None when it makes no numbers any more."""
        chance = seeded(self.options.seed)
        count = self.options.samples
        device = next(self.average.generator.parameters()).device
        noise = self.average.generator.noise(count, chance).to(device)
        labels = likely_labels(self.feed.data, count, chance)
        there = None if labels is None else labels.to(device)
        with autocast(device, self.options.precision):
            self.average.settle(noise, there)
        if not all(bool(each.isfinite().all()) for each in self.average.generator.state_dict().values()):
            shape = self.average.generator.shape
            return np.zeros((GRID**2, shape.size, shape.size, shape.channels), np.uint8), None
        pictures = sample(self.average.generator, noise.cpu(), labels, device)
        assert self.judge is not None
        return self._grid(chance, device), self.judge.evaluate(pictures)

    def _grid(self, chance: torch.Generator, device: torch.device) -> NDArray[np.uint8]:
        generator = self.average.generator
        labels: Tensor | None = None
        if generator.shape.classes:
            rows = torch.arange(GRID) % generator.shape.classes
            labels = rows.repeat_interleave(GRID)
        return sample(generator, generator.noise(GRID**2, chance), labels, device)

    def _check(self, start: float) -> Check:
        position = self.position
        grid, evaluation = self._judged() if self.group.is_main else (np.empty(0, np.uint8), None)
        known = self.group.from_main(None if evaluation is None else evaluation.facts())
        evaluation = None if known is None else Evaluation(**known)  # type: ignore[arg-type] # its own facts
        position.seconds = self._clock(start)
        facts = self._means()
        is_best = evaluation is not None and evaluation.fd < position.best
        finite = evaluation is not None and all(math.isfinite(value) for value in facts.values())
        trouble = self.watch.verdict(
            {
                "step": position.step,
                "finite": finite,
                **facts,
                **({} if evaluation is None else evaluation.facts()),
            }
        )
        batches = position.step * self.game.turns
        check = Check(
            position.step,
            batches / self.feed.per_epoch,
            facts,
            evaluation,
            batches * self.feed.batch / max(position.step_seconds, 1e-9),
            position.seconds,
            is_best and trouble is None,
            trouble,
            grid,
        )
        position.sums = {}
        if check.is_best:
            assert evaluation is not None
            position.best = evaluation.fd
            self._best = deepcopy({"game": self.game.state(), "average": self.average.generator.state_dict()})
        return check

    def _go_back(self, trouble: str) -> None:
        """To the best state, with gentler settings.

        Raises:
            CollapseError: there is none, or the run may not go back (any more).
        """
        position = self.position
        if not self.options.recover:
            raise CollapseError(
                f"The run ended: {trouble}. Its best state is kept; lower the rates or try another loss."
            )
        if not self._best:
            raise CollapseError(f"The run ended: {trouble}, before any state was good. Lower --rate-g and --rate-d.")
        if not self.may_go_back:
            raise CollapseError(
                f"The run ended: {trouble}, and going back {position.recoveries} times did not help. "
                "Lower --rate-g and --rate-d, or try --loss r3gan."
            )
        position.recoveries += 1
        position.scale /= 2
        self.game.load_state(deepcopy(self._best["game"]))
        self.game.calm_down()
        self.average.generator.load_state_dict(self._best["average"])
        self.watch.went_back()

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on exactly: tensors, numbers and texts."""
        return {
            "game": self.game.state(),
            "average": self.average.generator.state_dict(),
            "position": asdict(self.position),
            "watch": self.watch.state(),
            "best": self._best,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.game.load_state(state["game"])
        self.average.generator.load_state_dict(state["average"])
        self.position = Position(**deepcopy(state["position"]))
        if self.position.recoveries:
            self.game.calm_down()
        self.watch.load_state(state["watch"])
        self._best = dict(state["best"])


def prepare(
    data: Pictures,
    networks: NetworkOptions,
    options: TrainOptions,
    model: FeatureModel,
    progress: Progress = silent,
    group: Group = ALONE,
) -> Trainer:
    """A run that has not begun: untrained networks, where `model` computes, and a judge of what they make.

    Raises:
        UsageError: the networks cannot make such pictures, or a batch cannot be divided as it must be.
        BadInputError: too few pictures to judge by.
    """
    shape, device = Shape(data.size, data.channels, len(data.classes)), model.device
    networks, options = completed(len(data), networks, options)
    options = replace(options, precision=group.from_main(training_precision(device, options.precision)))
    feed = Feeder(data, options.batch, options.seed, device, group)
    _check_shares(feed.batch, options, networks, group)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        generator, discriminator = build(networks, shape)
        for each in (generator, discriminator):
            each.to(device).to(memory_format=torch.channels_last)
        kind = Variational if options.vae else Adversarial
        game: Game = kind(generator, discriminator, options, group, feed.share)
    judge = Judge(reference_pictures(data, options), model, progress=progress) if group.is_main else None
    return Trainer(game, feed, judge, options, group)


def _check_shares(batch: int, options: TrainOptions, networks: NetworkOptions, group: Group) -> None:
    """Whether a batch, as large as asked for or all pictures there are, can be divided as it must be."""
    if batch < group.size:
        raise UsageError(f"A batch of {batch} pictures is too small for {group.size} processes. Give a larger --batch.")
    unit = MINIBATCH_GROUP * group.size
    mixed = group.size > 1 or not options.vae  # an encoder sees real pictures only
    if networks.minibatch_std and mixed and batch % unit:
        apart = "would fall to different processes" if group.size > 1 else "would be real ones and generated ones"
        there = f"There are {batch} pictures; give a smaller --batch" if batch < options.batch else "Give a --batch"
        raise UsageError(
            f"--minibatch-std compares {MINIBATCH_GROUP} neighbours, which {apart}. "
            f"{there} that is a multiple of {unit}."
        )


def reference_pictures(data: Pictures, options: TrainOptions) -> NDArray[np.uint8]:
    """The pictures that samples are judged by: as many of the data's, evenly spread."""
    return np.array(data.pixels[np.linspace(0, len(data) - 1, min(options.samples, len(data))).astype(int)])
