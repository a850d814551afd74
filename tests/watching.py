"""Problems that keep what the network was shown."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from twins import Case

from cvtool.fool.goal import Goal
from cvtool.fool.options import FoolOptions, Method, Norm
from cvtool.fool.problem import Best, Objective, Problem

SEED = 0


@dataclass(frozen=True, eq=False)
class Watched(Problem):
    """A problem that keeps what the network was shown, for each picture."""

    shown: dict[int, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))

    def keep(self, x: Tensor) -> None:
        rows = self.rows.repeat(len(x) // len(self.rows))
        for row, each in zip(rows.tolist(), x.detach().clone().numpy(), strict=True):
            self.shown[row].append(each)

    def ask(self, x: Tensor):
        self.keep(x)
        return super().ask(x)

    def climb(self, x: Tensor, objective: Objective):
        self.keep(x)
        return super().climb(x, objective)

    def jacobian(self, x: Tensor, objectives: list[Objective]):
        self.keep(x)
        return super().jacobian(x, objectives)

    def logits(self, x: Tensor) -> Tensor:
        self.keep(x)
        return super().logits(x)

    def leads(self, x: Tensor) -> Tensor:
        self.keep(x)
        return super().leads(x)


def pictures(count: int, height: int = 24, width: int | None = None) -> Tensor:
    """Of all values, black and white among them: steps leave the box."""
    random = np.random.default_rng(6)
    return torch.from_numpy(np.clip(random.normal(0.5, 0.3, (count, 3, height, width or height)), 0, 1))


def watched(victim, x: Tensor, method: Method, *, norm: Norm, eps: float, steps: int, aimed: bool, **more) -> Watched:
    """A problem in float64, without rounding."""
    module = copy.deepcopy(victim.model.module).double()
    logits = module(x)
    label = logits.argmax(1)
    target = (label + 1) % logits.shape[1] if aimed else None
    return Watched(
        model=replace(victim.model, module=module),
        x=x,
        look=lambda pictures: pictures,
        goal=Goal(label, target),
        norm=norm,
        eps=eps,
        options=FoolOptions(method=method, levels=None, seed=SEED, **more),
        steps=steps,
        best=Best(x, logits),
        rows=torch.arange(len(x)),
    )


def cases_of(problem: Problem) -> list[Case]:
    goal, targets = problem.goal, [None] * len(problem.x)
    if goal.target is not None:
        targets = goal.target.tolist()
    cases = [
        Case(problem.model.module, x, label, target, problem.norm.value, problem.eps)
        for x, label, target in zip(problem.x.numpy(), goal.label.tolist(), targets, strict=True)
    ]
    for case in cases:
        case.wears = problem.survive
    if problem.mask is not None:
        for case, mask in zip(cases, problem.mask.numpy(), strict=True):
            case.mask = mask
    return cases
