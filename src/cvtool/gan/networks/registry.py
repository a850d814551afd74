"""What all networks share: noise and class in, pictures out; pictures and class in, a logit out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from cvtool.errors import UsageError
from cvtool.gan.options import Arch, NetworkOptions
from cvtool.gan.picture_options import LARGEST, SMALLEST


@dataclass(frozen=True)
class Shape:
    """Of the pictures.

    Attributes:
        size: side in pixels.
        channels: 1 or 3.
        classes: 0 for a network that knows none.
    """

    size: int
    channels: int
    classes: int = 0


@dataclass(frozen=True)
class Parts:
    """What a family builds.

    Attributes:
        body: (N, latent + classes) → pictures (N, C, S, S) before the last tanh.
        features: pictures (N, C, S, S) → (N, width).
        width: of the features.
        uniform: noise is even in [−1, 1] instead of normal.
    """

    body: nn.Module
    features: nn.Module
    width: int
    uniform: bool = False


class Generator(nn.Module):
    """Noise (N, latent) and labels → pictures (N, C, S, S) in [−1, 1].

    Labels are numbers (N,), or weights of all classes (N, classes), which lie between them.
    """

    def __init__(self, parts: Parts, latent: int, shape: Shape) -> None:
        super().__init__()
        self.latent, self.shape, self.uniform = latent, shape, parts.uniform
        self.body = parts.body

    def logits(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures before the last tanh."""
        if self.shape.classes:
            if labels is None:
                raise ValueError("a conditional generator needs labels")
            weights = labels if labels.is_floating_point() else one_hot(labels, self.shape.classes)
            z = torch.cat([z, weights.to(z.dtype)], 1)
        found: Tensor = self.body(z)
        return found

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures (N, C, S, S) in [−1, 1]."""
        return self.logits(z, labels).float().tanh()

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise (count, latent) as this network was trained with, where `generator` draws."""
        if self.uniform:
            return torch.rand(count, self.latent, generator=generator, device=generator.device) * 2 - 1
        return torch.randn(count, self.latent, generator=generator, device=generator.device)


class Discriminator(nn.Module):
    """Pictures (N, C, S, S) in [−1, 1] and labels (N,) → logits (N,); above 0 it takes them for real.

    Classes enter by projection (Miyato & Koyama 2018, arXiv:1802.05637).
    """

    def __init__(self, parts: Parts, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.features = parts.features
        self.head = nn.Linear(parts.width, 1)
        self.embed = nn.Embedding(shape.classes, parts.width) if shape.classes else None
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, std=parts.width**-0.5)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (N,)."""
        features = self.features(x)
        found: Tensor = self.head(features).squeeze(1)
        if self.embed is not None:
            if labels is None:
                raise ValueError("a conditional discriminator needs labels")
            found = found + (self.embed(labels) * features).sum(1)
        return found.float()


Build = Callable[[NetworkOptions, Shape], Parts]
ARCHITECTURES: dict[Arch, Build] = {}
"""Every family by name."""


def architecture(name: str) -> Callable[[Build], Build]:
    """Enter a family into `ARCHITECTURES`."""

    def enter(function: Build) -> Build:
        ARCHITECTURES[Arch(name)] = function
        return function

    return enter


def build(options: NetworkOptions, shape: Shape) -> tuple[Generator, Discriminator]:
    """Two untrained networks; their weights are drawn from torch's global generator.

    Raises:
        UsageError: the family cannot make such pictures.
    """
    if not SMALLEST <= shape.size <= LARGEST:
        raise UsageError(f"Networks make pictures of {SMALLEST} to {LARGEST} px, not of {shape.size}. Give --size.")
    parts = ARCHITECTURES[options.arch](options, shape)
    generator, discriminator = Generator(parts, options.latent, shape), Discriminator(parts, shape)
    if options.minibatch_std and not any(isinstance(each, MinibatchDeviation) for each in discriminator.modules()):
        raise UsageError(f"--arch {options.arch.value} takes no --minibatch-std. Use --arch dcgan or resnet.")
    if options.spectral:
        for layer in list(discriminator.modules()):
            if isinstance(layer, (nn.Conv2d, nn.Linear, nn.Embedding)):
                nn.utils.parametrizations.spectral_norm(layer)
    return generator, discriminator


def levels_of(size: int) -> tuple[int, int]:
    """How often pictures of a side are doubled, and from which side on: 4 to 7, or one more where rounding asks it."""
    levels = 0
    while size / 2**levels >= 8:
        levels += 1
    return levels, -(-size // 2**levels)


class Cropped(nn.Module):
    """Pictures cut to (size, size), from the middle: sides that are no power of two times the first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ≥ size, ≥ size) → (N, C, size, size)."""
        start = (x.shape[-1] - self.size) // 2
        return x[..., start : start + self.size, start : start + self.size]


MINIBATCH_GROUP = 4
"""Pictures that `MinibatchDeviation` compares, if the batch can be divided so."""


class MinibatchDeviation(nn.Module):
    """One more channel: how much the pictures of each group of up to four differ (Karras et al. 2018).

    Differs: groups are neighbours in the batch, so real and generated pictures may stand in one batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C + 1, H, W)."""
        count = x.shape[0]
        group = next(each for each in range(MINIBATCH_GROUP, 0, -1) if count % each == 0)
        groups = x.float().reshape(-1, group, *x.shape[1:])
        deviation = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        more = deviation.repeat_interleave(group).to(x.dtype).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return torch.cat([x, more], 1)
