"""Residual networks (Gulrajani et al. 2017; Miyato et al. 2018), for any side.

Differs: the skips of the discriminator halve by averaging as theirs do, its last features are summed over places, and
the generator's first block starts from 4 to 7 px, whatever makes the side.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from cvtool.gan.networks.registry import Cropped, MinibatchDeviation, Parts, Shape, architecture, levels_of
from cvtool.gan.options import NetworkOptions


class Up(nn.Module):
    """A residual block that doubles the side."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', 2H, 2W)."""
        y: Tensor = self.conv1(interpolate(relu(self.norm1(x)), scale_factor=2))
        y = self.conv2(relu(self.norm2(y)))
        return y + interpolate(self.skip(x), scale_factor=2)


class Down(nn.Module):
    """A residual block without normalisation that may halve the side."""

    def __init__(self, before: int, after: int, *, halve: bool = True, first: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.halve, self.first = halve, first

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H/2, W/2), or the same side."""
        y: Tensor = self.conv2(relu(self.conv1(x if self.first else relu(x))))
        if self.halve:
            x, y = (avg_pool2d(each, 2, ceil_mode=True) for each in (x, y))
        found: Tensor = y + self.skip(x)
        return found


class Summed(nn.Module):
    """(N, C, H, W) → (N, C), after the last rectifier."""

    def forward(self, x: Tensor) -> Tensor:
        """Sum over places."""
        return relu(x).sum((2, 3))


@architecture("resnet")
def resnet(options: NetworkOptions, shape: Shape) -> Parts:
    """One block for each doubling; one more at the smallest side of the discriminator."""
    levels, start = levels_of(shape.size)
    widths = [min(options.width * 2**level, 512) for level in reversed(range(levels))]
    body: list[nn.Module] = [
        nn.Linear(options.latent + shape.classes, widths[0] * start**2),
        nn.Unflatten(1, (widths[0], start, start)),
    ]
    body += [Up(before, after) for before, after in zip([widths[0], *widths], widths, strict=False)]
    body += [
        nn.BatchNorm2d(widths[-1]),
        nn.ReLU(),
        nn.Conv2d(widths[-1], shape.channels, 3, padding=1),
        Cropped(shape.size),
    ]
    features: list[nn.Module] = []
    before = shape.channels
    for width in reversed(widths):
        features += [Down(before, width, first=not features)]
        before = width
    if options.minibatch_std:
        features += [MinibatchDeviation()]
    features += [Down(before + options.minibatch_std, before, halve=False), Summed()]
    return Parts(nn.Sequential(*body), nn.Sequential(*features), before)
