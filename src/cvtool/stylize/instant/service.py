"""Paint a picture in the style of others in one pass of a trained network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.errors import BadInputError, UsageError
from cvtool.images import fit_longer_side, resize
from cvtool.models.loader import Model, load
from cvtool.stylize import color
from cvtool.stylize.grain import grain, grained
from cvtool.stylize.instant.checkpoint import bundled_painter, read_checkpoint
from cvtool.stylize.instant.network import Painter
from cvtool.stylize.instant.options import WEAKEST
from cvtool.stylize.instant.painting import RECOLORED_AT, painted
from cvtool.stylize.instant.statistics import COLORS, ENCODER, LAYERS, STRIDE, Encoder, Statistics, statistics
from cvtool.stylize.instant.tiling import painted_by_tiles
from cvtool.stylize.losses import Moments
from cvtool.stylize.options import Colors, StylizeOptions, shares_of
from cvtool.stylize.pyramid import output_size
from cvtool.stylize.style_files import StyleFile
from cvtool.stylize.styles import Style, mix, recolorable
from cvtool.tensors import autocast, mirrored, to_pixels, to_tensor

Pixels = NDArray[np.float32]

LARGEST_STYLE = 2048
"""Longer side of a style that is looked at, in pixels: larger ones are taken at this size."""
TILED_ABOVE, TILE = 2048, 1536
"""Longer side above which a picture is painted part by part, and the side of the parts, in pixels."""


LOOKED_AT = (COLORS, *LAYERS)
"""What a style has moments of, besides its grain."""


class _Look(NamedTuple):
    """Of styles at one size: moments of each of `LOOKED_AT`, and the grain, which is empty where a file has none."""

    maps: Sequence[Moments]
    grain: Sequence[Moments]


@dataclass(frozen=True, eq=False)
class InstantResult:
    """A picture painted in one pass.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1].
        options: as used, the weights of the styles with sum 1.
        seconds: wall time.
    """

    pixels: Pixels
    options: StylizeOptions
    seconds: float


class InstantPainter:
    """A trained painter with the network that it reads with; statistics of styles are kept between pictures.

    Args:
        painter: e.g. of `checkpoint.read_checkpoint`.
        model: efficientnet-lite0; its device is used.

    Raises:
        UsageError: another network.
    """

    def __init__(self, painter: Painter, model: Model) -> None:
        if model.card.name != ENCODER:
            raise UsageError(f"--instant reads with {ENCODER}, not with {model.card.name}. Leave --model out.")
        self.painter = painter.to(model.device).to(memory_format=torch.channels_last).eval()
        self.model = model
        self.encoder = Encoder(model)
        self._seen: dict[tuple[int, int], tuple[Pixels, _Look]] = {}

    @torch.inference_mode()
    def paint(self, content: Pixels, styles: Sequence[Style], options: StylizeOptions | None = None) -> InstantResult:
        """Content (H, W, 3) and styles (h, w, 3), float32 in [0, 1], or style files → the content in the styles.

        Of the options these count: ``strength``, ``size``, ``style_scale``, ``style_weights``, ``preserve_colors``,
        ``precision``. The same arguments give the same bytes on a CPU.

        Raises:
            UsageError: values out of range, a number of weights that is not the number of styles, a style file of
                another network or other layers, or ``match`` with a style file, which keeps no picture to recolour.
            BadInputError: a style file of the same network with other weights.
        """
        started = time.monotonic()
        options = options or StylizeOptions()
        options = replace(options, style_weights=shares_of(options, len(styles)))
        if options.preserve_colors is Colors.match:
            recolorable(styles)
        height, width = output_size(content.shape[0], content.shape[1], options.size)
        final = resize(content, height, width) if content.shape[:2] != (height, width) else content
        if options.strength == 0:
            return InstantResult(final, options, time.monotonic() - started)
        canvas = color.grey(final) if options.preserve_colors is Colors.luminance else final
        longer = min(max(1, round(max(height, width) * options.style_scale)), LARGEST_STYLE)
        several = [self._look(style, longer, final, options) for style in styles]
        looks = _Look(*(mix(parts, options.style_weights) for parts in zip(*several, strict=True)))
        pixels = self._paint(canvas, looks, max(options.strength, WEAKEST), options.precision)
        if options.preserve_colors is Colors.luminance:
            pixels = color.with_luminance(final, color.luminance(pixels))
        if options.strength < WEAKEST:
            pixels = final + np.float32(options.strength / WEAKEST) * (pixels - final)
        return InstantResult(pixels, options, time.monotonic() - started)

    def _paint(self, canvas: Pixels, style: _Look, strength: float, precision: str) -> Pixels:
        device = self.model.device
        content = _filled(to_tensor(canvas, device))
        batched: Statistics = {
            name: Moments(*(part[None] for part in each)) for name, each in zip(LOOKED_AT, style.maps, strict=True)
        }
        at = torch.tensor([strength], device=device)
        whole = max(content.shape[2:]) <= TILED_ABOVE
        with autocast(device, precision):
            picture = (
                painted(self.painter, self.encoder, content, batched, at)
                if whole
                else painted_by_tiles(self.painter, self.encoder, content, batched, at, TILE)
            )
        height, width = canvas.shape[:2]
        picture = picture[..., :height, :width]
        if style.grain:
            picture = grained(picture.clamp(0, 1), style.grain, min(1.0, strength / RECOLORED_AT))
        return to_pixels(picture)

    def _look(self, style: Style, longer: int, content: Pixels, options: StylizeOptions) -> _Look:
        """One style at one size."""
        if isinstance(style, StyleFile):
            kept = _of_file(style, self.model, longer), style.grain_at(longer)
            return _Look(*([Moments(*(part.to(self.model.device) for part in each)) for each in some] for some in kept))
        if options.preserve_colors is not Colors.none:  # another style for each content
            return self._measured(style, longer, content, options)
        key = id(style), longer
        if key not in self._seen:
            self._seen = {key: (style, self._measured(style, longer, content, options)), **self._seen}
            self._seen = dict([*self._seen.items()][:16])
        return self._seen[key][1]

    def _measured(self, style: Pixels, longer: int, content: Pixels, options: StylizeOptions) -> _Look:
        small = resize(style, *fit_longer_side(style.shape[0], style.shape[1], longer))
        if options.preserve_colors is Colors.luminance:
            small = color.match_luminance(small, content)
        elif options.preserve_colors is Colors.match:
            small = color.match_colors(small, content)
        whole = to_tensor(small, self.model.device)
        with autocast(self.model.device, options.precision):
            found = statistics(self.encoder(_trimmed(whole)))
        return _Look([Moments(*(part[0] for part in found[name])) for name in LOOKED_AT], grain(whole))


def load_painter(path: Path | None = None, device: torch.device | str = "cpu") -> InstantPainter:
    """A painter of a checkpoint, or the one that comes with the install, with the network that it reads with.

    Raises:
        BadInputError: the file is no painter.
        WeightsUnavailableError: this install has none.
    """
    checkpoint = read_checkpoint(bundled_painter() if path is None else path)
    return InstantPainter(checkpoint.painter, load(ENCODER, device=device))


@lru_cache(maxsize=1)
def painter_on(device: torch.device) -> InstantPainter:
    """The bundled painter, loaded once for all contents that begin with its picture."""
    return load_painter(device=device)


def _of_file(style: StyleFile, model: Model, longer: int) -> list[Moments]:
    """Moments of a style file, those of `LOOKED_AT`; raises as `InstantPainter.paint`."""
    if style.model != ENCODER or not set(LAYERS) <= set(style.layers):
        raise UsageError(
            f"A style file of {style.model} without {', '.join(LAYERS)} cannot be painted at once. Save it again with "
            f"--model {ENCODER}, or leave --instant out."
        )
    if style.fingerprint != model.fingerprint:
        raise BadInputError(f"A style file was made with other weights of {style.model}. Make it again.")
    *layers, colors = style.at(longer)
    found = {COLORS: colors, **dict(zip(style.layers, layers, strict=True))}
    if any(len(found[name].mean) != channels for name, (channels, _) in LAYERS.items()):
        raise BadInputError(f"A style file has moments of other sizes than {ENCODER}. Make it again.")
    return [found[name] for name in LOOKED_AT]


def _filled(x: Tensor) -> Tensor:
    """(1, 3, H, W) continued to the right and below: the largest stride divides both sides, twice at least."""
    down, right = (max(-side % STRIDE, 2 * STRIDE - side) for side in x.shape[2:])
    return mirrored(x, (0, right, 0, down))


def _trimmed(x: Tensor) -> Tensor:
    """(1, 3, H, W) cut to multiples of the largest stride, or filled up where it is smaller than that."""
    height, width = (side // STRIDE * STRIDE for side in x.shape[2:])
    return _filled(x) if not height or not width else x[..., :height, :width]
