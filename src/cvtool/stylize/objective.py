"""From a recipe, a network and pictures to the loss that is followed: targets once for each scale, then `loss(x)`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cvtool.hooks import features
from cvtool.models.folding import fold_batch_norm
from cvtool.models.loader import Model
from cvtool.stylize import losses
from cvtool.stylize.recipes import RecipeSpec
from cvtool.tensors import autocast

FIDELITY = 0.5
"""Weight of the pixels themselves at strength 0, in units of the style distance; see `balance`."""


@dataclass(frozen=True)
class Balance:
    """What the content's terms count beside a style term of weight `style`."""

    style: float
    content: float
    fidelity: float


def balance(strength: float) -> Balance:
    """Strength in (0, 100] → weights; 50 is the recipe as published.

    The content's weight is multiplied by 4 (1 − s/100)²: 4 towards 0, 1 at 50, 0 at 100. Deep features do not see fine
    texture, so below 50 the pixels join in with `FIDELITY` (1 − s/50)². Everything is divided by the total, so that
    the length of a gradient does not depend on the strength.
    """
    content = 4 * (1 - strength / 100) ** 2
    fidelity = FIDELITY * max(0.0, 1 - strength / 50) ** 2
    total = 1 + content + fidelity
    return Balance(1 / total, content / total, fidelity / total)


class Extractor:
    """Feature maps of a picture at named layers, without the frame that zero padding would leave.

    The picture is continued by `margin` pixels on each side (mirrored, or repeated where it is too small for that),
    and that much is cut from the maps again.
    """

    def __init__(self, model: Model, layers: Sequence[str], margin: int, precision: str) -> None:
        self.model = model
        self.module = fold_batch_norm(model.module, model.card.input_size)
        self.layers = tuple(dict.fromkeys(layers))
        self.margin = margin
        self.precision = precision

    def __call__(self, picture: Tensor) -> dict[str, Tensor]:
        """Picture (1, 3, H, W) in [0, 1] → {layer: (1, C, h, w)}."""
        padded = self._continue(picture) if self.margin else picture
        x = self.model.normalize(padded).contiguous(memory_format=torch.channels_last)
        with autocast(picture.device, self.precision):
            maps = features(self.module, x, self.layers)
        if not self.margin:
            return maps
        return {name: self._crop(item, picture, padded) for name, item in maps.items()}

    def _continue(self, picture: Tensor) -> Tensor:
        m = self.margin
        height, width = picture.shape[2:]
        # Up to a multiple of the margin, so that every stride up to it divides the padded size without remainder.
        sides = (m, m + -width % m, m, m + -height % m)
        small = max(sides) >= min(height, width)
        return F.pad(picture, sides, mode="replicate" if small else "reflect")

    def _crop(self, maps: Tensor, picture: Tensor, padded: Tensor) -> Tensor:
        for dim in (2, 3):
            stride = padded.shape[dim] / maps.shape[dim]
            start = min(int(self.margin / stride), maps.shape[dim] - 1)
            stop = min(max(start + 1, math.ceil((self.margin + picture.shape[dim]) / stride)), maps.shape[dim])
            maps = maps.narrow(dim, start, stop - start)
        return maps


class Objective:
    """The loss of one scale: built from targets, called with the picture.

    Args:
        recipe: which terms, with which weights.
        extractor: must give at least the layers below.
        style_layers, content_layers: where the terms look.
        content: (1, 3, H, W), at the size of this scale.
        styles: pictures (1, 3, h, w), already at the size their strokes shall have.
        mix: one weight per style, sum 1.
        strength: (0, 100].
        tv: weight of total variation.
    """

    def __init__(
        self,
        recipe: RecipeSpec,
        extractor: Extractor,
        *,
        style_layers: Sequence[str],
        content_layers: Sequence[str],
        content: Tensor,
        styles: Sequence[Tensor],
        mix: Sequence[float],
        strength: float,
        tv: float,
    ) -> None:
        self.recipe = recipe
        self.extract = extractor
        self.style_layers = style_layers
        self.content_layers = content_layers
        self.balance = balance(strength)
        self.tv = tv
        self.content = content
        self.weights = recipe.style_weights or (1 / len(style_layers),) * len(style_layers)
        with torch.no_grad():
            statistics = [self._statistics(extractor(style)) for style in styles]
            self.style_targets = [_mix(per_layer, mix) for per_layer in zip(*statistics, strict=True)]
            maps = extractor(content)
            self.content_targets = [maps[layer].float().clone() for layer in content_layers]
            self.structures = [losses.self_similarity(target) for target in self.content_targets]
            # What the style term is for the content itself: brings the pixels' term to the recipe's own units.
            self.unit = float(self._style(maps))

    def _statistics(self, maps: Mapping[str, Tensor]) -> list[losses.Moments | Tensor]:
        of = losses.moments if self.recipe.statistic == "moments" else self._gram
        return [of(maps[layer]) for layer in self.style_layers]

    def _gram(self, maps: Tensor) -> Tensor:
        """Gatys leaves Gram matrices as sums; styles of another size than the content need them per position."""
        gram = losses.gram_matrix(maps.float(), self.recipe.normalize_gram)
        return gram if self.recipe.normalize_gram else gram / (maps.shape[2] * maps.shape[3])

    def __call__(self, picture: Tensor) -> Mapping[str, Tensor]:
        """Picture (1, 3, H, W) → ``loss`` and its parts ``content``, ``style``, ``tv`` as they enter at strength 50."""
        maps = self.extract(picture)
        style = self._style(maps)
        content = self._content(maps)
        variation = self._variation(picture)
        loss = self.balance.style * (style + variation) + self.balance.content * content
        if self.balance.fidelity:
            pixels = losses.feature_distance(picture, self.content)
            loss = loss + self.balance.fidelity * self.unit * pixels
        return {"loss": loss, "content": content, "style": style, "tv": variation}

    def _style(self, maps: Mapping[str, Tensor]) -> Tensor:
        terms = []
        for layer, target, weight in zip(self.style_layers, self.style_targets, self.weights, strict=True):
            if isinstance(target, losses.Moments):
                terms.append(weight * losses.moment_distance(losses.moments(maps[layer]), target))
            else:
                # Gatys: 1 / (4 N²) on Grams per position is their 1 / (4 N² M²) on sums.
                scale = 1.0 if self.recipe.normalize_gram else 1 / (4 * target.shape[1] ** 2)
                terms.append(weight * scale * (self._gram(maps[layer]) - target).square().sum())
        return torch.stack(terms).sum()

    def _content(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Mean over the content layers."""
        recipe = self.recipe
        terms = []
        for layer, target, structure in zip(self.content_layers, self.content_targets, self.structures, strict=True):
            if recipe.statistic == "moments":
                terms.append(recipe.content_weight * losses.feature_distance(maps[layer], target))
                similarity = losses.self_similarity(maps[layer])
                terms.append(recipe.structure_weight * losses.similarity_distance(similarity, structure))
            else:
                half = 1.0 if recipe.normalize_gram else 0.5  # Gatys has ½ Σ, the course has Σ
                terms.append(losses.content_loss(maps[layer].float(), target, half * recipe.content_weight))
        return torch.stack(terms).sum() / len(self.content_layers)

    def _variation(self, picture: Tensor) -> Tensor:
        if not self.tv:
            return picture.new_zeros(())
        if self.recipe.statistic == "moments":
            return self.tv * losses.mean_variation(picture)
        return losses.tv_loss(picture, self.tv)


def _mix(several: Sequence[losses.Moments | Tensor], weights: Sequence[float]) -> losses.Moments | Tensor:
    """The target of one layer for several styles: raw moments and Gram matrices per position both blend linearly."""
    if isinstance(several[0], losses.Moments):
        return losses.blend([item for item in several if isinstance(item, losses.Moments)], weights)
    grams = [weight * item for item, weight in zip(several, weights, strict=True) if isinstance(item, Tensor)]
    return torch.stack(grams).sum(0)
