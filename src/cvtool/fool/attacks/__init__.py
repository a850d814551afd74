"""The attacks; importing this enters all of them into the registry."""

from cvtool.fool.attacks import (  # noqa: F401
    apgd,
    automatic,
    boundary,
    carlini_wagner,
    decoupled,
    deepfool,
    lagrangian,
    patch,
    signs,
    sparse,
    square,
    universal,
)
from cvtool.fool.registry import ATTACKS

__all__ = ["ATTACKS"]
