"""Statistics of feature maps, and the maps moved from one picture's statistics to another's in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from cvtool.hooks import features
from cvtool.models.folding import fold_batch_norm
from cvtool.models.loader import Model
from cvtool.stylize.losses import Moments
from cvtool.stylize.transport import transport
from cvtool.tensors import mirrored

LAYERS = {"bn1": (32, 2), "blocks.0": (16, 2), "blocks.1": (24, 4), "blocks.2": (40, 8), "blocks.3": (80, 16)}
"""Layers of efficientnet-lite0 that a painter looks at → channels, stride."""

ENCODER = "efficientnet-lite0"
STRIDE = 16
"""The largest stride of them."""

COLORS = ""
"""Where the picture itself stands among the maps: no layer has this name."""

Maps = Mapping[str, Tensor]
Statistics = Mapping[str, Moments]


class Encoder:
    """Feature maps of pictures, without the frame that the network's zero padding would leave."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.module = fold_batch_norm(model.module, model.card.input_size)

    def __call__(self, pictures: Tensor, margin: int = STRIDE) -> dict[str, Tensor]:
        """Pictures (N, 3, H, W) in [0, 1], sides multiples of `STRIDE` → {layer: (N, C, H / stride, W / stride)}.

        The pictures are continued by `margin` pixels, a multiple of `STRIDE`, and that much is cut from the maps.
        The pictures themselves are in it as `COLORS`.
        """
        x = mirrored(pictures, (margin,) * 4) if margin else pictures
        maps = features(self.module, self.model.normalize(x).contiguous(memory_format=torch.channels_last), [*LAYERS])
        if not margin:
            return {**maps, COLORS: pictures}
        height, width = pictures.shape[2:]
        cut = {
            name: each.narrow(2, margin // stride, height // stride).narrow(3, margin // stride, width // stride)
            for (name, each), (_, stride) in zip(maps.items(), LAYERS.values(), strict=True)
        }
        return {**cut, COLORS: pictures}


def exact(device: torch.device) -> AbstractContextManager[object]:
    """A block in which nothing is rounded to half precision: covariances are small differences of large numbers."""
    return torch.autocast(device.type, enabled=False)


def raw_moments(maps: Tensor) -> Moments:
    """Maps (N, C, H, W) → raw moments over positions: mean (N, C), second (N, C, C), float32."""
    with exact(maps.device):
        flat = maps.float().permute(0, 2, 3, 1).flatten(1, 2)
        return Moments(flat.mean(1), flat.transpose(1, 2) @ flat / flat.shape[1])


def statistics(maps: Maps) -> dict[str, Moments]:
    """Raw moments of every layer and of the colours."""
    return {name: raw_moments(each) for name, each in maps.items()}


def transported(maps: Tensor, own: Moments, wanted: Moments) -> Tensor:
    """Maps (N, C, H, W) with statistics `own`, moved so that mean and covariance become `wanted`.

    By the map that moves every feature least (`cvtool.stylize.transport`). (N or 1, C) moments; float32.
    """
    with exact(maps.device):
        matrix = transport(own, wanted).float().to(maps.device)
        shift = wanted.mean - (matrix @ own.mean[..., None])[..., 0]
        # (positions, channels) is how channels_last lies in memory: no copies.
        flat = maps.float().permute(0, 2, 3, 1).flatten(1, 2)
        weight = matrix.transpose(1, 2).expand(len(maps), -1, -1)
        moved = torch.baddbmm(shift[:, None], flat, weight)
        count, _, height, width = maps.shape
        return moved.reshape(count, height, width, -1).permute(0, 3, 1, 2)
