"""Attention rollout: how much of each patch reaches the class token, layer after layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.errors import UsageError
from cvtool.saliency.layers import spatial_layers
from cvtool.saliency.methods.cams import as_picture
from cvtool.saliency.question import Question
from cvtool.saliency.registry import Needs, saliency_method


@saliency_method(
    "attention-rollout",
    needs=Needs.attention,
    contrasts=False,
    paper="Abnar and Zuidema (2020), arXiv:2005.00928",
)
def attention_rollout(question: Question) -> Tensor:
    """The product of all attention matrices, half of each the identity for the residual path. Knows no class."""
    x = question.model.normalize(question.x)
    tokens = spatial_layers(question.model.module, x[:1])
    with attentions() as found:
        question.scores(question.x)
    name = question.model.card.name
    if not found:
        raise UsageError(f"'{name}' has no attention to roll out. Try grad-cam or layer-cam.")
    if len({matrix.shape for matrix in found}) > 1 or len(found[0]) != len(x):
        raise UsageError(f"'{name}' attends in windows, which cannot be rolled out. Try grad-cam or layer-cam.")
    rolled = torch.eye(found[0].shape[-1], device=x.device)
    for matrix in found:
        mixed = (matrix.mean(1) + torch.eye(matrix.shape[-1], device=x.device)) / 2
        rolled = mixed @ rolled
    count = found[0].shape[-1]
    layer = next((item for item in tokens if item.height * item.width + item.prefix == count), None)
    if layer is None:
        raise UsageError(f"The tokens of '{name}' do not lie on a grid, so they cannot be shown.")
    # Without a class token the score rests on all places alike.
    row = rolled[:, 0] if layer.prefix else rolled.mean(1)
    return as_picture(question, row[:, layer.prefix :].reshape(-1, layer.height, layer.width))


@contextmanager
def attentions() -> Iterator[list[Tensor]]:
    """In this block the weights (N, heads, tokens, tokens) of every attention are kept, in the order they run."""
    found: list[Tensor] = []
    plain = F.scaled_dot_product_attention

    def keep(query: Tensor, key: Tensor, *args: Any, scale: float | None = None, **kwargs: Any) -> Tensor:
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        found.append((query @ key.transpose(-2, -1) * factor).softmax(-1).detach().float())
        return plain(query, key, *args, **(kwargs if scale is None else kwargs | {"scale": scale}))

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operation that hides its weights
    F.scaled_dot_product_attention = keep
    try:
        yield found
    finally:
        F.scaled_dot_product_attention = plain
        torch.backends.mha.set_fastpath_enabled(fast)
