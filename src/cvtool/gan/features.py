"""What a fixed network sees in whole pictures: the vectors that sets of pictures are compared by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cvtool.errors import BadInputError, UsageError
from cvtool.hooks import feature_layers, features
from cvtool.models.cards import DEFAULT_MODEL
from cvtool.models.folding import fold_batch_norm
from cvtool.models.loader import Model, load
from cvtool.progress import Progress, Step, silent
from cvtool.tensors import autocast, choose_dtype

_SMALLEST, _LARGEST = 16, 1024  # sides that make sense for a network of stride 32
_LEAST, _MOST = 48, 128  # defaults: below, maps shrink to one place; above, it takes too long beside training

DEFAULT_FEATURES = f"{DEFAULT_MODEL}@{_LEAST}"
"""For pictures of up to 48 px; `default_features` for those of any size."""

STAGE = "features"

_PIXELS, _GPU_PIXELS = 64 * 48**2, 1024 * 48**2
"""Of pictures computed at a time: on a CPU, maps of more leave its caches."""


class FeatureModel:
    """A network as a maker of one vector per picture, the same whatever the batch.

    The vector is the last map averaged over its places. Distances between sets of pictures only mean something within
    one such network at one input size, hence its `name` belongs beside every number.

    Why small pictures are judged at 48 px: of 1,500 damaged pictures of Fashion-MNIST the distance to real ones is,
    in units of that among real ones, 1.6 for a slight blur (1.3 at 64 px, 1.4 at 96 px), 4.5 for half of the classes
    (3.5, 3.6), 4.5 for mixed pairs (3.5, 3.5), 3.1 for 300 pictures repeated (3.0, 3.0); and it takes half the time.

    Attributes:
        name: ``MODEL@SIZE``; also a precision other than float32, and the fingerprint of weights of one's own.
        size: side of the network's input, in pixels; pictures are stretched to it.
        dimensions: D, the length of a vector.
    """

    def __init__(self, model: Model, size: int, *, name: str = "", precision: str = "fp32") -> None:
        """Find the layer by a probe, and make a faster copy of the network.

        Args:
            model: a convolutional network.
            size: side of its input, in pixels.
            name: instead of the card's name, to tell apart weights of one's own.
            precision: as `autocast` takes it. bf16 moves distances by 1 to 2 %, so it becomes part of `name`.

        Raises:
            UsageError: the network has no maps, or `size` is not sensible.
        """
        if not _SMALLEST <= size <= _LARGEST:
            raise UsageError(f"Features at {size} px make no sense. Ask for {_SMALLEST} to {_LARGEST} px.")
        kind = choose_dtype(model.device, precision)
        rounded = "" if kind == torch.float32 else f"/{str(kind).removeprefix('torch.')}"
        self.name = f"{name or model.card.name}@{size}{rounded}"
        self.size = size
        self._model, self._precision = model, precision
        self._layer, self.dimensions = _last_layer(model)
        self._network = fold_batch_norm(model.module, model.card.input_size)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self._model.device

    def features(self, pictures: NDArray[np.uint8], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Pictures (N, H, W, C) uint8, C = 1 (grey) or 3 (RGB) → vectors (N, D) float32.

        Raises:
            BadInputError: an array of another shape or type, or without pictures.
        """
        check_pictures(pictures)
        batch = max(1, (_PIXELS if self.device.type == "cpu" else _GPU_PIXELS) // self.size**2)
        vectors = np.empty((len(pictures), self.dimensions), dtype=np.float32)
        for start in range(0, len(pictures), batch):
            part = torch.from_numpy(np.array(pictures[start : start + batch]))  # a copy: memory maps are read-only
            vectors[start : start + batch] = self._vectors(part.to(self.device)).cpu().numpy()
            progress(Step(STAGE, min(start + batch, len(pictures)), len(pictures)))
        return vectors

    def _vectors(self, pictures: Tensor) -> Tensor:
        """(N, H, W, C) uint8 → (N, D) float32."""
        with torch.no_grad():
            x = pictures.permute(0, 3, 1, 2).float() / 255
            shrinks = max(x.shape[2:]) > self.size
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=shrinks)
            x = self._model.normalize(x.expand(-1, 3, -1, -1)).contiguous(memory_format=torch.channels_last)
            with autocast(self.device, self._precision):
                maps = features(self._network, x, [self._layer])[self._layer]
            return maps.float().mean((2, 3))


def default_features(side: int) -> str:
    """What pictures of `side` px are judged by: the bundled network at the smallest input that keeps their detail."""
    size = -(-side // 16) * 16
    return f"{DEFAULT_MODEL}@{min(max(size, _LEAST), _MOST)}"


def feature_model(
    spec: str,
    *,
    device: torch.device | str = "cpu",
    weights: Path | None = None,
    precision: str = "fp32",
) -> FeatureModel:
    """The maker of features called ``MODEL@SIZE`` or ``MODEL``, e.g. ``"efficientnet-lite0@48"``.

    Args:
        spec: a model as `cvtool.models.loader.load` takes it, and the side of its input, which is else its own.
        device: as `load` takes it.
        weights: a file instead of the published weights.
        precision: as `autocast` takes it.

    Raises:
        UsageError: the size is no whole number or not sensible, or the network has no maps.
        CvtoolError: as `load` does.
    """
    name, at, side = spec.partition("@")
    if not name or (at and not (side.isascii() and side.isdigit())):
        raise UsageError(f"No feature model '{spec}'. Write it as MODEL@SIZE, e.g. {DEFAULT_FEATURES}.")
    model = load(name, device=device, weights=weights)
    own = "" if weights is None else f"#{model.fingerprint}"
    return FeatureModel(model, int(side) if at else model.card.input_size, name=name + own, precision=precision)


def check_pictures(pictures: NDArray[np.uint8]) -> None:
    """Refuse what are not pictures (N, H, W, C) uint8 with C = 1 or 3 and N ≥ 1.

    Raises:
        BadInputError: they are something else.
    """
    shape = pictures.shape
    if pictures.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or min(shape) < 1:
        raise BadInputError(
            f"Pictures must be an array (N, H, W, 1) or (N, H, W, 3) of uint8; this is {shape} of {pictures.dtype}."
        )


def _last_layer(model: Model) -> tuple[str, int]:
    """Name and channels of the last map of the network."""
    side = model.card.input_size
    probe = torch.zeros(1, 3, side, side, device=model.device)
    maps = [layer for layer in feature_layers(model.module, probe) if layer.activated]
    if not maps:
        raise UsageError(f"'{model.card.name}' has no maps to compare pictures by. Choose a convolutional network.")
    return maps[-1].name, maps[-1].channels
