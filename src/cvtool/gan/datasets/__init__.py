"""Pictures to learn from, in the forms people have them in: `read_pictures`. No torch."""

from cvtool.gan.datasets.data import Pictures
from cvtool.gan.datasets.specs import KINDS, default_cache, read_pictures
from cvtool.gan.picture_options import SIZES, Color, Conditional, Fit, PictureOptions
from cvtool.problems import BadPicturesError, Problem

__all__ = [
    "KINDS",
    "SIZES",
    "BadPicturesError",
    "Color",
    "Conditional",
    "Fit",
    "PictureOptions",
    "Pictures",
    "Problem",
    "default_cache",
    "read_pictures",
]
