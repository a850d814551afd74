"""A network of which only the end is trained: what its beginning makes of every picture is computed once.

Most of a convolutional network's time goes into its first, large maps, and most of its weights are at its end. With the
map in front of a layer kept on disk, a step of training takes a fraction of the time of one from the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.caption.extractor import Extractor, Halves, Pixels, as_halves
from cvtool.caption.features import Pca
from cvtool.caption.finetuning import Sight, trainable
from cvtool.caption.pictures import KeptRows
from cvtool.errors import UsageError
from cvtool.hooks import entered_at, layer_input
from cvtool.tensors import autocast

_TOLERANCE = 1e-3


class Halfway:
    """A network cut in front of a layer.

    Attributes:
        extractor: of the network; not folded, since a copy would not see its weights move.
        layer: the first one of the second half.
        shape: (h, w, C) of the map in front of it.
    """

    def __init__(self, extractor: Extractor, layer: str) -> None:
        """Cut, and try on a picture of noise whether the second half needs nothing but the map.

        Raises:
            UnknownNameError: there is no such layer.
            UsageError: no map comes there, or later layers look past it.
        """
        self.extractor, self.layer = extractor, layer
        side = extractor.model.card.input_size
        pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(extractor.model.device)
        with torch.no_grad():  # in float32, whatever the precision: rounding is no other way
            x = extractor.model.normalize(pixels)
            given = layer_input(extractor.model.module, x, layer)
            if given.ndim != 4:
                raise UsageError(f"Layer '{layer}' is given no map. Choose one of the network's convolutional stages.")
            whole = extractor.last_map(x)
            try:
                found = self._onwards(given)
                same = found.shape == whole.shape and torch.allclose(found, whole, rtol=0.02, atol=_TOLERANCE)
            except RuntimeError:  # what looks past the layer met a map of another size
                same = False
        if not same:
            raise UsageError(f"What follows '{layer}' also looks past it. Choose a layer around it.")
        self.shape = (given.shape[2], given.shape[3], given.shape[1])

    def before(self, canvases: Sequence[Pixels], *, flipped: bool) -> Halves:
        """Canvases (S, S, 3), or their mirror images → what the layer is given of each, float16 (N, h, w, C)."""
        model = self.extractor.model
        x = torch.from_numpy(np.stack(canvases)).permute(0, 3, 1, 2).to(model.device)
        found = []
        with torch.no_grad(), autocast(model.device, self.extractor.precision):
            x = model.normalize(x.flip(3) if flipped else x).contiguous(memory_format=torch.channels_last)
            for some in torch.split(x, self.extractor.batch):
                found.append(layer_input(model.module, some, self.layer).float().permute(0, 2, 3, 1))
        return as_halves(torch.cat(found))

    def maps(self, given: Tensor) -> Tensor:
        """(N, C, h, w) in front of the layer → the last map, float32, differentiable where the parameters are.

        On CPUs in float32, whatever the precision: torch's gradients of convolutions channel by channel take twice as
        long in bfloat16 there.
        """
        device = self.extractor.model.device
        precision = "fp32" if device.type == "cpu" else self.extractor.precision
        with torch.autocast(device.type, enabled=False), autocast(device, precision):
            return self._onwards(given).float()

    def _onwards(self, given: Tensor) -> Tensor:
        small = torch.zeros(1, 3, _PROBE, _PROBE, device=given.device)
        with entered_at(self.extractor.model.module, self.layer, given):
            return self.extractor.last_map(small)


_PROBE = 64
"""Side of what goes through the first half when nothing of it is wanted."""


class HalfwaySight(Sight):
    """`Sight` through the second half of a network, from maps on disk."""

    def __init__(self, kept: KeptRows, halfway: Halfway, *, attention: bool, pca: Pca | None = None) -> None:
        """Look through the second half.

        Args:
            kept: maps of all pictures and their mirror images, float16 (N, 2, h, w, C).
            halfway: the network; its parameters in the second half get gradients from now on.
            attention: give features of places; else their mean.
            pca: what they go through.
        """
        h, w, c = halfway.shape
        device = halfway.extractor.model.device
        tuned = trainable(halfway.extractor, lambda: halfway.maps(torch.zeros(1, c, h, w, device=device)))
        super().__init__(kept, halfway.extractor, attention=attention, pca=pca, tuned=tuned)
        self._halfway = halfway

    def read(self, numbers: Sequence[int], flipped: bool) -> NDArray[np.floating]:
        """(N, P, C) of some pictures, computed now, without gradients."""
        size = self.extractor.batch
        found = []
        with torch.no_grad():
            for start in range(0, len(numbers), size):
                some = numbers[start : start + size]
                found.append(self._places(some, np.full(len(some), flipped)))
        values = as_halves(torch.cat(found)).astype(np.float32)
        return values if self._pca is None else self._pca.project(values)

    def _places(self, numbers: Sequence[int], mirrored: NDArray[np.bool_]) -> Tensor:
        maps = self._pictures.read(numbers)[np.arange(len(numbers)), mirrored.astype(np.intp)]
        given = torch.from_numpy(maps).to(self.extractor.model.device).permute(0, 3, 1, 2).float()
        return self._pooled(self._halfway.maps(given))
