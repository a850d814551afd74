"""The work behind ``cvtool stylize --video``: open clips, paint them, write them, and say what was made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cvtool import __version__
from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.inputs import STDIN
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.measure import peak_memory_mb
from cvtool.cli.outputs import check_writable, make_folder, result_name
from cvtool.cli.repeat import command_line
from cvtool.cli.stylize_inputs import Styles
from cvtool.errors import BadInputError, CvtoolError, Interrupted, UsageError
from cvtool.stylize.options import StylizeOptions
from cvtool.stylize.video.options import VideoOptions

if TYPE_CHECKING:
    from cvtool.clips import Clip
    from cvtool.models.loader import Model
    from cvtool.stylize.video.service import ClipResult, Job

MAX_RATE = 1000
"""Frames per second; more is a slip of the hand."""

WITHOUT_EFFECT = frozenset({"resume", "jobs"})
"""Options that change no pixel of the clip."""


@dataclass(frozen=True)
class ClipOutput:
    """One clip to be painted: where it lies, and what is written."""

    given: Path
    output: Path

    @property
    def name(self) -> str:
        """What the user sees."""
        return str(self.given)


def parse_rate(text: str | None) -> Fraction | None:
    """Frames per second from ``30``, ``23.976`` or ``30000/1001``; None stays None.

    Raises:
        UsageError: it is no rate, or not above 0.
    """
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= MAX_RATE:
        raise UsageError(f"--fps '{text}' is not a rate such as 30, 23.976 or 30000/1001, up to {MAX_RATE}.")
    return rate


def plan_clips(arguments: Sequence[str], *, output: str | None, inputs: Iterable[Path]) -> list[ClipOutput]:
    """What each clip becomes.

    Args:
        arguments: paths of clips; a folder is one clip.
        output: as given to ``--output``: for one clip a file or a folder for frames, for several a folder; None for
            the current folder. The format is the clip's own, or MP4 where that is not written (GIF for animations).
        inputs: further files that are read.

    Raises:
        UsageError: nothing fits the place, its suffix is unknown, or it is an input.
    """
    from cvtool.clip_writing import check_clip_output

    if STDIN in arguments:
        raise UsageError("A clip cannot be read from stdin: it is read more than once. Write it to a file first.")
    if output == STDIN:
        raise UsageError("A clip cannot be written to stdout. Give --output a file.")
    clips = [Path(argument) for argument in arguments]
    protected = [*inputs, *clips]
    names = [f"{result_name(Path(os.path.realpath(clip)).stem, 'stylize')}{_suffix(clip)}" for clip in clips]
    if len(set(names)) < len(names):
        raise UsageError("Several clips would be written to one name. Run them one by one.")
    into_folder = output is None or len(clips) > 1 or (output.endswith("/") or _holds_things(Path(output)))
    if into_folder and output is not None and Path(output).is_file():
        raise UsageError(f"--output '{output}' is one file, but there are {len(clips)} clips. Give a folder.")
    planned = [
        ClipOutput(clip, Path(output or ".") / name if into_folder else Path(output or name))
        for clip, name in zip(clips, names, strict=True)
    ]
    for item in planned:
        check_clip_output(item.output)
        if not item.output.is_dir():
            check_writable(item.output, protected, "--output")
        elif any(os.path.realpath(item.output) == os.path.realpath(other) for other in protected):
            raise UsageError(f"'{item.output}' is an input and would be overwritten. Choose another --output.")
    return planned


def _holds_things(path: Path) -> bool:
    return path.is_dir() and any(path.iterdir())


def _suffix(clip: Path) -> str:
    """Of the result: the clip's own where that can be written."""
    from cvtool.clip_writing import CONTAINERS, GIF

    suffix = clip.suffix.casefold()
    if clip.is_dir():
        return ""
    if suffix in (GIF, ".webp", ".png", ".apng"):
        return GIF
    return suffix if suffix in CONTAINERS else ".mp4"


@dataclass(frozen=True)
class ClipPainter:
    """Paints one clip after the other with the same styles and the same network.

    Attributes:
        context: of the running command, for the provenance.
        options, video: how.
        styles: what the clips are painted with, and what the first frame of each shot starts from.
        rate: frames per second of folders, or None.
        resume: the work folder that must be there and is gone on with, or None.
        weights: file for ``--weights``, or None.
    """

    context: typer.Context
    console: Console
    options: StylizeOptions
    video: VideoOptions
    styles: Styles
    rate: Fraction | None
    resume: Path | None
    model_name: str
    weights: Path | None
    device_name: str

    @cached_property
    def model(self) -> Model:
        """Of a single clip, loaded when that has been opened, so that a wrong path is told at once."""
        return self._load()

    @property
    def _load(self) -> partial[Model]:
        from cvtool.models.loader import load

        return partial(load, self.model_name, device=self.device_name, weights=self.weights)

    def paint_all(self, clips: Sequence[ClipOutput]) -> None:
        """Paint and write every clip; a bad one does not stop the others.

        Raises:
            Interrupted: Ctrl-C; finished frames are kept.
            CvtoolError: as `cvtool.cli.batch.for_each` raises, and of several clips as loading the network does.
        """
        if self.resume is not None:
            self._check_resume(clips)
        self.styles.check()
        if len(clips) > 1:
            _ = self.model
        for_each(clips, self.paint, command="stylize", console=self.console)

    def _check_resume(self, clips: Sequence[ClipOutput]) -> None:
        from cvtool.stylize.video.work import work_folder

        assert self.resume is not None
        expected = work_folder(clips[0].output)
        if len(clips) > 1 or self.resume.resolve() != expected.resolve():
            raise UsageError(
                f"--resume '{self.resume}' does not belong to '{clips[0].output}', whose frames are kept in "
                f"'{expected}'. Repeat the command that began it; it goes on by itself."
            )
        if not self.resume.is_dir():
            raise BadInputError(f"There is no work in '{self.resume}' to go on with. Leave out --resume.")

    def paint(self, clip: ClipOutput) -> None:
        """Paint one clip, write it, and remove its work folder.

        Raises:
            Interrupted: Ctrl-C; finished frames are kept.
            CvtoolError: as opening, loading, painting and writing raise them; finished frames are kept.
        """
        from cvtool.clip_writing import write_clip
        from cvtool.clips import open_clip
        from cvtool.images import flatten
        from cvtool.stylize.video.service import Job, finished_frames, forget, paint_clip
        from cvtool.stylize.video.work import work_folder

        started = time.perf_counter()
        source = open_clip(clip.given, self.rate)
        start = None if self.styles.start_picture is None else flatten(self.styles.start_picture[0])
        make_folder(clip.output.parent)
        job = Job(source, tuple(self.styles.pictures), self.options, self.video, start, work_folder(clip.output))
        self._tell_of_losses(clip, source)
        model = self.model
        with (
            stop_on_interrupt(
                lambda: self.console.say("stopping at the next step; Ctrl-C again quits at once")
            ) as stop,
            self._kept_on_failure(job, clip),
            self.console.progress() as progress,
        ):
            result = paint_clip(job, model, reload=self._load, progress=progress, stop=stop)
            write_clip(clip.output, finished_frames(job), source, note=self._note(clip, source))
        forget(job)
        self._report(clip, source, result, time.perf_counter() - started)

    def _kept_on_failure(self, job: Job, clip: ClipOutput) -> _Kept:
        return _Kept(self.console, job, clip)

    def _tell_of_losses(self, clip: ClipOutput, source: Clip) -> None:
        from cvtool.clip_writing import CONTAINERS
        from cvtool.clips import UNKNOWN

        if source.sounds and clip.output.suffix.casefold() not in CONTAINERS:
            self.console.warn(f"'{clip.output}' cannot hold the sound of '{clip.name}'; .mp4 and .webm can.")
        elif UNKNOWN in source.sounds:
            self.console.warn(f"'{clip.name}' has sound for which there is no decoder; it is left out.")

    def _note(self, clip: ClipOutput, source: Clip) -> str:
        """The provenance, as text."""
        from cvtool.provenance import Provenance

        files = [(str(clip.given.resolve()), source.sha256)]
        files += [(file.lasting_name, sha256) for file, sha256 in self.styles.digests]
        return Provenance(
            command="stylize",
            version=__version__,
            command_line=self._command_line(clip),
            options={**asdict(self.options), **asdict(self.video)},
            inputs=tuple({"path": p, "sha256": s} for p, s in files),
            model=self.model_name,
            device=str(self.model.device),
            seed=self.options.seed,
        ).to_json()

    def _command_line(self, clip: ClipOutput) -> str:
        styles = [file.lasting_name for file in self.styles.files]
        by_option = bool(self.context.params.get("style"))
        replaced: dict[str, Any] = {
            "style": styles if by_option else None,
            "style_weight": list(self.options.style_weights) or None,
            "weights": self.weights,
        }
        if self.styles.start is not None:
            replaced["init"] = self.styles.start.lasting_name
        arguments = [str(clip.given.resolve()), *([] if by_option else styles)]
        return command_line(self.context, arguments, replaced=replaced, dropped=WITHOUT_EFFECT)

    def _report(self, clip: ClipOutput, source: Clip, result: ClipResult, seconds: float) -> None:
        memory = peak_memory_mb()
        self.console.result(
            "stylize",
            input=clip.name,
            output=str(clip.output),
            model=self.model_name,
            device=str(self.model.device),
            seed=self.options.seed,
            seconds=round(seconds, 3),
            styles=[file.name for file in self.styles.files],
            width=result.width,
            height=result.height,
            steps=result.steps,
            content_loss=result.content_loss,
            style_loss=result.style_loss,
            tv_loss=result.tv_loss,
            stopped_by="steps",
            peak_memory_mb=None if memory is None else round(memory, 1),
            frames=source.frames,
            fps=round(float(source.rate), 6),
            shots=[shot.first for shot in result.shots],
            flicker=result.flicker,
        )
        kept = f", {result.kept} of them from before" if result.kept else ""
        self.console.say(
            f"{clip.name} -> {clip.output} ({result.width} x {result.height}, {source.frames} frames{kept}, "
            f"{len(result.shots)} shots, {seconds:.1f} s)"
        )


class _Kept:
    """Around the work: when it fails, says what is kept and how to go on."""

    def __init__(self, console: Console, job: Job, clip: ClipOutput) -> None:
        self.console, self.job, self.clip = console, job, clip

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from cvtool.stylize.video.work import WorkFolder

        frames = self.job.clip.frames
        there = WorkFolder(self.job.folder).count(frames) if error is not None else 0
        kept = f"{there} of {frames} frames are kept in '{self.job.folder}'; the same command goes on from there."
        if isinstance(error, Interrupted):
            raise Interrupted(f"stopped; {kept}") from error
        if isinstance(error, CvtoolError) and there:
            self.console.say(kept)
