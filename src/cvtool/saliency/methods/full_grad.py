"""FullGrad: the gradient on the pixels and on all biases; together they make up the whole score."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cvtool.errors import UsageError
from cvtool.saliency.layers import spatial_layers
from cvtool.saliency.question import Question
from cvtool.saliency.registry import Needs, saliency_method


@saliency_method(
    "full-grad", needs=Needs.convolution, complete=True, paper="Srinivas and Fleuret (2019), arXiv:1905.00780"
)
def full_grad(question: Question) -> Tensor:
    """|input × gradient| plus |bias × gradient| of every layer, each brought to [0, 1] and to the picture's size.

    A network whose activations are piecewise linear is, around one picture, linear in its input and biases: its score
    is exactly the sum of input × gradient and all bias × gradient. Where a ReLU6 is full its 6 is a bias, too; smooth
    activations (SiLU, GELU) get the one of their tangent. `completeness_error` tells how well the sum comes out.
    """
    module = question.model.module
    normalized = question.model.normalize(question.x).detach()
    if any(layer.prefix for layer in spatial_layers(module, normalized[:1])):
        raise UsageError(f"full-grad is for convolutional networks, '{question.model.card.name}' has tokens.")
    normalized.requires_grad_()
    biased, score = _forward(question, normalized)
    gradients = torch.autograd.grad(score.sum(), [normalized, *(output for output, _ in biased)], allow_unused=True)
    terms = [normalized.detach() * gradients[0]]
    for (_, bias), gradient in zip(biased, gradients[1:], strict=True):
        if gradient is not None:
            terms.append(bias * gradient)
    total = torch.stack([term.flatten(1).sum(1) for term in terms]).sum(0)
    error = (total - score).abs() / score.abs().clamp_min(1e-6)
    question.notes["completeness_error"] = error.tolist()
    return torch.stack([_shown(term, question.x.shape[2:]) for term in terms if term.ndim == 4]).sum(0)


def _forward(question: Question, normalized: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """One pass → (output, what was added in it) of every layer, and the score."""
    biased: list[tuple[Tensor, Tensor]] = []
    given: dict[nn.Module, Tensor] = {}
    handles: list[RemovableHandle] = []

    def watch(layer: nn.Module) -> None:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            bias = _bias(layer, given.pop(layer, inputs[0]), output)
            if bias is None:
                return None
            biased.append((output, bias))
            return output.clone()  # what follows may work in place

        handles.append(layer.register_forward_hook(note))

    def watch_norm(norm: nn.Module, first_inside: nn.Module) -> None:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            bias = _bias(norm, inputs[0], inputs[0])
            if bias is not None:
                biased.append((inputs[0], bias))
            return (inputs[0].clone(), *inputs[1:])

        handles.append(first_inside.register_forward_pre_hook(note))

    def note_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        given[layer] = inputs[0]
        return (inputs[0].clone(), *inputs[1:])  # an in-place activation must not overwrite what it was given

    try:
        for layer in question.model.module.modules():
            if not any(layer.children()):
                if type(layer).__module__ == nn.ReLU.__module__:
                    handles.append(layer.register_forward_pre_hook(note_input))
                watch(layer)
            elif isinstance(layer, nn.BatchNorm2d):  # the activation inside, as in timm, is given what it adds to
                watch_norm(layer, next(layer.children()))
        with torch.enable_grad():
            logits = question.model.module(normalized).float().flatten(1)
    finally:
        for handle in handles:
            handle.remove()
    return biased, question.score(logits)


def _bias(layer: nn.Module, x: Tensor, output: Tensor) -> Tensor | None:
    """What a layer adds, broadcast to its output (N, C, …); None where it adds nothing."""
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        if layer.bias is None:
            return None
        shape = (-1, 1, 1) if isinstance(layer, nn.Conv2d) else (-1,)
        return layer.bias.view(shape).expand_as(output)
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
        scale = (layer.running_var + layer.eps).rsqrt() * (1 if layer.weight is None else layer.weight)
        shift = (0 if layer.bias is None else layer.bias) - layer.running_mean * scale
        return shift.view(-1, 1, 1).expand_as(output)
    return _tangent(layer, x) if _is_activation(layer) else None


def _tangent(layer: nn.Module, x: Tensor) -> Tensor:
    """y − x · dy/dx: where the tangent of an activation meets the axis."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        y = layer.forward(leaf.clone())
        (slope,) = torch.autograd.grad(y.sum(), leaf)
    bias: Tensor = (y - leaf * slope).detach()
    return bias


def _is_activation(layer: nn.Module) -> bool:
    """Whether a layer is an elementwise function with a tangent that may miss the origin."""
    not_elementwise = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.MultiheadAttention, nn.GLU)
    homogeneous = (nn.ReLU, nn.LeakyReLU, nn.PReLU)
    return type(layer).__module__ == nn.ReLU.__module__ and not isinstance(layer, not_elementwise + homogeneous)


def _shown(term: Tensor, size: torch.Size) -> Tensor:
    """(N, C, h, w) → (N, H, W): magnitudes, each picture's brought to [0, 1], enlarged, summed over the channels."""
    term = term.abs()
    low, high = term.amin((1, 2, 3), keepdim=True), term.amax((1, 2, 3), keepdim=True)
    term = (term - low) / (high - low).clamp_min(1e-12)
    enlarged = F.interpolate(term, size, mode="bilinear", align_corners=False)
    summed: Tensor = enlarged.sum(1)
    return summed
