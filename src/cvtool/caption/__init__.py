"""Captions of pictures: ``from cvtool.caption import Describer, bundled_checkpoint, describe``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvtool.caption.options import DecodeOptions as DecodeOptions
    from cvtool.caption.service import Describer as Describer
    from cvtool.caption.service import Description as Description
    from cvtool.caption.service import bundled_checkpoint as bundled_checkpoint
    from cvtool.caption.service import describe as describe

__all__ = ["DecodeOptions", "Describer", "Description", "bundled_checkpoint", "describe"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line reads `cvtool.caption.options` without torch."""
    if name == "DecodeOptions":
        from cvtool.caption.options import DecodeOptions

        return DecodeOptions
    if name in __all__:
        from cvtool.caption import service

        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
