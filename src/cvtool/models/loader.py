"""From a name to a network that is ready to be asked: `load`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from cvtool.errors import UnknownNameError
from cvtool.models.cards import CARDS, ModelCard
from cvtool.models.sources import bundled, timm_zoo, torchvision_zoo
from cvtool.tensors import choose_device

_FINGERPRINT = 12  # hex digits; enough to tell files apart by eye


@dataclass(frozen=True, eq=False)
class Model:
    """A network in evaluation mode with frozen parameters, and how to feed it.

    Attributes:
        module: takes what `normalize` returns; gives logits (N, classes), or features where there is no classifier.
        card: what is known about it.
        device: where its parameters are.
        fingerprint: first 12 hex digits of the weights file's SHA-256.
    """

    module: nn.Module
    card: ModelCard
    device: torch.device
    fingerprint: str

    def normalize(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] → (N, 3, H, W) as the network expects it; differentiable."""
        if self.card.channels == "bgr":
            x = x.flip(1)
        mean, std = (_planes(each, x.device, x.dtype) for each in (self.card.mean, self.card.std))
        return (x * self.card.scale - mean) / std


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is made while nothing is to be differentiated serves later steps that are
def _planes(numbers: tuple[float, float, float], device: torch.device, dtype: torch.dtype) -> Tensor:
    """(1, 3, 1, 1), once for each device: a GPU would wait for the copy in every step."""
    return torch.tensor(numbers, device=device, dtype=dtype).view(1, 3, 1, 1)


def load(name: str, *, device: torch.device | str = "cpu", weights: Path | None = None) -> Model:
    """The network called `name`: one that comes with the install, a torchvision name, or ``timm:NAME``.

    Args:
        name: e.g. ``"efficientnet-lite0"``, ``"resnet50"``, ``"timm:convnext_tiny"``.
        device: as `choose_device` takes it, or a torch device.
        weights: a ``.safetensors`` or ``.pth`` file to use instead of the published weights; never unpickled.

    Raises:
        UnknownNameError: no such network.
        WeightsUnavailableError: the network exists; its weights are not here and cannot be fetched.
        BadInputError: the weights file is broken, of another network, or would run code.
    """
    where = choose_device(device) if isinstance(device, str) else device
    module, card, sha256 = _find(name, weights)
    module = module.requires_grad_(False).eval().to(where)
    return Model(module, card, where, sha256[:_FINGERPRINT])


def _find(name: str, weights: Path | None) -> tuple[nn.Module, ModelCard, str]:
    if name in CARDS:
        module, sha256 = bundled.load_bundled(CARDS[name], weights)
        return module, CARDS[name], sha256
    if name.startswith(timm_zoo.PREFIX):
        return timm_zoo.load_timm(name, weights)
    if name in torchvision_zoo.names():
        return torchvision_zoo.load_torchvision(name, weights)
    raise UnknownNameError("model", name, [*CARDS, *torchvision_zoo.names()], "'cvtool models' lists them.")
