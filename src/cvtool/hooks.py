"""What a network computes inside: activations of named layers, borrowed by forward hooks that always go again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import log2
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cvtool.errors import UnknownNameError, UsageError


class _AllSeen(Exception):
    """Private signal: every wanted layer has run, the rest of the network is not needed."""


@contextmanager
def record(module: nn.Module, names: Sequence[str], *, stop_early: bool = False) -> Iterator[dict[str, Tensor]]:
    """Keep the outputs of the layers `names` while `module` runs in this block; the graph is kept.

    The dictionary fills as layers run. A layer that runs several times in one pass keeps its first output. Operations
    that later layers do in place do not reach what was recorded. With `stop_early` the pass ends behind the last
    wanted layer, and the block with it: code after the network's call does not run.

    Raises:
        UnknownNameError: a name is not a layer of `module`.
        UsageError: a layer's output is not a tensor.
    """
    kept: dict[str, Tensor] = {}
    handles: list[RemovableHandle] = []
    try:
        handles += _listen(module, names, kept, stop_early=stop_early, copied=names)
        with suppress(_AllSeen):
            yield kept
    finally:
        for handle in handles:
            handle.remove()


def outer_layers(layers: Iterable[str]) -> list[str]:
    """Those of a network's parts, and directly inside them: all that one line can hold."""
    return [each for each in layers if each.count(".") <= 1]


def unknown_layer(name: str, layers: Iterable[str]) -> UnknownNameError:
    """The error for a layer that does not exist; it lists the outer ones of those that do."""
    known = list(layers)
    outer = ", ".join(outer_layers(known))
    return UnknownNameError("layer", name, known, f"The outer layers are {outer}.")


def _listen(
    module: nn.Module, names: Sequence[str], kept: dict[str, Tensor], *, stop_early: bool, copied: Collection[str]
) -> list[RemovableHandle]:
    """Attach one hook for each of `names`; layers in `copied` hand a copy on, so that nobody can alter what is kept."""
    layers = {name: _layer(module, name) for name in names}
    wanted = len(set(names))
    reset = module.register_forward_pre_hook(lambda *_: kept.clear())  # a second pass in the block starts afresh

    def hook_for(name: str) -> RemovableHandle:
        def keep(_: nn.Module, __: object, output: object) -> Tensor | None:
            if name in kept:
                return None
            if not isinstance(output, Tensor):
                raise UsageError(
                    f"Layer '{name}' gives a {type(output).__name__}, not a tensor. Choose a layer inside."
                )
            kept[name] = output
            if stop_early and len(kept) == wanted:
                raise _AllSeen
            return output.clone() if name in copied else None

        handle: RemovableHandle = layers[name].register_forward_hook(keep)
        return handle

    return [reset, *(hook_for(name) for name in dict.fromkeys(names))]


_ALTERED: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()
"""Layers of a network whose output a later operation was seen to alter in place."""


def features(module: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Outputs of the layers `names` for the normalised input x (N, 3, H, W), in the order of `names`.

    Runs the network only as far as needed and keeps the graph. A layer that runs several times gives its first output.

    Raises:
        UnknownNameError: a name is not a layer of `module`.
        UsageError: a layer does not run, or its output is not a tensor.
    """
    if not names:
        return {}
    copied = _ALTERED.get(module, frozenset())
    kept, altered = _run(module, x, names, copied)
    if altered:
        # Copies cost memory, so they are made only where an in-place operation (ReLU(inplace=True), `out += x`) was
        # caught altering a recorded value. That is found once for each network; then the pass is repeated.
        copied |= altered
        _ALTERED[module] = copied
        kept, _ = _run(module, x, names, copied)
    missing = [name for name in names if name not in kept]
    if missing:
        raise UsageError(f"Layer '{missing[0]}' does not run in this network. Choose another layer.")
    return {name: kept[name] for name in names}


def _run(
    module: nn.Module, x: Tensor, names: Sequence[str], copied: frozenset[str]
) -> tuple[dict[str, Tensor], frozenset[str]]:
    """One truncated pass → (outputs, names of those that were altered after they had been recorded)."""
    versions: dict[str, int] = {}
    kept = _Watched(versions)
    if torch.is_inference_mode_enabled():  # tensors count no versions there
        copied = frozenset(names)
    handles = []
    try:
        handles = _listen(module, names, kept, stop_early=True, copied=copied)
        module(x)
    except _AllSeen:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return dict(kept), frozenset(name for name, version in versions.items() if kept[name]._version != version)


class _Watched(dict[str, Tensor]):
    """A dictionary that notes in `versions` how often each tensor had been written to when it came in."""

    def __init__(self, versions: dict[str, int]) -> None:
        super().__init__()
        self.versions = versions

    def __setitem__(self, name: str, value: Tensor) -> None:
        if not value.is_inference():
            self.versions[name] = value._version
        super().__setitem__(name, value)


def layer_input(module: nn.Module, x: Tensor, name: str) -> Tensor:
    """What the layer `name` is given when `module` runs on the normalised input x (N, 3, H, W), and stops there.

    Raises:
        UnknownNameError: `name` is not a layer of `module`.
        UsageError: the layer does not run, or is not given one tensor.
    """
    given: list[tuple[object, ...]] = []

    def look(_: nn.Module, arguments: tuple[object, ...]) -> None:
        given.append(arguments)
        raise _AllSeen

    handle = _layer(module, name).register_forward_pre_hook(look)
    try:
        with suppress(_AllSeen):
            module(x)
    finally:
        handle.remove()
    if not given:
        raise UsageError(f"Layer '{name}' does not run in this network. Choose another layer.")
    if len(given[0]) != 1 or not isinstance(given[0][0], Tensor):
        raise UsageError(f"Layer '{name}' is not given one tensor. Choose a layer around it.")
    return given[0][0]


@contextmanager
def entered_at(module: nn.Module, name: str, given: Tensor) -> Iterator[None]:
    """A block in which the layer `name` takes `given` for its input, whatever comes.

    A pass of something small through `module` then is one of `given` through all that follows.
    """
    handle = _layer(module, name).register_forward_pre_hook(lambda *_: (given,))
    try:
        yield
    finally:
        handle.remove()


def _layer(module: nn.Module, name: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(module.named_modules())
    layers.pop("", None)
    if name not in layers:
        raise unknown_layer(name, layers)
    return layers[name]


@dataclass(frozen=True)
class LayerInfo:
    """One layer that gives maps.

    Attributes:
        name: as in `module.named_modules()`.
        channels: C of its output.
        stride: input pixels per map pixel, rounded to a power of two.
        shape: of its output for the probe, (N, C, H, W).
        activated: it can serve as a feature: an activation, or a block of layers that is not just pooling.
    """

    name: str
    channels: int
    stride: int
    shape: tuple[int, ...]
    activated: bool


def feature_layers(module: nn.Module, x: Tensor) -> list[LayerInfo]:
    """Layers that give square 4-D maps larger than one pixel for the square input x (N, 3, S, S), as they finish."""
    found: dict[str, LayerInfo] = {}
    pooled: list[Tensor] = []  # outputs that a block may only hand on; kept alive so that identity is certain
    handles = []

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        def look(_: nn.Module, __: object, output: object) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:
                return
            height, width = output.shape[2:]
            # Square and no larger than the input: a network of tokens (N, H, W, C) does not pass for one of maps.
            if height != width or not 1 < height <= x.shape[-1] or name in found:
                return
            if isinstance(layer, _POOLING):
                pooled.append(output)
            is_feature = _is_feature(layer) and not any(output is tensor for tensor in pooled)
            stride = 2 ** round(log2(x.shape[-1] / height))
            found[name] = LayerInfo(name, output.shape[1], stride, tuple(output.shape), is_feature)

        return layer.register_forward_hook(look)

    try:
        handles += [watch(name, layer) for name, layer in module.named_modules() if name]
        with torch.no_grad():
            module(x)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


_POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d, nn.FractionalMaxPool2d)
_NOT_ACTIVATIONS = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)
_STYLE_RESOLUTIONS = 5


def _is_feature(layer: nn.Module) -> bool:
    """Activations and blocks of layers; not single convolutions, norms, pools or dropouts."""
    if any(layer.children()):
        return True
    kind = type(layer)
    return kind.__module__ == nn.ReLU.__module__ and not issubclass(kind, _NOT_ACTIVATIONS)


def auto_layers(module: nn.Module, input_size: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Layers for style transfer with any convolutional network → (style layers, content layers).

    Style: at each of the first five resolutions the last block or activation, outermost first. Content: the one of
    these at stride 8, else 16, else the coarsest.

    Raises:
        UsageError: the network has no such layers, e.g. a vision transformer.
    """
    parameter = next(module.parameters(), None)
    probe = torch.zeros(1, 3, input_size, input_size, device=parameter.device if parameter is not None else "cpu")
    by_stride: dict[int, str] = {}
    for layer in feature_layers(module, probe):
        if layer.activated:
            best = by_stride.get(layer.stride)
            # Blocks finish after what they hold, so `<=` prefers the outer and among equals the later one.
            if best is None or layer.name.count(".") <= best.count("."):
                by_stride[layer.stride] = layer.name
    if len(by_stride) < 2:
        raise UsageError("This network has no feature maps at several resolutions; a convolutional network is needed.")
    strides = sorted(by_stride)[:_STYLE_RESOLUTIONS]
    content = next((stride for stride in (8, 16) if stride in strides), strides[-1])
    return tuple(by_stride[stride] for stride in strides), (by_stride[content],)
