"""What is trained, apart from how long: one step of the two networks, and the average of the one that is kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from cvtool.gan.feeding import Feeder
from cvtool.gan.networks.registry import Generator


class Game(Protocol):
    """One way to train a generator.

    Attributes:
        generator: what is trained.
        turns: batches of real pictures that a step learns from.
    """

    generator: Generator
    turns: int

    def step(self, number: int, feed: Feeder, chance: torch.Generator, scale: float, done: float) -> dict[str, Tensor]:
        """One step of the generator, and what goes before it.

        Args:
            number: of the step, from 0.
            feed: real pictures.
            chance: seeded for this step alone; on a GPU the same generator in every step, since steps are recorded.
            scale: of the learning rates.
            done: share of the run that lies behind.

        Returns:
            Scalars without gradient, e.g. ``loss_g``: means over this process's share of the batch. The next step
            may overwrite them.
        """

    def calm_down(self) -> None:
        """Go on with gentler settings; called once or more after the run went back."""

    def state(self) -> dict[str, Any]:
        """Tensors and numbers from which the game goes on exactly."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


class Adam:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980) on all weights of a module, in torch's one kernel where there is one.

    `torch.optim.Adam` imports torch's compiler when it is made, which takes seconds.
    """

    def __init__(self, module: nn.Module, betas: tuple[float, float]) -> None:
        self.weights, self.betas = list(module.parameters()), betas
        self.fused = self.weights[0].device.type in ("cpu", "cuda")
        self.steps = [torch.zeros((), device=each.device if self.fused else "cpu") for each in self.weights]
        on_gpu = self.weights[0].device.type == "cuda"
        # On a GPU it lies where a recorded step finds the one that holds now.
        self.rate: float | Tensor = torch.zeros((), device=self.weights[0].device) if on_gpu else 0.0
        self.means, self.squares = ([torch.zeros_like(each) for each in self.weights] for _ in range(2))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for each in self.weights:
            each.grad = None

    def set_rate(self, rate: float) -> None:
        """The learning rate from now on."""
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

    @torch.no_grad()
    def step(self) -> None:
        """One step against the gradients."""
        adam(
            self.weights,  # type: ignore[arg-type] # parameters are tensors
            [each.grad for each in self.weights if each.grad is not None],
            self.means,
            self.squares,
            [],
            self.steps,
            fused=self.fused or None,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state_dict(self) -> dict[str, list[Tensor]]:
        """What `load_state_dict` takes."""
        return {"steps": self.steps, "means": self.means, "squares": self.squares}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Sequence[Tensor]]) -> None:
        """Go on from there.

        Raises:
            KeyError, RuntimeError, ValueError: it is not the state of such weights.
        """
        for name, ours in self.state_dict().items():
            for one, other in zip(ours, state[name], strict=True):
                one.copy_(other)


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
        """Recompute the statistics of batch norms on noise (N, latent), in `rounds` batches of about one size."""
        norms = [layer for layer in self.generator.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all rounds
        self.generator.train()
        parts = noise.tensor_split(rounds)  # `chunk` may leave one row, which has no variance
        for z, y in zip(parts, [None] * rounds if labels is None else labels.tensor_split(rounds), strict=True):
            self.generator(z, y)
        self.generator.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
