"""What the tests of `cvtool.models` share: loaded networks, prepared pictures, a machine without network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cvtool.models.loader import Model, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def bundled() -> Callable[[str], Model]:
    """Loads a network that comes with the install, once in a session."""
    return cache(load)


@pytest.fixture(scope="session")
def prepare() -> Callable[[Path, Model], torch.Tensor]:
    """File → (1, 3, S, S) normalised, by the network's evaluation recipe: shorter side to S / crop, centre crop."""

    def prepared(path: Path, model: Model) -> torch.Tensor:
        side = model.card.input_size
        picture = Image.open(path).convert("RGB")
        factor = round(side / model.card.crop) / min(picture.size)
        width, height = (max(side, round(edge * factor)) for edge in picture.size)
        picture = picture.resize((width, height), Image.Resampling[model.card.interpolation.upper()])
        left, top = (width - side) // 2, (height - side) // 2
        pixels = np.asarray(picture.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
        return model.normalize(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None])

    return prepared


@pytest.fixture(scope="session")
def photos() -> Path:
    """The project's own demo photographs."""
    return ROOT / "assets" / "photos"


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of PyTorch's hub (``hub/checkpoints``) and Hugging Face (``hf``)."""
    from huggingface_hub import constants

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host name resolves."""

    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
