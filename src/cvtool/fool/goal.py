"""What counts as fooled, and how far a network is from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.errors import UsageError

SLACK = 1e-3
"""Logits by which the goal is overfulfilled, so that another order of additions does not undo it."""


@dataclass(frozen=True, eq=False)
class Goal:
    """Another class than `label` in front: `target` if there is one, else any.

    Attributes:
        label: (N,) the class that must not come first.
        target: (N,) the class that must, or None.
        confidence: probability that it must reach, or None.
    """

    label: Tensor
    target: Tensor | None
    confidence: float | None = None

    def repeated(self, times: int) -> Goal:
        """For logits in `times` rounds over the pictures."""
        if times == 1:
            return self
        target = None if self.target is None else self.target.repeat(times)
        return replace(self, label=self.label.repeat(times), target=target)

    def only(self, rows: Tensor) -> Goal:
        """For some of the pictures."""
        return replace(self, label=self.label[rows], target=None if self.target is None else self.target[rows])

    def on(self, device: torch.device | str) -> Goal:
        """For logits on another device."""
        return replace(
            self, label=self.label.to(device), target=None if self.target is None else self.target.to(device)
        )

    def aim(self, logits: Tensor) -> Tensor:
        """Logits (N, K) → (N,) the class that is to come first: the target, or the likeliest wrong one."""
        return self.target if self.target is not None else without(logits, self.label).argmax(1)

    def margin(self, logits: Tensor) -> Tensor:
        """(N,): logit of the aim minus the highest other; above 0 the network is fooled."""
        aim = self.aim(logits)
        return pick(logits, aim) - without(logits, aim).amax(1)

    def lead(self, logits: Tensor) -> Tensor:
        """(N,): at least 0 where the goal is reached; else how many logits are missing."""
        lead = self.margin(logits)
        if self.confidence is not None:
            aim = self.aim(logits)
            odds = pick(logits, aim) - without(logits, aim).logsumexp(1)
            lead = torch.minimum(lead, odds - math.log(self.confidence / (1 - self.confidence)))
        return lead - SLACK

    def reached(self, logits: Tensor) -> Tensor:
        """(N,) bool: the network is fooled, and as sure as it should be."""
        return (self.lead(logits) >= -SLACK) & (self.margin(logits) > 0)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """(N,): the log-probability of the target, or minus that of the label; rises towards the goal."""
        if self.target is None:
            return F.cross_entropy(logits, self.label, reduction="none")
        return -F.cross_entropy(logits, self.target, reduction="none")

    def logit(self, logits: Tensor) -> Tensor:
        """(N,): the target's logit, or minus the label's; rises towards the goal."""
        return -pick(logits, self.label) if self.target is None else pick(logits, self.target)

    def logits_ratio(self, logits: Tensor) -> Tensor:
        """(N,): difference of logits ratio, Croce and Hein (2020), arXiv:2003.01690; rises towards the goal.

        It does not change with the scale of the logits. Networks with fewer than four classes, where it is not
        defined, get the plain margin.
        """
        if logits.shape[1] < 4:
            return self.margin(logits)
        first, _, third, fourth = logits.topk(4, 1).values.unbind(1)
        if self.target is None:
            others = without(logits, self.label).amax(1)
            return (others - pick(logits, self.label)) / (first - third).clamp_min(1e-12)
        return (pick(logits, self.target) - pick(logits, self.label)) / (first - (third + fourth) / 2).clamp_min(1e-12)


def check_confidence(confidence: float | None) -> None:
    """Whether a probability can be asked for.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if confidence is not None and not 0 < confidence < 1:
        raise UsageError(f"A confidence of {confidence:g} cannot be reached. Give one between 0 and 1, such as 0.9.")


def pick(logits: Tensor, index: Tensor) -> Tensor:
    """(N, K), (N,) → (N,)."""
    return logits.gather(1, index[:, None])[:, 0]


def without(logits: Tensor, index: Tensor) -> Tensor:
    """(N, K), (N,) → (N, K) with −∞ for those classes."""
    return logits.scatter(1, index[:, None], -torch.inf)
