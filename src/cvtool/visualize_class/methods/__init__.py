"""The methods; importing this package enters all of them into `METHODS`."""

from cvtool.visualize_class.methods import cs231n, deepdream, fourier, maco
from cvtool.visualize_class.registry import METHODS

__all__ = ["METHODS", "cs231n", "deepdream", "fourier", "maco"]
