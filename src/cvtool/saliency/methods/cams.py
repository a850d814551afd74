"""Class activation maps: the activations of a late layer, weighed by what they mean to the score."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.saliency.layers import Spatial, as_maps, choose_layer, cut_at
from cvtool.saliency.methods.rectified import guided_backprop
from cvtool.saliency.options import Reduce
from cvtool.saliency.question import Question, in_rounds
from cvtool.saliency.registry import Needs, saliency_method

EPSILON = 1e-6


@saliency_method("grad-cam", needs=Needs.maps, uses=["layer"], paper="Selvaraju et al. (2017), arXiv:1610.02391")
def grad_cam(question: Question) -> Tensor:
    """Channels weighed by the mean of their gradient; what speaks for the class."""
    activations, gradients = activations_and_gradients(question)
    return as_picture(question, _weighed(activations, gradients.mean((2, 3), keepdim=True)))


@saliency_method("grad-cam++", needs=Needs.maps, uses=["layer"], paper="Chattopadhyay et al. (2018), arXiv:1710.11063")
def grad_cam_plus_plus(question: Question) -> Tensor:
    """Channels weighed by their positive gradients, each place by its share, so that several objects count alike.

    Differs: the paper explains exp(score), which multiplies all weights of a picture with the same number.
    """
    activations, gradients = activations_and_gradients(question)
    # g² / (2 g² + Σ A · g³) without the g², which would vanish beside any number that guards the division.
    below = 2 + activations.sum((2, 3), keepdim=True) * gradients
    share = torch.where(below.abs() > EPSILON, 1 / below, 0)
    weights = (share * gradients.clamp_min(0)).sum((2, 3), keepdim=True)
    return as_picture(question, _weighed(activations, weights))


@saliency_method("layer-cam", needs=Needs.maps, uses=["layer"], paper="Jiang et al. (2021), LayerCAM, IEEE TIP 30")
def layer_cam(question: Question) -> Tensor:
    """Every place of every channel weighed by its own positive gradient: sharp also at early layers."""
    activations, gradients = activations_and_gradients(question)
    return as_picture(question, _weighed(activations, gradients.clamp_min(0)))


@saliency_method(
    "score-cam",
    needs=Needs.maps,
    slow=True,
    contrasts=False,
    uses=["layer"],
    paper="Wang et al. (2020), arXiv:1910.01279",
)
def score_cam(question: Question) -> Tensor:
    """Channels weighed by the score that the picture keeps when only what they light up is shown.

    The weights are a softmax over the channels, as in the paper's algorithm 1; the authors' code weighs by the class's
    probability. What a channel hides is replaced by the network's mean colour.
    """
    activations = _activations(question)
    masks = F.interpolate(activations, question.x.shape[2:], mode="bilinear", align_corners=False)
    low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
    masks = (masks - low) / (high - low).clamp_min(EPSILON)
    grey = question.grey()
    scores = []
    done = 0
    for count in question.rounds(masks.shape[1], "channels"):
        shown = masks[:, done : done + count].transpose(0, 1)[:, :, None]
        copies = grey + shown * (question.x - grey)
        scores.append(in_rounds(question.scores(copies.flatten(0, 1)), count))
        done += count
    weights = torch.cat(scores).softmax(0).T
    return as_picture(question, _weighed(activations, weights[:, :, None, None]))


@saliency_method(
    "guided-grad-cam",
    needs=Needs.relu,
    reduce=Reduce.max,
    uses=["layer"],
    paper="Selvaraju et al. (2017), arXiv:1610.02391",
)
def guided_grad_cam(question: Question) -> Tensor:
    """Guided backpropagation where Grad-CAM looks."""
    return guided_backprop(question) * grad_cam(question)[:, None]


def activations_and_gradients(question: Question) -> tuple[Tensor, Tensor]:
    """A = what the layer gives and ∂ score / ∂ A, both (N, C, h, w)."""
    layer = _layer(question)
    with torch.enable_grad(), cut_at(question.model.module, layer.name) as leaves:
        score = question.score(question.logits(question.x))
        (gradient,) = torch.autograd.grad(score.sum(), leaves[0])
    return as_maps(leaves[0].detach(), layer).float(), as_maps(gradient, layer).float()


def as_picture(question: Question, maps: Tensor) -> Tensor:
    """(N, h, w) → (N, H, W) of the network's input, bilinear."""
    return F.interpolate(maps[:, None], question.x.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def _weighed(activations: Tensor, weights: Tensor) -> Tensor:
    return (activations * weights).sum(1).clamp_min(0)


def _layer(question: Question) -> Spatial:
    model = question.model
    layer = choose_layer(model.module, model.normalize(question.x[:1]), question.options.layer)
    question.layers.append(layer.name)
    return layer


def _activations(question: Question) -> Tensor:
    layer = _layer(question)
    with torch.no_grad(), cut_at(question.model.module, layer.name) as leaves:
        question.logits(question.x)
    return as_maps(leaves[0].detach(), layer).float()
