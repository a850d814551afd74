"""Generator and discriminator in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cvtool.distributed import ALONE, Group, Share
from cvtool.gan import penalties
from cvtool.gan.augmentation import POLICIES, augment, instance_noise
from cvtool.gan.feeding import Feeder
from cvtool.gan.game import Adam
from cvtool.gan.losses import LOSSES
from cvtool.gan.networks.registry import Discriminator, Generator
from cvtool.gan.options import RECIPES, Augment, Loss, Penalty, TrainOptions
from cvtool.replay import Replayed
from cvtool.tensors import autocast

_POLICY = {
    None: frozenset[str](),
    Augment.off: frozenset[str](),
    Augment.flip: frozenset({"flip"}),
    Augment.diff: frozenset(POLICIES) - {"flip"},
}


class Adversarial:
    """The game of the notes (Goodfellow et al. 2014, arXiv:1406.2661) and its successors."""

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        options: TrainOptions,
        group: Group = ALONE,
        share: Share | None = None,
    ) -> None:
        """Prepare a game.

        Args:
            generator, discriminator: are trained.
            options: of the run.
            group: the processes that play it together.
            share: of every batch that this one is fed; None: all of it.
        """
        self.generator, self.discriminator, self.options = generator, discriminator, options
        self.group, self._share = group, share
        self.recipe = recipe = options.recipe
        self.turns = recipe.critic_steps
        self.adam_g, self.adam_d = (Adam(each, (recipe.beta1, recipe.beta2)) for each in (generator, discriminator))
        self.loss = LOSSES[options.loss.value]
        self.loss(torch.zeros(1), torch.zeros(1), options.smoothing)  # refuses what it cannot do now, not in a step
        self.policy = _POLICY[options.augment]
        self.gentle = False
        """Whether the run was gone back on: then the discriminator is kept smooth, whatever the recipe says."""
        self._plays: dict[tuple[bool, ...], Replayed[dict[str, Tensor]]] = {}

    def step(self, number: int, feed: Feeder, chance: torch.Generator, scale: float, done: float) -> dict[str, Tensor]:
        """As `Game.step`."""
        self._chance = chance
        self._noise = self.options.instance_noise * (1 - done)
        self.adam_g.set_rate(self.recipe.rate_g * scale)
        self.adam_d.set_rate(self.recipe.rate_d * scale)
        turns = range(number * self.turns, (number + 1) * self.turns)
        kind, _ = self._penalty
        due = tuple(kind is not Penalty.none and turn % self.options.lazy == 0 for turn in turns)
        fed = [part for turn in turns for part in feed(turn) if part is not None]
        if due not in self._plays:
            self._plays[due] = Replayed(
                partial(self._play, due),
                fed[0].device,
                chances=[chance],
                enabled=self.group.size == 1 and not self.options.instance_noise,  # whose strength is never the same
            )
        return self._plays[due](*fed)

    def _play(self, due: Sequence[bool], *fed: Tensor) -> dict[str, Tensor]:
        """One step on real pictures (and their labels) for each turn; `due` says where the penalty counts."""
        facts: dict[str, Tensor] = {}
        each = len(fed) // len(due)
        for turn, is_due in enumerate(due):
            real, labels = fed[turn * each], fed[turn * each + 1] if each > 1 else None
            with torch.set_grad_enabled(turn == len(due) - 1), autocast(real.device, self.options.precision):
                share = self._part(real)
                z = share.draw(lambda count: self.generator.noise(count, self._chance)).to(real.device)
                fake = self.generator(z, labels)
            facts |= self._teach_discriminator(real, fake.detach(), labels, is_due)
        # The pictures that the discriminator has just learned from still hang on the generator's weights.
        return {**facts, "loss_g": self._teach_generator(real, fake, labels)}

    def _part(self, pictures: Tensor) -> Share:
        return self._share or Share.whole(len(pictures))

    def _shown(self, x: Tensor) -> Tensor:
        """What the discriminator sees of pictures."""
        share = self._part(x)
        return augment(instance_noise(x, self._noise, self._chance, share), self.policy, self._chance, share)

    def _teach_discriminator(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, is_due: bool
    ) -> dict[str, Tensor]:
        share = self._part(real)
        real, fake = self._shown(real), self._shown(fake)
        kind, weight = self._penalty
        both = torch.cat([real, fake]).requires_grad_(is_due and kind is Penalty.r1_r2)
        with autocast(real.device, self.options.precision):
            logits = self.discriminator(both, None if labels is None else labels.repeat(2))
            of_real, of_fake = logits.chunk(2)
            loss = self.loss(of_real, of_fake, self.options.smoothing).discriminator
            everyone = (self.group.gathered(each, share) for each in (of_real, of_fake))
            facts = {"loss_d": loss.detach(), "accuracy_d": self.loss.accuracy(*everyone)}
            if is_due:
                if kind is Penalty.r1_r2:
                    value = penalties.r1_and_r2(logits, both)
                elif kind is Penalty.gradient:
                    value = penalties.gradient_penalty(self.discriminator, real, fake, labels, self._chance, share)
                else:
                    spread = self.group.deviation(real)
                    value = penalties.dragan(self.discriminator, real, labels, self._chance, share, spread)
                loss = loss + weight * self.options.lazy * value
                facts["penalty"] = value.detach()
        self.adam_d.zero_grad()
        (loss * share.weight).backward()  # type: ignore[no-untyped-call]
        self.group.sum_gradients(self.discriminator.parameters())
        self.adam_d.step()
        if self.recipe.clip:
            penalties.clip_weights(self.discriminator.parameters(), self.recipe.clip)
        return facts

    @property
    def _penalty(self) -> tuple[Penalty, float]:
        """Which, and how strong."""
        if self.gentle and self.recipe.penalty is Penalty.none:
            return Penalty.r1_r2, RECIPES[Loss.r3gan].weight
        return self.recipe.penalty, self.recipe.weight

    def _teach_generator(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> Tensor:
        self.discriminator.requires_grad_(False)
        with autocast(real.device, self.options.precision):
            of_fake = self.discriminator(self._shown(fake), labels)
            of_real = of_fake.detach()
            if self.loss.paired:
                with torch.no_grad():
                    of_real = self.discriminator(self._shown(real), labels)
        loss = self.loss(of_real, of_fake).generator
        self.adam_g.zero_grad()
        (loss * self._part(real).weight).backward()  # type: ignore[no-untyped-call]
        self.group.sum_gradients(self.generator.parameters())
        self.adam_g.step()
        self.discriminator.requires_grad_(True)
        return loss.detach()

    def calm_down(self) -> None:
        """As `Game.calm_down`."""
        self.gentle = True
        self._plays = {}

    def state(self) -> dict[str, Any]:
        """As `Game.state`."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "adam_g": self.adam_g.state_dict(),
            "adam_d": self.adam_d.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As `Game.load_state`."""
        for name, value in state.items():
            getattr(self, name).load_state_dict(value)
