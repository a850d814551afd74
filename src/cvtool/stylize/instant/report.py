"""The page of a painter's run: what `cvtool.run_pages` shows of any run, over steps. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cvtool.run_pages import Kind, Panel, Record, frame, last_best
from cvtool.run_pages import page as run_page

_KIND = Kind(
    what="painter",
    by="step",
    names={
        "step": "Step",
        "loss": "Loss",
        "style": "Style",
        "content": "Content",
        "tv": "Variation",
        "held_out_loss": "Held-out loss",
        "held_out_style": "Held-out style",
        "held_out_content": "Held-out content",
        "held_out_tv": "Held-out variation",
        "pictures_per_second": "Pictures/s",
        "seconds": "Seconds",
    },
    panels=(
        Panel("Loss", ("loss", "held_out_loss"), "Lower is better. The held-out one is at strength 50.", (0.0, 0.0)),
        Panel("Style", ("style", "held_out_style"), "How far from the style; part of the loss.", (0.0, 0.0)),
        Panel("Content", ("content", "held_out_content"), "How far from the content; part of the loss.", (0.0, 0.0)),
        Panel("Variation", ("tv", "held_out_tv"), "Between neighbouring pixels; part of the loss.", (0.0, 0.0)),
    ),
    tiles=("held_out_loss", "held_out_style", "held_out_content"),
    judge=("held_out_loss", "held-out loss"),
    shows="Contents, styles, and below them what is painted of both; the painter never learned from these",
)


def page(
    config: Mapping[str, object],
    checks: Sequence[Record],
    sheets: Sequence[tuple[int, str]] = (),
    *,
    command: str = "",
    title: str = "A painter of any style",
) -> str:
    """The page as HTML text, to be written as UTF-8; the same arguments give the same text.

    Args:
        config: the run's settings, name → value; mappings within become ``outer.inner``.
        checks: the run's metrics in order, as ``metrics.jsonl`` has them.
        sheets: step, and URL of a picture of what was painted at its check, in order.
        command: the shell command that repeats the run.
        title: heading and name of the page.
    """
    return run_page(
        _KIND,
        checks,
        best=last_best(checks),
        frames=[frame(_KIND, checks, step, url) for step, url in sheets],
        config=config,
        command=command,
        title=title,
    )
