"""The painter: a U-shaped decoder from feature maps that already have the style's statistics to a picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cvtool.stylize.instant.options import PainterOptions
from cvtool.stylize.instant.statistics import COLORS, LAYERS, Maps, Statistics, exact
from cvtool.stylize.transport import covariance

STAGES = (
    (("blocks.3",), 3.0, 1),
    (("blocks.2",), 2.0, 2),
    (("blocks.1",), 1.5, 2),
    (("blocks.0", "bn1"), 1.0, 1),
)
"""From the deepest: layers that come in, channels in units of the width, residual blocks."""

EPSILON = 1e-3

SLEEPING = 0.05
"""Share of a layer's median deviation that every channel's unit has at least: a channel that slept may wake up."""


class Conditioned(nn.Module):
    """A 3 x 3 convolution with mirrored borders, then mean and deviation of each channel as the style says.

    Attributes:
        holding: what is measured in the next pass, over the whole batch, is used in all later ones.
        held: variance and mean (1, outputs) that were measured so.
    """

    holding: bool = False
    held: tuple[Tensor, Tensor] | None = None

    def __init__(self, inputs: int, outputs: int, embedding: int, *, normalized: bool = True) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect", bias=not normalized)
        self.condition = nn.Linear(embedding, 2 * outputs)
        self.normalized = normalized
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        nn.init.zeros_(self.condition.weight)
        nn.init.zeros_(self.condition.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(N, inputs, h, w), (N, embedding) → (N, outputs, h, w)."""
        x = self.convolution(x)
        with exact(x.device):
            scale, shift = self.condition(style).chunk(2, dim=1)
        scale = scale + 1
        if self.normalized:
            variance, mean = self._measured(x)
            scale = scale * (variance + EPSILON).rsqrt()
            shift = shift - mean * scale
        return torch.addcmul(shift[:, :, None, None].to(x.dtype), x, scale[:, :, None, None].to(x.dtype))

    def _measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Variance and mean of each channel, (N or 1, outputs)."""
        if self.held is not None:
            return self.held
        if not self.holding:
            return _variance_and_mean(x, (2, 3))
        variance, mean = _variance_and_mean(x, (0, 2, 3))
        self.held = variance[None], mean[None]
        return self.held


def _variance_and_mean(x: Tensor, dimensions: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """In float32; by two means, which takes a fraction of the time of `torch.var_mean` in channels_last memory."""
    x = x.float()
    mean = x.mean(dimensions)
    return (x.square().mean(dimensions) - mean.square()).clamp_min(0), mean


class Residual(nn.Module):
    """Two conditioned convolutions beside the identity."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.first = Conditioned(channels, channels, embedding)
        self.second = Conditioned(channels, channels, embedding)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(N, channels, h, w), (N, embedding) → the same shape."""
        found: Tensor = x + self.second(F.relu(self.first(x, style)), style)
        return found


class Stage(nn.Module):
    """One size of the decoder: what comes from below, joined with the encoder's maps of this size."""

    def __init__(self, inputs: int, channels: int, blocks: int, embedding: int) -> None:
        super().__init__()
        self.join = Conditioned(inputs, channels, embedding)
        self.blocks = nn.ModuleList(Residual(channels, embedding) for _ in range(blocks))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(N, inputs, h, w), (N, embedding) → (N, channels, h, w)."""
        x = F.relu(self.join(x, style))
        for block in self.blocks:
            x = block(x, style)
        return x


class Painter(nn.Module):
    """Paints in one pass.

    Args:
        options: its shape.

    The buffers ``mean_*`` and ``deviation_*`` bring the encoder's maps to common units; training measures them.
    """

    def __init__(self, options: PainterOptions) -> None:
        super().__init__()
        self.options = options
        for index, (channels, _) in enumerate(LAYERS.values()):
            self.register_buffer(f"mean_{index}", torch.zeros(channels))
            self.register_buffer(f"deviation_{index}", torch.ones(channels))
        self.embed = nn.Sequential(
            nn.Linear(style_numbers(), options.embedding), nn.ReLU(), nn.Linear(options.embedding, options.embedding)
        )
        self.strength = nn.Linear(2, options.embedding)
        stages, below = [], 0
        for layers, factor, blocks in STAGES:
            channels = round(options.width * factor)
            inputs = below + sum(LAYERS[layer][0] for layer in layers)
            stages.append(Stage(inputs, channels, blocks, options.embedding))
            below = channels
        self.stages = nn.ModuleList(stages)
        half = options.width // 2
        self.narrow = nn.Conv2d(options.width, half, 1)
        self.detail = Conditioned(half + 6, half, options.embedding, normalized=False)
        self.color = nn.Conv2d(half, 3, 3, padding=1, padding_mode="reflect")
        nn.init.normal_(self.color.weight, std=0.01)
        assert self.color.bias is not None
        nn.init.zeros_(self.color.bias)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """In the block the first pass says what all later ones are normalised by: parts of one picture fit together."""
        layers = [each for each in self.modules() if isinstance(each, Conditioned)]
        for layer in layers:
            layer.holding = True
        try:
            yield
        finally:
            for layer in layers:
                layer.holding, layer.held = False, None

    def embedding(self, style: Statistics, strength: Tensor) -> Tensor:
        """Raw moments of N styles, strengths (N,) in [0, 100] → (N, embedding)."""
        share = strength[:, None] / 100
        with exact(strength.device):
            found: Tensor = self.embed(self.numbers(style)) + self.strength(torch.cat([share, (1 - share) / share], 1))
        return F.relu(found)

    def numbers(self, style: Statistics) -> Tensor:
        """Raw moments of N styles → means, logarithms of deviations and correlations, (N, `style_numbers()`)."""
        parts = []
        for name, moments in style.items():
            mean, deviation = self._units(name, moments.mean)
            matrix = covariance(moments)
            deviations = matrix.diagonal(dim1=1, dim2=2).clamp_min(1e-8).sqrt()
            correlation = matrix / (deviations[:, :, None] * deviations[:, None, :])
            rows, columns = torch.triu_indices(len(mean), len(mean), 1, device=matrix.device)
            parts += [
                (moments.mean - mean) / deviation,
                (deviations / deviation).clamp_min(1e-3).log(),
                correlation[:, rows, columns].clamp(-1, 1),
            ]
        return torch.cat(parts, 1)

    def _units(self, name: str, like: Tensor) -> tuple[Tensor, Tensor]:
        if name == COLORS:
            return like.new_full((3,), 0.5), like.new_full((3,), 0.25)
        index = [*LAYERS].index(name)
        return self.get_buffer(f"mean_{index}"), self.get_buffer(f"deviation_{index}")

    def measure(self, style: Statistics) -> None:
        """Take the units of the maps from raw moments of many pictures."""
        for index, name in enumerate(LAYERS):
            mean = style[name].mean.mean(0)
            variance = style[name].second.diagonal(dim1=1, dim2=2).mean(0) - mean.square()
            self.get_buffer(f"mean_{index}").copy_(mean)
            deviation = variance.clamp_min(0).sqrt()
            least = (SLEEPING * deviation.median()).clamp_min(1e-3)
            self.get_buffer(f"deviation_{index}").copy_(deviation.maximum(least))

    def forward(self, maps: Maps, content: Tensor, style: Tensor) -> Tensor:
        """Paint.

        Args:
            maps: the content's, with the style's statistics; as `COLORS` the recoloured content (N, 3, H, W).
            content: (N, 3, H, W) in [0, 1].
            style: (N, embedding).

        Returns:
            (N, 3, H, W), float32, about in [0, 1].
        """
        x: Tensor | None = None
        for stage, (layers, _, _) in zip(self.stages, STAGES, strict=True):
            parts = [self._normalized(layer, maps[layer]) for layer in layers]
            if x is not None:
                parts.append(F.interpolate(x, scale_factor=2, mode="nearest").to(parts[0].dtype))
            x = stage(torch.cat(parts, 1).contiguous(memory_format=torch.channels_last), style)
        assert x is not None
        base = maps[COLORS]
        x = F.interpolate(self.narrow(x), scale_factor=2, mode="nearest")
        x = torch.cat([x, (4 * base - 2).to(x.dtype), (4 * content - 2).to(x.dtype)], 1)
        x = F.relu(self.detail(x.contiguous(memory_format=torch.channels_last), style))
        found: Tensor = base + self.color(x).float()
        return found

    def _normalized(self, name: str, maps: Tensor) -> Tensor:
        mean, deviation = self._units(name, maps)
        found: Tensor = (maps - mean[:, None, None]) / deviation[:, None, None]
        return found


def style_numbers() -> int:
    """Numbers that describe a style: see `Painter.numbers`."""
    sizes = [channels for channels, _ in LAYERS.values()] + [3]
    return sum(2 * n + n * (n - 1) // 2 for n in sizes)
