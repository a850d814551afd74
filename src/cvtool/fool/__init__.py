"""Fool: ``from cvtool.fool import fool``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvtool.fool.options import FoolOptions as FoolOptions
    from cvtool.fool.results import FoolResult as FoolResult
    from cvtool.fool.service import fool as fool

__all__ = ["FoolOptions", "FoolResult", "fool"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line reads `cvtool.fool.options` without torch."""
    if name == "FoolOptions":
        from cvtool.fool.options import FoolOptions

        return FoolOptions
    if name in __all__:
        from cvtool.fool import service

        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
