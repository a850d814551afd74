"""What a style transfer starts from: its colours, its first picture, its regions, and the objective of each scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cvtool.errors import BadInputError, UsageError
from cvtool.images import resize
from cvtool.models.loader import Model
from cvtool.stylize import color
from cvtool.stylize.extractor import EVERYWHERE, Extractor
from cvtool.stylize.losses import Moments
from cvtool.stylize.objective import Anchor, Objective, Region
from cvtool.stylize.options import Colors, Init, StylizeOptions
from cvtool.stylize.pyramid import Scale
from cvtool.stylize.recipes import RECIPES, RecipeSpec
from cvtool.stylize.style_files import StyleFile
from cvtool.stylize.styles import Style, StyleBook, guide_of, mix, palette, recolorable, resize_mask
from cvtool.tensors import seeded, to_tensor

Pixels = NDArray[np.float32]

FADE_BELOW = 10.0
"""The faintest painting that is optimised. Below, it fades into the content, which strength 0 gives back."""


class Objectives:
    """Builds the objective of each scale from the full-size pictures."""

    def __init__(
        self,
        canvas: Pixels,
        paints: Sequence[Style],
        regions: Sequence[Region],
        anchor: Anchor | None,
        book: StyleBook,
        model: Model,
        options: StylizeOptions,
        recipe: RecipeSpec,
    ) -> None:
        self.canvas, self.paints, self.regions, self.anchor, self.book = canvas, paints, regions, anchor, book
        self.device = model.device
        self.options, self.recipe = options, recipe
        self.extractor = Extractor(
            model, options.style_layers, options.content_layers, recipe.margin, options.precision, options.tile or None
        )

    def at(self, scale: Scale) -> Objective:
        """The objective at the size of `scale`."""
        size = scale.height, scale.width
        longer = max(1, round(max(size) * self.options.style_scale))
        assert self.options.tv is not None
        return Objective(
            self.recipe,
            self.extractor,
            content=to_tensor(resize(self.canvas, *size), self.device),
            targets=[self._target(region, longer) for region in self.regions or (None,)],
            guides=[guide_of(region.content, size, self.device) for region in self.regions] or EVERYWHERE,
            strength=max(self.options.strength, FADE_BELOW),
            tv=self.options.tv,
            anchor=None if self.anchor is None else self._anchor(self.anchor, size),
        )

    def _target(self, region: Region | None, longer: int) -> list[Moments]:
        """The moments that a region shall have; None is the whole picture."""
        part = None if region is None else region.style_part
        if region is not None and region.style is not None:
            return self.book.moments(self.paints[region.style], part, longer, self.extractor)
        several = [self.book.moments(paint, part, longer, self.extractor) for paint in self.paints]
        return mix(several, self.options.style_weights)

    def _anchor(self, anchor: Anchor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        weight = torch.from_numpy(np.ascontiguousarray(anchor.weight, dtype=np.float32))[None, None].to(self.device)
        return to_tensor(resize(anchor.pixels, *size), self.device), F.adaptive_avg_pool2d(weight, size)


def check_regions(regions: Sequence[Region], styles: Sequence[Style]) -> None:
    """Make sure that there is something to paint in every region, and something to paint it with.

    Raises:
        BadInputError: an empty mask.
        UsageError: part of a style file, which has no parts.
    """
    for region in regions:
        if not region.content.any():
            raise BadInputError(
                "A mask of the content is black everywhere: nothing would be painted. Make some of it white."
            )
        if region.style_part is not None and not region.style_part.any():
            raise BadInputError("A mask of a style is black everywhere: no style is left. Make some of it white.")
        if region.style_part is not None and any(
            isinstance(style, StyleFile) for style in (styles if region.style is None else [styles[region.style]])
        ):
            raise UsageError(
                "A style file keeps no picture that a mask could lie on. Use 'all', or the picture itself."
            )


def prepare_colors(
    content: Pixels, styles: Sequence[Style], options: StylizeOptions
) -> tuple[Pixels, tuple[Style, ...]]:
    """What is really optimised when the content's colours are to be kept."""
    paints = suited(styles, content, options.preserve_colors)
    return color.grey(content) if options.preserve_colors is Colors.luminance else content, paints


def suited(styles: Sequence[Style], content: Pixels, colors: Colors) -> tuple[Style, ...]:
    """Styles that keep the colours of the content, where that is asked for.

    Raises:
        UsageError: a style file, whose colours cannot be changed.
    """
    if colors is Colors.none:
        return tuple(styles)
    suit = color.match_luminance if colors is Colors.luminance else color.match_colors
    return tuple(suit(style, content) for style in recolorable(styles))


def first_picture(
    canvas: Pixels,
    paints: Sequence[Style],
    regions: Sequence[Region],
    options: StylizeOptions,
    init: Pixels | None,
    device: torch.device,
) -> Tensor:
    """The picture before the first step (1, 3, H, W); noise is drawn on the CPU, so every device has the same."""
    height, width = canvas.shape[:2]
    if init is not None:
        start = resize(init, height, width)
    elif options.init is Init.content:
        start = recolored(canvas, paints, regions, options) if RECIPES[options.recipe].recolor else canvas
    else:
        noise = torch.randn(height, width, 3, generator=seeded(options.seed)).numpy()
        start = np.clip(0.5 + 0.1 * noise, 0, 1).astype(np.float32)
        if options.init is Init.style_stats:
            start = color.recolor(start, *palette(paints[0]))
    return to_tensor(start, device)


def recolored(canvas: Pixels, styles: Sequence[Style], regions: Sequence[Region], options: StylizeOptions) -> Pixels:
    """A content (H, W, 3) on its way to the colours of its styles, by the strength; each region to its own.

    Args:
        canvas: what is recoloured.
        styles: as in `stylize`.
        regions: as in `stylize`.
        options: whose strength and style weights count, one for each style.
    """
    change = np.zeros_like(canvas)
    for region in regions or (None,):
        inside = None if region is None else resize_mask(region.content, canvas.shape[:2])
        part = None if region is None else region.style_part
        chosen = None if region is None else region.style
        mixture = zip(styles, options.style_weights, strict=True) if chosen is None else [(styles[chosen], 1.0)]
        target = sum(np.float32(w) * color.recolor(canvas, *palette(style, part), inside) for style, w in mixture)
        change += (target - canvas) * (1 if inside is None else inside[..., None])
    return np.asarray(np.clip(canvas + np.float32(options.strength / 100) * change, 0, 1), dtype=np.float32)


def only_inside(regions: Sequence[Region], painted: Pixels, content: Pixels) -> Pixels:
    """The painted picture inside the regions, the content outside, to the last bit."""
    inside = np.sum([resize_mask(region.content, content.shape[:2]) for region in regions], axis=0)
    inside = np.clip(inside, 0, 1)[..., None]
    return np.where(inside > 0, content + inside * (painted - content), content).astype(np.float32)
