"""Strided convolutions without and with transposition (Radford et al. 2016, arXiv:1511.06434), for any side.

Differs: the discriminator has no batch normalisation, which would tie the pictures of a batch together and forbid
penalties on single pictures.
"""

from __future__ import annotations

import torch
from torch import nn

from cvtool.gan.networks.registry import Cropped, MinibatchDeviation, Parts, Shape, architecture, levels_of
from cvtool.gan.options import NetworkOptions


@architecture("dcgan")
def dcgan(options: NetworkOptions, shape: Shape) -> Parts:
    """From the smallest side up to the picture's, and back."""
    levels, start = levels_of(shape.size)
    widths = [min(options.width * 2**level, 512) for level in reversed(range(levels))]
    first = widths[0] * 2
    body: list[nn.Module] = [
        nn.Linear(options.latent + shape.classes, first * start**2, bias=False),
        nn.Unflatten(1, (first, start, start)),
        nn.BatchNorm2d(first),
        nn.ReLU(),
    ]
    for before, after in zip([first, *widths], widths[:-1], strict=False):
        body += [
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    last = ([first, *widths])[levels - 1]
    body += [nn.ConvTranspose2d(last, shape.channels, 4, stride=2, padding=1), Cropped(shape.size)]
    features: list[nn.Module] = []
    before = shape.channels
    for width in reversed(widths):
        features += [nn.Conv2d(before, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = width
    if options.minibatch_std:
        features += [MinibatchDeviation()]
    features += [nn.Flatten()]
    stack = nn.Sequential(*features)
    with torch.no_grad():
        width = stack(torch.zeros(1, shape.channels, shape.size, shape.size)).shape[1]
    return Parts(nn.Sequential(*body), stack, width)
