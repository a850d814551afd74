"""Batch normalisation over the pictures of all processes.

`torch.nn.SyncBatchNorm` would do, but exists for GPUs only; this one computes the same, and on every device, so that
what is tested on CPUs is what runs on GPUs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cvtool.distributed import Group, summed


class SharedBatchNorm(_BatchNorm):
    """Stands in for a batch norm, with its very weights and statistics; in training it sees the whole batch."""

    def __init__(self, norm: _BatchNorm, group: Group) -> None:
        if norm.momentum is None or not norm.affine or not norm.track_running_stats:
            raise ValueError("expected a batch norm with weights and a running average")
        super().__init__(norm.num_features, norm.eps, norm.momentum, affine=False, track_running_stats=False)
        self.group = group
        self.weight, self.bias = norm.weight, norm.bias
        for name, value in norm.named_buffers(recurse=False):
            self.register_buffer(name, value)
        self.affine = self.track_running_stats = True

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (N, C, …), got shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, …) → the same, normalised."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        dims = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = x.numel() // self.num_features
        # Two passes, as the deviation from a mean that is not yet known would be lost in float32.
        both = summed(torch.cat([x.sum(dims), x.new_tensor([float(count)])]), self.group)
        everyone = both[-1].detach()
        centred = x - (both[:-1] / everyone).view(shape)
        variance = summed(centred.square().sum(dims), self.group) / everyone
        with torch.no_grad():
            self._remember(both[:-1] / everyone, variance * everyone / (everyone - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        momentum = self.momentum
        assert momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def share_batch_norms(module: nn.Module, group: Group) -> None:
    """Put a `SharedBatchNorm` into the place of every batch norm in a module, whose weights stay the same objects."""
    if group.size == 1:
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and not isinstance(child, SharedBatchNorm):
                setattr(parent, name, SharedBatchNorm(child, group))
