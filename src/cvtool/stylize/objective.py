"""From a recipe, a network and pictures to the loss that is followed: targets once for each scale, then `loss(x)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.stylize import losses
from cvtool.stylize.extractor import EVERYWHERE, Extractor, Guides, Seen
from cvtool.stylize.losses import Moments
from cvtool.stylize.recipes import RecipeSpec

Pixels = NDArray[np.float32]
Plane = NDArray[np.float32]

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

    The content's weight is multiplied by (100 − s) / s: 9 at 10, 1 at 50, 0 at 100. Deep features do not see fine
    texture, so below 50 the pixels join in with `FIDELITY` (1 − s/50)². Everything is divided by the total, so that
    the length of a gradient does not depend on the strength.
    """
    content = (100 - strength) / strength
    fidelity = FIDELITY * max(0.0, 1 - strength / 50) ** 2
    total = 1 + content + fidelity
    return Balance(1 / total, content / total, fidelity / total)


@dataclass(frozen=True)
class Region:
    """Part of the content that is painted with (part of) a style.

    Attributes:
        content: how much each pixel of the content belongs to it, (H, W) float32 in [0, 1], of any size.
        style: index of the style it is painted with; None for the mixture of all.
        style_part: how much each pixel of that style counts, (h, w) float32 in [0, 1]; None for all of it.
    """

    content: Plane
    style: int | None = None
    style_part: Plane | None = None


@dataclass(frozen=True)
class Anchor:
    """A picture that the result is held to.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1].
        weight: (H, W) float32 ≥ 0: of each pixel's squared error.
    """

    pixels: Pixels
    weight: Plane


class Objective:
    """The loss of one scale: called with the picture.

    Args:
        recipe: which terms, with which weights.
        extractor: sees the layers of both kinds.
        content: (1, 3, H, W), at the size of this scale.
        targets: for each region the moments of each style layer, then those of the colours.
        guides: where the regions are, (1, 1, H, W) each; None for the whole picture. What is in no region stays as it
            is in `content`.
        strength: (0, 100].
        tv: weight of total variation.
        anchor: a picture (1, 3, H, W) that the result is held to, and the weights (1, 1, H, W) of its pixels.
    """

    def __init__(
        self,
        recipe: RecipeSpec,
        extractor: Extractor,
        *,
        content: Tensor,
        targets: Sequence[Sequence[Moments]],
        guides: Guides = EVERYWHERE,
        strength: float,
        tv: float,
        anchor: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.extract = extractor
        self.guides = guides
        self.targets = targets
        self.balance = balance(strength)
        self.tv = tv
        self.anchor = anchor
        painted = [guide for guide in guides if guide is not None]
        self.painted = torch.stack(painted).sum(0).clamp(max=1) if painted else None
        areas = [1.0 if guide is None else float(guide.mean()) for guide in guides]
        self.areas = [area / max(sum(areas), 1e-12) for area in areas]
        self.content = content
        with torch.no_grad():
            seen = extractor(content, guides)
            self.terms = TERMS[recipe.terms](recipe, extractor, seen, self.areas)
            # What the style term is for the content itself: brings the pixels' term to the recipe's own units.
            self.unit = float(self._style(seen))

    def __call__(self, picture: Tensor) -> Mapping[str, Tensor]:
        """Picture (1, 3, H, W) → ``loss`` and its parts ``content``, ``style``, ``tv`` as they enter at strength 50."""
        shown = picture if self.painted is None else torch.lerp(self.content, picture, self.painted)
        seen = self.extract(shown, self.guides)
        style = self._style(seen)
        content = self.terms.content(seen.maps)
        variation = self.tv * self.terms.variation(shown) if self.tv else picture.new_zeros(())
        loss = self.balance.style * (style + variation) + self.balance.content * content
        if self.balance.fidelity:
            pixels = losses.feature_distance(shown, self.content)
            loss = loss + self.balance.fidelity * self.unit * pixels
        if self.anchor is not None:
            held, weight = self.anchor
            loss = loss + (weight * (shown - held).square()).mean()
        return {"loss": loss, "content": content, "style": style, "tv": variation}

    def _style(self, seen: Seen) -> Tensor:
        """Region by region; each counts by its area, so that every pixel is pulled alike."""
        each = [
            area * self.terms.style(moments, target)
            for moments, target, area in zip(seen.moments, self.targets, self.areas, strict=True)
        ]
        return torch.stack(each).sum()


class Terms:
    """What a recipe compares. Subclasses say how; layers and weights are the recipe's.

    Args:
        recipe: the weights.
        extractor: its layers.
        content: the content as it is seen, the target of `content`.
        areas: share of each region.
    """

    def __init__(self, recipe: RecipeSpec, extractor: Extractor, content: Seen, areas: Sequence[float]) -> None:
        self.recipe = recipe
        self.weights = recipe.weights_for(len(extractor.style_layers))
        self.content_maps = {layer: maps.float().clone() for layer, maps in content.maps.items()}

    def style(self, moments: Sequence[Moments], target: Sequence[Moments]) -> Tensor:
        """How far one region's moments are from `target`, summed over layers."""
        terms = [
            weight * self.gram_error(layer, seen.second - wanted.second)
            for layer, (weight, seen, wanted) in enumerate(zip(self.weights, moments, target, strict=False))
        ]  # the colours, which come last, have no weight here
        return torch.stack(terms).sum()

    def content(self, maps: Mapping[str, Tensor]) -> Tensor:
        """How far `maps` are from the content's, averaged over layers."""
        return torch.stack([self.content_term(layer, item) for layer, item in maps.items()]).mean()

    def gram_error(self, layer: int, difference: Tensor) -> Tensor:
        """One number for a difference of second moments (C, C), which are Gram matrices divided by H·W."""
        return (difference / len(difference)).square().sum()

    def content_term(self, layer: str, maps: Tensor) -> Tensor:
        """One layer's content loss."""
        return losses.content_loss(maps.float(), self.content_maps[layer], self.recipe.content_weight)

    def variation(self, picture: Tensor) -> Tensor:
        """Total variation."""
        return losses.tv_loss(picture)


class GatysTerms(Terms):
    """Means of squared errors of features and of Gram matrices per position, on a normalised network.

    Differs from Gatys et al. (2016): they scale every filter so that its mean activation over ImageNet is 1; here
    every layer is scaled so that its mean activation over the content, over the regions if there are some, is 1, which
    any network allows.
    """

    def __init__(self, recipe: RecipeSpec, extractor: Extractor, content: Seen, areas: Sequence[float]) -> None:
        super().__init__(recipe, extractor, content, areas)
        means = torch.tensor([[float(layer.mean.mean()) for layer in region] for region in content.moments])
        over_all = (torch.tensor(areas)[:, None] * means).sum(0)
        self.scales: list[float] = [1 / max(abs(mean), 1e-6) for mean in over_all.tolist()]
        self.map_scales = {n: 1 / float(m.mean().abs().clamp_min(1e-6)) for n, m in self.content_maps.items()}

    def gram_error(self, layer: int, difference: Tensor) -> Tensor:
        """Mean square."""
        return (difference * self.scales[layer] ** 2).square().mean()

    def content_term(self, layer: str, maps: Tensor) -> Tensor:
        """Mean square."""
        error = (maps.float() - self.content_maps[layer]) * self.map_scales[layer]
        return self.recipe.content_weight * error.square().mean()


class MomentTerms(Terms):
    """Ours: mean and covariance of features and colours; features and self-similarity of the content. All relative.

    Colours are one layer more: a network that was trained to see through the lighting hardly feels them itself.
    """

    def __init__(self, recipe: RecipeSpec, extractor: Extractor, content: Seen, areas: Sequence[float]) -> None:
        super().__init__(recipe, extractor, content, areas)
        self.structures = {layer: losses.self_similarity(maps) for layer, maps in self.content_maps.items()}

    def style(self, moments: Sequence[Moments], target: Sequence[Moments]) -> Tensor:
        """Relative distances of the layers, and of the colours."""
        weights = (*self.weights, self.recipe.palette_weight)
        terms = [
            weight * losses.moment_distance(seen, wanted)
            for weight, seen, wanted in zip(weights, moments, target, strict=True)
        ]
        return torch.stack(terms).sum()

    def content_term(self, layer: str, maps: Tensor) -> Tensor:
        """What is there, and what resembles what."""
        features_apart = losses.feature_distance(maps, self.content_maps[layer])
        structure_apart = losses.similarity_distance(losses.self_similarity(maps), self.structures[layer])
        return self.recipe.content_weight * features_apart + self.recipe.structure_weight * structure_apart

    def variation(self, picture: Tensor) -> Tensor:
        """Per value, so that a weight means the same at every size."""
        return losses.mean_variation(picture)


TERMS: dict[str, type[Terms]] = {"moments": MomentTerms, "gatys": GatysTerms, "cs231n": Terms}
"""The kinds of losses a recipe can name."""
