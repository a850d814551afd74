"""The work behind ``cvtool caption train``: data, features, the run and its directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cvtool import __version__
from cvtool.caption.options import Engine, ModelOptions, TrainOptions
from cvtool.cli.caption_data import checked, complete_features
from cvtool.cli.console import Console
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.repeat import command_line
from cvtool.cli.runs import check_same, plain
from cvtool.errors import BadInputError, Interrupted, UsageError

if TYPE_CHECKING:
    from cvtool.caption.batches import Corpus
    from cvtool.caption.checkpoint import Checkpoint
    from cvtool.caption.datasets import CaptionData, CaptionedPicture
    from cvtool.caption.features import Pca
    from cvtool.caption.preparation import Source
    from cvtool.caption.training import Epoch, Trainer
    from cvtool.training import RunDirectory


FEATURES = "features.h5"
"""Of a run's pictures, in its directory, unless told otherwise."""


@dataclass(frozen=True)
class Request:
    """What is asked of a run; it is kept in its config.json, and a resumed run must ask the same."""

    data: str
    split_file: Path | None
    skip_bad: bool
    run: Path
    features: Path | None
    model: str
    weights: Path | None
    device: str
    start: Path | None
    limit: int | None
    engine: Engine
    model_options: ModelOptions
    train_options: TrainOptions

    def record(self) -> dict[str, Any]:
        """As JSON holds it, without what may differ when a run goes on: places and the device."""
        return plain(self, without=("run", "features", "device", "data", "split_file", "weights", "start"))


def carry_out(request: Request, context: typer.Context, console: Console, *, resume: bool, overwrite: bool) -> None:
    """Train from the start, or go on.

    Raises:
        UsageError: the directory is not empty, or holds a run that was asked for something else.
        BadInputError: the data set, features, checkpoint or state are broken.
        Interrupted: by Ctrl-C; the state is written.
    """
    from cvtool.training import RunDirectory

    if request.engine is Engine.numpy:
        from cvtool.caption.numpy_training import check_options

        check_options(request.model_options, request.train_options)
    if request.train_options.epochs + request.train_options.scst == 0:
        raise UsageError("--epochs 0 without --scst trains nothing. Give one of them a number.")
    kept = request.features or request.run / FEATURES
    # What has features already was readable then.
    decode = request.skip_bad or not kept.exists()
    data = checked(request.data, request.split_file, console, skip_bad=request.skip_bad, decode=decode)
    run = RunDirectory.open(request.run) if resume else RunDirectory.create(request.run, overwrite=overwrite)
    with run.locked():
        config = {"version": __version__, "data": data.fingerprint, **request.record()}
        if resume:
            check_same(run.read_config(), config)
        else:
            if request.features is None:
                kept.unlink(missing_ok=True)
            run.write_config({**config, "spec": request.data})
        line = command_line(context, [], dropped=frozenset({"resume", "overwrite"})) + " -o RUN_DIR"
        _Run(request, console, run, data, line).go(resume)


@dataclass
class _Run:
    request: Request
    console: Console
    run: RunDirectory
    data: CaptionData
    line: str
    pca: Pca | None = None

    def go(self, resume: bool) -> None:
        from cvtool.caption.numpy_training import NumpyTrainer
        from cvtool.caption.training import Trainer

        checkpoint, training, development = self._prepare()
        self.template = checkpoint
        captioner = checkpoint.captioner.requires_grad_(True)
        kind = NumpyTrainer if self.request.engine is Engine.numpy else Trainer
        trainer = kind(captioner, training, development, checkpoint.vocabulary, self.request.train_options)
        if resume and (state := self.run.load_state()) is not None:
            try:
                trainer.load_state(state)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise BadInputError(
                    f"'{self.run.path}': its state does not fit this run. Start again with --overwrite."
                ) from error
        tokens = training.tokens
        self.console.say(
            f"{len(training)} pictures, {tokens} words to learn from, {len(checkpoint.vocabulary)} in the vocabulary; "
            f"{sum(p.numel() for p in captioner.parameters()) / 1e6:.1f} million weights on {trainer.device}."
        )

        def save() -> None:
            self.run.save_state(trainer.state())

        def say_so() -> None:
            self.console.say("stopping after this step …")

        with stop_on_interrupt(say_so) as stop, self.console.progress() as progress:
            finished = trainer.run(
                on_epoch=lambda epoch: self._report(epoch, trainer),
                on_step=lambda: save() if self.run.is_due else None,
                after_epoch=save,
                progress=progress,
                stop=stop,
            )
        if not finished:
            save()
            raise Interrupted(f"Stopped; '{self.run.path}' goes on with --resume.")
        path = self.run.path / "best.safetensors"
        self.console.result("caption train", output=str(path), model=self.template.model, checkpoint=str(path))

    def _prepare(self) -> tuple[Checkpoint, Corpus, Corpus]:
        """An untrained captioner, and what it is trained and judged on."""
        import torch

        from cvtool.caption.checkpoint import Checkpoint, read_checkpoint
        from cvtool.caption.decoder import Captioner
        from cvtool.caption.preparation import build_vocabulary, check_split, corpus_of

        request, options = self.request, self.request.train_options
        training, development = self.data.split("train")[: request.limit], self.data.split("dev")
        started = None if request.start is None else read_checkpoint(request.start)
        if started is not None:
            vocabulary = started.vocabulary
        elif self.data.features is not None:
            vocabulary = self.data.features.vocabulary
        else:
            vocabulary = build_vocabulary(training, options.threshold)
        check_split(development, "dev", "judge the captions by")
        source = self._features([*training, *development])
        if started is None:
            with torch.random.fork_rng():
                torch.manual_seed(options.seed)
                captioner = Captioner(request.model_options, len(vocabulary), source.features.channels)
            started = Checkpoint(captioner, vocabulary, source.model, source.fingerprint, options.longest, pca=self.pca)
        elif started.fingerprint != source.fingerprint:
            raise BadInputError(f"'{request.start}' reads other features than these. Use --model {started.model}.")
        from cvtool.tensors import choose_device

        started.captioner.to(choose_device(request.device))
        return (
            started,
            corpus_of(training, source, vocabulary, options.longest),
            corpus_of(development, source, vocabulary, options.longest),
        )

    def _features(self, pictures: Sequence[CaptionedPicture]) -> Source:
        """The features of these pictures; those that the file lacks are computed."""
        from cvtool.caption.preparation import source_of_course, source_of_file

        request = self.request
        if self.data.features is not None:
            if request.model_options.attention:
                raise UsageError("The course's features have no places to look at. Use --no-attention.")
            return source_of_course(self.data.features)
        path = request.features or self.run.path / FEATURES
        file = complete_features(
            pictures,
            path,
            self.console,
            model=request.model,
            weights=request.weights,
            device=request.device,
            precision=request.train_options.precision,
            spatial=request.model_options.attention,
            flipped=True,
            skip_bad=request.skip_bad,
            again=f"'{self.run.path}' goes on with --resume",
        )
        self.pca = file.pca
        return source_of_file(file, file.pca, attention=request.model_options.attention)

    def _report(self, epoch: Epoch, trainer: Trainer) -> None:
        from cvtool.caption.checkpoint import write_checkpoint
        from cvtool.provenance import Provenance

        metrics = {key: value for key, value in asdict(epoch.metrics).items() if isinstance(value, float)}
        facts = {"epoch": epoch.epoch, "step": epoch.step, "perplexity": epoch.perplexity, **metrics}
        record = {**asdict(epoch), "metrics": metrics}
        self.run.log(record)
        note = Provenance(
            command="caption train",
            version=__version__,
            command_line=self.line,
            options=self.request.record(),
            model=self.template.model,
            device=str(trainer.device),
            seed=self.request.train_options.seed,
        ).to_json()
        checkpoint = replace(self.template, facts=facts)
        for name in ("last.safetensors", *(["best.safetensors"] if epoch.is_best else [])):
            write_checkpoint(self.run.path / name, checkpoint, note)
        more: dict[str, Any] = {key: value for key, value in record.items() if key not in ("seconds", "metrics")}
        self.console.result("caption train", seconds=round(epoch.seconds, 1), **{**more, **metrics})
        if not self.console.json:
            self.console.line(
                f"epoch {epoch.epoch} ({epoch.phase}): loss {epoch.loss:.2f}, perplexity {epoch.perplexity:.2f}, "
                f"BLEU-4 {epoch.metrics.bleu4:.3f}, CIDEr-D {epoch.metrics.cider:.3f}, {epoch.seconds:.0f} s, "
                f"{epoch.tokens_per_second:.0f} words/s{', best so far' if epoch.is_best else ''}"
            )
