"""Batches of a data set by their number, so that a run that goes on sees what it would have seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.distributed import ALONE, Group
from cvtool.gan.datasets.data import Pictures

_ON_DEVICE = 2 << 30  # bytes of pictures that may lie on a GPU


class Batch(NamedTuple):
    """Real pictures (N, C, S, S) in [−1, 1] and their labels (N,), or None."""

    pictures: Tensor
    labels: Tensor | None


class Feeder:
    """Every picture once an epoch, in an order that the seed and the epoch alone decide.

    Attributes:
        batch: pictures of a batch, those of all processes together.
        share: of every batch that this process is given.
    """

    def __init__(self, data: Pictures, batch: int, seed: int, device: torch.device, group: Group = ALONE) -> None:
        self.data, self.seed, self.device = data, seed, device
        self.batch = min(batch, len(data))
        self.share = group.share(self.batch)
        self.per_epoch = len(data) // self.batch
        self._epoch, self._order = -1, np.empty(0, np.int64)
        fits = device.type != "cpu" and data.pixels.nbytes <= _ON_DEVICE
        self._there = torch.from_numpy(np.array(data.pixels)).to(device) if fits else None

    def __call__(self, number: int) -> Batch:
        """The share of the batch of that number, from 0; what does not fill a batch waits for another epoch's order."""
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.data))
        rows = np.sort(self._order[place * self.batch : (place + 1) * self.batch])  # in order: kinder to memory maps
        rows = rows[self.share.rows]
        if self._there is not None:
            pixels = self._there[torch.from_numpy(rows).to(self.device)]
        else:
            pixels = torch.from_numpy(self.data.pixels[rows]).to(self.device)
        labels = self.data.labels
        return Batch(to_signed(pixels), None if labels is None else torch.from_numpy(labels[rows]).to(self.device))


def to_signed(pixels: Tensor) -> Tensor:
    """(N, S, S, C) uint8 → (N, C, S, S) float32 in [−1, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(x: Tensor) -> NDArray[np.uint8]:
    """(N, C, S, S) in [−1, 1] → (N, S, S, C) uint8."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def likely_labels(data: Pictures, count: int, generator: torch.Generator) -> Tensor | None:
    """Labels (count,) as often as in the data, on the CPU; None without classes."""
    if data.labels is None:
        return None
    return torch.from_numpy(data.labels[torch.randint(len(data), (count,), generator=generator).numpy()])
