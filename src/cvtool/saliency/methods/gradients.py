"""The gradient of the score on the pixels, plain and averaged over noisy copies of the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from cvtool.saliency.options import Reduce
from cvtool.saliency.question import Question, in_rounds
from cvtool.saliency.registry import Needs, saliency_method

SAMPLES = 50
"""Noisy copies unless told otherwise: the map's rank correlation with that of 400 copies is about .98."""
NOISE = ("samples", "noise")
"""Options of all that average over noisy copies."""


@saliency_method(
    "gradient", needs=Needs.gradient, reduce=Reduce.max, paper="Simonyan, Vedaldi, Zisserman (2014), arXiv:1312.6034"
)
def gradient(question: Question) -> Tensor:
    """∂ logit / ∂ pixel: what a small change of each pixel does to the score."""
    return question.gradients(question.x)


@saliency_method(
    "gradient-x-input", needs=Needs.gradient, reduce=Reduce.sum, paper="Shrikumar et al. (2016), arXiv:1605.01713"
)
def gradient_x_input(question: Question) -> Tensor:
    """Gradient times pixel: the share of the score that a linear network would owe to each pixel."""
    return question.x * question.gradients(question.x)


@saliency_method(
    "smoothgrad",
    needs=Needs.gradient,
    reduce=Reduce.max,
    sampled=True,
    uses=NOISE,
    paper="Smilkov et al. (2017), arXiv:1706.03825",
)
def smoothgrad(question: Question) -> Tensor:
    """The mean of the gradients at noisy copies of the picture."""
    return noisy_moments(question)[0]


@saliency_method(
    "smoothgrad-squared",
    needs=Needs.gradient,
    reduce=Reduce.max,
    sampled=True,
    uses=NOISE,
    paper="Hooker et al. (2019), arXiv:1806.10758",
)
def smoothgrad_squared(question: Question) -> Tensor:
    """The mean of the squared gradients at noisy copies."""
    return noisy_moments(question)[1]


@saliency_method(
    "vargrad",
    needs=Needs.gradient,
    reduce=Reduce.max,
    sampled=True,
    uses=NOISE,
    paper="Adebayo et al. (2018), arXiv:1810.03307",
)
def vargrad(question: Question) -> Tensor:
    """The variance of the gradients at noisy copies (divided by n, as captum does)."""
    mean, square = noisy_moments(question)
    return (square - mean**2).clamp_min(0)


def noisy_moments(question: Question) -> tuple[Tensor, Tensor]:
    """Mean and mean square (N, 3, H, W) of the gradients at noisy copies of the pictures.

    The noise has a deviation of `options.noise` times the range of each picture. All pictures get the same noise, drawn
    one copy after the other: so neither the size of the batch nor the other pictures in it change a map.
    """
    x, total = question.x, question.options.samples or SAMPLES
    deviation = question.options.noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    generator = question.random()
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    for count in question.rounds(total, "noisy copies"):
        drawn = [torch.randn(x.shape[1:], generator=generator) for _ in range(count)]
        # From pinned memory nobody waits for the transfer: the next noise is drawn while a GPU computes.
        noise = torch.stack(drawn, out=torch.empty(count, *x.shape[1:], pin_memory=x.is_cuda))
        copies = x + deviation * noise.to(x.device, non_blocking=x.is_cuda)[:, None]
        gradients = in_rounds(question.gradients(copies.flatten(0, 1)), count)
        mean += gradients.sum(0) / total
        square += gradients.square().sum(0) / total
    return mean, square
