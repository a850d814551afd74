"""``cvtool stylize --sheet``: every style at every strength as a small draft, with the command that finishes each."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import typer

from cvtool import __version__
from cvtool.cli.console import Console
from cvtool.cli.inputs import Input, read_input
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.measure import peak_memory_mb
from cvtool.cli.options import Format, parse_list
from cvtool.cli.outputs import STDOUT, Destination, plan_outputs, result_name
from cvtool.cli.repeat import command_line
from cvtool.errors import Interrupted, UsageError
from cvtool.progress import Progress, Step, Stop
from cvtool.stylize.options import StylizeOptions

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from cvtool.images import Picture
    from cvtool.models.loader import Model
    from cvtool.stylize.service import StylizeResult
    from cvtool.stylize.styles import Style

GAP = 8  # white pixels between drafts
DRAFTING = frozenset({"sheet", "strengths", "sheet_size"})
"""Options that are about the sheet, and not about the picture that a command finishes."""


@dataclass(frozen=True, eq=False)
class DraftStyle:
    """A style that is drafted by itself: where it came from, its picture or style file, the SHA-256 of its file."""

    given: Input
    style: Style
    digest: str


@dataclass(frozen=True, eq=False)
class Draft:
    """One cell of a sheet, done."""

    row: int
    column: int
    result: StylizeResult
    seconds: float


def parse_strengths(text: str) -> tuple[float, ...]:
    """Strengths from ``30,60,90``, each once, in the order given.

    Raises:
        UsageError: one is not a number from 0 to 100, or there is none.
    """
    strengths = parse_list(text, _strength, "--strengths", "a list of strengths from 0 to 100 such as 30,60,90")
    if not strengths:
        raise UsageError("--strengths is empty. Give strengths from 0 to 100 such as 30,60,90.")
    return tuple(dict.fromkeys(strengths))


def plan_sheets(
    contents: Sequence[Input], sheet: str, *, styles: int, columns: int, size: int, inputs: Iterable[Path]
) -> Sequence[Destination]:
    """Where the sheet of each content goes: the file named, or files in that folder.

    Args:
        contents: one sheet is made of each.
        sheet: as given to ``--sheet``.
        styles, columns, size: rows and columns of a sheet, and pixels of a cell.
        inputs: files that must stay as they are.

    Raises:
        UsageError: several contents and one file, an input, a format whose pictures cannot be so large, stdout.
    """
    if sheet == STDOUT:
        raise UsageError("--sheet takes a file, not '-': the commands that finish the drafts go to stdout.")
    try:
        destinations = plan_outputs(
            [result_name(given.stem, "sheet") for given in contents],
            output=sheet,
            format=None,
            inputs=inputs,
            json=False,
            collected=any(given.collected for given in contents),
        )
    except UsageError as error:
        raise UsageError(str(error).replace("--output", "--sheet")) from error
    _check_room(destinations[0].format, (styles + 1) * (size + GAP), (columns + 2) * (size + GAP))
    return destinations


def plan_finals(
    contents: Sequence[Input],
    styles: Sequence[Input],
    strengths: Sequence[float],
    *,
    output: str | None,
    format: Format | None,
    inputs: Iterable[Path],
) -> Sequence[Destination]:
    """Where the commands that finish the drafts will write: content by content, style by style, by strength.

    Raises:
        UsageError: `output` is no folder; a file there is an input.
    """
    if output == STDOUT:
        raise UsageError("With --sheet, --output is the folder of the finished pictures and cannot be '-'.")
    names = [
        result_name(content.stem, style.stem, f"{strength:g}")
        for content in contents
        for style in styles
        for strength in strengths
    ]
    return plan_outputs(names, output=output, format=format, inputs=inputs, json=False, collected=True)


@dataclass(frozen=True, eq=False)
class SheetPainter:
    """Makes a sheet of drafts of one content after the other, with the same styles and the same network.

    Attributes:
        context: of the running command, for the commands that it prints.
        options: of the finished pictures; each style is on its own, so style weights do not count.
        styles: one row each.
        start: where the pictures start, and the file it was read from; None for the options' way.
        strengths: one column each.
        size: longer side of a draft in pixels.
        load: gives the network; asked when the first content has been read.
        model_name, weights: as given, for what is told.
    """

    context: typer.Context
    console: Console
    options: StylizeOptions
    styles: Sequence[DraftStyle]
    start: tuple[Input, Picture, str] | None
    strengths: Sequence[float]
    size: int
    load: Callable[[], Model]
    model_name: str
    weights: Path | None

    @property
    def drafts(self) -> int:
        """How many drafts a sheet has."""
        return len(self.styles) * len(self.strengths)

    def paint(self, given: Input, destination: Destination, finals: Sequence[Destination]) -> None:
        """Draft one content, write its sheet, and print the commands that finish the drafts.

        Args:
            given: the content.
            destination: of the sheet.
            finals: where the finished pictures will go, style by style, by strength.

        Raises:
            Interrupted: Ctrl-C; the drafts so far are on the sheet.
            CvtoolError: as reading, loading, painting and writing raise them.
        """
        picture, digest = read_input(given)
        model = self.load()
        done: list[Draft] = []
        with (
            stop_on_interrupt(
                lambda: self.console.say("stopping; the sheet so far is written. Ctrl-C again quits at once")
            ) as stop,
            self.console.progress() as progress,
        ):
            self._draft_all(picture, model, done, stop, progress)
        if not done:
            raise Interrupted("stopped before the first draft was done; no sheet is written.")
        destination.write(self._encoded(picture, done, destination, given, digest, model), self.console)
        for draft in done:
            self._report(draft, given, destination, finals[draft.row * len(self.strengths) + draft.column], model)
        if len(done) < self.drafts:
            raise Interrupted(f"stopped after {len(done)} of {self.drafts} drafts; they are on '{destination.name}'.")
        self.console.say(f"{given.name}: {len(done)} drafts -> {destination.name}")

    def _draft_all(self, picture: Picture, model: Model, done: list[Draft], stop: Stop, progress: Progress) -> None:
        """Add the drafts to `done` until one is stopped, which is left out: half-painted it would mislead."""
        from cvtool.images import visible_colors
        from cvtool.stylize.drafts import draft_of, shrunk
        from cvtool.stylize.service import stylize
        from cvtool.stylize.styles import StyleBook

        height, width = picture.pixels.shape[:2]
        plans = [draft_of(self.options, strength, self.size, (height, width)) for strength in self.strengths]
        content = shrunk(visible_colors(picture), plans[0].size)
        for row, style in enumerate(self._small_styles):
            book = StyleBook()  # one for each row: what is known of a style is of no use to the next
            for column, options in enumerate(plans):
                if stop():
                    return
                began = time.perf_counter()
                result = stylize(
                    content,
                    [style],
                    model,
                    options,
                    init=self._small_start,
                    book=book,
                    progress=_numbered(progress, row * len(plans) + column + 1, self.drafts),
                    stop=stop,
                )
                if result.stopped_by == "interrupt":
                    return
                done.append(Draft(row, column, result, time.perf_counter() - began))

    @cached_property
    def _small_styles(self) -> list[Style]:
        """Styles no larger than drafts need them, so that large files are not gone through for every draft."""
        from cvtool.stylize.drafts import ROOM, shrunk
        from cvtool.stylize.style_files import StyleFile

        longer = max(1, round(ROOM * self.size * self.options.style_scale))
        return [s.style if isinstance(s.style, StyleFile) else shrunk(s.style, longer) for s in self.styles]

    @cached_property
    def _small_start(self) -> NDArray[np.float32] | None:
        from cvtool.images import flatten
        from cvtool.stylize.drafts import ROOM, shrunk

        return None if self.start is None else shrunk(flatten(self.start[1]), ROOM * self.size)

    def _encoded(
        self, picture: Picture, done: Sequence[Draft], destination: Destination, given: Input, digest: str, model: Model
    ) -> bytes:
        from cvtool.grids import contact_sheet
        from cvtool.images import encode_picture

        rows: list[list[NDArray[np.float32] | None]] = [[None] * len(self.strengths) for _ in self.styles]
        for draft in done:
            rows[draft.row][draft.column] = _on_white(draft.result.pixels, picture)
        sheet = contact_sheet(
            rows,
            column_labels=[f"strength {strength:g}" for strength in self.strengths],
            row_labels=[style.given.stem for style in self.styles],
            cell=self.size,
            gap=GAP,
        )
        note = self._note(given, digest, destination, model)
        destination.warn_without_room(note, self.console)
        return encode_picture(sheet, destination.format.value, note=note)

    def _note(self, given: Input, digest: str, destination: Destination, model: Model) -> str:
        """The provenance of the sheet; its command line makes the sheet again, in the current folder."""
        from cvtool.provenance import Provenance

        assert destination.path is not None
        files = [(given, digest), *((style.given, style.digest) for style in self.styles)]
        files += [] if self.start is None else [(self.start[0], self.start[2])]
        line = self._command(
            given,
            [style.given.lasting_name for style in self.styles],
            {
                "sheet": destination.path.name,
                "strengths": ",".join(f"{strength:g}" for strength in self.strengths),
                "sheet_size": self.size,
                "strength": None,
                "format": None,
                "budget": None,
            },
        )
        return Provenance(
            command="stylize",
            version=__version__,
            command_line=line,
            options={
                **asdict(replace(self.options, style_weights=(), budget=None)),
                "strengths": tuple(self.strengths),
                "sheet_size": self.size,
            },
            inputs=tuple({"path": file.lasting_name, "sha256": sha} for file, sha in files),
            model=self.model_name,
            device=str(model.device),
            seed=self.options.seed,
        ).to_json()

    def _finish(self, draft: Draft, given: Input, final: Destination) -> str:
        """The command that makes the picture of a draft at its full size."""
        assert final.path is not None
        style = self.styles[draft.row].given.lasting_name
        replaced = {"strength": f"{self.strengths[draft.column]:g}", **dict.fromkeys(DRAFTING), "format": None}
        return f"{self._command(given, [style], replaced)} -o {shlex.quote(str(final.path.absolute()))}"

    def _command(self, given: Input, styles: Sequence[str], replaced: Mapping[str, object]) -> str:
        by_option = bool(self.context.params.get("style"))
        return command_line(
            self.context,
            [given.lasting_name, *([] if by_option else styles)],
            replaced={
                "style": list(styles) if by_option else None,
                "style_weight": None,
                **({} if self.start is None else {"init": self.start[0].lasting_name}),
                "weights": self.weights,
                **replaced,
            },
        )

    def _report(self, draft: Draft, given: Input, destination: Destination, final: Destination, model: Model) -> None:
        result, memory = draft.result, peak_memory_mb()
        finish = self._finish(draft, given, final)
        self.console.result(
            "stylize",
            input=given.name,
            output=destination.name,
            model=self.model_name,
            device=str(model.device),
            seed=self.options.seed,
            seconds=round(draft.seconds, 3),
            styles=[self.styles[draft.row].given.name],
            strength=self.strengths[draft.column],
            row=draft.row,
            column=draft.column,
            width=result.pixels.shape[1],
            height=result.pixels.shape[0],
            steps=result.steps,
            content_loss=result.content_loss,
            style_loss=result.style_loss,
            tv_loss=result.tv_loss,
            stopped_by=result.stopped_by,
            peak_memory_mb=None if memory is None else round(memory, 1),
            finish=finish,
        )
        if not self.console.json:
            self.console.line(finish)


def _strength(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:  # also NaN
        raise ValueError(f"{value:g} is no strength")
    return value


def _check_room(format: Format, height: int, width: int) -> None:
    """About the size of a sheet, before the work: JPEG and WebP have a largest side."""
    from cvtool.images import MAX_SIDE

    limit = MAX_SIDE.get(format.value)
    if limit is not None and max(height, width) > limit:
        raise UsageError(
            f"So many drafts make a sheet of about {width}×{height} pixels; {format.value} holds {limit}. "
            "Use a .png, fewer drafts or a smaller --sheet-size."
        )


def _numbered(progress: Progress, number: int, total: int) -> Progress:
    """Hears of one draft and says which it is."""

    def hear(step: Step) -> None:
        progress(replace(step, stage=f"draft {number}/{total}, {step.stage}"))

    return hear


def _on_white(pixels: NDArray[np.float32], picture: Picture) -> NDArray[np.float32]:
    """A draft as seen on the sheet: transparent where its content is."""
    if picture.alpha is None:
        return pixels
    from cvtool.images import flatten, resize

    return flatten(replace(picture, pixels=pixels, alpha=resize(picture.alpha, *pixels.shape[:2])))
