"""What every attack is given: pictures, a network that sees them as it will see their files, and a goal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cvtool.fool.goal import Goal
from cvtool.fool.norms import length, per_picture
from cvtool.fool.options import FoolOptions, Norm
from cvtool.models.loader import Model
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.tensors import autocast, seeded

Objective = Callable[[Goal, Tensor], Tensor]
"""Goal and logits (M, K) → (M,) numbers that rise towards the goal."""

Look = Callable[[Tensor], Tensor]
"""From pictures (N, 3, H, W) to what enters a network (N, 3, h, w), differentiable."""


@dataclass(frozen=True)
class Spot:
    """Where a sticker is: its upper left pixel and its side."""

    top: int
    left: int
    side: int

    def of(self, picture: Tensor) -> Tensor:
        """The part (C, side, side) of a picture (C, H, W) that it covers, a view."""
        return picture[:, self.top : self.top + self.side, self.left : self.left + self.side]


class Best:
    """The best try for each picture: one that reaches the goal before one that does not; then the smaller change.

    Attributes:
        picture: (N, 3, H, W), at first the originals.
        logits: (N, K) of those pictures, unworn.
        lead: (N,) how far it is over the goal.
        distance: (N,) length of its change; infinite where the goal is not reached.
        spots: where the stickers are, by number of the picture, for an attack that makes such.
    """

    def __init__(self, x: Tensor, logits: Tensor) -> None:
        self.picture, self.logits = x.clone(), logits.clone()
        self.lead = x.new_full((len(x),), -torch.inf)
        self.distance = x.new_full((len(x),), torch.inf)
        self.spots: dict[int, Spot] = {}

    @property
    def found(self) -> Tensor:
        """(N,) bool: the goal is reached."""
        return self.distance < torch.inf

    def forget(self) -> None:
        """As if nothing had been tried, but for the pictures that stand."""
        self.lead.fill_(-torch.inf)
        self.distance.fill_(torch.inf)

    def offer(
        self, rows: Tensor, picture: Tensor, logits: Tensor, lead: Tensor, distance: Tensor, allowed: Tensor
    ) -> None:
        """Take a try for the pictures `rows` (n,) where it is better; those not `allowed` are too far away."""
        reached = (lead >= 0) & allowed
        before = self.distance[rows]
        closer = reached & (distance < before)
        nearer = ~reached & (before == torch.inf) & (lead > self.lead[rows]) & allowed
        distance = torch.where(closer, distance, torch.inf)  # the others taken have no solution either
        taken = (closer | nearer).nonzero()[:, 0]  # a GPU waits here only
        now = rows[taken]
        self.picture[now], self.logits[now] = picture[taken], logits[taken].to(self.logits)
        self.lead[now], self.distance[now] = lead[taken], distance[taken]


@dataclass(frozen=True, eq=False)
class Answer:
    """What the network says of a try.

    Attributes:
        logits: (N, K) of the picture as written.
        lead: (N,) how far it is over the goal, in the worst of the changes that it must survive.
        value: (N,) of the objective, in the worst of them; empty if none was asked for.
        gradient: (N, 3, H, W) of the objective, the mean over them, 0 outside the mask; empty if none was asked for.
    """

    logits: Tensor
    lead: Tensor
    value: Tensor
    gradient: Tensor


def answer(model: Model, x: Tensor, precision: str) -> Tensor:
    """What enters a network but for its normalisation (N, 3, h, w) → logits (N, K), at least float32."""
    if x.device.type == "cpu":
        x = x.contiguous(memory_format=torch.channels_last)
    with autocast(model.device, precision):
        out: Tensor = model.module(model.normalize(x))
    return out.to(torch.promote_types(out.dtype, torch.float32))


@dataclass(frozen=True, eq=False)
class Opening:
    """What the network says of the originals, with the way back to them: the first gradient needs no second pass.

    Attributes:
        x: (N, 3, H, W), the originals as a leaf.
        logits: (N, K), a function of `x`.
    """

    x: Tensor
    logits: Tensor


@dataclass(frozen=True, eq=False)
class Problem:
    """Make the network see something else in these pictures.

    The network is never asked in vain: every picture that it is shown is rounded as its file will be, and offered to
    `best`. So an attack only has to move; what it found is there at the end.

    Attributes:
        model: the network, frozen and in evaluation mode.
        x: (N, 3, H, W) in [0, 1], the originals at their own size.
        look: from such pictures to what enters the network (N, 3, h, w) but for its normalisation; differentiable.
        goal: what counts as fooled.
        norm: in which changes are measured.
        eps: largest change, infinite without a limit.
        options: of the attack.
        steps: iterations.
        mask: (N, 1, H, W), 1 where pixels may change; None: everywhere.
        survive: the same for pictures after something has happened to them; the goal must be reached then, too.
        rows: (N,) numbers of these pictures in `best`.
        opening: for an attack that begins with the gradient at `x`; good for one `climb`, then it is empty.
        counts: forward and backward passes of single pictures.
    """

    model: Model
    x: Tensor
    look: Look
    goal: Goal
    norm: Norm
    eps: float
    options: FoolOptions
    steps: int
    best: Best
    rows: Tensor
    mask: Tensor | None = None
    survive: tuple[Look, ...] = ()
    opening: list[Opening] = field(default_factory=list)
    progress: Progress = silent
    stop: Stop = never
    counts: Counter[str] = field(default_factory=Counter)

    def ask(self, x: Tensor) -> Answer:
        """Show the network pictures (N, 3, H, W)."""
        with torch.no_grad():
            return self._seen(x, None)

    def climb(self, x: Tensor, objective: Objective) -> Answer:
        """The same with the gradient of an objective on the pixels."""
        with torch.enable_grad():
            if x is self.x and self.opening:
                opening = self.opening.pop()
                self.counts["forward"] += len(x)
                return self._seen(opening.x, objective, opening.logits)
            return self._seen(x.detach().requires_grad_(), objective)

    def _seen(self, x: Tensor, objective: Objective | None, known: Tensor | None = None) -> Answer:
        logits, lead = self._shown(x, known)
        value = gradient = x.new_zeros(0)
        if objective is not None:
            values = objective(self._goal, logits)
            value = self._worst(values.detach())
            (gradient,) = torch.autograd.grad(values.sum() / (1 + len(self.survive)), x)
            gradient = gradient if self.mask is None else gradient * self.mask
            self.counts["backward"] += len(logits)
        return Answer(logits.detach()[: len(x)], lead, value, gradient)

    def _shown(self, x: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (V · N, K) of the written pictures and of worn ones, and the lead (N,) in the worst; remembered.

        `known`: (N, K), those of the unworn ones, if they need not be asked for.
        """
        # The gradient passes the rounding as if it were not there.
        written = x if self.options.levels is None else x + (self.on_grid(x.detach()) - x).detach()
        first = self._network(self.look(written)) if known is None else known
        logits = torch.cat([first, *(self._network(look(written)) for look in self.survive)])
        lead = self._worst(self._goal.lead(logits.detach()))
        distance = length(written.detach() - self.x, self.norm)
        allowed = distance <= self.limit
        self.best.offer(self.rows, written.detach(), first.detach(), lead, distance, allowed)
        return logits, lead

    def jacobian(self, x: Tensor, objectives: list[Objective]) -> tuple[Tensor, Tensor]:
        """Values (M, N), the worst of all wears, and gradients (M, N, 3, H, W) of objectives, from one forward pass."""
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            logits, _ = self._shown(leaf)
            values = torch.stack([self._worst(objective(self._goal, logits)) for objective in objectives])
            gradients = [torch.autograd.grad(value.sum(), leaf, retain_graph=True)[0] for value in values]
        self.counts["backward"] += len(logits) * len(objectives)
        stacked = torch.stack(gradients)
        return values.detach(), stacked if self.mask is None else stacked * self.mask

    def logits(self, x: Tensor) -> Tensor:
        """Pictures (M, 3, H, W) as they are → logits (M, K), at least float32; nothing is rounded or remembered."""
        return self._network(self.look(x))

    def leads(self, x: Tensor) -> Tensor:
        """Pictures as for `logits` → (N,) how far they are over the goal, in the worst of the wears."""
        looks = (self.look, *self.survive)
        return self._worst(self._goal.lead(torch.cat([self._network(look(x)) for look in looks])))

    @property
    def _goal(self) -> Goal:
        """For logits (V · N, K) of the unworn pictures and of all worn ones."""
        return self.goal.repeated(1 + len(self.survive))

    def _worst(self, values: Tensor) -> Tensor:
        """(V · N,) → (N,)."""
        return values.view(-1, len(self.x)).amin(0)

    def _network(self, x: Tensor) -> Tensor:
        self.counts["forward"] += len(x)
        return answer(self.model, x, self.options.precision)

    def box(self, x: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) back in [0, 1], and as they were outside the mask."""
        x = x.clamp(0, 1)
        return x if self.mask is None else torch.where(self.mask > 0, x, self.x)

    def on_grid(self, x: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) as their file holds them: of few levels, and not further away than `eps`.

        Rounding to the nearest level can lengthen a change; where it then is too long, the change is shortened until
        it fits.
        """
        if self.options.levels is None:
            return x
        top = self.options.levels - 1
        change = x - self.x
        rounded: Tensor = ((self.x + change) * top).round() / top
        for _ in range(8):
            far = length(rounded - self.x, self.norm)
            if self.norm is Norm.l0 or bool((far <= self.limit).all()):
                return rounded
            change = change / per_picture((far / self.eps).clamp_min(1))
            rounded = ((self.x + change) * top).round() / top
        return self.x + (change * top).trunc() / top

    @property
    def limit(self) -> float:
        """`eps`, and what float32 may add to a change as long as that: 4/255 has to be within 4/255."""
        return self.eps * (1 + 1e-5) + 1e-6

    def rounds(self, total: int, stage: str, *, patient: bool = False) -> Iterator[int]:
        """Count to `total`; ends early when asked to stop and, unless `patient`, when all pictures have a solution."""
        fooled = self._fooled()
        for done in range(total):
            if self.stop() or (fooled == len(self.rows) and not patient):
                return
            yield done
            fooled = self._fooled()
            self.progress(Step(stage, done + 1, total, {"fooled": float(fooled)}))

    def _fooled(self) -> int:
        return int(self.best.found[self.rows].sum())

    def waiting(self) -> Tensor:
        """Numbers (n,) of the pictures that have no solution yet."""
        return (~self.best.found[self.rows]).nonzero()[:, 0]

    def only(self, chosen: Tensor) -> Problem:
        """The same for some of the pictures, given by their numbers (n,)."""
        return replace(
            self,
            x=self.x[chosen],
            goal=self.goal.only(chosen),
            rows=self.rows[chosen],
            mask=None if self.mask is None else self.mask[chosen],
            opening=[],
        )

    def random(self) -> torch.Generator:
        """On the CPU, so that every device sees the same numbers."""
        return seeded(self.options.seed)

    def noise(self, generator: torch.Generator) -> Tensor:
        """(N, 3, H, W) of a normal distribution, the same for every picture whatever its company."""
        return torch.randn(self.x.shape[1:], generator=generator).to(self.x).expand_as(self.x)
