"""Generators and discriminators: one file per family."""

from __future__ import annotations

from cvtool.gan.networks import cs231n, dcgan, mlp, resnet
from cvtool.gan.networks.registry import ARCHITECTURES, Discriminator, Generator, Shape, build

__all__ = [
    "ARCHITECTURES",
    "Discriminator",
    "Generator",
    "Shape",
    "build",
    "cs231n",
    "dcgan",
    "mlp",
    "resnet",
]
