"""The work behind ``cvtool gan train``: data, networks, the run and its directory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cvtool import __version__
from cvtool.cli.console import Console
from cvtool.cli.gan_data import absolute, checked
from cvtool.cli.gan_page import sheets_of, write_grid, write_page
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.processes import company, goes_on, together
from cvtool.cli.repeat import command_line
from cvtool.cli.runs import check_same, plain, restore
from cvtool.distributed import Group
from cvtool.errors import Interrupted
from cvtool.gan.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from cvtool.gan.features import default_features, feature_model
from cvtool.gan.options import Arch, Augment, NetworkOptions, TrainOptions, completed
from cvtool.gan.picture_options import Conditional, PictureOptions
from cvtool.gan.position import Check
from cvtool.gan.training import GRID, CollapseError, Trainer, prepare, reference_pictures
from cvtool.provenance import Provenance, environment
from cvtool.run_files import BEST, LAST, REPORT
from cvtool.tensors import choose_device
from cvtool.training import RunDirectory

if TYPE_CHECKING:
    from cvtool.gan.datasets import Pictures


@dataclass(frozen=True)
class Request:
    """What is asked of a run; it is kept in its config.json, and a resumed run must ask the same."""

    data: str
    run: Path
    cache: Path | None
    device: str
    features: str | None
    picture_options: PictureOptions
    network_options: NetworkOptions
    train_options: TrainOptions

    def record(self) -> dict[str, Any]:
        """As JSON holds it, without what may differ when a run goes on: places and the device."""
        return plain(self, without=("run", "cache", "device", "data"))


def carry_out(request: Request, context: typer.Context, console: Console, *, resume: bool, overwrite: bool) -> None:
    """Train from the start, or go on.

    Raises:
        UsageError: the directory is not empty, or holds a run that was asked for something else.
        BadInputError: the data set or the state are broken.
        Interrupted: by Ctrl-C; the state is written.
    """
    with together(request.device) as group:
        if group.size > 1:
            request = replace(request, device=str(group.device))
        resume = group.from_main(goes_on(request.run, resume=resume, overwrite=overwrite))
        _train(request, context, console, group, resume=resume, overwrite=overwrite)


def _train(
    request: Request, context: typer.Context, console: Console, group: Group, *, resume: bool, overwrite: bool
) -> None:
    if group.is_main and not resume:
        RunDirectory.check(request.run, overwrite=overwrite)
    pictures = request.picture_options
    if request.network_options.arch in (Arch.cs231n_mlp, Arch.cs231n_dc) and pictures.conditional is Conditional.auto:
        pictures = replace(pictures, conditional=Conditional.no)  # the assignment's networks know no classes
    with group.in_turn():
        data = checked(request.data, pictures, console, cache=request.cache)
    group.check_same(data.fingerprint, "data set")
    networks, options = completed(len(data), request.network_options, request.train_options)
    if options.augment is not request.train_options.augment and options.augment is Augment.diff:
        console.say(f"{len(data)} pictures are few: DiffAugment is on (--augment off turns it off).")
    request = replace(request, picture_options=pictures, network_options=networks, train_options=options)
    config = {"version": __version__, "data": data.fingerprint, **request.record()}
    if group.is_main and resume:
        check_same(RunDirectory.open(request.run).read_config(), config)
    trainer = _trainer(request, data, console, group)
    if not group.is_main:
        _Run(request, context, console, RunDirectory(request.run), data, trainer).go(resume)
        return
    run = RunDirectory.open(request.run) if resume else RunDirectory.create(request.run, overwrite=overwrite)
    with run.locked():
        work = _Run(request, context, console, run, data, trainer)
        if resume:
            run.write_config({**run.read_config(), **company(group)})
        else:
            sheets_of(request.run).clear()
            begun = {"spec": request.data, "command_line": work.line(), "environment": environment()}
            run.write_config({**config, **begun, **company(group)})
        work.go(resume)


def _trainer(request: Request, data: Pictures, console: Console, group: Group) -> Trainer:
    model = feature_model(request.features or default_features(data.size), device=choose_device(request.device))
    with console.progress() as progress:
        return prepare(data, request.network_options, request.train_options, model, progress, group)


@dataclass
class _Run:
    request: Request
    context: typer.Context
    console: Console
    run: RunDirectory
    data: Pictures
    trainer: Trainer

    def go(self, resume: bool) -> None:
        trainer = self.trainer
        if resume:
            restore(trainer, self.run, trainer.group)
        self._introduce()

        def on_step() -> None:
            if self.run.is_due or trainer.at_check:
                self.run.save_state(trainer.state())

        try:
            with (
                stop_on_interrupt(lambda: self.console.say("stopping after this step …")) as stop,
                self.console.progress() as progress,
            ):
                finished = trainer.run(on_check=self._report, on_step=on_step, progress=progress, stop=stop)
        except CollapseError:
            self._show()
            raise
        if not finished and trainer.group.is_main:
            self.run.save_state(trainer.state())
        self._show()
        if not finished:
            raise Interrupted(f"Stopped; '{self.run.path}' goes on with --resume.")
        path = self.run.path / BEST
        self.console.say(
            f"'{path}' has the smallest Fréchet distance, {trainer.position.best:.2f}; "
            f"the run is shown in '{REPORT}' beside."
        )
        self._result(trainer.position.seconds, output=str(path), checkpoint=str(path))

    def _show(self) -> None:
        """Write the page, if there is something to show; all wait for it, lest they end the one that writes."""
        judge = self.trainer.judge
        if judge is not None and math.isfinite(self.trainer.position.best):
            generator = read_checkpoint(self.run.path / BEST).generator
            reference = reference_pictures(self.data, self.request.train_options)
            title = f"A generator of {self.data.name}"
            write_page(self.run, generator, judge, reference, self.line(), title)
        self.trainer.group.wait()

    def line(self) -> str:
        """The command that repeats the run: with the steps that a budget was planned to.

        A run that was slower than planned, and cut, is a part of that one: it goes through the same states, and on.
        """
        position = self.trainer.position
        replaced: dict[str, Any] = {"data": absolute(self.request.data)}
        if self.request.train_options.steps is None and position.total:
            replaced |= {"budget": None, "steps": position.total, "every": position.every}
        dropped = frozenset({"resume", "overwrite", "cache"})
        return command_line(self.context, [], replaced=replaced, dropped=dropped) + " -o RUN_DIR"

    def _result(self, seconds: float, **more: Any) -> None:
        self.console.result(
            "gan train",
            input=self.request.data,
            model=self.request.network_options.arch.value,
            device=str(self.trainer.feed.device),
            seed=self.request.train_options.seed,
            seconds=round(seconds, 1),
            **more,
        )

    def _introduce(self) -> None:
        trainer = self.trainer
        if trainer.judge is None:
            return
        weights = sum(each.numel() for each in trainer.game.generator.parameters()) / 1e6
        kind = f", {len(self.data.classes)} classes" if self.data.classes else ""
        self.console.say(
            f"{len(self.data)} pictures of {self.data.size} px{kind}; a generator of {weights:.2f} million weights "
            f"on {trainer.feed.device}{_shared(trainer.group)}; distances by {trainer.judge.model.name}."
        )

    def _report(self, check: Check) -> None:
        self.run.log(check.record())
        write_grid(self.run.path, check.step, check.grid, GRID, self.data.classes, self._note(step=check.step))
        if check.trouble is None:
            self._keep(check)
        else:
            then = "; back to the best state, and on more gently" if self.trainer.may_go_back else ""
            self.console.warn(f"step {check.step}: {check.trouble}{then}.")
        facts = {name: value for name, value in check.record().items() if name != "seconds"}
        self._result(check.seconds, **facts)
        if not self.console.json:
            self.console.line(_in_words(check, self.trainer.position.total))

    def _keep(self, check: Check) -> None:
        """The generator of a check as the last one, and as the best if it is."""
        checkpoint = Checkpoint(
            self.trainer.generator,
            self.request.network_options,
            self.data.classes,
            self.data.name,
            self.data.fingerprint,
            check.record(),
        )
        note = self._note()
        for name in (LAST, *([BEST] if check.is_best else [])):
            write_checkpoint(self.run.path / name, checkpoint, note)

    def _note(self, **more: int) -> str:
        """The provenance of what the run leaves, as text, with what else is to be said of it."""
        return Provenance(
            command="gan train",
            version=__version__,
            command_line=self.line(),
            options={**self.request.record(), **more},
            device=str(self.trainer.feed.device),
            seed=self.request.train_options.seed,
        ).to_json()


def _shared(group: Group) -> str:
    return f" in {group.size} processes" if group.size > 1 else ""


def _in_words(check: Check, total: int) -> str:
    facts = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in check.facts.items())
    seen = check.evaluation
    distances = (
        "no pictures"
        if seen is None
        else (f"Fréchet distance {seen.fd:.2f} ({seen.fd_low:.2f} to {seen.fd_high:.2f}), coverage {seen.coverage:.2f}")
    )
    best = ", best so far" if check.is_best else ""
    return (
        f"step {check.step} of {total}: {facts}; {distances}; {check.seconds:.0f} s, "
        f"{check.pictures_per_second:.0f} pictures/s{best}"
    )
