"""What a painter is trained for: the optimiser's own loss, for a batch of pictures, styles and strengths."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cvtool.stylize import losses
from cvtool.stylize.instant.statistics import COLORS, LAYERS, Encoder, Maps, Statistics
from cvtool.stylize.objective import balance
from cvtool.stylize.options import Recipe
from cvtool.stylize.recipes import RECIPES

CONTENT_LAYERS = ("blocks.1", "blocks.2", "blocks.3")
RECIPE = RECIPES[Recipe.default]
OUTSIDE = 10.0
"""Weight of what leaves [0, 1]: it will be cut off, and must not be relied on."""


def painting_loss(
    encoder: Encoder, painted: Tensor, content: Maps, style: Statistics, strength: Tensor
) -> Mapping[str, Tensor]:
    """How far pictures are from what the optimiser would seek, mean over the batch.

    Args:
        encoder: looks at `painted`, with gradients.
        painted: (N, 3, H, W), about in [0, 1].
        content: maps of the contents by the encoder without margin.
        style: raw moments of the N styles.
        strength: (N,), each in (0, 100].

    Returns:
        ``loss``, and its parts as they enter at strength 50: ``style``, ``content``, ``tv``.
    """
    inside = painted.clamp(0, 1)
    # Split, not sliced: the gradient of each slice would be a whole batch of zeros.
    maps = {name: torch.split(each, 1) for name, each in encoder(inside, margin=0).items()}
    rows = [
        _one(
            {name: each[i] for name, each in maps.items()},
            {name: each[i : i + 1] for name, each in content.items()},
            {name: losses.Moments(each.mean[i], each.second[i]) for name, each in style.items()},
            float(strength[i]),
        )
        for i in range(len(painted))
    ]
    means = {name: torch.stack([row[name] for row in rows]).mean() for name in rows[0]}
    outside = (painted - inside).abs().mean()
    return {**means, "loss": means["loss"] + OUTSIDE * outside}


def _one(maps: Maps, content: Maps, style: Mapping[str, losses.Moments], strength: float) -> dict[str, Tensor]:
    """The terms of one picture: those of `cvtool.stylize.objective.MomentTerms`."""
    weights = dict.fromkeys(LAYERS, 1 / len(LAYERS)) | {COLORS: RECIPE.palette_weight}
    apart = {name: losses.moment_distance(losses.moments(maps[name]), style[name]) for name in weights}
    styles = torch.stack([weight * apart[name] for name, weight in weights.items()]).sum()
    contents = torch.stack([_content(maps[name], content[name]) for name in CONTENT_LAYERS]).mean()
    variation = RECIPE.tv * losses.mean_variation(maps[COLORS])
    share = balance(strength)
    loss = share.style * (styles + variation) + share.content * contents
    if share.fidelity:
        pixels = losses.feature_distance(maps[COLORS], content[COLORS])
        unit = torch.stack(
            [w * losses.moment_distance(losses.moments(content[n]), style[n]) for n, w in weights.items()]
        )
        loss = loss + share.fidelity * unit.sum() * pixels
    return {"loss": loss, "style": styles.detach(), "content": contents.detach(), "tv": variation.detach()}


def _content(maps: Tensor, wanted: Tensor) -> Tensor:
    features_apart = losses.feature_distance(maps, wanted)
    there = losses.self_similarity(wanted)
    structure_apart = losses.similarity_distance(losses.self_similarity(maps), there)
    return RECIPE.content_weight * features_apart + RECIPE.structure_weight * structure_apart
