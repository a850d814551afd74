"""Classification networks of torchvision; the library is imported only when one is asked for (it takes a second)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from cvtool.files import sha256_of
from cvtool.models.cards import ModelCard
from cvtool.models.sources.fetching import from_url, hub_file
from cvtool.models.sources.local_file import fill, read_state_dict


@cache
def names() -> tuple[str, ...]:
    """Names of all classification networks that the installed torchvision builds, sorted."""
    import torchvision

    return tuple(torchvision.models.list_models(module=torchvision.models))


def cached_file(name: str) -> Path | None:
    """The published weights of network `name` if they are in PyTorch's hub cache."""
    from torchvision.models import get_model_weights

    file = hub_file(get_model_weights(name).DEFAULT.url)
    return file if file.is_file() else None


def load_torchvision(name: str, weights: Path | None = None) -> tuple[nn.Module, ModelCard, str]:
    """Network `name` with its best published weights, or those in the file `weights` → (module, card, sha256).

    Raises:
        WeightsUnavailableError: the published weights are neither in the hub's cache nor to be fetched.
        BadInputError: the file is broken or of another network.
    """
    from torchvision.models import get_model_weights

    published = get_model_weights(name).DEFAULT
    path = weights or from_url(published.url, name)
    tensors = read_state_dict(path)
    card = _card(name, published, path, source="file" if weights else "torchvision")
    module = _build(name, card)
    fill(module, tensors, path, name)
    return module, card, sha256_of(path)


def _build(name: str, card: ModelCard) -> nn.Module:
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # The published weights hold auxiliary heads, and were ported from a network with another normalisation.
        options = {"transform_input": True, "aux_logits": True, "init_weights": False}
    elif name.startswith("vit_"):
        options = {"image_size": card.input_size}
    module: nn.Module = get_model(name, weights=None, **options)
    return module


def _card(name: str, published: Any, path: Path, source: str) -> ModelCard:
    transforms = published.transforms()
    side = int(transforms.crop_size[0])
    return ModelCard(
        name=name,
        source=source,
        package="",
        weights_file=path.name,
        sha256="",
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        scale=1.0,
        channels="rgb",
        input_size=side,
        crop=side / int(transforms.resize_size[0]),
        interpolation=str(transforms.interpolation.value),
        classes=len(published.meta["categories"]),
        licence="as torchvision states (code BSD-3-Clause, weights trained on ImageNet)",
        paper=published.meta.get("recipe") or "see torchvision's documentation",
        size_mb=round(path.stat().st_size / 1e6, 1),
        abilities=("classify", "features"),
    )
