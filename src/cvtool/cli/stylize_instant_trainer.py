"""The work behind ``cvtool stylize train-instant``: pictures, the painter, the run and its directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from cvtool import __version__
from cvtool.cli.console import Console, list_problems
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.protected import refuse_inside
from cvtool.cli.repeat import command_line
from cvtool.cli.run_sheets import Sheets, write_report
from cvtool.cli.runs import absolute, check_same, plain, restore
from cvtool.errors import Interrupted
from cvtool.files import sha256_of
from cvtool.grids import contact_sheet
from cvtool.images import encode_picture
from cvtool.models.loader import load
from cvtool.problems import BadPicturesError
from cvtool.provenance import Provenance, environment
from cvtool.run_files import BEST, LAST, REPORT
from cvtool.stylize.instant.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from cvtool.stylize.instant.data import KINDS, Shelf, read_shelf
from cvtool.stylize.instant.options import InstantTrainOptions, PainterOptions
from cvtool.stylize.instant.report import page
from cvtool.stylize.instant.statistics import ENCODER
from cvtool.stylize.instant.training import Check, Trainer, prepare
from cvtool.training import RunDirectory

NAME = "stylize train-instant"
FEWEST_CONTENTS, FEWEST_STYLES = 8, 2
CELL, GAP = 192, 4  # pixels


@dataclass(frozen=True)
class Request:
    """What is asked of a run; it is kept in its config.json, and a resumed run must ask the same."""

    content: tuple[str, ...]
    styles: tuple[str, ...]
    run: Path
    device: str
    start: Path | None
    network: PainterOptions
    training: InstantTrainOptions

    def record(self) -> dict[str, Any]:
        """As JSON holds it, without what may differ when a run goes on: places and the device."""
        return plain(self, without=("run", "device", "content", "styles", "start"))


def carry_out(request: Request, context: typer.Context, console: Console, *, resume: bool, overwrite: bool) -> None:
    """Train from the start, or go on.

    Raises:
        UsageError: the directory is not empty, or holds a run that was asked for something else.
        BadInputError: pictures or the state are broken.
        Interrupted: by Ctrl-C; the state is written.
    """
    if resume:
        check_same(RunDirectory.open(request.run).read_config(), request.record())
    else:
        RunDirectory.check(request.run, overwrite=overwrite)
    contents = _shelf(request.content, request.training, FEWEST_CONTENTS, console)
    styles = _shelf(request.styles, request.training, FEWEST_STYLES, console)
    if overwrite:  # a folder is searched to its bottom, and the run may lie there
        refuse_inside(request.run, (path for each in (contents, styles) for path in (*each.train, *each.held_out)))
    data = f"{contents.fingerprint} {styles.fingerprint}"
    config = {"version": __version__, "data": data, **request.record()}
    if request.start is not None:
        config["start"] = sha256_of(request.start)
    if resume:
        check_same(RunDirectory.open(request.run).read_config(), config)
    model = load(ENCODER, device=request.device)
    start = None if request.start is None else read_checkpoint(request.start).painter
    trainer = prepare(contents, styles, request.network, request.training, model, start)
    run = RunDirectory.open(request.run) if resume else RunDirectory.create(request.run, overwrite=overwrite)
    with run.locked():
        work = _Run(request, context, console, run, contents, styles, trainer)
        if not resume:
            _sheets(request.run).clear()
            specs = {"contents": list(request.content), "style_folders": list(request.styles)}
            begun = {"command_line": work.line(), "environment": environment()}
            run.write_config({**config, **specs, **begun})
        work.go(resume)


def _shelf(specs: Sequence[str], options: InstantTrainOptions, fewest: int, console: Console) -> Shelf:
    try:
        with console.progress() as progress:
            shelf = read_shelf(
                specs, held_out=options.held_out, fewest=fewest, skip_bad=options.skip_bad, progress=progress
            )
    except BadPicturesError as error:
        list_problems(error.problems, console.error)
        raise
    if shelf.problems:
        list_problems(shelf.problems, console.warn)
        console.warn(f"{len(shelf.problems)} pictures of {', '.join(specs)} are left out.")
    return shelf


@dataclass
class _Run:
    request: Request
    context: typer.Context
    console: Console
    run: RunDirectory
    contents: Shelf
    styles: Shelf
    trainer: Trainer
    sheets: Sheets = field(init=False)

    def __post_init__(self) -> None:
        self.sheets = _sheets(self.run.path)

    def go(self, resume: bool) -> None:
        trainer = self.trainer
        if resume:
            restore(trainer, self.run)
        self._introduce()
        self._show()

        def on_step() -> None:
            if self.run.is_due or trainer.at_check:
                self.run.save_state(trainer.state())

        with (
            stop_on_interrupt(lambda: self.console.say("stopping after this step …")) as stop,
            self.console.progress() as progress,
        ):
            finished = trainer.run(on_check=self._report, on_step=on_step, progress=progress, stop=stop)
        if not finished:
            self.run.save_state(trainer.state())
            raise Interrupted(f"Stopped; '{self.run.path}' goes on with --resume.")
        path = self.run.path / BEST
        self.console.say(
            f"'{path}' has the smallest loss on what was held out, {trainer.position.best:.4f}; "
            f"'{REPORT}' beside it shows the run."
        )
        self._result(trainer.position.seconds, output=str(path), checkpoint=str(path))

    def _introduce(self) -> None:
        weights = sum(each.numel() for each in self.trainer.painter.parameters()) / 1e6
        aside = f"{len(self.contents.held_out)} and {len(self.styles.held_out)}"
        self.console.say(
            f"{len(self.contents.train)} contents and {len(self.styles.train)} styles to learn from, {aside} held out; "
            f"a painter of {weights:.2f} million weights on {self.trainer.device}."
        )

    def line(self) -> str:
        """The command that repeats the run: with the steps that a budget came to."""
        replaced: dict[str, Any] = {
            "content": [absolute(spec, KINDS) for spec in self.request.content],
            "styles": [absolute(spec, KINDS) for spec in self.request.styles],
            "start": self.request.start,
        }
        position = self.trainer.position
        if self.request.training.steps is None and position.total:
            replaced |= {"budget": None, "steps": position.total, "every": position.every}
        dropped = frozenset({"resume", "overwrite"})
        return command_line(self.context, [], replaced=replaced, dropped=dropped) + " -o RUN_DIR"

    def _result(self, seconds: float, **more: Any) -> None:
        self.console.result(
            NAME,
            input=", ".join(self.request.content),
            styles=list(self.request.styles),
            model=ENCODER,
            device=str(self.trainer.device),
            seed=self.request.training.seed,
            seconds=round(seconds, 1),
            **more,
        )

    def _report(self, check: Check) -> None:
        record = check.record()
        self.run.log(record)
        self._draw(check)
        checkpoint = Checkpoint(self.trainer.average, self.contents.fingerprint, self.styles.fingerprint, facts=record)
        note = self._note()
        for name in (LAST, *([BEST] if check.is_best else [])):
            write_checkpoint(self.run.path / name, checkpoint, note)
        self._show()
        self._result(check.seconds, **{name: value for name, value in record.items() if name != "seconds"})
        if not self.console.json:
            self.console.line(_in_words(check, self.trainer.position.total))

    def _note(self, **more: int) -> str:
        """The provenance of what the run leaves, as text, with what else is to be said of it."""
        shelves = ((self.request.content, self.contents), (self.request.styles, self.styles))
        read = [(absolute(spec, KINDS), shelf.fingerprint) for specs, shelf in shelves for spec in specs]
        if self.request.start is not None:
            read.append((str(self.request.start.resolve()), sha256_of(self.request.start)))
        return Provenance(
            command=NAME,
            version=__version__,
            command_line=self.line(),
            options={**self.request.record(), **more},
            inputs=tuple({"path": path, "sha256": digest} for path, digest in read),
            model=ENCODER,
            device=str(self.trainer.device),
            seed=self.request.training.seed,
        ).to_json()

    def _draw(self, check: Check) -> None:
        """Contents, styles and paintings below each other, as samples/step-NNNNNN.png."""
        sheet = contact_sheet([list(row) for row in check.tiles], cell=CELL, gap=GAP)
        self.sheets.write(check.step, encode_picture(sheet, "png", note=self._note(step=check.step)))

    def _show(self) -> None:
        """The run so far as report.html."""
        records = self.run.records()
        sheets = self.sheets.shown(records, "step")
        write_report(self.run.path, page(self.run.read_config(), records, sheets, command=self.line()))


def _sheets(run: Path) -> Sheets:
    return Sheets(run, "step-{:06d}.png")


def _in_words(check: Check, total: int) -> str:
    facts = check.facts
    best = ", best so far" if check.is_best else ""
    return (
        f"step {check.step} of {total}: loss {facts.get('loss', float('nan')):.4f}; "
        f"held out {facts['held_out_loss']:.4f} (style {facts['held_out_style']:.3f}, "
        f"content {facts['held_out_content']:.3f}); {check.seconds:.0f} s, "
        f"{check.pictures_per_second:.1f} pictures/s{best}"
    )
