"""Judges of style transfer: distances by networks that look at a picture and took no part in making it.

Written apart from the losses that the tool optimises: plain Gram matrices and uncentred self-similarity, at two scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cvtool.hooks import features
from cvtool.models.loader import Model, load
from cvtool.tensors import to_tensor

STYLE_LAYERS = {
    "efficientnet-lite2": ("bn1", "blocks.0", "blocks.1", "blocks.2", "blocks.3"),
    "vgg19": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
}
CONTENT_LAYERS = {
    "efficientnet-lite2": ("blocks.2", "blocks.3", "blocks.4"),
    "vgg19": ("relu3_1", "relu4_1"),
}
SCALES = (1.0, 0.5)
CELLS = 32


@dataclass(frozen=True)
class Verdict:
    """Style distance (relative Gram error, 0 = the style's statistics) and content distance (self-similarity)."""

    style: float
    content: float


class Judge:
    """One network's opinion of a result.

    Args:
        name: ``"efficientnet-lite2"`` or ``"vgg19"``.
    """

    def __init__(self, name: str) -> None:
        self.model: Model = load(name)
        self.style_layers, self.content_layers = STYLE_LAYERS[name], CONTENT_LAYERS[name]

    @torch.no_grad()
    def __call__(self, result: NDArray, content: NDArray, style: NDArray) -> Verdict:
        """Pictures (H, W, 3) in [0, 1]; result and content of one size."""
        styles, contents = [], []
        for scale in SCALES:
            r, c, s = (self._maps(picture, scale) for picture in (result, content, style))
            for layer in self.style_layers:
                target = _gram(s[layer])
                styles.append(float((_gram(r[layer]) - target).norm() / target.norm()))
            for layer in self.content_layers:
                contents.append(float((_similarity(r[layer]) - _similarity(c[layer])).abs().sum(0).mean()))
        return Verdict(float(np.mean(styles)), float(np.mean(contents)))

    def _maps(self, picture: NDArray, scale: float) -> dict[str, Tensor]:
        x = to_tensor(picture)
        if scale != 1:
            x = F.interpolate(x, scale_factor=scale, mode="bilinear", antialias=True)
        layers = list(dict.fromkeys((*self.style_layers, *self.content_layers)))
        return features(self.model.module, self.model.normalize(x), layers)


def _gram(maps: Tensor) -> Tensor:
    flat = maps.flatten(2)[0]
    return flat @ flat.T / flat.shape[1]


def _similarity(maps: Tensor) -> Tensor:
    maps = F.adaptive_avg_pool2d(maps, (min(CELLS, maps.shape[2]), min(CELLS, maps.shape[3])))
    unit = F.normalize(maps.flatten(2)[0], dim=0)
    distances = 1 - unit.T @ unit
    return distances / distances.sum(0, keepdim=True).clamp_min(1e-8)


def nyquist_share(picture: NDArray) -> float:
    """Share of the energy (without the mean) above 0.8 of the Nyquist frequency in either direction."""
    grey = picture.mean(2)
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    high = (np.abs(np.fft.fftfreq(grey.shape[0]))[:, None] > 0.4) | (np.abs(np.fft.fftfreq(grey.shape[1]))[None] > 0.4)
    return float(power[high].sum() / power.sum())
