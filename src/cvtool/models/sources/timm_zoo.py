"""Networks of timm, asked for as ``timm:NAME``; the library is imported only then (it takes two seconds)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from cvtool.errors import GIVE_WEIGHTS, UnknownNameError, WeightsUnavailableError
from cvtool.files import sha256_of
from cvtool.models.cards import ModelCard
from cvtool.models.sources.fetching import from_huggingface, from_url, hub_file, in_huggingface_cache
from cvtool.models.sources.local_file import StateDict, differences, fill, mismatch, read_state_dict

PREFIX = "timm:"


def names() -> tuple[str, ...]:
    """Names of all networks with published weights, with the prefix ``timm:``, sorted."""
    import timm

    return tuple(PREFIX + name for name in timm.list_pretrained())


def cached_file(name: str) -> Path | None:
    """The published weights of network `name` (``timm:…``) if they are in a cache on this machine."""
    config = _config(name) or {}
    if repository := config.get("hf_hub_id"):
        return in_huggingface_cache(repository, config.get("hf_hub_filename") or "")
    file = hub_file(config["url"]) if config.get("url") else None
    return file if file and file.is_file() else None


def _config(name: str) -> dict[str, Any] | None:
    """What timm knows about the weights of `name`, None when it has no such network or no such weights."""
    import timm

    bare = name.removeprefix(PREFIX)
    try:
        found: Any = timm.get_pretrained_cfg(bare) if timm.is_model(bare) else None
    except RuntimeError:  # the network exists, this tag of it does not
        return None
    return found.to_dict() if found else None


def load_timm(name: str, weights: Path | None = None) -> tuple[nn.Module, ModelCard, str]:
    """Network `name` (``timm:…``) with its published weights or those in `weights` → (module, card, sha256).

    Raises:
        UnknownNameError: timm has no such network, or no such set of weights for it.
        WeightsUnavailableError: the published weights are neither in a cache nor to be fetched.
        BadInputError: the file is broken or of another network.
    """
    import timm

    bare = name.removeprefix(PREFIX)
    config = _config(name)
    if config is None:
        raise UnknownNameError(
            "model", name, [*names(), *(PREFIX + m for m in timm.list_models())], "'cvtool models' lists them."
        )
    path = weights or _published(config, name)
    tensors = read_state_dict(path)
    module = timm.create_model(bare, pretrained=False)
    if differences(module, tensors):
        module = _converted(bare, module, tensors, path, name)
    else:
        fill(module, tensors, path, name)
    card = _card(name, config, module, path, source="file" if weights else "timm")
    return module, card, sha256_of(path)


def _published(config: dict[str, Any], name: str) -> Path:
    if repository := config.get("hf_hub_id"):
        return from_huggingface(repository, name, config.get("hf_hub_filename") or "")
    if url := config.get("url"):
        return from_url(url, name)
    raise WeightsUnavailableError(f"No weights were published for '{name}'. {GIVE_WEIGHTS}")


def _converted(bare: str, plain: nn.Module, tensors: StateDict, path: Path, name: str) -> nn.Module:
    """A network filled by timm, which knows the names that the original authors gave to the tensors."""
    import timm

    try:
        module: nn.Module = timm.create_model(bare, pretrained=True, pretrained_cfg_overlay={"state_dict": tensors})
    except Exception as error:  # its converters fail in many ways on tensors they do not expect
        raise mismatch(plain, tensors, path, name) from error
    return module


def _card(name: str, config: dict[str, Any], module: nn.Module, path: Path, source: str) -> ModelCard:
    return ModelCard(
        name=name,
        source=source,
        package="",
        weights_file=path.name,
        sha256="",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        scale=1.0,
        channels="rgb",
        input_size=int(config["input_size"][-1]),
        crop=float(config.get("crop_pct") or 0.875),
        interpolation=str(config.get("interpolation") or "bicubic"),
        classes=int(getattr(module, "num_classes", 0)),
        licence=str(config.get("license") or "not stated"),
        paper=str(config.get("paper_name") or config.get("origin_url") or "see timm's documentation"),
        size_mb=round(path.stat().st_size / 1e6, 1),
        abilities=("classify", "features") if getattr(module, "num_classes", 0) else ("features",),
    )
