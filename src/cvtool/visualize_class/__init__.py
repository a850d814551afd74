"""Class visualisation: ``from cvtool.visualize_class import visualize``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvtool.visualize_class.options import Target as Target
    from cvtool.visualize_class.options import VisualizeOptions as VisualizeOptions
    from cvtool.visualize_class.service import Visualization as Visualization
    from cvtool.visualize_class.service import visualize as visualize

__all__ = ["Target", "Visualization", "VisualizeOptions", "visualize"]


def __getattr__(name: str) -> Any:
    """Import on first use: the command line reads `cvtool.visualize_class.options` without torch."""
    if name in ("Target", "VisualizeOptions"):
        from cvtool.visualize_class import options

        return getattr(options, name)
    if name in __all__:
        from cvtool.visualize_class import service

        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
