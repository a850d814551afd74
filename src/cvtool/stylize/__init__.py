"""Style transfer: ``from cvtool.stylize import stylize``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvtool.stylize.options import StylizeOptions as StylizeOptions
    from cvtool.stylize.service import StylizeResult as StylizeResult
    from cvtool.stylize.service import stylize as stylize

__all__ = ["StylizeOptions", "StylizeResult", "stylize"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line reads `cvtool.stylize.options` without torch."""
    if name == "StylizeOptions":
        from cvtool.stylize.options import StylizeOptions

        return StylizeOptions
    if name in __all__:
        from cvtool.stylize import service

        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
