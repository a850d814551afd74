"""The ways to run ``cvtool stylize`` besides painting a picture, and the options that mean nothing there."""

from __future__ import annotations

from collections.abc import Container

from cvtool.cli import options as shared
from cvtool.errors import UsageError

_OF_ONE_RUN = ("animate", "preview", "checkpoint", "resume", "mask", "content_mask_from_alpha", "save_style")
_OF_MANY = ("files_from", "skip_existing")

NOT_WITH: dict[str, tuple[str, ...]] = {
    "video": (
        *("report", "budget", "animate", "preview", "checkpoint", "bits", "format", "recursive", "keep_profile"),
        *("mask", "content_mask_from_alpha", "save_style", "strengths", "sheet", "sheet_size", "watch", "instant"),
        *_OF_MANY,
    ),
    "sheet": (*_OF_ONE_RUN, *_OF_MANY, "report", "style_weight", "watch", "instant"),
    "watch": (*_OF_ONE_RUN, *_OF_MANY, "report", "recursive"),
    "instant": (
        *("steps", "optimizer", "init", "tv", "budget", "recipe", "style_layers", "content_layers", "model", "weights"),
        *("animate", "preview", "checkpoint", "resume", "tile", "max_memory", "mask", "content_mask_from_alpha"),
    ),
}
"""Mode → parameters that would have no effect there, so that giving them is a mistake."""

ONLY_WITH: dict[str, str] = {
    **dict.fromkeys(("frame_steps", "steadiness", "fps", "jobs"), "video"),
    **dict.fromkeys(("strengths", "sheet_size"), "sheet"),
    "painter": "instant",
    "null": "files_from",
}
"""Parameter → the mode without which it has no effect."""


def refuse_beside(given: Container[str]) -> None:
    """Refuse options that have no effect, rather than ignore them.

    Args:
        given: names of all parameters that were given.

    Raises:
        UsageError: names the first of them, and what it does not go with or what it needs.
    """
    for mode, names in NOT_WITH.items():
        shared.refuse_beside(mode, names, given)
    for name, mode in ONLY_WITH.items():
        if name in given and mode not in given:
            raise UsageError(f"{shared.spelled(name)} is for {shared.spelled(mode)} only. Leave it out, or give both.")
