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

    The content's weight is multiplied by (100 − s) / s: 9 at 10, 1 at 50, 0 at 100. Deep features do not see fine
    texture, so below 50 the pixels join in with `FIDELITY` (1 − s/50)². Everything is divided by the total, so that
    the length of a gradient does not depend on the strength.
    """
    content = (100 - strength) / strength
    fidelity = FIDELITY * max(0.0, 1 - strength / 50) ** 2
    total = 1 + content + fidelity
    return Balance(1 / total, content / total, fidelity / total)


PICTURE = ""
"""Where an extractor puts the picture itself; no layer has this name."""


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
        """Picture (1, 3, H, W) in [0, 1] → {layer: (1, C, h, w)}, and the picture itself as `PICTURE`."""
        padded = self._continue(picture) if self.margin else picture
        x = self.model.normalize(padded).contiguous(memory_format=torch.channels_last)
        with autocast(picture.device, self.precision):
            maps = features(self.module, x, self.layers)
        if self.margin:
            maps = {name: self._crop(item, picture, padded) for name, item in maps.items()}
        return {**maps, PICTURE: picture}

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
        self.extract = extractor
        self.balance = balance(strength)
        self.tv = tv
        self.content = content
        with torch.no_grad():
            maps = extractor(content)
            self.terms = TERMS[recipe.terms](recipe, style_layers, content_layers, maps)
            several = [self.terms.statistics(extractor(style)) for style in styles]
            self.target = [_mix(per_layer, mix) for per_layer in zip(*several, strict=True)]
            # What the style term is for the content itself: brings the pixels' term to the recipe's own units.
            self.unit = float(self.terms.style(maps, self.target))

    def __call__(self, picture: Tensor) -> Mapping[str, Tensor]:
        """Picture (1, 3, H, W) → ``loss`` and its parts ``content``, ``style``, ``tv`` as they enter at strength 50."""
        maps = self.extract(picture)
        style = self.terms.style(maps, self.target)
        content = self.terms.content(maps)
        variation = self.tv * self.terms.variation(picture) if self.tv else picture.new_zeros(())
        loss = self.balance.style * (style + variation) + self.balance.content * content
        if self.balance.fidelity:
            pixels = losses.feature_distance(picture, self.content)
            loss = loss + self.balance.fidelity * self.unit * pixels
        return {"loss": loss, "content": content, "style": style, "tv": variation}


Maps = Mapping[str, Tensor]
Statistic = tuple[Tensor, ...]


class Terms:
    """What a recipe compares. Subclasses say how; layers and weights are the recipe's.

    Args:
        recipe: the weights.
        style_layers, content_layers: where to look.
        content: maps of the content, the target of `content`.
    """

    def __init__(
        self, recipe: RecipeSpec, style_layers: Sequence[str], content_layers: Sequence[str], content: Maps
    ) -> None:
        self.recipe = recipe
        self.style_layers = style_layers
        self.content_layers = content_layers
        self.weights = recipe.weights_for(len(style_layers))
        self.content_maps = {layer: content[layer].float().clone() for layer in content_layers}

    def statistics(self, maps: Maps) -> list[Statistic]:
        """For each style layer what is compared; linear in the share of pictures, so that styles can be mixed."""
        return [(self.gram(layer, maps[layer].float()),) for layer in self.style_layers]

    def style(self, maps: Maps, target: Sequence[Statistic]) -> Tensor:
        """How far the statistics of `maps` are from `target`, summed over layers."""
        terms = [
            weight * self.gram_error(statistic[0] - wanted[0])
            for weight, statistic, wanted in zip(self.weights, self.statistics(maps), target, strict=True)
        ]
        return torch.stack(terms).sum()

    def content(self, maps: Maps) -> Tensor:
        """How far `maps` are from the content's, averaged over layers."""
        return torch.stack([self.content_term(layer, maps[layer]) for layer in self.content_layers]).mean()

    def gram(self, layer: str, maps: Tensor) -> Tensor:
        """Gram matrix (1, C, C), in the recipe's normalisation."""
        return losses.gram_matrix(maps)

    def gram_error(self, difference: Tensor) -> Tensor:
        """One number for a difference of Gram matrices."""
        return difference.square().sum()

    def content_term(self, layer: str, maps: Tensor) -> Tensor:
        """One layer's content loss."""
        return losses.content_loss(maps.float(), self.content_maps[layer], self.recipe.content_weight)

    def variation(self, picture: Tensor) -> Tensor:
        """Total variation."""
        return losses.tv_loss(picture)


class GatysTerms(Terms):
    """Means of squared errors of features and of Gram matrices per position, on a normalised network.

    Differs from Gatys et al. (2016): they scale every filter so that its mean activation over ImageNet is 1; here
    every layer is scaled so that its mean activation over the content is 1, which any network allows.
    """

    def __init__(
        self, recipe: RecipeSpec, style_layers: Sequence[str], content_layers: Sequence[str], content: Maps
    ) -> None:
        super().__init__(recipe, style_layers, content_layers, content)
        self.scale = {layer: 1 / float(maps.float().mean().abs().clamp_min(1e-6)) for layer, maps in content.items()}

    def gram(self, layer: str, maps: Tensor) -> Tensor:
        """Per position."""
        gram = losses.gram_matrix(maps * self.scale[layer], normalize=False)
        return gram / (maps.shape[2] * maps.shape[3])

    def gram_error(self, difference: Tensor) -> Tensor:
        """Mean square."""
        return difference.square().mean()

    def content_term(self, layer: str, maps: Tensor) -> Tensor:
        """Mean square."""
        error = (maps.float() - self.content_maps[layer]) * self.scale[layer]
        return self.recipe.content_weight * error.square().mean()


class MomentTerms(Terms):
    """Ours: mean and covariance of features and colours; features and self-similarity of the content. All relative.

    Colours are one layer more: a network that was trained to see through the lighting hardly feels them itself.
    """

    def __init__(
        self, recipe: RecipeSpec, style_layers: Sequence[str], content_layers: Sequence[str], content: Maps
    ) -> None:
        super().__init__(recipe, style_layers, content_layers, content)
        self.structures = {layer: losses.self_similarity(maps) for layer, maps in self.content_maps.items()}

    def statistics(self, maps: Maps) -> list[Statistic]:
        """Raw moments of the layers, then those of the colours."""
        return [losses.moments(maps[layer]) for layer in (*self.style_layers, PICTURE)]

    def style(self, maps: Maps, target: Sequence[Statistic]) -> Tensor:
        """Relative distances."""
        terms = [
            weight * losses.moment_distance(losses.Moments(*moments), losses.Moments(*wanted))
            for weight, moments, wanted in zip(
                (*self.weights, self.recipe.palette_weight), self.statistics(maps), target, strict=True
            )
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


def _mix(several: Sequence[Statistic], weights: Sequence[float]) -> Statistic:
    """The target of one layer for several styles: raw moments and Gram matrices per position blend linearly."""
    return tuple(
        torch.stack([weight * part for part, weight in zip(parts, weights, strict=True)]).sum(0)
        for parts in zip(*several, strict=True)
    )
