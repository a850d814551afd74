"""The optimisation itself: scale after scale, with its state in one place so that it can be stopped and continued."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.ascend import Adam, Average, follow_gradient, pack, unit_box, unpack
from cvtool.errors import BadInputError, CvtoolError
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.stylize.objective import Objective
from cvtool.stylize.options import Optimizer
from cvtool.stylize.pyramid import Scale, fit_to_budget
from cvtool.stylize.recipes import RecipeSpec

REPORT_EVERY = 5  # steps; reading a loss makes a GPU wait
SNAPSHOT_EVERY = 25  # steps
REPLAN_EVERY = 10  # steps, with a budget
WARM_UP = 3  # steps before the first measurement of a scale
LBFGS_HISTORY = 10  # pairs of vectors as large as the picture

PLATEAU_WINDOW = 60  # steps
PLATEAU_GAIN = 0.003  # relative improvement over a window below which a scale is finished


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run, enough to continue it: numbers as JSON values, tensors on the CPU."""

    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Listeners:
    """Who hears of a run, and who may end it.

    Attributes:
        progress: every few steps.
        stop: asked before every step.
        preview: every few steps, with the picture so far (1, 3, h, w).
        keep: every few steps and at the end of each scale, with a snapshot to continue from.
    """

    progress: Progress = silent
    stop: Stop = never
    preview: Callable[[Tensor], None] | None = None
    keep: Callable[[Snapshot], None] | None = None


@dataclass
class Run:
    """Where an optimisation stands, and how it goes on.

    Attributes:
        recipe, optimizer_name: how to move.
        plan: the scales; with a budget their steps change on the way, afterwards they are what was done.
        picture: the start (1, 3, h, w), then the current picture.
        objective: builds the loss of a scale.
        budget: seconds from the start of the run, or None.
        may_end_early: a scale ends when its loss no longer falls, if it has no late part.
        fp16: scale the loss against underflow.
        replay: a GPU may record steps, which takes several times the memory.
        index, done: the current scale and its steps so far.
        terms: the last loss and its parts.
        stopped_by: why it ended.
    """

    recipe: RecipeSpec
    optimizer_name: Optimizer
    plan: tuple[Scale, ...]
    picture: Tensor
    objective: Callable[[Scale], Objective]
    budget: float | None = None
    may_end_early: bool = True
    fp16: bool = False
    replay: bool = False
    index: int = 0
    done: int = 0
    terms: dict[str, float] = field(default_factory=dict)
    stopped_by: str = "steps"
    spent: float = 0.0
    _history: list[float] = field(default_factory=list)
    _is_late: bool = False
    _average: Average | None = None
    _optimizer: torch.optim.Optimizer | Adam | None = None
    _scaler: torch.amp.GradScaler | None = None

    def result(self) -> Tensor:
        """The picture so far (1, 3, h, w): the average over iterates where the recipe has one."""
        if self._average is not None and self._average.weight > 0:
            return self._average.value().clamp(0, 1)
        return self.picture.detach().clamp(0, 1)

    def run(self, listeners: Listeners) -> None:
        """Go on to the end of the plan, or until asked to stop."""
        started = time.monotonic() - self.spent
        while self.index < len(self.plan):
            if not self._run_scale(started, listeners):
                self.stopped_by = "interrupt"
                self._cut(self.done)
                self.plan = (*self.plan[: self.index + 1], *(replace(s, steps=0) for s in self.plan[self.index + 1 :]))
                return
            self.index += 1
            self.done = 0

    def _cut(self, steps: int) -> None:
        """The current scale ends after `steps` steps."""
        scale = replace(self.plan[self.index], steps=steps)
        self.plan = (*self.plan[: self.index], scale, *self.plan[self.index + 1 :])

    def _run_scale(self, started: float, listeners: Listeners) -> bool:
        """One scale to its end; False when asked to stop."""
        scale = self.plan[self.index]
        if scale.steps == 0:
            return True
        if self._optimizer is None or self.done == 0:
            self._enter(scale)
        assert self._optimizer is not None
        steps = follow_gradient(
            self.picture,
            self.objective(scale),
            self._optimizer,
            # Clamping between the steps of L-BFGS would contradict the curvature it has gathered.
            project=unit_box if self.optimizer_name is Optimizer.adam else None,
            scaler=self._scaler,
            replay=self.replay,
        )
        first, timed_from = self.done, time.monotonic()
        while self.done < self.plan[self.index].steps:
            if listeners.stop():
                if listeners.keep is not None:
                    self._keep(listeners.keep, started)
                return False
            self._slow_down()
            terms = next(steps)
            self.done += 1
            if self._average is not None:
                self._average.add(self.picture.detach())
            here = self.done - first
            if self.budget is not None and here >= WARM_UP and (here - WARM_UP) % REPLAN_EVERY == 0:
                now = time.monotonic()
                cost = (now - timed_from) / here / scale.pixels
                self.plan = fit_to_budget(self.plan, self.index, self.done, self.budget - (now - started), cost)
                self.stopped_by = "budget"
            if self.done % REPORT_EVERY == 0 or self.done == self.plan[self.index].steps:
                self._read(terms)
                listeners.progress(Step(scale.label, self.done, self.plan[self.index].steps, self.terms))
                if listeners.preview is not None:
                    listeners.preview(self.result())
                may_end = self.may_end_early and not self._ends_slowly
                if may_end and self._is_flat() and self.done < self.plan[self.index].steps:
                    self.stopped_by = "plateau" if self.index == len(self.plan) - 1 else "steps"
                    self._cut(self.done)
            ended = self.done == self.plan[self.index].steps
            if listeners.keep is not None and (ended or self.done % SNAPSHOT_EVERY == 0):
                self._keep(listeners.keep, started)
        return True

    def _keep(self, keep: Callable[[Snapshot], None], started: float) -> None:
        self.spent = time.monotonic() - started
        keep(self.snapshot())

    def _enter(self, scale: Scale) -> None:
        """Bring the picture and the optimiser's memory to the size of a scale."""
        size = (scale.height, scale.width)
        previous = self._optimizer
        memory = previous.state.get(self.picture, {}) if previous is not None else {}
        start = _resize(self.result(), size).clamp(0, 1)
        self.picture = start.contiguous().requires_grad_(True)
        self._average = Average(start, self.recipe.average) if self.recipe.average else None
        self._history = []
        self._is_late = False
        self._optimizer = self._new_optimizer()
        if self.optimizer_name is Optimizer.adam and memory:
            state = self._optimizer.state_dict()
            state["state"][0] = {
                "step": memory["step"],
                "exp_avg": _resize(memory["exp_avg"], size),
                # A cubic filter would make some second moments negative.
                "exp_avg_sq": F.interpolate(memory["exp_avg_sq"], size=size, mode="bilinear").relu(),
            }
            self._optimizer.load_state_dict(state)

    def _new_optimizer(self) -> torch.optim.Optimizer | Adam:
        if self.fp16 and self._scaler is None:
            self._scaler = torch.amp.GradScaler(self.picture.device.type, init_scale=2.0**12, growth_interval=200)
        if self.optimizer_name is Optimizer.lbfgs:
            rate = 1.0  # a quasi-Newton step has its own length; the line search shortens it
            return torch.optim.LBFGS(
                [self.picture], lr=rate, max_iter=1, history_size=LBFGS_HISTORY, line_search_fn="strong_wolfe"
            )
        late = self.recipe.late_rate if self._is_late else None
        return Adam(self.picture, lr=self.recipe.rate if late is None else late, betas=self.recipe.betas)

    @property
    def _ends_slowly(self) -> bool:
        return self.recipe.late_rate is not None and self.optimizer_name is Optimizer.adam

    def _slow_down(self) -> None:
        """Where the late part of a scale begins, start Adam anew."""
        begins = math.floor(self.recipe.late_from * self.plan[self.index].steps)  # so that even one step is late
        if self._ends_slowly and not self._is_late and self.done >= begins:
            assert self._optimizer is not None
            self._is_late = True
            # In place, as the loop over the steps holds it.
            self._optimizer.load_state_dict(self._new_optimizer().state_dict())

    def _read(self, terms: Mapping[str, Tensor]) -> None:
        self.terms = {name: float(value) for name, value in terms.items()}
        finite = self.terms["loss"] == self.terms["loss"] and abs(self.terms["loss"]) != float("inf")
        if not finite and self._scaler is None:  # with a scaler, such a step was skipped
            raise CvtoolError("The loss is no longer a number. Use --precision fp32, or fewer or lower weights.")
        if finite:
            self._history.append(self.terms["loss"])

    def _is_flat(self) -> bool:
        """The loss no longer falls: its mean over the last half of the window against the half before."""
        count = PLATEAU_WINDOW // REPORT_EVERY
        if len(self._history) < count:
            return False
        before = self._history[-count : -count // 2]
        after = self._history[-count // 2 :]
        gain = sum(before) / len(before) - sum(after) / len(after)
        return gain < PLATEAU_GAIN * sum(before) / len(before)

    def snapshot(self) -> Snapshot:
        """Everything that the next step depends on."""
        assert self._optimizer is not None
        tree = {
            "picture": self.picture,
            "optimizer": self._optimizer.state_dict()["state"],
            "average": None if self._average is None else [self._average.total, self._average.weight],
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
        }
        skeleton, tensors = pack(tree, "run")
        facts = {
            "index": self.index,
            "done": self.done,
            "steps": [scale.steps for scale in self.plan],
            "terms": self.terms,
            "stopped_by": self.stopped_by,
            "spent": self.spent,
            "history": self._history,
            "is_late": self._is_late,
            "tree": skeleton,
        }
        return Snapshot(facts, tensors)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from `snapshot`, taken by a run with the same options.

        Raises:
            BadInputError: it is broken.
        """
        try:
            self._take(snapshot)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
            raise BadInputError("The checkpoint is broken, or of another run. Start again without --resume.") from error

    def _take(self, snapshot: Snapshot) -> None:
        facts = snapshot.facts
        tree = unpack(facts["tree"], snapshot.tensors)
        self.index, self.done = int(facts["index"]), int(facts["done"])
        self.plan = tuple(replace(s, steps=int(n)) for s, n in zip(self.plan, facts["steps"], strict=True))
        scale = self.plan[self.index]
        if any(each.steps < 0 for each in self.plan):
            raise ValueError("less than no steps")
        if not (self.index >= 0 and 0 <= self.done <= scale.steps):
            raise ValueError("a place that is not in the plan")
        self.terms = {name: float(value) for name, value in dict(facts["terms"]).items()}
        self.stopped_by, self.spent = str(facts["stopped_by"]), float(facts["spent"])
        self._history = [float(loss) for loss in facts["history"]]
        self._is_late = bool(facts.get("is_late"))
        if tree["picture"].shape != (1, 3, scale.height, scale.width) or not tree["picture"].isfinite().all():
            raise ValueError("no picture of this scale")
        self.picture = tree["picture"].to(self.picture).contiguous().requires_grad_(True)
        self._optimizer = self._new_optimizer()
        state = self._optimizer.state_dict()
        state["state"] = tree["optimizer"]
        if not all(_remembers(each, self.picture) for each in tree["optimizer"].values()):
            raise ValueError("what the optimiser remembers is of another picture")
        self._optimizer.load_state_dict(state)
        if (tree["average"] is None) != (not self.recipe.average):
            raise ValueError("an average too few or too many")
        if tree["average"] is not None:
            total, weight = tree["average"][0], float(tree["average"][1])
            if total.shape != self.picture.shape or not total.isfinite().all() or not 0 <= weight < 1.001:
                raise ValueError("no average of pictures of this scale")
            self._average = Average(self.picture.detach(), self.recipe.average)
            self._average.total.copy_(total)
            self._average.weight = weight
        if self._scaler is not None and tree["scaler"] is not None:
            self._scaler.load_state_dict(tree["scaler"])


def _remembers(state: Mapping[str, Any], picture: Tensor) -> bool:
    """Whether this is what an optimiser remembers of a picture of that size."""
    if "exp_avg" in state or "step" in state:
        averages = state["exp_avg"].shape == state["exp_avg_sq"].shape == picture.shape
        return bool(averages and state["step"].numel() == 1 and state["step"].item() >= 0)
    parts = [part for value in state.values() for part in (value if isinstance(value, list) else [value])]
    return all(part.numel() in (1, picture.numel()) for part in parts if isinstance(part, Tensor))


def _resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[2:]) == size:
        return picture
    return F.interpolate(picture, size=size, mode="bicubic", align_corners=False)
