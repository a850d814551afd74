"""The two architectures whose weights come with the install, written so that nothing slow need be imported.

Layer names follow timm for EfficientNet-Lite and the style-transfer papers for VGG-19; activations are modules of their
own and not in-place, and every convolution obeys its `padding_mode`, so a caller may exchange either.
"""

from __future__ import annotations

from collections import OrderedDict
from math import ceil

import torch.nn.functional as F
from torch import Tensor, nn

VGG19_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and number of convolutions of each block."""


def vgg19_features() -> nn.Sequential:
    """VGG-19 without its classifier: (N, 3, H, W) → (N, 512, H/32, W/32).

    Layers are named ``conv1_1``, ``relu1_1``, … ``pool1``, … ``relu5_4``, ``pool5``.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for block, (width, convolutions) in enumerate(VGG19_BLOCKS, start=1):
        for index in range(1, convolutions + 1):
            layers[f"conv{block}_{index}"] = nn.Conv2d(channels, width, kernel_size=3, padding=1)
            layers[f"relu{block}_{index}"] = nn.ReLU()
            channels = width
        layers[f"pool{block}"] = nn.MaxPool2d(kernel_size=2, stride=2)
    return nn.Sequential(layers)


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME" does: output side = ceil(side / stride), extra rows at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, ⌈H/stride⌉, ⌈W/stride⌉)."""
        top, bottom = _same_padding(x.shape[-2], self.kernel_size[0], self.stride[0])
        left, right = _same_padding(x.shape[-1], self.kernel_size[1], self.stride[1])
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        x = F.pad(x, (left, right, top, bottom), mode=mode)
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class NormAct(nn.BatchNorm2d):
    """Batch normalisation followed by ReLU6, one layer as in timm: its output is the activated map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W) in [0, 6]."""
        return self.act(super().forward(x))  # type: ignore[no-any-return]


def _conv(channels: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    # "SAME" at stride 1 is symmetric and does not depend on the side, so the plain and faster convolution serves.
    if stride == 1:
        return nn.Conv2d(channels, width, kernel, padding=kernel // 2, groups=groups, bias=False)
    return SameConv2d(channels, width, kernel, stride=stride, groups=groups, bias=False)


class SeparableBlock(nn.Module):
    """The first block: depthwise convolution, then a linear projection."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _conv(channels, channels, kernel, stride, groups=channels)
        self.bn1 = NormAct(channels)
        self.conv_pw = _conv(channels, width)
        self.bn2 = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H/stride, W/stride)."""
        x = self.bn1(self.conv_dw(x))
        return self.bn2(self.conv_pw(x))  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    """Expand by 1×1, filter depthwise, project linearly; add the input where the shape stays the same."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int = 6) -> None:
        super().__init__()
        hidden = channels * expansion
        self.residual = stride == 1 and channels == width
        self.conv_pw = _conv(channels, hidden)
        self.bn1 = NormAct(hidden)
        self.conv_dw = _conv(hidden, hidden, kernel, stride, groups=hidden)
        self.bn2 = NormAct(hidden)
        self.conv_pwl = _conv(hidden, width)
        self.bn3 = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H/stride, W/stride)."""
        y: Tensor = self.bn1(self.conv_pw(x))
        y = self.bn2(self.conv_dw(y))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.residual else y


_STAGES = (  # kernel, stride, channels, repeats of B0
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 2, 80, 3),
    (5, 1, 112, 3),
    (5, 2, 192, 4),
    (3, 1, 320, 1),
)
_SCALING = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))  # width and depth multipliers of lite0, lite1, lite2
_STEM, _HEAD = 32, 1280  # fixed in the Lite variants


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite 0, 1 or 2: (N, 3, H, W) → logits (N, 1000). Layer names are timm's."""

    def __init__(self, variant: int, classes: int = 1000) -> None:
        super().__init__()
        width_factor, depth_factor = _SCALING[variant]
        self.conv_stem = _conv(3, _STEM, kernel=3, stride=2)
        self.bn1 = NormAct(_STEM)
        stages: list[nn.Module] = []
        channels = _STEM
        for index, (kernel, stride, base, repeats) in enumerate(_STAGES):
            width = _round_channels(base * width_factor)
            # The Lite variants leave the depth of the first and last stage as it is.
            depth = repeats if index in (0, len(_STAGES) - 1) else ceil(repeats * depth_factor)
            blocks: list[nn.Module] = []
            for repeat in range(depth):
                step = stride if repeat == 0 else 1
                if index == 0:
                    blocks.append(SeparableBlock(channels, width, kernel, step))
                else:
                    blocks.append(InvertedResidual(channels, width, kernel, step))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _conv(channels, _HEAD)
        self.bn2 = NormAct(_HEAD)
        self.classifier = nn.Linear(_HEAD, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) normalised → logits (N, classes)."""
        x = self.bn1(self.conv_stem(x))
        x = self.blocks(x)
        x = self.bn2(self.conv_head(x))
        return self.classifier(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def _round_channels(channels: float, divisor: int = 8) -> int:
    """To the nearest multiple of 8, but never more than 10 % below `channels` (MobileNet's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
