"""How unusual a network finds what it sees: its batch norms remember what natural pictures gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

NARROWEST = 0.05
"""Deviations below this share of a layer's mean deviation count as that: channels that hardly ever did anything."""
FARTHEST = 100.0
"""Largest square that one channel counts with, so that a few do not decide alone."""


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation (C,) of a layer's channels over natural pictures."""

    mean: Tensor
    deviation: Tensor


Usual = Mapping[str, Statistics]
"""By name of the convolution whose output is meant."""


def usual_statistics(module: nn.Module, norms: Mapping[str, nn.BatchNorm2d], folded: bool) -> Usual:
    """Of the convolutions before batch norms, by the convolutions' names.

    Only those that look around, not at single pixels, unless there are no such: with all of them a step takes half as
    long again.

    Args:
        module: the network.
        norms: the batch norm that follows each convolution.
        folded: it was folded into the convolution, whose outputs have its shift as mean and its factor as deviation.
    """
    spatial = {name: norm for name, norm in norms.items() if _looks_around(module.get_submodule(name))}
    found = {}
    for name, norm in (spatial or norms).items():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, deviation = norm.running_mean, (norm.running_var + norm.eps).sqrt()
        if folded:
            mean, deviation = norm.bias.detach(), norm.weight.detach().abs()
        found[name] = Statistics(mean.clone(), deviation.clamp_min(NARROWEST * deviation.mean()))
    return found


def _looks_around(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1


@contextmanager
def watched(module: nn.Module, usual: Usual, count: int) -> Iterator[list[Tensor]]:
    """In this block, the list fills with the distance of each layer from what is usual, as the layers run.

    The distance is DeepInversion's (Yin et al. 2020, arXiv:1912.08795) for each of the `count` pictures over its views
    alone, in units of the usual deviation, a mean over channels and pictures: so layers and networks weigh alike.
    """
    distances: list[Tensor] = []
    handles: list[RemovableHandle] = []
    in_place = any(getattr(each, "inplace", False) for each in module.modules())

    def listen(name: str, normal: Statistics) -> None:
        def measure(_: nn.Module, __: object, output: Tensor) -> Tensor | None:
            distances.append(distance(output, normal, count))
            return output.clone() if in_place else None  # what follows must not alter what the gradient needs

        handles.append(module.get_submodule(name).register_forward_hook(measure))

    try:
        for name, normal in usual.items():
            listen(name, normal)
        yield distances
    finally:
        for handle in handles:
            handle.remove()


def distance(output: Tensor, normal: Statistics, count: int) -> Tensor:
    """A layer's output (k · N, C, h, w) in k rounds over N = `count` pictures → () 0 for what is usual."""
    channels = output.shape[1]
    # Channels last, as the network computes on a CPU: sums over rows are quick, torch.var_mean is not.
    places = output.float().permute(0, 2, 3, 1).reshape(-1, count, output[0, 0].numel(), channels)
    moved, power = _Moments.apply(places, normal.mean)
    shift = moved / normal.deviation
    stretch = (power / normal.deviation.square() - shift.square()).clamp_min(1e-8).sqrt() - 1
    result: Tensor = (shift.square().clamp_max(FARTHEST) + stretch.square().clamp_max(FARTHEST)).mean()
    return result


class _Moments(torch.autograd.Function):
    """x (k, N, places, C), center (C,) → means over k and places of x - center and of its square, each (N, C).

    Written out because autograd would go over the layers' outputs, the largest tensors there are, four times as often.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        offset = x - center
        ctx.save_for_backward(offset)
        return offset.mean((0, 2)), offset.square().mean((0, 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """d mean = 1 / n, d square = 2 · (x - center) / n."""
        (offset,) = ctx.saved_tensors
        of_mean, of_square = (each[:, None] / (offset.shape[0] * offset.shape[2]) for each in gradients)
        return torch.addcmul(of_mean, offset, 2 * of_square), None
