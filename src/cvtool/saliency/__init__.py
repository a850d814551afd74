"""Saliency: ``from cvtool.saliency import explain``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvtool.saliency.options import SaliencyOptions as SaliencyOptions
    from cvtool.saliency.service import Explanation as Explanation
    from cvtool.saliency.service import explain as explain

__all__ = ["Explanation", "SaliencyOptions", "explain"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line reads `cvtool.saliency.options` without torch."""
    if name == "SaliencyOptions":
        from cvtool.saliency.options import SaliencyOptions

        return SaliencyOptions
    if name in __all__:
        from cvtool.saliency import service

        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
