"""Whether a map can be trusted: what happens to the score, to another seed, and to a network that forgot everything."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cvtool.annotations import LabelledBox
from cvtool.models.framing import as_it_is
from cvtool.models.loader import Model
from cvtool.saliency.localization import localization
from cvtool.saliency.methods import METHODS
from cvtool.saliency.options import SaliencyOptions
from cvtool.saliency.question import Question, hidden_by_blur
from cvtool.saliency.road import road
from cvtool.saliency.service import Explainer, Explanation, explain_framed
from cvtool.similarity import ssim
from cvtool.tensors import seeded, to_tensor

Map = NDArray[np.float32]

STEPS = 50
SAME = 0.5
"""Rank correlation from which the map of a shuffled network counts as the same map."""


@dataclass(frozen=True)
class Evaluation:
    """Measures of one map.

    Attributes:
        insertion_auc: mean probability while the picture is uncovered, most salient pixels first; higher is better.
        deletion_auc: mean probability while it is covered in that order; lower is better.
        road_morf: mean probability while its pixels are filled in from around, most salient first; lower is better.
        road_lerf: the same, least salient first; higher is better.
        stability: rank correlation with the map of another seed; 1 for methods that draw nothing.
        sanity_correlation, sanity_ssim: rank correlation and structural similarity of the map's magnitudes with those
            of the network with shuffled weights; lower is better.
        completeness_error: relative; None where the method promises none.
        pointing, energy_inside, box_area: see `Localization`; None without boxes.
    """

    insertion_auc: float
    deletion_auc: float
    road_morf: float
    road_lerf: float
    stability: float
    sanity_correlation: float
    sanity_ssim: float
    completeness_error: float | None
    pointing: float | None = None
    energy_inside: float | None = None
    box_area: float | None = None

    @property
    def score(self) -> float:
        """Insertion − deletion: higher is better, 0 is what a random order has."""
        return self.insertion_auc - self.deletion_auc

    @property
    def verdict(self) -> str:
        """What the shuffled network says about the map, in words."""
        return verdict(self.sanity_correlation)


def verdict(sanity_correlation: float) -> str:
    """What a rank correlation with the map of the shuffled network says, in words."""
    if sanity_correlation > SAME:
        return "follows the edges of the picture, not the model"
    return "depends on what the model has learned"


def evaluate(
    explanation: Explanation,
    explainer: Explainer,
    forgetful: Explainer,
    boxes: Sequence[LabelledBox] = (),
    *,
    stability: bool = True,
) -> Evaluation:
    """Measure one map.

    Args:
        explanation: whose map.
        explainer: that made it.
        forgetful: the same network `shuffled`.
        boxes: of the target's objects, if known.
        stability: make the map of another seed too; else it is NaN for methods that draw.
    """
    insertion, deletion = insertion_and_deletion(explanation, explainer.model)
    morf, lerf = road(_question(explanation, explainer.model), explanation.seen_map)
    options = explanation.options
    same = 1.0
    if METHODS[explanation.method].sampled:
        same = math.nan
        if stability:
            other = _again(explanation, explainer.model, replace(options, seed=options.seed + 1))
            same = rank_correlation(explanation.seen_map, other)
    learned, random = np.abs(explanation.seen_map), np.abs(_again(explanation, forgetful.model, options))
    return Evaluation(
        insertion,
        deletion,
        morf,
        lerf,
        same,
        rank_correlation(learned, random),
        similarity(learned, random),
        explanation.facts.get("completeness_error"),
        **(asdict(localization(explanation.map, boxes)) if boxes else {}),
    )


def _again(explanation: Explanation, model: Model, options: SaliencyOptions) -> Map:
    """The map of the same question to another network or with other options."""
    contrast = None if explanation.contrast is None else explanation.contrast.index
    job = (explanation.seen, as_it_is(explanation.seen))
    (found,) = explain_framed([job], model, options, explanation.target.index, contrast)
    return found.seen_map


def insertion_and_deletion(explanation: Explanation, model: Model) -> tuple[float, float]:
    """Areas under the two curves of Petsiuk et al. (2018), each in [0, 1].

    Insertion uncovers a blurred picture; deletion covers it with the network's mean colour.
    """
    question = _question(explanation, model)
    x = question.x
    order = np.argsort(-explanation.seen_map, axis=None, kind="stable")
    insertion = curve(question, hidden_by_blur(x), x, order, STEPS)
    deletion = curve(question, x, question.grey().expand_as(x), order, STEPS)
    return area(insertion), area(deletion)


def _question(explanation: Explanation, model: Model) -> Question:
    """How probable is the explained class?"""
    target = torch.tensor([explanation.target.index], device=model.device)
    return Question(model, to_tensor(explanation.seen, model.device), target, None, explanation.options)


def curve(question: Question, start: Tensor, end: Tensor, order: NDArray[np.intp], steps: int) -> Map:
    """Probabilities (steps + 1,) of the target on the way from `start` to `end` (1, 3, H, W), pixels in `order`."""
    rank = torch.empty(order.size, dtype=torch.long)
    rank[torch.from_numpy(order.copy())] = torch.arange(order.size)
    rank = rank.view(1, 1, *start.shape[2:]).to(start.device)
    found = []
    done = 0
    for count in question.rounds(steps + 1, "insertion and deletion"):
        changed = torch.arange(done, done + count, device=start.device).view(-1, 1, 1, 1) * order.size / steps
        found.append(question.probabilities(torch.where(rank < changed, end, start)).cpu())
        done += count
    return torch.cat(found).numpy()


def area(values: Map) -> float:
    """The area under a curve over [0, 1], by the trapezoid rule."""
    return float((values[:-1] + values[1:]).mean() / 2)


def shuffled(model: Model, seed: int = 0) -> Model:
    """A copy of a network in which every layer's weights are shuffled among themselves.

    The model-randomisation test of Adebayo et al. (2018), arXiv:1810.03292, all layers at once. Differs: shuffled
    instead of drawn anew, so that the scale of all activations, and with it the network's arithmetic, stays sane.
    """
    module = copy.deepcopy(model.module)
    generator = seeded(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear, nn.MultiheadAttention, nn.BatchNorm2d, nn.LayerNorm)):
                for parameter in layer.parameters(recurse=False):
                    order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                    parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return replace(model, module=module)


def rank_correlation(one: Map, other: Map) -> float:
    """Spearman's rank correlation; 0 where a map is flat."""
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(one).ravel(), rankdata(other).ravel()])
    return float(np.corrcoef(ranks)[0, 1]) if (ranks.std(1) > 0).all() else 0.0


def similarity(one: Map, other: Map) -> float:
    """Structural similarity of two maps (h, w), each brought to [0, 1]."""

    def unit(values: Map) -> Map:
        low, high = float(values.min()), float(values.max())
        return ((values - low) / max(high - low, 1e-12)).astype(np.float32)

    return ssim(unit(one), unit(other))
