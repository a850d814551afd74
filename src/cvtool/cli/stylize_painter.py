"""The work behind ``cvtool stylize``: read, paint, write, and say what was made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cvtool.cli.batch import for_each
from cvtool.cli.console import Console
from cvtool.cli.frames import Note, Watcher
from cvtool.cli.inputs import Input, read_input
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.measure import duration, peak_memory_mb, seconds_since_start
from cvtool.cli.outputs import Destination, make_folder
from cvtool.cli.reporting import Report, Shown
from cvtool.cli.stylize_inputs import Styles
from cvtool.cli.stylize_instant import Instant
from cvtool.cli.stylize_notes import Notes
from cvtool.cli.stylize_profile import InProfile, bits_for
from cvtool.cli.stylize_sheet import DraftStyle, SheetPainter
from cvtool.errors import Interrupted
from cvtool.stylize.options import StylizeOptions

if TYPE_CHECKING:
    from cvtool.images import Picture
    from cvtool.models.loader import Model
    from cvtool.stylize.planning import Forecast
    from cvtool.stylize.run import Snapshot
    from cvtool.stylize.service import StylizeResult
    from cvtool.stylize.styles import StyleBook

SECONDS_TO_END, SECONDS_PER_MEGAPIXEL = 0.3, 0.4
"""What of a budget is kept for encoding a PNG and leaving, measured on one slow core."""


@dataclass(frozen=True)
class Extras:
    """Files besides the picture; None for those not asked for."""

    animate: Path | None = None
    preview: Path | None = None
    checkpoint: Path | None = None
    resume: Path | None = None
    save_style: Path | None = None

    def given(self) -> dict[str, Path]:
        """Option → file, for those that are asked for."""
        return {f"--{name.replace('_', '-')}": path for name, path in vars(self).items() if path is not None}

    def written(self) -> dict[str, Path]:
        """Option → file, for those that are written and not read."""
        return {option: path for option, path in self.given().items() if option != "--resume"}


@dataclass(frozen=True)
class Painter:
    """Paints one content after the other with the same styles and the same network.

    Attributes:
        context: of the running command, for the provenance.
        bits: per channel of the written picture, 8 or 16; None for the depth of its content.
        instant: paints instead of the optimiser; None for the optimiser.
        report: shows the results.
        keep_profile: whether a content stays in the colours of its ICC profile.
        weights: file for ``--weights``, or None.
    """

    context: typer.Context
    console: Console
    options: StylizeOptions
    styles: Styles
    extras: Extras
    model_name: str
    weights: Path | None
    device_name: str
    bits: int | None
    keep_profile: bool = False
    instant: Instant | None = None
    report: Report = field(default_factory=Report)
    _begun: list[bool] = field(default_factory=list)

    @cached_property
    def model(self) -> Model:
        """Of a single content, loaded when that has been read, so that a wrong path is told at once."""
        from cvtool.models.loader import load

        return load(self.model_name, device=self.device_name, weights=self.weights)

    @cached_property
    def _in_profile(self) -> InProfile:
        from cvtool.images import flatten

        start = self.styles.start_picture
        return InProfile(self.styles.pictures, None if start is None else flatten(start[0]))

    @cached_property
    def _book(self) -> StyleBook:
        from cvtool.stylize.styles import StyleBook

        return StyleBook()

    @cached_property
    def _notes(self) -> Notes:
        painter = None if self.instant is None else self.instant.painter
        return Notes(
            self.context,
            self.options,
            self.styles,
            self.extras.save_style,
            self.model_name,
            str(self.model.device),
            self.weights,
            painter,
        )

    @cached_property
    def _snapshot(self) -> Snapshot | None:
        if self.extras.resume is None:
            return None
        from cvtool.stylize.snapshots import read_snapshot

        return read_snapshot(self.extras.resume)

    def prepare(self) -> None:
        """Do what all contents share, so that a bad style ends the command and not each content by itself.

        Raises:
            BadInputError: a style, the start or the checkpoint to resume from cannot be read.
            CvtoolError: a folder for one of the other files cannot be made.
        """
        self.styles.check()
        _ = self._snapshot
        for path in self.extras.written().values():
            make_folder(path.parent)

    def load(self) -> None:
        """Load now what paints all contents, so that what is wrong with it is told once.

        Raises:
            CvtoolError: as loading raises them.
        """
        _ = self.model
        if self.instant is not None:
            _ = self.instant.loaded

    def save_style(self) -> None:
        """Write the mixture of the styles, if it is asked for."""
        path = self.extras.save_style
        if path is None:
            return
        from cvtool.stylize.service import save_style
        from cvtool.stylize.style_files import write_style

        started = time.perf_counter()
        names = [
            {"name": file.lasting_name, "sha256": sha}
            for file, (_, sha) in zip(self.styles.files, self.styles.read, strict=True)
        ]
        style = save_style(self.styles.pictures, names, self.model, self.options)
        write_style(path, style, self._notes.text(None, "", self.options))
        self.console.result(
            "stylize",
            input=None,
            output=str(path),
            model=self.model_name,
            device=str(self.model.device),
            seed=self.options.seed,
            seconds=round(time.perf_counter() - started, 3),
            styles=[file.name for file in self.styles.files],
        )
        self.console.say(f"{len(self.styles.files)} styles -> {path}")

    def warm_up(self) -> None:
        """Load what paints now, and count a budget from each picture and not from the start of the process."""
        self.load()
        self._begun.append(True)

    def draft(
        self,
        contents: Sequence[Input],
        sheets: Sequence[Destination],
        finals: Sequence[Destination],
        strengths: Sequence[float],
        size: int,
    ) -> None:
        """Make a sheet of drafts of each content; `finals` has a place for each draft of each content, in order.

        Raises:
            as `SheetPainter.paint` and `for_each`.
        """
        styles = [
            DraftStyle(given, style, sha)
            for given, style, (_, sha) in zip(self.styles.files, self.styles.pictures, self.styles.read, strict=True)
        ]
        start = self.styles.start_picture
        drafter = SheetPainter(
            context=self.context,
            console=self.console,
            options=self.options,
            styles=styles,
            start=None if self.styles.start is None or start is None else (self.styles.start, *start),
            strengths=strengths,
            size=size,
            load=lambda: self.model,
            model_name=self.model_name,
            weights=self.weights,
        )
        numbers = iter(range(len(contents)))

        def work(given: Input) -> None:
            number, count = next(numbers), drafter.drafts
            drafter.paint(given, sheets[number], finals[number * count : (number + 1) * count])

        for_each(contents, work, command="stylize", console=self.console)

    def paint(self, given: Input, destination: Destination) -> None:
        """Paint one content and write it.

        Raises:
            Interrupted: Ctrl-C; the picture so far has been written.
            CvtoolError: as reading, loading, painting and writing raise them.
        """
        from cvtool.images import visible_colors

        started, began = time.perf_counter(), self._begin()
        picture, digest = read_input(given, keep_profile=self.keep_profile)

        from cvtool.stylize.service import stylize  # with torch: a wrong path is told without it

        if picture.not_kept:
            self.console.warn(f"The profile of '{given.name}' is not kept: {picture.not_kept}. The result is in sRGB.")
        styles, start = self._in_profile.of(picture)

        def note(options: StylizeOptions) -> Note:
            return lambda shown: self._notes.text(given, digest, options, destination.format, shown)

        watcher = Watcher(self.extras.preview, self.extras.animate, note(self.options))
        model = self.model
        with (
            stop_on_interrupt(
                lambda: self.console.say("stopping at the next step; Ctrl-C again quits at once")
            ) as stop,
            self.console.progress() as progress,
        ):
            content = visible_colors(picture)
            if self.instant is not None:
                result = self.instant.paint(content, styles, self.options)
            else:
                result = stylize(
                    content,
                    styles,
                    model,
                    self._within_budget(picture, began),
                    regions=self.styles.regions(picture),
                    init=start,
                    book=self._book,
                    foretold=self._foretell,
                    progress=progress,
                    stop=stop,
                    preview=watcher if watcher.wanted else None,
                    keep=self._keeper(given, digest),
                    resume=self._snapshot,
                )
        destination.write(self._encode(picture, destination, result, given, digest), self.console)
        watcher.finish(result.pixels, note(self._made_with(result)))
        if self.report.wanted:
            self._show(given, picture, result, destination)
        self._report(given, destination, result, time.perf_counter() - started)

    def _foretell(self, forecast: Forecast) -> None:
        """Say what large work will take, before it begins."""
        from cvtool.memory import show_bytes

        tiles = f", in tiles of {forecast.tile} pixels" if forecast.tile else ""
        how_long = "" if forecast.seconds is None else f"about {duration(forecast.seconds)} and "
        self.console.say(f"this will take {how_long}at most {show_bytes(forecast.bytes)} of memory{tiles}")

    def _begin(self) -> float:
        """When the work on this picture began, on the clock of the process: for the first one, with the process."""
        first = not self._begun
        self._begun.append(True)
        return 0.0 if first else seconds_since_start()

    def _within_budget(self, picture: Picture, began: float) -> StylizeOptions:
        """The options with what is left of the budget after loading, less what writing will take."""
        if self.options.budget is None:
            return self.options
        from cvtool.stylize.pyramid import output_size

        height, width = output_size(picture.pixels.shape[0], picture.pixels.shape[1], self.options.size)
        ending = SECONDS_TO_END + SECONDS_PER_MEGAPIXEL * height * width / 1e6 * (self.bits or picture.bits) / 8
        return replace(self.options, budget=self.options.budget - (seconds_since_start() - began) - ending)

    def _keeper(self, given: Input, digest: str) -> Callable[[Snapshot], None] | None:
        """What is done with the state of the work now and then: keep it in the checkpoint, or nothing."""
        path = self.extras.checkpoint
        if path is None:
            return None
        from cvtool.stylize.snapshots import write_snapshot

        note = self._notes.text(given, digest, self.options)
        return lambda snapshot: write_snapshot(path, snapshot, note)

    def _show(self, given: Input, picture: Picture, result: StylizeResult, destination: Destination) -> None:
        """The content beside the result, on the page; the styles are there once."""
        from cvtool.images import Picture, flatten, resize

        found = zip(self.styles.files, self.styles.read, strict=True)
        styles = [(file.name, flatten(style)) for file, (style, _) in found if isinstance(style, Picture)]
        self.report.share(*(Shown(f"Style: {name}", f"The style {name}", pixels) for name, pixels in styles))
        height, width = result.pixels.shape[:2]
        alpha = None if picture.alpha is None else resize(picture.alpha, height, width)
        self.report.show(
            pair=[
                Shown("Content", f"The content {given.name}", picture.pixels, picture.alpha, picture.profile),
                Shown("Result", f"{given.name}, painted", result.pixels, alpha, picture.profile),
            ],
            command=self._notes.line(given, self._made_with(result), destination.format),
        )

    def _made_with(self, result: StylizeResult) -> StylizeOptions:
        """The options that make this result again: the plan for the budget, since steps do not depend on a machine."""
        plan = tuple(steps for _, _, steps in result.plan) if self.instant is None else ()
        return replace(result.options, steps=plan, budget=None)

    def _encode(
        self, picture: Picture, destination: Destination, result: StylizeResult, given: Input, digest: str
    ) -> bytes:
        from cvtool.images import encode_picture, resize

        note = self._notes.text(given, digest, self._made_with(result), destination.format)
        destination.warn_without_room(note, self.console)
        height, width = result.pixels.shape[:2]
        alpha = None if picture.alpha is None else resize(picture.alpha, height, width)
        bits = bits_for(self.bits, picture, destination.format)
        return encode_picture(
            result.pixels, destination.format.value, alpha=alpha, bits=bits, note=note, profile=picture.profile
        )

    def _report(self, given: Input, destination: Destination, result: StylizeResult, seconds: float) -> None:
        height, width = result.pixels.shape[:2]
        memory = peak_memory_mb()
        self.console.result(
            "stylize",
            input=given.name,
            output=destination.name,
            model=self.model_name,
            device=str(self.model.device),
            seed=self.options.seed,
            seconds=round(seconds, 3),
            styles=[style.name for style in self.styles.files],
            width=width,
            height=height,
            steps=result.steps,
            content_loss=result.content_loss,
            style_loss=result.style_loss,
            tv_loss=result.tv_loss,
            stopped_by=result.stopped_by,
            peak_memory_mb=None if memory is None else round(memory, 1),
        )
        if result.stopped_by == "interrupt":
            raise Interrupted(f"stopped after {result.steps} steps; the picture so far is in '{destination.name}'.")
        work = f"{result.steps} steps" if self.instant is None else "one pass"
        self.console.say(f"{given.name} -> {destination.name} ({width} x {height}, {work}, {seconds:.1f} s)")
