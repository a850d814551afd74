"""Fully connected networks."""

from __future__ import annotations

from torch import nn

from cvtool.gan.networks.registry import Parts, Shape, architecture
from cvtool.gan.options import NetworkOptions

HIDDEN = 16
"""Units of a layer are so many times the width: 512 for the usual one."""


@architecture("mlp")
def mlp(options: NetworkOptions, shape: Shape) -> Parts:
    """Three layers each, with batch normalisation in the generator."""
    hidden, pixels = HIDDEN * options.width, shape.channels * shape.size**2
    body = nn.Sequential(
        nn.Linear(options.latent + shape.classes, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, pixels),
        nn.Unflatten(1, (shape.channels, shape.size, shape.size)),
    )
    features = nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(0.2),
    )
    return Parts(body, features, hidden)
