"""The work behind ``cvtool caption train``: data, features, the run and its directory."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from cvtool import __version__
from cvtool.caption.options import Engine
from cvtool.cli.caption_data import checked, complete_features, known_in
from cvtool.cli.caption_page import Showing, sheets_of
from cvtool.cli.caption_request import Request
from cvtool.cli.console import Console
from cvtool.cli.interrupts import stop_on_interrupt
from cvtool.cli.processes import company, goes_on, together
from cvtool.cli.repeat import command_line
from cvtool.cli.runs import absolute, check_same, restore
from cvtool.errors import BadInputError, Interrupted, UsageError
from cvtool.files import remove
from cvtool.provenance import environment
from cvtool.run_files import BEST, LAST, REPORT

if TYPE_CHECKING:
    from cvtool.caption.batches import Corpus
    from cvtool.caption.checkpoint import Checkpoint
    from cvtool.caption.datasets import CaptionData, CaptionedPicture
    from cvtool.caption.epochs import Epoch
    from cvtool.caption.extractor import Extractor
    from cvtool.caption.features import Pca
    from cvtool.caption.finetuning import Sight
    from cvtool.caption.halfway import Halfway
    from cvtool.caption.preparation import Source
    from cvtool.caption.training import Trainer
    from cvtool.caption.vocabulary import Vocabulary
    from cvtool.distributed import Group
    from cvtool.training import RunDirectory


FEATURES = "features.h5"
"""Of a run's pictures, in its directory, unless told otherwise."""


def carry_out(request: Request, context: typer.Context, console: Console, *, resume: bool, overwrite: bool) -> None:
    """Train from the start, or go on.

    Raises:
        UsageError: the directory is not empty, or holds a run that was asked for something else.
        BadInputError: the data set, features, checkpoint or state are broken.
        Interrupted: by Ctrl-C; the state is written.
    """
    tuned = request.train_options.finetune
    if tuned and request.features is not None:
        raise UsageError("--finetune looks at the pictures themselves, not at features. Leave out --features.")
    if request.engine is Engine.numpy:
        from cvtool.caption.numpy_training import check_options

        check_options(request.model_options, request.train_options)
    if request.train_options.epochs + request.train_options.scst == 0:
        raise UsageError("--epochs 0 without --scst trains nothing. Give one of them a number.")
    with together(request.device) as group:
        if group.size > 1 and request.engine is Engine.numpy:
            raise UsageError("--engine numpy runs in one process. Leave out torchrun.")
        if group.size > 1:
            request = replace(request, device=str(group.device))
        resume = group.from_main(goes_on(request.run, resume=resume, overwrite=overwrite))
        _train(request, context, console, group, resume=resume, overwrite=overwrite)


def _train(
    request: Request, context: typer.Context, console: Console, group: Group, *, resume: bool, overwrite: bool
) -> None:
    from cvtool.caption.datasets import FORMATS
    from cvtool.caption.pictures import has_kept_rows, remove_kept_rows
    from cvtool.training import RunDirectory

    if group.is_main and not resume:
        RunDirectory.check(request.run, overwrite=overwrite)
    tuned = request.train_options.finetune
    kept = request.features or request.run / FEATURES
    # What has features already was readable then; those of a run that is begun again are computed anew.
    stays = not tuned and not request.skip_bad and (resume or request.features is not None)
    known = known_in(kept if stays and group.is_main else None)
    # Of a group the first process looks for all; but all must know what is left out.
    decode = request.skip_bad or (group.is_main and not (tuned and resume and has_kept_rows(request.run)))
    data = checked(request.data, request.split_file, console, skip_bad=request.skip_bad, decode=decode, known=known)
    if tuned and data.features is not None:
        raise UsageError(f"'{request.data}' has no pictures to train a network on. Leave out --finetune.")
    group.check_same(data.fingerprint, "data set")
    replaced = {"data": absolute(request.data, FORMATS)}
    line = command_line(context, [], replaced=replaced, dropped=frozenset({"resume", "overwrite"})) + " -o RUN_DIR"
    work = _Run(request, console, RunDirectory(request.run), data, line, group)
    if not group.is_main:
        work.go(resume)
        return
    if not resume:
        work.look()
    run = work.run = RunDirectory.open(request.run) if resume else RunDirectory.create(request.run, overwrite=overwrite)
    with run.locked():
        config = {"version": __version__, "data": data.fingerprint, **request.record()}
        if resume:
            check_same(_completed(run.read_config()), config)
            run.write_config({**run.read_config(), **company(group)})
        else:
            if request.features is None:
                remove(kept)
            remove_kept_rows(request.run)
            sheets_of(request.run).clear()
            begun = {"spec": request.data, "command_line": line, "environment": environment()}
            run.write_config({**config, **begun, **company(group)})
        work.go(resume)


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """With the options that earlier versions did not have, as they were then."""
    added = {"finetune": False, "finetune_from": "", "finetune_rate": 2e-5, "scst_anchor": 0.0, "average": 1}
    known = config.get("train_options")
    return {**config, "train_options": {**added, **known}} if isinstance(known, dict) else config


@dataclass
class _Run:
    request: Request
    console: Console
    run: RunDirectory
    data: CaptionData
    line: str
    group: Group
    pca: Pca | None = None
    sight: Sight | None = None
    showing: Showing = field(init=False)

    def look(self) -> None:
        """What is wrong with what a new run starts from is told before its directory is made, or emptied.

        Raises:
            CvtoolError: a checkpoint, the network, features or captions cannot be used.
        """
        from cvtool.caption.features import read_features
        from cvtool.caption.preparation import check_split

        if self._course is None:
            features, extractor = self.request.features, self._extractor
            if features is not None and features.exists():
                read_features(features, fingerprint=extractor.origin.fingerprint)
            if self.request.train_options.finetune_from:
                _ = self._halfway
        _ = self._vocabulary
        check_split(self.data.split("dev"), "dev", "judge the captions by")

    def go(self, resume: bool) -> None:
        checkpoint, training, development = self._prepare()
        self.template = checkpoint
        checkpoint.captioner.requires_grad_(True)
        trainer = self._trainer(checkpoint, training, development)
        if resume:
            restore(trainer, self.run, self.group)
        tokens = training.tokens
        self.console.say(
            f"{len(training)} pictures, {tokens} words to learn from, {len(checkpoint.vocabulary)} in the vocabulary; "
            f"{sum(p.numel() for p in trainer.parameters()) / 1e6:.1f} million weights on {trainer.device}."
        )

        if self.group.is_main:
            title = f"A captioner of {self.data.spec}"
            self.showing = Showing(self.run, self.data.split("dev"), self.line, title)
            self.showing.write()

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
            if self.group.is_main:
                save()
            self.group.wait()  # lest those who are done end the one that writes
            raise Interrupted(f"Stopped; '{self.run.path}' goes on with --resume.")
        path = self.run.path / BEST
        self.console.say(f"'{self.run.path / REPORT}' shows the run.")
        self.console.say(
            f"'{path}' has the best CIDEr-D, {trainer.position.best:.3f}; "
            f"try: cvtool caption describe PHOTO --checkpoint {shlex.quote(str(path))}"
        )
        self._result(trainer, trainer.position.seconds, output=str(path), checkpoint=str(path))

    def _result(self, trainer: Trainer, seconds: float, **more: Any) -> None:
        self.console.result(
            "caption train",
            input=self.request.data,
            model=self.template.model,
            device=str(trainer.device),
            seed=self.request.train_options.seed,
            seconds=round(seconds, 1),
            **more,
        )

    def _trainer(self, checkpoint: Checkpoint, training: Corpus, development: Corpus) -> Trainer:
        from cvtool.caption.finetuning import FineTuner
        from cvtool.caption.numpy_training import NumpyTrainer
        from cvtool.caption.training import Trainer

        options, words = self.request.train_options, checkpoint.vocabulary
        if self.sight is not None:
            return FineTuner(checkpoint.captioner, training, development, words, options, self.sight, self.group)
        if self.request.engine is Engine.numpy:
            return NumpyTrainer(checkpoint.captioner, training, development, words, options)
        return Trainer(checkpoint.captioner, training, development, words, options, self.group)

    def _prepare(self) -> tuple[Checkpoint, Corpus, Corpus]:
        """An untrained captioner, and what it is trained and judged on."""
        import torch

        from cvtool.caption.checkpoint import Checkpoint
        from cvtool.caption.decoder import Captioner
        from cvtool.caption.preparation import check_split, corpus_of

        request, options = self.request, self.request.train_options
        training, development = self._training, self.data.split("dev")
        started, vocabulary = self._started, self._vocabulary
        check_split(development, "dev", "judge the captions by")
        with self.group.in_turn():
            source = self._features([*training, *development])
        if started is None:
            with torch.random.fork_rng():
                torch.manual_seed(options.seed)
                captioner = Captioner(request.model_options, len(vocabulary), source.features.channels)
            started = Checkpoint(captioner, vocabulary, source.model, source.fingerprint, options.longest, pca=self.pca)
        from cvtool.tensors import choose_device

        started.captioner.to(choose_device(request.device))
        return (
            started,
            corpus_of(training, source, vocabulary, options.longest),
            corpus_of(development, source, vocabulary, options.longest),
        )

    @property
    def _training(self) -> Sequence[CaptionedPicture]:
        return self.data.split("train")[: self.request.limit]

    @cached_property
    def _started(self) -> Checkpoint | None:
        """The checkpoint to start with, if not with random weights."""
        from cvtool.caption.checkpoint import read_checkpoint

        return None if self.request.start is None else read_checkpoint(self.request.start)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        from cvtool.caption.preparation import build_vocabulary

        if self._started is not None:
            return self._started.vocabulary
        if self.data.features is not None:
            return self.data.features.vocabulary
        return build_vocabulary(self._training, self.request.train_options.threshold)

    @cached_property
    def _course(self) -> Source | None:
        """The features that the data set brings, if it does."""
        from cvtool.caption.preparation import source_of_course

        if self.data.features is None:
            return None
        if self.request.model_options.attention:
            raise UsageError("The course's features have no places to look at. Use --no-attention.")
        source = source_of_course(self.data.features)
        self._check_start(source.fingerprint, tuned=True)
        return source

    @cached_property
    def _extractor(self) -> Extractor:
        """The network that sees, as published or as the checkpoint to start with has it."""
        from cvtool.caption.extractor import Extractor
        from cvtool.models.loader import load
        from cvtool.tensors import choose_device

        request, options = self.request, self.request.train_options
        model = load(request.model, device=choose_device(request.device), weights=request.weights)
        extractor = Extractor(model, precision=options.precision, fold=not options.finetune)
        self._check_start(extractor.origin.fingerprint, tuned=False)
        if self._started is not None and self._started.network:
            extractor.tune(self._started.network)
        return extractor

    @cached_property
    def _halfway(self) -> Halfway:
        from cvtool.caption.halfway import Halfway

        return Halfway(self._extractor, self.request.train_options.finetune_from)

    def _check_start(self, fingerprint: str, *, tuned: bool) -> None:
        """Whether the checkpoint to start with reads such features; `tuned`: those of its network as it was tuned."""
        started = self._started
        if started is not None and fingerprint != (started.features_fingerprint if tuned else started.fingerprint):
            raise BadInputError(f"'{self.request.start}' reads other features than these. Use --model {started.model}.")

    def _features(self, pictures: Sequence[CaptionedPicture]) -> Source:
        """The features of these pictures; those that the file lacks are computed.

        In fine-tuning they are computed anew whenever they are read.
        """
        from cvtool.caption.preparation import source_of_file

        request = self.request
        if self._course is not None:
            return self._course
        started, extractor = self._started, self._extractor
        path = request.features or self.run.path / FEATURES
        if request.train_options.finetune:
            return self._seen(pictures, extractor, None if started is None else started.pca)
        file = complete_features(
            pictures,
            path,
            self.console,
            extractor,
            spatial=request.model_options.attention,
            flipped=True,
            skip_bad=request.skip_bad,
            again=f"'{self.run.path}' goes on with --resume",
            announced=True,
        )
        self.pca = file.pca if started is None else started.pca
        del self._extractor  # it has seen all, and training needs the room
        return source_of_file(file, self.pca, attention=request.model_options.attention)

    def _seen(self, pictures: Sequence[CaptionedPicture], extractor: Extractor, pca: Pca | None) -> Source:
        """What the network, which is to change, sees in these pictures."""
        from cvtool.caption.finetuning import Sight
        from cvtool.caption.halfway import HalfwaySight
        from cvtool.caption.pictures import framed_pictures, halfway_maps
        from cvtool.caption.preparation import Source

        attention, first = self.request.model_options.attention, self.request.train_options.finetune_from
        with self.console.progress() as progress:
            if first:
                framed = halfway_maps(pictures, self._halfway, self.run.path, progress)
                self.sight = HalfwaySight(framed, self._halfway, attention=attention, pca=pca)
            else:
                framed = framed_pictures(pictures, extractor, self.run.path, progress)
                self.sight = Sight(framed, extractor, attention=attention, pca=pca)
        origin = extractor.origin
        return Source(self.sight, dict(framed.rows), origin.model, origin.fingerprint)

    def _report(self, epoch: Epoch, trainer: Trainer) -> None:
        from cvtool.caption.checkpoint import write_checkpoint
        from cvtool.caption.finetuning import FineTuner
        from cvtool.provenance import Provenance

        metrics = {key: value for key, value in asdict(epoch.metrics).items() if isinstance(value, float)}
        facts = {"epoch": epoch.epoch, "step": epoch.step, "perplexity": epoch.perplexity, **metrics}
        record = {**asdict(epoch), "metrics": metrics}
        captions = record.pop("captions")
        self.run.log({**record, **self.showing.said(captions)})
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
        if isinstance(trainer, FineTuner):
            checkpoint = replace(checkpoint, network={**checkpoint.network, **trainer.network_weights()})
        for name in (LAST, *([BEST] if epoch.is_best else [])):
            write_checkpoint(self.run.path / name, checkpoint, note)
        self.showing.draw(epoch.epoch, captions, note)
        self.showing.write()
        more: dict[str, Any] = {key: value for key, value in record.items() if key not in ("seconds", "metrics")}
        self._result(trainer, epoch.seconds, **{**more, **metrics})
        if not self.console.json:
            self.console.line(
                f"epoch {epoch.epoch} ({epoch.phase}): loss {epoch.loss:.2f}, perplexity {epoch.perplexity:.2f}, "
                f"BLEU-4 {epoch.metrics.bleu4:.3f}, CIDEr-D {epoch.metrics.cider:.3f}, {epoch.seconds:.0f} s, "
                f"{epoch.tokens_per_second:.0f} words/s{', best so far' if epoch.is_best else ''}"
            )
