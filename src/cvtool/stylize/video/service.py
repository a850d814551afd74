"""Style transfer for clips: steady from frame to frame, shot by shot, going on where it was interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from cvtool.clips import read_frames
from cvtool.errors import UsageError
from cvtool.images import Picture, resize, visible_colors
from cvtool.models.loader import Model
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.stylize.preparation import FADE_BELOW
from cvtool.stylize.service import resolve
from cvtool.stylize.styles import digest, digest_of
from cvtool.stylize.video.painting import Job, paint_shot
from cvtool.stylize.video.parallel import paint_shots
from cvtool.stylize.video.shots import Shot, find_shots
from cvtool.stylize.video.work import WorkFolder

__all__ = ["ClipResult", "Job", "finished_frames", "forget", "paint_clip"]


@dataclass(frozen=True)
class ClipResult:
    """How a painted clip came to be.

    Attributes:
        height, width: of a frame, in pixels.
        shots: what the clip was found to consist of.
        steps: optimisation steps of all frames together.
        content_loss, style_loss, tv_loss: means over the frames of their last values; NaN where nothing was painted.
        flicker: mean over the frames that follow another of the root mean square difference, in [0, 1], between what
            was visible in both once motion (as estimated) is undone; NaN where no frame follows another.
        kept: frames that were there from an earlier call.
    """

    height: int
    width: int
    shots: tuple[Shot, ...]
    steps: int
    content_loss: float
    style_loss: float
    tv_loss: float
    flicker: float
    kept: int


def paint_clip(
    job: Job,
    model: Model,
    *,
    reload: Callable[[], Model] | None = None,
    progress: Progress = silent,
    stop: Stop = never,
) -> ClipResult:
    """Paint all frames of a clip into `job.folder`, from where `finished_frames` reads them.

    What is there already from an earlier call with the same job is kept: work that was interrupted, even killed, goes
    on to the same bytes.

    Args:
        job: what to paint, and how.
        model: any convolutional network of `cvtool.models.loader.load`.
        reload: loads the same network again, in another process; needed for more than one of them.
        progress: hears of every finished frame.
        stop: asked before each step.

    Raises:
        Interrupted: `stop` turned true; finished frames are kept.
        UsageError: options that do not fit together.
        BadInputError: the folder holds other work, or the clip cannot be read.
        CvtoolError: a frame cannot be written; finished frames are kept.
    """
    _check(job)
    options = resolve(job.options, model, len(job.styles))
    height, width = job.size()
    if options.strength == 0:
        return ClipResult(height, width, (Shot(0, job.clip.frames),), 0, math.nan, math.nan, math.nan, math.nan, 0)
    work = WorkFolder.open(job.folder, _facts(replace(job, options=options), model))
    kept = work.count(job.clip.frames)
    progress(Step("frames", kept, job.clip.frames))
    shots = find_shots(visible_colors(picture) for picture in read_frames(job.clip))
    left = [shot for shot in shots if not all(work.has(number) for number in range(shot.first, shot.last))]

    told = kept

    def look() -> None:
        nonlocal told
        there = work.count(job.clip.frames)
        if there != told:
            told = there
            progress(Step("frames", there, job.clip.frames))

    if job.video.jobs > 1 and len(left) > 1 and reload is not None:
        paint_shots(job, left, reload, job.video.jobs, stop, look)
    else:
        for shot in left:
            paint_shot(job, shot, model, stop, look)
    return _summary(work, height, width, shots, kept)


def finished_frames(job: Job) -> Iterator[Picture]:
    """The painted frames of a clip, one after the other: faint ones faded into the content, with its transparency."""
    work = WorkFolder(job.folder)
    height, width = job.size()
    for number, picture in enumerate(read_frames(job.clip)):
        alpha = None if picture.alpha is None else resize(picture.alpha, height, width)
        if job.options.strength >= FADE_BELOW:
            pixels = work.read(number)
        else:
            pixels = resize(visible_colors(picture), height, width)
            if job.options.strength > 0:
                share = np.float32(job.options.strength / FADE_BELOW)
                pixels = pixels + share * (work.read(number) - pixels)
        yield Picture(pixels, alpha, 8, picture.name)


def forget(job: Job) -> None:
    """Remove the work folder, once the clip is written."""
    WorkFolder(job.folder).remove(job.clip.frames)


def _check(job: Job) -> None:
    video = job.video
    if video.frame_steps < 1:
        raise UsageError(f"{video.frame_steps} steps for a frame are too few. Give at least 1.")
    if not (video.steadiness >= 0 and math.isfinite(video.steadiness)):
        raise UsageError(f"A steadiness of {video.steadiness:g} is not a finite number from 0.")
    if video.jobs < 1:
        raise UsageError(f"{video.jobs} jobs are too few. Give at least 1.")


def _facts(job: Job, model: Model) -> dict[str, Any]:
    """What must be the same for work to be gone on with, as JSON values."""
    options, video = asdict(job.options), asdict(job.video)
    del options["budget"], options["max_memory"]  # change no pixel of a frame
    del video["jobs"]
    return {
        "clip": job.clip.sha256,
        "frames": job.clip.frames,
        "size": list(job.size()),
        "styles": [digest_of(style) for style in job.styles],
        "start": None if job.init is None else digest(job.init),
        "model": model.card.name,
        "weights": model.fingerprint,
        **options,
        **video,
    }


def _summary(work: WorkFolder, height: int, width: int, shots: tuple[Shot, ...], kept: int) -> ClipResult:
    facts = [work.facts(number) for number in range(shots[-1].last)]

    def finite(name: str) -> list[float]:
        return [value for fact in facts if (value := fact.get(name)) is not None and math.isfinite(value)]

    def mean(name: str) -> float:
        values = finite(name)
        return math.fsum(values) / len(values) if values else math.nan

    return ClipResult(
        height,
        width,
        shots,
        round(sum(finite("steps"))),
        mean("content_loss"),
        mean("style_loss"),
        mean("tv_loss"),
        mean("flicker"),
        kept,
    )
