"""Paint the frames of a shot, each held to where the one before moved."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvtool.clips import Clip, read_frames
from cvtool.codecs.rasters import rounded
from cvtool.errors import Interrupted
from cvtool.images import resize, visible_colors
from cvtool.models.loader import Model
from cvtool.progress import Stop
from cvtool.stylize import color
from cvtool.stylize.memory import LARGEST_TILE, WHOLE
from cvtool.stylize.objective import Anchor
from cvtool.stylize.options import Colors, StylizeOptions
from cvtool.stylize.preparation import FADE_BELOW, recolored, suited
from cvtool.stylize.pyramid import output_size, plan_scales
from cvtool.stylize.recipes import RECIPES
from cvtool.stylize.service import StylizeResult, resolve, stylize
from cvtool.stylize.styles import Style, StyleBook
from cvtool.stylize.video.flow import Motion, flicker, followed, motion, warp
from cvtool.stylize.video.options import VideoOptions
from cvtool.stylize.video.shots import Shot
from cvtool.stylize.video.work import WorkFolder

Pixels = NDArray[np.float32]

SETTLED = 8.0
"""Frames after which a pixel that came into view is held as firmly as any other. Held at once, it keeps the fine grain
of its first few steps for good; until then its strokes take shape beside those of its neighbours."""

BEGIN_AGAIN_BELOW = 0.4
"""A frame of which less than this share was visible before runs through all scales: most of it has no strokes yet."""


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that the frames of a styled clip depend on; can be sent to another process.

    Attributes:
        clip: what is painted.
        styles: pictures or style files.
        options, video: how.
        init: what the first frame of each shot starts from; None: see the options.
        folder: where finished frames are kept.
    """

    clip: Clip
    styles: tuple[Style, ...]
    options: StylizeOptions
    video: VideoOptions
    init: Pixels | None
    folder: Path

    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return output_size(self.clip.height, self.clip.width, self.options.size)

    def contents(self, first: int, last: int | None = None) -> Generator[Pixels, None, None]:
        """Frames at the size of the result, (H, W, 3) each."""
        for picture in read_frames(self.clip, first, last):
            yield resize(visible_colors(picture), *self.size())


def paint_shot(job: Job, shot: Shot, model: Model, stop: Stop, done: Callable[[], None] = lambda: None) -> None:
    """Paint what is missing of a shot into the work folder.

    The loss of Ruder, Dosovitskiy, Brox (2016), arXiv:1604.08610, with the flow and the visibility of `flow`: a frame
    starts from the one before, carried along, and is held to it wherever it was visible. Differs: what was not visible
    starts from the recoloured content; there are few steps, at full size, because nothing large is left to change; and
    each frame starts from its predecessor as it was kept, in 8 bits, so that interrupted work goes on to the same;
    and what came into view lately is held less firmly, see `SETTLED`.

    Raises:
        Interrupted: `stop` turned true; the frame on the way is dropped.
        CvtoolError: as reading, painting and writing raise them.
    """
    work = WorkFolder(job.folder)
    first = next((n for n in range(shot.first, shot.last) if not work.has(n)), shot.last)
    if first == shot.last:
        return
    painter = _ShotPainter(job, model, stop)
    with closing(job.contents(shot.first, shot.last)) as contents:  # an error on its way holds on to it
        for number, content in enumerate(contents, start=shot.first):
            painter.meet(content)
            if number >= first:
                if stop():
                    raise Interrupted("stopped")
                pixels, facts = painter.paint(work.read(number - 1) if number > shot.first else None)
                work.write(number, pixels, facts)
                done()


class _ShotPainter:
    """Paints frames of one shot; the styles are measured once."""

    def __init__(self, job: Job, model: Model, stop: Stop) -> None:
        self.job, self.model, self.stop = job, model, stop
        resolved = resolve(job.options, model, len(job.styles))
        # Fainter ones fade into the content when the clip is written, see `FADE_BELOW`; nothing could be carried on
        # from a frame that has faded.
        self.keep = job.options.preserve_colors
        self.options = replace(
            resolved, strength=max(resolved.strength, FADE_BELOW), preserve_colors=Colors.none, budget=None
        )
        self.book = StyleBook()
        self.styles: tuple[Style, ...] = ()
        self.content: Pixels | None = None
        self.moved: Motion | None = None
        self.age: NDArray[np.float32] | None = None

    def meet(self, content: Pixels) -> None:
        """Take the next content of the shot, whether its frame is to be painted or is there already."""
        if self.content is None or self.age is None:
            # Once and for all: styles that are recoloured for each frame would flicker.
            self.styles = suited(self.job.styles, content, self.keep)
            self.age = np.full(content.shape[:2], SETTLED, np.float32)
        else:
            self.moved = motion(self.content, content)
            older = np.minimum(warp(self.age, self.moved.back) + 1, SETTLED)
            self.age = np.where(self.moved.visible, older, np.float32(0))
        self.content = content

    def paint(self, earlier: Pixels | None) -> tuple[Pixels, dict[str, float | None]]:
        """The frame of the content met last, from the frame painted before (None for the first), with its facts."""
        content, moved = self.content, self.moved
        assert content is not None
        canvas = color.grey(content) if self.keep is Colors.luminance else content
        if moved is None or earlier is None:
            result = self._stylize(canvas, self.options, init=self.job.init)
        else:
            result = self._follow(canvas, earlier, moved)
        if result.stopped_by == "interrupt":
            raise Interrupted("stopped")
        pixels = rounded(np.clip(result.pixels, 0, 1))
        if self.keep is Colors.luminance:
            pixels = rounded(color.with_luminance(content, color.luminance(pixels)))
        shaken = None if moved is None or earlier is None else flicker(earlier, pixels, moved)
        return pixels, {
            "steps": result.steps,
            "content_loss": result.content_loss,
            "style_loss": result.style_loss,
            "tv_loss": result.tv_loss,
            "flicker": shaken if shaken == shaken else None,  # not a number: nothing was visible in both
        }

    def _follow(self, canvas: Pixels, earlier: Pixels, moved: Motion) -> StylizeResult:
        if self.keep is Colors.luminance:
            earlier = color.grey(earlier)
        assert self.age is not None
        carried = followed(earlier, moved)
        seen = moved.visible[..., None].astype(np.float32)
        fresh = recolored(canvas, self.styles, (), self.options) if RECIPES[self.options.recipe].recolor else canvas
        anchor = Anchor(carried, self.age * np.float32(self.job.video.steadiness / SETTLED))
        options = self.options
        if moved.visible.mean() >= BEGIN_AGAIN_BELOW:
            options = replace(options, steps=self._few_steps(canvas))
        return self._stylize(canvas, options, init=carried * seen + fresh * (1 - seen), anchor=anchor)

    def _few_steps(self, canvas: Pixels) -> tuple[int, ...]:
        """No steps but at full size."""
        recipe = RECIPES[self.options.recipe]
        height, width = canvas.shape[:2]
        scales = len(plan_scales(height, width, smallest=recipe.smallest, steps=recipe.steps))
        return (*(0,) * (scales - 1), self.job.video.frame_steps)

    def _stylize(self, canvas: Pixels, options: StylizeOptions, **more: Any) -> StylizeResult:
        longer = max(canvas.shape[:2])
        # By the size alone: what memory is free now must not decide what a frame looks like.
        tile = (LARGEST_TILE if longer > WHOLE else 0) if options.tile is None else options.tile
        options = replace(options, size=longer, tile=tile)
        return stylize(canvas, self.styles, self.model, options, book=self.book, stop=self.stop, **more)
