"""How pictures are made alike, with every default in one place. No torch here: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SIZES = (8, 16, 28, 32, 64, 128)
"""Sides, in pixels, that pictures keep when all of them have it and no size is asked for."""

USUAL_SIZE = 64
"""Side, in pixels, of pictures of many sizes; larger ones are not made unless asked for."""

SMALLEST, LARGEST = 8, 512
"""Limits of the side that may be asked for, in pixels."""


class Color(str, Enum):
    """Channels of the pictures; auto: grey if every picture is."""

    auto = "auto"
    grey = "grey"
    rgb = "rgb"


class Fit(str, Enum):
    """How a picture that is not square becomes so."""

    crop = "crop"
    pad = "pad"


class Conditional(str, Enum):
    """Whether labels are kept; auto: if there are at least two classes."""

    auto = "auto"
    yes = "yes"
    no = "no"


@dataclass(frozen=True)
class PictureOptions:
    """What is made of a data set's pictures.

    Attributes:
        size: side in pixels, `SMALLEST` to `LARGEST`. None: the data's own if all pictures are square, equal and one of
            `SIZES`; the largest of `SIZES` up to `USUAL_SIZE` that does not enlarge them if they are equal otherwise;
            else `USUAL_SIZE`.
        color: grey has one channel, rgb three.
        fit: cut the middle out, or add margins in the colour of the border.
        conditional: keep the labels?
        skip_bad: leave out what cannot be used instead of giving up.
        limit: this many pictures at most, spread evenly over the set; None: all.
    """

    size: int | None = None
    color: Color = Color.auto
    fit: Fit = Fit.crop
    conditional: Conditional = Conditional.auto
    skip_bad: bool = False
    limit: int | None = None
