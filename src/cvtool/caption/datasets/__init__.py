"""Pictures with captions, from the formats people have them in: `read_captions`. No torch."""

from cvtool.caption.datasets.checking import problems
from cvtool.caption.datasets.data import SPLITS, CaptionData, CaptionedPicture, without
from cvtool.caption.datasets.specs import FORMATS, read_captions
from cvtool.problems import Problem

__all__ = ["FORMATS", "SPLITS", "CaptionData", "CaptionedPicture", "Problem", "problems", "read_captions", "without"]
