"""Guided backpropagation and the deconvolutional network: other ways back through the ReLUs."""

from __future__ import annotations

from torch import Tensor

from cvtool.errors import UsageError
from cvtool.rectifiers import Rerouted, Rule, deconv, guided
from cvtool.saliency.options import Reduce
from cvtool.saliency.question import Question
from cvtool.saliency.registry import Needs, saliency_method


@saliency_method(
    "guided-backprop",
    needs=Needs.relu,
    reduce=Reduce.max,
    paper="Springenberg et al. (2015), arXiv:1412.6806",
)
def guided_backprop(question: Question) -> Tensor:
    """The gradient, where each ReLU lets only positive gradients of positive activations pass."""
    return _through(question, guided)


@saliency_method("deconvnet", needs=Needs.relu, reduce=Reduce.max, paper="Zeiler and Fergus (2014), arXiv:1311.2901")
def deconvnet(question: Question) -> Tensor:
    """The gradient, where each ReLU lets all positive gradients pass, whatever its activation."""
    return _through(question, deconv)


def _through(question: Question, rule: Rule) -> Tensor:
    with Rerouted(rule) as seen:
        attribution = question.gradients(question.x)
    if not seen.count:
        raise UsageError(
            f"'{question.model.card.name}' has no ReLU to go back through. Try gradient, smoothgrad or layer-cam."
        )
    return attribution
