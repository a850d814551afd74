"""Styles as a network sees them: moments of pictures and of style files at any size, each computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cvtool.errors import BadInputError, UsageError
from cvtool.hooks import features
from cvtool.images import fit_longer_side, resize
from cvtool.stylize.color import mean_and_covariance
from cvtool.stylize.extractor import Extractor
from cvtool.stylize.grain import grain
from cvtool.stylize.losses import Moments, mix_moments
from cvtool.stylize.style_files import SIZES, StyleFile
from cvtool.tensors import doubled, to_tensor

if TYPE_CHECKING:
    from cvtool.models.loader import Model

Pixels = NDArray[np.float32]
Plane = NDArray[np.float32]
Style = Pixels | StyleFile
"""A picture (h, w, 3) float32 in [0, 1], or a style file."""


def recolorable(styles: Sequence[Style]) -> list[Pixels]:
    """All of the styles, for what recolours them.

    Raises:
        UsageError: one is a style file, which keeps no picture.
    """
    pictures = [style for style in styles if not isinstance(style, StyleFile)]
    if len(pictures) < len(styles):
        raise UsageError("A style file keeps no picture that could be recoloured. Use --preserve-colors none.")
    return pictures


REMEMBERED = 64
"""Styles, each at one size, of which a book keeps the moments: 2.4 MB each of VGG-19."""


class StyleBook:
    """Remembers the moments of styles: give the same one to several calls, and each style is looked at once.

    What is remembered is found by content, size, network and layers; the last `REMEMBERED` that were asked for.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, list[Moments]] = {}

    def moments(self, style: Style, part: Plane | None, longer: int, extractor: Extractor) -> list[Moments]:
        """Moments of each style layer and of the colours.

        Args:
            style: a picture, resized so that its longer side is `longer` pixels; or a file.
            part: how much each pixel of the picture counts; None for all alike.
            longer: size of the style.
            extractor: sees it.
        """
        if isinstance(style, StyleFile):
            return style.at(longer)
        model = extractor.model
        key = (digest(style), None if part is None else digest(part), longer, model.fingerprint, extractor.settings)
        found = self._known.pop(key, None)
        if found is None:
            size = fit_longer_side(style.shape[0], style.shape[1], longer)
            guide = None if part is None else guide_of(part, size, model.device)
            with torch.no_grad():
                seen = extractor(to_tensor(resize(style, *size), model.device), (guide,), maps=False)
            found = seen.moments[0]
        self._known[key] = found
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return found


def guide_of(plane: Plane, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """How much each pixel belongs to something (H, W), at another size → (1, 1, h, w) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(resize_mask(plane, size)))[None, None].clamp(0, 1).to(device)


def palette(style: Style, part: Plane | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (3,) and covariance (3, 3) of the colours of a style, or of part of a picture."""
    if isinstance(style, StyleFile):
        colors = Moments(*(doubled(moment).cpu() for moment in style.palette))
        return colors.mean.numpy(), colors.covariance().numpy()
    return mean_and_covariance(style, None if part is None else resize_mask(part, style.shape[:2]))


def resize_mask(plane: Plane, size: tuple[int, ...]) -> Plane:
    """(H, W) → (h, w), in [0, 1], without the halos of sharper filters: what is 0 stays 0."""
    return resize(plane, size[0], size[1], "bilinear")


def mix(several: Sequence[Sequence[Moments]], weights: Sequence[float]) -> list[Moments]:
    """The moments of several styles, layer by layer, mixed by `weights` with sum 1; none where a style has none."""
    return [mix_moments(layer, weights) for layer in zip(*several, strict=all(several))]


def measure_style(
    styles: Sequence[Style], weights: Sequence[float], extractor: Extractor, pictures: Sequence[Mapping[str, Any]]
) -> StyleFile:
    """Everything that a style file keeps of pictures, other style files, or mixtures of them.

    Args:
        styles: one or many.
        weights: of each, with sum 1; negative ones take a style away.
        extractor: its style layers are kept.
        pictures: what to remember of each style (its name, sha256 and weight).
    """
    book = StyleBook()
    moments = {size: mix([book.moments(each, None, size, extractor) for each in styles], weights) for size in SIZES}
    grains = {size: mix([grain_of(each, size) for each in styles], weights) for size in SIZES}
    model = extractor.model
    return StyleFile(
        moments,
        extractor.style_layers,
        model.card.name,
        model.fingerprint,
        tuple(pictures),
        grains if all(grains.values()) else {},
    )


def grain_of(style: Style, longer: int) -> Sequence[Moments]:
    """The grain of a picture whose longer side is `longer` pixels, or of a file; empty where a file has none."""
    if isinstance(style, StyleFile):
        return style.grain_at(longer)
    size = fit_longer_side(style.shape[0], style.shape[1], longer)
    return grain(to_tensor(resize(style, *size)))


def check_fits(styles: Sequence[Style], model: Model, layers: Sequence[str]) -> None:
    """Make sure that every style file was made with this network and these layers.

    Raises:
        UsageError: another network or other layers.
        BadInputError: the same name, but other weights or layers of other sizes.
    """
    for style in styles:
        if not isinstance(style, StyleFile):
            continue
        if style.model != model.card.name:
            raise UsageError(
                f"A style file was made with {style.model}, not {model.card.name}. Add --model {style.model}."
            )
        if style.layers != tuple(layers):
            named = ",".join(style.layers)
            raise UsageError(f"A style file has the layers {named}, others are asked for. Add --style-layers {named}.")
        if style.fingerprint != model.fingerprint:
            raise BadInputError(f"A style file was made with other weights of {style.model}. Make it again.")
        if [len(each.mean) for each in style.at(1)[:-1]] != _channels(model, layers):
            raise BadInputError(f"A style file has moments of other sizes than {style.model}. Make it again.")


def _channels(model: Model, layers: Sequence[str]) -> list[int]:
    """How many the maps of these layers have."""
    nothing = torch.zeros(1, 3, model.card.input_size, model.card.input_size, device=model.device)
    with torch.no_grad():
        found = features(model.module, model.normalize(nothing), layers)
    return [found[name].shape[1] for name in layers]


def digest(array: NDArray[Any]) -> str:
    """What tells two arrays apart."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes() + str(array.shape).encode()).hexdigest()[:16]


def digest_of(style: Style) -> str:
    """The same for a style."""
    if not isinstance(style, StyleFile):
        return digest(style)
    state = hashlib.sha256()
    for size, each in sorted(style.moments.items()):
        for moments in each:
            for part in moments:
                state.update(str(size).encode() + part.cpu().numpy().tobytes())
    return state.hexdigest()[:16]
