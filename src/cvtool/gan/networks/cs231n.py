"""The networks of CS231n's third assignment, to the last weight."""

from __future__ import annotations

from torch import nn

from cvtool.errors import UsageError
from cvtool.gan.networks.registry import Parts, Shape, architecture
from cvtool.gan.options import NetworkOptions

SIZE, CHANNELS = 28, 1


def _check(options: NetworkOptions, shape: Shape) -> None:
    if (shape.size, shape.channels) != (SIZE, CHANNELS):
        raise UsageError(f"--arch {options.arch.value} makes grey pictures of 28 px. Give --size 28 --color grey.")


@architecture("cs231n-mlp")
def cs231n_mlp(options: NetworkOptions, shape: Shape) -> Parts:
    """The fully connected pair: with 96 numbers of noise 1,952,528 and 267,009 weights."""
    _check(options, shape)
    body = nn.Sequential(
        nn.Linear(options.latent + shape.classes, 1024),
        nn.ReLU(),
        nn.Linear(1024, 1024),
        nn.ReLU(),
        nn.Linear(1024, SIZE * SIZE),
        nn.Unflatten(1, (CHANNELS, SIZE, SIZE)),
    )
    features = nn.Sequential(
        nn.Flatten(),
        nn.Linear(SIZE * SIZE, 256),
        nn.LeakyReLU(0.01),
        nn.Linear(256, 256),
        nn.LeakyReLU(0.01),
    )
    return Parts(body, features, 256, uniform=True)


@architecture("cs231n-dc")
def cs231n_dc(options: NetworkOptions, shape: Shape) -> Parts:
    """The convolutional pair: with 96 numbers of noise 6,675,009 and 1,102,721 weights."""
    _check(options, shape)
    body = nn.Sequential(
        nn.Linear(options.latent + shape.classes, 1024),
        nn.ReLU(),
        nn.BatchNorm1d(1024),
        nn.Linear(1024, 7 * 7 * 128),
        nn.ReLU(),
        nn.BatchNorm1d(7 * 7 * 128),
        nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(64),
        nn.ConvTranspose2d(64, CHANNELS, 4, stride=2, padding=1),
    )
    features = nn.Sequential(
        nn.Conv2d(CHANNELS, 32, 5),
        nn.LeakyReLU(0.01),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5),
        nn.LeakyReLU(0.01),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 64, 4 * 4 * 64),
        nn.LeakyReLU(0.01),
    )
    return Parts(body, features, 4 * 4 * 64, uniform=True)
