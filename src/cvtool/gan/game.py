"""What is trained, apart from how long: one step of the two networks, and the average of the one that is kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cvtool.gan.feeding import Feeder
from cvtool.gan.networks.registry import Generator


class Game(Protocol):
    """One way to train a generator.

    Attributes:
        generator: what is trained.
    """

    generator: Generator

    def step(self, number: int, feed: Feeder, chance: torch.Generator, scale: float, done: float) -> dict[str, Tensor]:
        """One step of the generator, and what goes before it.

        Args:
            number: of the step, from 0.
            feed: real pictures.
            chance: of this step alone.
            scale: of the learning rates.
            done: share of the run that lies behind.

        Returns:
            Scalars without gradient, e.g. ``loss_g``.
        """

    def calm_down(self) -> None:
        """Go on with gentler settings; called once or more after the run went back."""

    def state(self) -> dict[str, Any]:
        """Tensors and numbers from which the game goes on exactly."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


def optimizer(module: nn.Module, rate: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam, in one kernel for all weights where the device has one."""
    device = next(module.parameters()).device.type
    return torch.optim.Adam(module.parameters(), rate, betas, fused=device in ("cpu", "cuda"))


def set_rate(adam: torch.optim.Adam, rate: float) -> None:
    """For the next steps."""
    for group in adam.param_groups:
        group["lr"] = rate


class Average:
    """The generator whose weights are a running average of another's: smoother than any of them (Karras et al. 2018).

    Its batch norms are `settled` anew before it is used, since averaged weights have statistics of their own
    (Brock et al. 2019, arXiv:1809.11096, appendix E).
    """

    def __init__(self, generator: Generator, decay: float) -> None:
        self.decay = decay
        self.generator = copy.deepcopy(generator).requires_grad_(False).eval()

    @torch.no_grad()
    def add(self, generator: Generator, number: int) -> None:
        """Take in the weights after step `number`; the first steps are forgotten sooner."""
        share = 1 - min(self.decay, (1 + number) / (10 + number))
        torch._foreach_lerp_(list(self.generator.parameters()), list(generator.parameters()), share)

    @torch.no_grad()
    def settle(self, noise: Tensor, labels: Tensor | None, rounds: int = 20) -> None:
        """Recompute the statistics of batch norms on noise (N, latent), in `rounds` batches."""
        norms = [layer for layer in self.generator.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all rounds
        self.generator.train()
        parts = zip(noise.chunk(rounds), labels.chunk(rounds) if labels is not None else [None] * rounds, strict=False)
        for z, y in parts:
            self.generator(z, y)
        self.generator.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
