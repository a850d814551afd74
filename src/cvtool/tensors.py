"""Between pictures and tensors: shapes, devices, precision, seeds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cvtool.errors import UsageError

PRECISIONS = {"auto": None, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def to_tensor(pixels: NDArray[np.float32], device: torch.device | str = "cpu") -> Tensor:
    """Picture (H, W, 3) float32 in [0, 1] → tensor (1, 3, H, W) float32 on `device`, with memory of its own."""
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected a picture (H, W, 3), got shape {pixels.shape}")
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(planes.copy() if np.shares_memory(planes, pixels) else planes)[None].to(device)


def to_batch(pictures: Sequence[NDArray[np.float32]], device: torch.device | str = "cpu") -> Tensor:
    """Pictures (H, W, 3) float32 of one size → tensor (N, 3, H, W) on `device`: one transfer, rearranged there."""
    stacked = np.stack(pictures).astype(np.float32, copy=False)
    return torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).contiguous()


def to_pixels(tensor: Tensor) -> NDArray[np.float32]:
    """Tensor (1, 3, H, W) or (3, H, W) of any float type and device → picture (H, W, 3) float32 clipped to [0, 1]."""
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"expected a tensor (1, 3, H, W), got shape {tuple(tensor.shape)}")
    planes = tensor.detach().float().clamp(0, 1).cpu().numpy()
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def doubled(x: Tensor) -> Tensor:
    """The same in float64, where it lies; on the CPU if it lies on an Apple GPU, which has no float64."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def mirrored(x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
    """(N, C, H, W) continued to the left, right, top and bottom: mirrored, repeated where it is too small for that."""
    if not any(sides):
        return x
    small = max(sides[:2]) >= x.shape[3] or max(sides[2:]) >= x.shape[2]
    return F.pad(x, sides, mode="replicate" if small else "reflect")


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` (cuda, then mps, then cpu), ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` → a device that is there.

    Raises:
        UsageError: another name, or a device this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, colon, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and (kind != "cuda" or not index.isascii() or not index.isdigit())):
        raise UsageError(f"No device '{name}'. Use auto, cpu, cuda, cuda:N or mps.")
    if kind == "cuda":
        _require_cuda(name, int(index) if colon else 0)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("This machine has no device 'mps' that PyTorch can use. Use --device auto or cpu.")
    return torch.device(kind, int(index)) if colon else torch.device(kind)


def _require_cuda(name: str, index: int) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        there = f"{count} CUDA device{'s' if count > 1 else ''}, counted from 0" if count else "no CUDA device"
        raise UsageError(f"Device '{name}' is not there: PyTorch sees {there}. Use --device auto or cpu.")


def choose_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """The type in which a network computes: ``auto`` is bf16 on a CUDA device that has it, else fp32.

    Raises:
        UsageError: a precision that does not exist.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"No precision '{precision}'. Use auto, fp32, bf16 or fp16.")
    chosen = PRECISIONS[precision]
    if chosen is not None:
        return chosen
    fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere: bf16 in hardware
    return torch.bfloat16 if fast else torch.float32


def training_precision(device: torch.device, precision: str = "auto") -> str:
    """As `choose_dtype`, but ``auto`` is bf16 on CPUs with instructions for it, too: training forgives its rounding.

    Returns:
        ``fp32``, ``bf16`` or ``fp16``.
    """
    if precision != "auto":
        return precision
    if device.type == "cpu":
        can: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older versions
        return "bf16" if can.get("avx512_bf16") or can.get("amx_bf16") else "fp32"
    return "bf16" if choose_dtype(device) == torch.bfloat16 else "fp32"


def autocast(device: torch.device | str, precision: str = "auto") -> AbstractContextManager[object]:
    """A block in which networks compute in `precision` (see `choose_dtype`); nothing happens in it for fp32."""
    device = torch.device(device)
    dtype = choose_dtype(device, precision)
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator on `device` that starts at `seed`; leaves the global generators alone."""
    return torch.Generator(device=device).manual_seed(seed)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """(N, C, H, W) blurred by a Gaussian of `sigma` pixels; the border is continued by its own pixels."""
    offsets = torch.arange(-round(3 * sigma), round(3 * sigma) + 1, device=x.device, dtype=x.dtype)
    weights = torch.exp(-(offsets**2) / (2 * max(sigma, 1e-6) ** 2))
    weights = weights / weights.sum()
    for dimension in (2, 3):
        side = x.shape[dimension]
        matrix = x.new_zeros(side, side)
        places = (torch.arange(side, device=x.device)[:, None] + offsets.long()).clamp(0, side - 1)
        matrix.scatter_add_(1, places, weights.expand(side, -1))
        x = torch.einsum("nchw,ih->nciw" if dimension == 2 else "nchw,iw->nchi", x, matrix)
    return x
