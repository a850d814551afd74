"""Where a network still knows where: the layer whose activations a class activation map weighs, found by a probe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cvtool.errors import UsageError
from cvtool.hooks import outer_layers, unknown_layer

MOST_PREFIX_TOKENS = 8
"""Class, distillation and register tokens that may come before those of the patches."""


@dataclass(frozen=True)
class Spatial:
    """A layer that gives one vector per place.

    Attributes:
        name: as in `module.named_modules()`.
        height, width: places.
        prefix: tokens before those of the places; 0 for maps.
    """

    name: str
    height: int
    width: int
    prefix: int


def spatial_layers(module: nn.Module, x: Tensor) -> list[Spatial]:
    """All layers with more than one place for the normalised input x (1, 3, H, W), as they finish."""
    return [layer for layer, _ in _probe(module, x)]


def choose_layer(module: nn.Module, x: Tensor, name: str | None = None) -> Spatial:
    """The layer called `name`, or the last that still has places and passes the score's gradient to each of them.

    Behind the last attention of a network with a class token, only that token leads to the score. So there the last
    layer before that attention is taken, which is its norm.

    Raises:
        UnknownNameError: no layer of that name.
        UsageError: that layer has no places, or none has.
    """
    choices = _CHOICES.setdefault(module, {})
    key = (tuple(x.shape[2:]), name)
    if key not in choices:
        choices[key] = _choose(_probe(module, x), module, name)
    return choices[key]


_CHOICES: WeakKeyDictionary[nn.Module, dict[object, Spatial]] = WeakKeyDictionary()
"""By network, size of input and wanted name: a probe costs as much as a passage of the network."""


def _choose(found: list[tuple[Spatial, bool]], module: nn.Module, name: str | None) -> Spatial:
    if name is not None:
        if not any(layer.name == name for layer, _ in found):
            names = [layer.name for layer, _ in found]
            if name not in dict(module.named_modules()):
                raise unknown_layer(name, names)
            outer = ", ".join(outer_layers(names))
            raise UsageError(f"Layer '{name}' has one value per channel, no places. Outer layers with: {outer}.")
        return next(layer for layer, _ in found if layer.name == name)
    before_attention = [layer for layer, precedes in found if precedes]
    if found and found[-1][0].prefix and before_attention:
        return before_attention[-1]
    for layer, _ in reversed(found):
        if not isinstance(module.get_submodule(layer.name), _PASSIVE):
            return layer
    raise UsageError("This network has no layer with maps, so class activation maps do not fit. Try gradient or rise.")


_PASSIVE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)
"""They hand on what another layer made."""


def _probe(module: nn.Module, x: Tensor) -> list[tuple[Spatial, bool]]:
    """Layers with places, each with whether an attention began right behind it."""
    found: dict[str, Spatial] = {}
    precedes: set[str] = set()
    handles: list[RemovableHandle] = []

    def watch(name: str, layer: nn.Module) -> None:
        def finished(_: nn.Module, __: object, output: object) -> None:
            place = _places(name, output, x)
            if place is not None and name not in found:
                found[name] = place

        def attention_begins(*_: object) -> None:
            if found:
                precedes.add(next(reversed(found)))

        handles.append(layer.register_forward_hook(finished))
        if "attention" in type(layer).__name__.lower():
            handles.append(layer.register_forward_pre_hook(attention_begins))

    try:
        for name, layer in module.named_modules():
            if name:
                watch(name, layer)
        with torch.no_grad():
            module(x)
    finally:
        for handle in handles:
            handle.remove()
    return [(layer, layer.name in precedes) for layer in found.values()]


def _places(name: str, output: object, x: Tensor) -> Spatial | None:
    if not isinstance(output, Tensor) or output.ndim not in (3, 4) or len(output) != len(x):
        return None
    height, width = x.shape[2:]
    if output.ndim == 4:
        for h, w in (output.shape[2:], output.shape[1:3]):  # (N, C, H, W), else (N, H, W, C)
            if _alike(h, w, height, width):
                return Spatial(name, h, w, 0)
        return None
    for prefix in range(MOST_PREFIX_TOKENS + 1):
        tokens = output.shape[1] - prefix
        h = round((max(tokens, 0) * height / width) ** 0.5)
        if h and tokens % h == 0 and _alike(h, tokens // h, height, width):
            return Spatial(name, h, tokens // h, prefix)
    return None


def _alike(h: int, w: int, height: int, width: int) -> bool:
    """Whether h × w places have about the aspect of the input: within one place, as sides are rounded."""
    return h * w > 1 and h <= height and w <= width and abs(h - w * height / width) <= max(1.0, height / width)


def as_maps(output: Tensor, layer: Spatial) -> Tensor:
    """What a layer gave → (N, C, h, w)."""
    if output.ndim == 3:
        return output[:, layer.prefix :].transpose(1, 2).reshape(len(output), -1, layer.height, layer.width)
    if tuple(output.shape[2:]) == (layer.height, layer.width):
        return output
    return output.permute(0, 3, 1, 2)


@contextmanager
def cut_at(module: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """In this block the layer's first output in a pass is a leaf, kept in the list: no graph is made before it."""
    leaves: list[Tensor] = []

    def cut(_: nn.Module, __: object, output: Tensor) -> Tensor | None:
        if leaves:
            return None
        leaves.append(output.detach().requires_grad_())
        return leaves[0].clone()  # a copy, since what follows may work in place

    handle = module.get_submodule(name).register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()
