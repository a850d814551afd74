"""``cvtool caption describe``: what pictures show, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvtool import __version__
from cvtool.caption.options import TOGETHER, Decode, DecodeOptions, Engine
from cvtool.cli import options as shared
from cvtool.cli.caption_files import caption_line, check_suffix, write_captions
from cvtool.cli.console import Console
from cvtool.cli.input_lists import inputs_of, list_file
from cvtool.cli.inputs import FilesRead, Input, refuse_second_stdin
from cvtool.cli.outputs import (
    STDOUT,
    Destination,
    ResultNames,
    Skipping,
    check_besides,
    files_of,
    plan_outputs,
)
from cvtool.cli.reading import Done, Read, Reading, read_flat
from cvtool.cli.repeat import command_line
from cvtool.cli.reporting import Report, Shown, plan_report
from cvtool.cli.sharing import refuse_stdin, shares
from cvtool.errors import Interrupted, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cvtool.caption.service import Describer, Description

DEFAULTS = DecodeOptions()
WORTH_FOLDING = 10
"""Pictures from which on a faster copy of the network pays."""
WITHOUT_EFFECT = frozenset({"batch"})


def describe(
    context: typer.Context,
    images: shared.Images = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            show_default="the bundled one",
            help="Captioner, as 'caption train' writes it.",
        ),
    ] = None,
    decode: Annotated[
        Decode,
        typer.Option(
            "--decode", help="Take the likeliest next word, search for the likeliest caption, or draw at random."
        ),
    ] = DEFAULTS.decode,
    beam: Annotated[
        int, typer.Option("--beam", metavar="N", min=1, max=100, help="Beginnings kept by the search.")
    ] = DEFAULTS.beam,
    length_penalty: Annotated[
        float,
        typer.Option(
            "--length-penalty", metavar="P", min=0, help="The search divides log probabilities by words to this power."
        ),
    ] = DEFAULTS.length_penalty,
    candidates: Annotated[
        int, typer.Option("-n", "--candidates", metavar="N", min=1, max=100, help="Captions a picture.")
    ] = DEFAULTS.candidates,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="T", min=0.01, help="Of drawing: below 1 is more careful.")
    ] = DEFAULTS.temperature,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="K", min=0, help="Draw from the K likeliest words; 0 is all.")
    ] = DEFAULTS.top_k,
    top_p: Annotated[
        float,
        typer.Option("--top-p", metavar="P", min=0, max=1, help="Draw from the likeliest words that share P."),
    ] = DEFAULTS.top_p,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", show_default="none", help="Words that captions begin with.")
    ] = "",
    longest: Annotated[
        int, typer.Option("--max-length", metavar="N", min=1, max=100, help="Words in a caption at most.")
    ] = DEFAULTS.longest,
    attention: Annotated[
        str | None,
        typer.Option(
            "--attention",
            metavar="FILE",
            show_default="none",
            help="Also draw where the captioner looked for each word; a folder for several pictures.",
        ),
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", show_default="off", help="Also say how likely each word was.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option("--engine", help="Code of the recurrent part: torch, or the readable NumPy one.")
    ] = Engine.torch,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Pictures that are read and described together.")
    ] = TOGETHER,
    report: shared.ReportOption = None,
    files_from: shared.FilesFrom = None,
    null: shared.Null = False,
    recursive: shared.Recursive = False,
    weights: shared.Weights = None,
    device: shared.Device = "auto",
    precision: shared.PrecisionOption = shared.Precision.auto,
    seed: shared.Seed = DEFAULTS.seed,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default="stdout",
            help="Write the captions: .jsonl, JSON lines {image, caption} as 'caption evaluate --hypotheses' reads "
            "them; .txt, as on stdout, one a picture.",
        ),
    ] = None,
    format: Annotated[
        shared.Format | None,
        typer.Option(
            "--format",
            show_default="by the suffix of --attention, else png",
            help="Format of the picture of --attention.",
        ),
    ] = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Say in words what pictures show."""
    console = Console(json=json, quiet=quiet, verbose=verbose)
    if decode is Decode.greedy and candidates > 1:
        raise UsageError("--decode greedy finds one caption. Use beam or sample for several --candidates.")
    unshared = {"--report": report is not None, "--attention -": attention == STDOUT}
    sharing = shares(context, beside=output or attention, unshared=unshared)
    inputs = sharing.inputs(lambda: inputs_of(images or [], files_from, null=null, recursive=recursive))
    refuse_second_stdin(inputs, files_from)
    refuse_stdin(sharing, inputs)
    files = FilesRead(inputs, (checkpoint, weights, list_file(files_from)))
    if str(output) == STDOUT:
        raise UsageError("Captions go to stdout without --output, and as JSON lines with --json. Leave it out.")
    sheets: Sequence[Destination | None] = [None] * len(inputs)
    if attention is not None:
        names = ResultNames(inputs, "attention")
        collected = files_from is not None or any(given.collected for given in inputs)
        sheets = plan_outputs(
            names, output=attention, format=format, inputs=files, json=json, collected=collected, option="--attention"
        )
    taken = files_of(sheets) if output or report else set()
    if output is not None:
        check_besides(output, files, "--output", taken)
        check_suffix(output)
    page = plan_report(context, console, report, results=len(inputs), inputs=files, taken=taken)
    options = DecodeOptions(
        decode=decode,
        beam=beam,
        length_penalty=length_penalty,
        candidates=candidates,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        longest=longest,
        seed=seed,
    )
    sharing.divide(len(inputs), batch)
    work = Describing(
        context, console, options, prefix, checkpoint, weights, device, precision.value, engine, words,
        len(inputs), batch, sharing.own(inputs), sharing.own(sheets), page, output=output,
    )  # fmt: skip
    try:
        with page.written(console):
            sharing.for_each(
                work.inputs,
                work.describe,
                command="caption describe",
                console=console,
                device=device,
                before=work.prepare,
                kept=work.captions,
                skipping=work.skipping,
            )
    except KeyboardInterrupt:
        where = f"; their captions are in '{output}'" if output is not None and work.captions else ""
        raise Interrupted(f"stopped after {len(work.captions)} of {len(inputs)} pictures{where}.") from None
    finally:
        if output is not None and work.captions:
            write_captions(output, work.captions, several=work.total > 1)


@dataclass(eq=False)
class Describing:
    """Describes one picture after the other, computing many together."""

    context: typer.Context
    console: Console
    options: DecodeOptions
    prefix: str
    checkpoint: Path | None
    weights: Path | None
    device: str
    precision: str
    engine: Engine
    words: bool
    total: int
    together: int
    inputs: Sequence[Input]
    sheets: Sequence[Destination | None]
    report: Report
    captions: list[tuple[str, str]] = field(default_factory=list)
    """Names of pictures, and what they show."""
    skipping: Skipping = field(default_factory=Skipping)
    output: Path | None = None
    """Where all captions go, besides."""

    def prepare(self) -> None:
        """What is wrong with the captioner is told once, not for every picture.

        Raises:
            CvtoolError: as loading it raises them.
        """
        if self.total > 1:
            _ = self.describer

    @cached_property
    def describer(self) -> Describer:
        """Of a single picture, loaded when that has been read, so that a wrong path is told at once."""
        from cvtool.caption.checkpoint import read_checkpoint
        from cvtool.caption.service import Describer, bundled_checkpoint
        from cvtool.tensors import choose_device

        found = bundled_checkpoint() if self.checkpoint is None else read_checkpoint(self.checkpoint)
        return Describer.of(
            found,
            device=choose_device(self.device),
            weights=self.weights,
            precision=self.precision,
            fold=self.total >= WORTH_FOLDING,
        )

    @cached_property
    def _decode(self) -> DecodeOptions:
        from dataclasses import replace

        return replace(self.options, prefix=self.describer.prefix(self.prefix))

    @cached_property
    def _reading(self) -> Reading[Description]:
        return Reading(self.inputs, self._compute, read_flat, leave_out=lambda number: self.skipping.skips(number, ()))

    def describe(self, given: Input) -> None:
        """Describe one picture and say it.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was described is said.
            CvtoolError: as reading, loading and writing raise them.
        """
        done = self._reading.take(self.together)
        if done is None:  # another attempt of this launch has done it
            return
        if self._reading.write(done, self._write, command="caption describe", console=self.console) is not None:
            raise KeyboardInterrupt  # the command tells how far it came

    def _write(self, done: Done[Description]) -> None:
        """Say one description, and draw where the captioner looked."""
        given = self.inputs[done.number]
        sheet = self.sheets[done.number]
        drawn = [] if sheet is None else [self._draw(sheet, given, done)]
        self.report.show(
            Shown(given.name, f"The picture {given.name}", done.picture.pixels),
            *(
                Shown("Where it looked", "The picture, lit for each word where the captioner looked", each)
                for each in drawn
            ),
            command=command_line(self.context, [given.lasting_name], dropped=WITHOUT_EFFECT),
            lead=done.answer.best.caption,
        )
        self._report(given, done.answer, sheet)

    def _compute(self, numbers: Sequence[int], pictures: Sequence[Read]) -> list[Description]:
        from cvtool.caption.service import describe

        with self.console.progress() as progress:
            return describe(
                [picture.pixels for picture in pictures],
                self.describer,
                self._decode,
                engine=self.engine,
                attention=any(self.sheets[number] is not None for number in numbers),
                progress=progress,
            )

    def _report(self, given: Input, found: Description, sheet: Destination | None) -> None:
        written = self.output if sheet is None else sheet.path
        best = found.best
        self.captions.append((given.name, best.caption))
        self.console.result(
            "caption describe",
            input=given.name,
            output=None if written is None else str(written),
            model=self.describer.checkpoint.model,
            device=str(self.describer.device),
            seed=self.options.seed,
            seconds=round(found.seconds, 3),
            caption=best.caption,
            log_probability=best.log_probability,
            tokens=[
                {"word": word, "probability": probability}
                for word, probability in zip(best.words, best.probabilities, strict=True)
            ],
            candidates=[
                {"caption": each.caption, "log_probability": each.log_probability} for each in found.candidates
            ],
        )
        if self.console.json or (sheet is not None and sheet.path is None):
            return
        for each in found.candidates:
            self.console.line(caption_line(given.name, each.caption, several=self.total > 1))
            if self.words:
                pairs = zip(each.words, each.probabilities, strict=True)
                self.console.line("  " + "  ".join(f"{word} {probability:.2f}" for word, probability in pairs))

    def _draw(self, sheet: Destination, given: Input, done: Done[Description]) -> NDArray[np.float32]:
        """Write where the captioner looked."""
        from cvtool.caption.views import attention_sheet
        from cvtool.images import encode_picture
        from cvtool.provenance import Provenance

        found = done.answer
        if found.attention is None:
            raise UsageError("This captioner has no attention, so it looks nowhere. Leave out --attention.")
        note = Provenance(
            command="caption describe",
            version=__version__,
            command_line=command_line(self.context, [given.lasting_name], dropped=WITHOUT_EFFECT),
            options={"prefix": self.prefix, **vars(self.options)},
            inputs=({"path": given.lasting_name, "sha256": done.picture.digest},),
            model=self.describer.checkpoint.model,
            device=str(self.describer.device),
            seed=self.options.seed,
        ).to_json()
        words = found.best.words[: len(found.attention)]  # without the end; of a stranger, one may have blanks in it
        drawn = attention_sheet(done.picture.pixels, found.attention, words)
        sheet.write(encode_picture(drawn, sheet.format.value, note=note), self.console)
        return drawn
