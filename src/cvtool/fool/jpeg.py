"""What a JPEG does to a picture: exactly, and with a gradient that says which changes it keeps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.images import jpeg_round_trip, jpeg_tables
from cvtool.tensors import to_pixels, to_tensor

_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def jpeg(x: Tensor, quality: int, subsampled: bool = True) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1] → as a JPEG of that quality brings them back, to the bit.

    The gradient is that of `soft_jpeg`, since rounding has none (Athalye et al. 2018, arXiv:1802.00420; the soft
    rounding is Shin and Song's, 2017).
    """
    soft = soft_jpeg(x, quality, subsampled)
    with torch.no_grad():
        exact = torch.cat([to_tensor(jpeg_round_trip(to_pixels(each), quality, subsampled), x.device) for each in x])
    return soft + (exact - soft).detach()


def soft_jpeg(x: Tensor, quality: int, subsampled: bool) -> Tensor:
    """The same steps, with a rounding that has a slope."""
    height, width = x.shape[2:]
    padded = F.pad(x * 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    ycc = torch.einsum("ij,njhw->nihw", _TO_YCC.to(x), padded)
    bright, color = (torch.from_numpy(table).to(x) for table in jpeg_tables(quality))
    luma = _blockwise(ycc[:, :1] - 128, bright) + 128
    chroma = F.avg_pool2d(ycc[:, 1:], 2) if subsampled else ycc[:, 1:]
    chroma = _blockwise(chroma, color)
    if subsampled:
        chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    back = torch.linalg.inv(_TO_YCC.double()).to(x)
    rgb = torch.einsum("ij,njhw->nihw", back, torch.cat([luma, chroma], 1))
    return (rgb[..., :height, :width] / 255).clamp(0, 1)


def _blockwise(plane: Tensor, table: Tensor) -> Tensor:
    """(N, C, H, W) → the same after the frequencies of each 8 × 8 block were rounded to multiples of `table`."""
    waves = _cosines().to(plane)
    n, c, height, width = plane.shape
    blocks = plane.view(n, c, height // 8, 8, width // 8, 8).transpose(3, 4)
    rounded = _soft_round(waves @ blocks @ waves.T / table) * table
    return (waves.T @ rounded @ waves).transpose(3, 4).reshape(n, c, height, width)


def _cosines() -> Tensor:
    """(8, 8): the orthonormal discrete cosine transform."""
    place, wave = torch.arange(8.0), torch.arange(8.0)[:, None]
    matrix = torch.cos((2 * place + 1) * wave * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _soft_round(values: Tensor) -> Tensor:
    nearest = values.round()
    return nearest + (values - nearest) ** 3
