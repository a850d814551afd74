"""What every method is given: a network, pictures, and the score that is to be explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cvtool.models.loader import Model
from cvtool.models.predictions import probabilities
from cvtool.progress import Progress, Step, silent
from cvtool.saliency.options import Baseline, SaliencyOptions
from cvtool.tensors import autocast, blurred, seeded


@dataclass(frozen=True, eq=False)
class Question:
    """Why do these pictures score so high?

    Attributes:
        model: the network, frozen and in evaluation mode.
        x: pictures (N, 3, H, W) in [0, 1], as they enter the network but for its normalisation.
        target: (N,) the class whose logit is explained.
        contrast: (N,) "why target and not this one": its logit is subtracted; None for the plain logit.
        options: of the explanation.
        custom_baseline: (N, 3, H, W) instead of the one that `options` names, or None.
        notes: what a method has to tell besides its map, by name; one value for each picture.
        layers: the layer that a method chose.
    """

    model: Model
    x: Tensor
    target: Tensor
    contrast: Tensor | None
    options: SaliencyOptions
    custom_baseline: Tensor | None = None
    progress: Progress = silent
    notes: dict[str, list[float]] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)

    def logits(self, x: Tensor) -> Tensor:
        """Pictures (M, 3, H, W) in [0, 1] → logits (M, K), at least float32; a network with one output has K = 1."""
        with autocast(self.model.device, self.options.precision):
            out: Tensor = self.model.module(self.model.normalize(x))
        return out.to(torch.promote_types(out.dtype, torch.float32)).reshape(len(x), -1)

    def score(self, logits: Tensor) -> Tensor:
        """Logits (M, K) of M = k · N pictures, in k rounds over the N → (M,) the numbers that are explained."""
        rounds = len(logits) // len(self.target)
        rows = torch.arange(len(logits), device=logits.device)
        found = logits[rows, self.target.repeat(rounds)]
        return found if self.contrast is None else found - logits[rows, self.contrast.repeat(rounds)]

    def scores(self, x: Tensor) -> Tensor:
        """As `score`, of pictures (k · N, 3, H, W), without a graph."""
        with torch.no_grad():
            return self.score(self.logits(x))

    def probabilities(self, x: Tensor) -> Tensor:
        """Probability of the target for pictures (k · N, 3, H, W); with a contrast, how much likelier than that."""
        with torch.no_grad():
            chances = probabilities(self.logits(x))
        return self.score(chances)

    def gradients(self, x: Tensor) -> Tensor:
        """∂ score / ∂ pixel at pictures (k · N, 3, H, W), of the same shape."""
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.score(self.logits(leaf)).sum(), leaf)
        return gradient

    def rounds(self, total: int, stage: str) -> Iterator[int]:
        """How many of `total` variants of all pictures to compute at a time, reported as progress."""
        at_a_time = max(1, batch_of(self.options, self.x.device) // len(self.x))
        done = 0
        while done < total:
            count = min(at_a_time, total - done)
            yield count
            done += count
            self.progress(Step(stage, done, total))

    def random(self) -> torch.Generator:
        """On the CPU, so that every device sees the same numbers; the same for every picture and size of batch."""
        return seeded(self.options.seed)

    def baseline(self, usual: Baseline) -> Tensor:
        """(N, 3, H, W): what stands for "nothing to see", unless told otherwise the `usual` of the method."""
        if self.custom_baseline is not None:
            return self.custom_baseline
        return _BASELINES[self.options.baseline or usual](self)

    def grey(self) -> Tensor:
        """(1, 3, 1, 1): the pixel that normalisation turns into 0, the mean of what the network was trained on."""
        card = self.model.card
        mean = self.x.new_tensor(card.mean).view(1, 3, 1, 1) / card.scale
        return mean.flip(1) if card.channels == "bgr" else mean

    def only(self, pictures: Tensor) -> Question:
        """The same for some of the pictures, given by their numbers (M,)."""

        def some(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[pictures]

        return replace(
            self,
            x=self.x[pictures],
            target=self.target[pictures],
            contrast=some(self.contrast),
            custom_baseline=some(self.custom_baseline),
            notes={},
        )


def in_rounds(values: Tensor, rounds: int) -> Tensor:
    """(k · N, …) → (k, N, …)."""
    return values.reshape(rounds, -1, *values.shape[1:])


def batch_of(options: SaliencyOptions, device: torch.device) -> int:
    """Network inputs at a time. Eight fill two cores; more only leave their caches."""
    return options.batch or (8 if device.type == "cpu" else 64)


BLUR = 1 / 10
"""Standard deviation of the blur that hides what is in a picture, as a share of its longer side."""


def hidden_by_blur(x: Tensor) -> Tensor:
    """(N, C, H, W) blurred until nothing can be recognised."""
    return blurred(x, BLUR * max(x.shape[2:]))


def _noise(question: Question) -> Tensor:
    pixels = torch.rand(question.x.shape[1:], generator=question.random())
    return pixels.to(question.x.device).expand_as(question.x)


_BASELINES: dict[Baseline, Callable[[Question], Tensor]] = {
    Baseline.black: lambda question: torch.zeros_like(question.x),
    Baseline.white: lambda question: torch.ones_like(question.x),
    Baseline.mean: lambda question: question.x.mean((2, 3), keepdim=True).expand_as(question.x),
    Baseline.blur: lambda question: hidden_by_blur(question.x),
    Baseline.noise: _noise,
}
