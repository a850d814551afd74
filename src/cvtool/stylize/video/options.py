"""What video adds to the options of style transfer, with every default in one place. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoOptions:
    """Options of one styled clip, besides `cvtool.stylize.options.StylizeOptions`.

    Attributes:
        frame_steps: optimisation steps of a frame that follows another, at full size. The first of a shot takes the
            steps of a picture.
        steadiness: how firmly what was visible before is held to where it moved, as a weight of the squared error.
        jobs: processes that paint shots side by side. The result does not depend on it.
    """

    frame_steps: int = 15
    steadiness: float = 100.0
    jobs: int = 1
