"""Drafts: small pictures that show what a style transfer will look like, before time is spent on its full size.

A draft is the coarse half of its final picture: the same recipe on the first scales of the pyramid, where composition,
colours and the large strokes are decided. The scales above only refine them. No torch here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cvtool.images import fit_longer_side, resize
from cvtool.stylize.options import StylizeOptions
from cvtool.stylize.pyramid import output_size, plan_scales
from cvtool.stylize.recipes import RECIPES

Pixels = NDArray[np.float32]

ROOM = 2
"""Style pictures are kept at this many times the size at which a draft looks at them, at most."""


def draft_of(options: StylizeOptions, strength: float, size: int, content: tuple[int, int]) -> StylizeOptions:
    """The options of a draft of what `options` would make at that strength, with one style.

    Args:
        options: of the final picture. Numbers of steps keep their meaning: the draft gets those of its scales.
        strength: 0 to 100.
        size: longer side of the draft in pixels, at most.
        content: height and width of the content picture.

    Raises:
        UsageError: the final picture would be too large, or `options.steps` do not fit its scales.
    """
    recipe = RECIPES[options.recipe]
    whole = output_size(*content, options.size)
    small = fit_longer_side(*content, min(size, max(whole)))
    steps: tuple[int, ...] = ()
    if options.steps:
        scales = plan_scales(
            *whole, smallest=recipe.smallest, steps=recipe.steps, wanted=options.steps, own_size=not options.size
        )
        count = len(plan_scales(*small, smallest=recipe.smallest, steps=recipe.steps))
        steps = tuple(scale.steps for scale in scales[:count])
    return replace(options, strength=strength, size=max(small), steps=steps, budget=None, style_weights=(), tile=None)


def shrunk(pixels: Pixels, longer: int) -> Pixels:
    """A picture (H, W, 3) whose longer side is `longer` pixels at most."""
    if max(pixels.shape[:2]) <= longer:
        return pixels
    return resize(pixels, *fit_longer_side(pixels.shape[0], pixels.shape[1], longer))
