"""What `stylize` can be told, with every default in one place. No torch here: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cvtool.errors import UsageError

MAX_STYLE_SCALE = 8.0
"""The style picture is resized to this many times the result's size at most."""


class Optimizer(str, Enum):
    """How the picture follows its gradient."""

    adam = "adam"
    lbfgs = "lbfgs"


class Init(str, Enum):
    """Where the optimisation starts."""

    content = "content"
    noise = "noise"
    style_stats = "style-stats"
    instant = "instant"


class Colors(str, Enum):
    """Whose colours the result has."""

    none = "none"
    luminance = "luminance"
    match = "match"


class Recipe(str, Enum):
    """Which published recipe is run."""

    default = "default"
    gatys = "gatys"
    cs231n = "cs231n"


@dataclass(frozen=True)
class StylizeOptions:
    """Options of one style transfer.

    Attributes:
        strength: 0 gives back the content, 100 is pure style; monotone in between.
        size: longer side of the result in pixels; 0 keeps the content's own size.
        steps: one number is spread over the scales, several give each scale its own, () asks the recipe;
            with ``Init.instant`` the small scales then have none.
        optimizer: None asks the recipe.
        init: where the picture starts; None asks the recipe.
        preserve_colors: keep the content's colours by luminance, or recolour the style first (``match``).
        style_scale: size of the style's strokes; 1 takes the style picture at the size of the result.
        style_weights: one weight per style, () for equal ones; they are normalised to sum 1. Negative ones take a
            style away.
        tv: weight of total variation; None asks the recipe.
        recipe: ``default`` is ours; ``gatys`` and ``cs231n`` are the published ones.
        budget: seconds of wall time to plan for; None for no limit.
        seed: seed of everything random.
        style_layers, content_layers: names of layers; () asks the recipe or the network's card.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        tile: side of the tiles that are worked on one at a time, in pixels; 0 for none, None as `max_memory` needs.
        max_memory: bytes that may be used; None for most of what is free.
    """

    strength: float = 50.0
    size: int = 512
    steps: tuple[int, ...] = ()
    optimizer: Optimizer | None = None
    init: Init | None = None
    preserve_colors: Colors = Colors.none
    style_scale: float = 1.0
    style_weights: tuple[float, ...] = ()
    tv: float | None = None
    recipe: Recipe = Recipe.default
    budget: float | None = None
    seed: int = 0
    style_layers: tuple[str, ...] = ()
    content_layers: tuple[str, ...] = ()
    precision: str = "auto"
    tile: int | None = None
    max_memory: int | None = None


def shares_of(options: StylizeOptions, styles: int) -> tuple[float, ...]:
    """The weights of so many styles, with sum 1.

    Raises:
        UsageError: no style, not one weight for each, or a strength, scale or weights out of range.
    """
    if not 0 <= options.strength <= 100:
        raise UsageError(f"A strength of {options.strength:g} is not between 0 and 100.")
    if not 0 < options.style_scale <= MAX_STYLE_SCALE:
        raise UsageError(f"A style scale of {options.style_scale:g} is not above 0 and at most {MAX_STYLE_SCALE:g}.")
    if styles < 1:
        raise UsageError("No style picture. Give at least one.")
    weights = options.style_weights or (1.0,) * styles
    if sum(weights) <= 0:
        raise UsageError("The sum of the style weights must be above 0.")
    if len(weights) != styles:
        raise UsageError(f"{len(weights)} style weights for {styles} styles. Give one for each.")
    return tuple(weight / sum(weights) for weight in weights)


@dataclass(frozen=True)
class DraftOptions:
    """How drafts are made.

    Attributes:
        size: longer side of a draft in pixels; a picture that will be smaller is drafted at its own size.
        strengths: each style is drafted at each of these strengths, 0 to 100.
    """

    size: int = 256
    strengths: tuple[float, ...] = (30.0, 60.0, 90.0)
