"""The variational autoencoder, the other way to a generator (Kingma & Welling 2014, arXiv:1312.6114)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvtool.distributed import ALONE, Group, Share
from cvtool.gan.feeding import Feeder
from cvtool.gan.game import Adam
from cvtool.gan.networks.registry import Discriminator, Generator
from cvtool.gan.options import TrainOptions
from cvtool.replay import Replayed
from cvtool.tensors import autocast


class Encoder(nn.Module):
    """Pictures (N, C, S, S) in [−1, 1] and labels → mean and logarithm of the variance of their noise, (N, latent).

    Made of a discriminator's features; the class enters as its embedding, which is added to them.
    """

    def __init__(self, discriminator: Discriminator, latent: int) -> None:
        super().__init__()
        self.features = discriminator.features
        self.embed = discriminator.embed
        self.head = nn.Linear(discriminator.head.in_features, 2 * latent)

    def forward(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance."""
        features = self.features(x)
        if self.embed is not None and labels is not None:
            features = features + self.embed(labels)
        mean, log_variance = self.head(features).float().chunk(2, 1)
        return mean, log_variance


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, variance) (N, latent) from N(0, 1): summed, then the mean of pictures."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2


def reconstruction(logits: Tensor, x: Tensor) -> Tensor:
    """Cross-entropy of pixels, taken for probabilities: summed over a picture, then the mean of pictures.

    Args:
        logits: (N, C, S, S) before the generator's tanh; (tanh a + 1) / 2 = σ(2a), hence the 2.
        x: pictures (N, C, S, S) in [−1, 1].
    """
    return F.binary_cross_entropy_with_logits(2 * logits.float(), (x + 1) / 2, reduction="sum") / len(x)


class Variational:
    """Encode, draw, decode: the evidence lower bound is followed upwards."""

    turns = 1

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        options: TrainOptions,
        group: Group = ALONE,
        share: Share | None = None,
    ) -> None:
        """As `Adversarial`."""
        self.generator, self.options = generator, options
        self.group, self._share = group, share
        self.encoder = Encoder(discriminator, generator.latent).to(next(discriminator.parameters()).device)
        self.rate = VAE_RATE if options.rate_g is None else options.rate_g
        self.adam_g, self.adam_e = (Adam(each, (0.9, 0.999)) for each in (generator, self.encoder))
        self._recorded: Replayed[dict[str, Tensor]] | None = None

    def step(self, number: int, feed: Feeder, chance: torch.Generator, scale: float, done: float) -> dict[str, Tensor]:
        """As `Game.step`."""
        self._chance = chance
        for adam in (self.adam_g, self.adam_e):
            adam.set_rate(self.rate * scale)
        fed = [part for part in feed(number) if part is not None]
        if self._recorded is None:
            self._recorded = Replayed(self._play, fed[0].device, chances=[chance], enabled=self.group.size == 1)
        return self._recorded(*fed)

    def _play(self, real: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        share = self._share or Share.whole(len(real))
        with autocast(real.device, self.options.precision):
            mean, log_variance = self.encoder(real, labels)
            latent, chance = mean.shape[1], self._chance
            drawn = share.draw(lambda count: torch.randn(count, latent, generator=chance, device=chance.device))
            noise = drawn.to(mean.device)
            logits = self.generator.logits(mean + (log_variance / 2).exp() * noise, labels)
        error, distance = reconstruction(logits, real), divergence(mean, log_variance)
        loss = error + self.options.kl * distance
        for adam in (self.adam_g, self.adam_e):
            adam.zero_grad()
        (loss * share.weight).backward()  # type: ignore[no-untyped-call]
        self.group.sum_gradients([*self.generator.parameters(), *self.encoder.parameters()])
        for adam in (self.adam_g, self.adam_e):
            adam.step()
        return {"loss": loss.detach(), "reconstruction": error.detach(), "divergence": distance.detach()}

    def calm_down(self) -> None:
        """As `Game.calm_down`: slower is all there is."""

    def state(self) -> dict[str, Any]:
        """As `Game.state`."""
        return {
            "generator": self.generator.state_dict(),
            "encoder": self.encoder.state_dict(),
            "adam_g": self.adam_g.state_dict(),
            "adam_e": self.adam_e.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As `Game.load_state`."""
        for name, value in state.items():
            getattr(self, name).load_state_dict(value)


VAE_RATE = 1e-3
"""Adam's learning rate, unless told otherwise."""
