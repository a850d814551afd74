"""The work behind ``cvtool gan train``: data, networks, the run and its directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cvtool import __version__
from cvtool.cli.console import Console
from cvtool.cli.gan_data import checked
from cvtool.cli.gan_page import REPORT, clear, write_grid, write_page
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.repeat import command_line
from cvtool.cli.runs import check_same, plain
from cvtool.errors import BadInputError, Interrupted
from cvtool.gan.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from cvtool.gan.datasets.options import Conditional, PictureOptions
from cvtool.gan.features import default_features, feature_model
from cvtool.gan.options import RECIPES, SMALL_DATA, Arch, Augment, NetworkOptions, TrainOptions
from cvtool.gan.training import GRID, Check, Trainer, prepare, reference_pictures
from cvtool.provenance import Provenance
from cvtool.tensors import choose_device
from cvtool.training import BEST, LAST, RunDirectory

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
    request = _completed(request)
    data = checked(request.data, request.picture_options, console, cache=request.cache)
    if request.train_options.augment is None:
        few = len(data) < SMALL_DATA and not request.train_options.vae
        request = replace(
            request, train_options=replace(request.train_options, augment=Augment.diff if few else Augment.off)
        )
        if few:
            console.say(f"{len(data)} pictures are few: DiffAugment is on (--augment off turns it off).")
    run = RunDirectory.open(request.run) if resume else RunDirectory.create(request.run, overwrite=overwrite)
    with run.locked():
        config = {"version": __version__, "data": data.fingerprint, **request.record()}
        if resume:
            check_same(run.read_config(), config)
        else:
            clear(request.run)
            run.write_config({**config, "spec": request.data})
        line = command_line(context, [], dropped=frozenset({"resume", "overwrite", "cache"})) + " -o RUN_DIR"
        _Run(request, console, run, data, line).go(resume)


def _completed(request: Request) -> Request:
    """What follows from the family and the loss, where nothing else was asked for."""
    networks, pictures = request.network_options, request.picture_options
    if networks.spectral is None:
        own = not request.train_options.vae and RECIPES[request.train_options.loss].spectral
        networks = replace(networks, spectral=own)
    if networks.arch in (Arch.cs231n_mlp, Arch.cs231n_dc) and pictures.conditional is Conditional.auto:
        pictures = replace(pictures, conditional=Conditional.no)  # the assignment's networks know no classes
    return replace(request, network_options=networks, picture_options=pictures)


@dataclass
class _Run:
    request: Request
    console: Console
    run: RunDirectory
    data: Pictures
    line: str

    def go(self, resume: bool) -> None:
        trainer = self._trainer()
        if resume and (state := self.run.load_state()) is not None:
            try:
                trainer.load_state(state)
            except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
                raise BadInputError(
                    f"'{self.run.path}': its state does not fit this run. Start again with --overwrite."
                ) from error
        self._introduce(trainer)

        def on_check(check: Check) -> None:
            self._report(check, trainer)

        def on_step() -> None:
            if self.run.is_due or trainer.at_check:
                self.run.save_state(trainer.state())

        with (
            stop_on_interrupt(lambda: self.console.say("stopping after this step …")) as stop,
            self.console.progress() as progress,
        ):
            finished = trainer.run(on_check=on_check, on_step=on_step, progress=progress, stop=stop)
        if not finished:
            self.run.save_state(trainer.state())
            raise Interrupted(f"Stopped; '{self.run.path}' goes on with --resume.")
        path = self.run.path / BEST
        generator = read_checkpoint(path).generator
        reference = reference_pictures(self.data, self.request.train_options)
        write_page(self.run, generator, trainer.judge, reference, self.line, f"A generator of {self.data.name}")
        best = trainer.position.best
        self.console.say(
            f"'{path}' has the smallest Fréchet distance, {best:.2f}; the run is shown in '{REPORT}' beside."
        )
        self.console.result("gan train", output=str(path), device=str(trainer.feed.device), checkpoint=str(path))

    def _trainer(self) -> Trainer:
        device = choose_device(self.request.device)
        model = feature_model(self.request.features or default_features(self.data.size), device=device)
        with self.console.progress() as progress:
            return prepare(self.data, self.request.network_options, self.request.train_options, model, progress)

    def _introduce(self, trainer: Trainer) -> None:
        weights = sum(each.numel() for each in trainer.game.generator.parameters()) / 1e6
        kind = f", {len(self.data.classes)} classes" if self.data.classes else ""
        self.console.say(
            f"{len(self.data)} pictures of {self.data.size} px{kind}; a generator of {weights:.2f} million weights "
            f"on {trainer.feed.device}; distances by {trainer.judge.model.name}."
        )

    def _report(self, check: Check, trainer: Trainer) -> None:
        options = self.request.train_options
        self.run.log(check.record())
        write_grid(self.run.path, check.step, check.grid, GRID, self.data.classes)
        note = Provenance(
            command="gan train",
            version=__version__,
            command_line=self.line,
            options=self.request.record(),
            device=str(trainer.feed.device),
            seed=options.seed,
        ).to_json()
        checkpoint = Checkpoint(
            trainer.generator,
            self.request.network_options,
            self.data.classes,
            self.data.name,
            self.data.fingerprint,
            check.record(),
        )
        if check.trouble is None:
            for name in (LAST, *([BEST] if check.is_best else [])):
                write_checkpoint(self.run.path / name, checkpoint, note)
        else:
            self.console.warn(f"step {check.step}: {check.trouble}.")
        self.console.result(
            "gan train",
            device=str(trainer.feed.device),
            seed=options.seed,
            **_without_seconds(check.record()),
            epoch=round(check.step * trainer.feed.batch / len(self.data), 2),
            seconds=round(check.seconds, 1),
        )
        if not self.console.json:
            self.console.line(_in_words(check, trainer.position.total))


def _without_seconds(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "seconds"}


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
