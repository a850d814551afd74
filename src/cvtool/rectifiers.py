"""Another way back through every ReLU and ReLU6 of a network, whether a module, a function or in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Rule = Callable[[Tensor, Tensor, float], Tensor]
"""(gradient of the output, input, ceiling: 6 or infinity) → gradient of the input."""


def guided(gradient: Tensor, x: Tensor, ceiling: float) -> Tensor:
    """Guided backpropagation: only positive gradients, and only where the activation passed unchanged."""
    return gradient.clamp_min(0) * ((x > 0) & (x < ceiling))


def deconv(gradient: Tensor, x: Tensor, ceiling: float) -> Tensor:
    """The deconvolutional network: all positive gradients, whatever the activation."""
    return gradient.clamp_min(0)


def redirected(gradient: Tensor, x: Tensor, ceiling: float) -> Tensor:
    """Lucid's redirected ReLU: where a whole example is cut off, pass what would bring it back.

    Examples (the first dimension) through which the true gradient is 0 get the gradient of the identity instead, but
    for what would push values further below 0 or above the ceiling. `gradient` is that of a loss that is followed down.
    """
    true = gradient * ((x >= 0) & (x <= ceiling))
    dead = true.flatten(1).abs().amax(1) == 0
    if not bool(dead.any()):  # nearly always; what follows is as long again
        return true
    worse = ((x < 0) & (gradient > 0)) | ((x > ceiling) & (gradient < 0))
    return torch.where(dead.view(-1, *[1] * (x.ndim - 1)), gradient.masked_fill(worse, 0), true)


class Rerouted(TorchFunctionMode):
    """In this block ReLUs go backwards by `rule`. Works on calls, not on modules: nothing needs to be put back.

    Attributes:
        count: how many calls were rerouted.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        self.count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for each of its functions that runs in the block."""
        kwargs = dict(kwargs or {})
        ceiling = _ceiling(func, args, kwargs)
        if ceiling is None:
            return func(*args, **kwargs)
        self.count += 1
        x = args[0] if args else kwargs["input"]
        return _Rectify.apply(x, ceiling, self.rule)


_RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_HARD = {F.hardtanh, F.hardtanh_}


def _ceiling(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float | None:
    """Above which value the function cuts off; None for one that is no ReLU."""
    if func in _RELUS:
        return math.inf
    if func is F.relu6:
        return 6.0
    if func in _HARD:
        low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
        high = args[2] if len(args) > 2 else kwargs.get("max_val", 1.0)
        return float(high) if low == 0 else None
    return None


class _Rectify(torch.autograd.Function):
    """min(max(x, 0), ceiling) with a backward pass of one's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float, rule: Rule) -> Tensor:
        """x of any shape."""
        ctx.save_for_backward(x)
        ctx.ceiling, ctx.rule = ceiling, rule
        return x.clamp(0, None if math.isinf(ceiling) else ceiling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The rule decides."""
        (x,) = ctx.saved_tensors
        return ctx.rule(gradients[0], x, ctx.ceiling), None, None
