"""``cvtool caption evaluate``: how good captions are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvtool.caption.options import Decode, DecodeOptions
from cvtool.cli import options as shared
from cvtool.cli.caption_data import SkipBad, SplitFile, checked
from cvtool.cli.caption_files import check_suffix, write_captions
from cvtool.cli.console import Console
from cvtool.cli.outputs import STDOUT, check_besides, make_folder
from cvtool.cli.protected import place_of
from cvtool.errors import UsageError
from cvtool.files import write_atomically

if TYPE_CHECKING:
    from cvtool.caption.datasets import CaptionData
    from cvtool.caption.evaluation import Judgement
    from cvtool.caption.metrics import Metrics

DEFAULTS = DecodeOptions()
SHOWN = 12
"""Pictures on each half of the page."""


def evaluate(
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SPEC", show_default="none", help="Data set whose pictures are described."),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            show_default="the bundled one",
            help="Captioner to judge; several are asked together, and their probabilities averaged.",
        ),
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="train|dev|test", help="Which pictures.")] = "test",
    references: Annotated[
        Path | None,
        typer.Option(
            "--references", metavar="FILE", show_default="none", help="What people say: JSON lines or COCO's JSON."
        ),
    ] = None,
    hypotheses: Annotated[
        Path | None,
        typer.Option(
            "--hypotheses",
            metavar="FILE",
            show_default="none",
            help="Captions to judge by --references; no network runs.",
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features", metavar="FILE.h5", show_default="computed", help="Features that 'caption features' kept."
        ),
    ] = None,
    decode: Annotated[Decode, typer.Option("--decode", help="How captions are read out.")] = DEFAULTS.decode,
    beam: Annotated[
        int, typer.Option("--beam", metavar="N", min=1, max=100, help="Beginnings kept by the search.")
    ] = DEFAULTS.beam,
    length_penalty: Annotated[
        float, typer.Option("--length-penalty", metavar="P", min=0, help="As for 'caption describe'.")
    ] = DEFAULTS.length_penalty,
    split_file: SplitFile = None,
    skip_bad: SkipBad = False,
    page: Annotated[
        Path | None,
        typer.Option(
            "--page", metavar="FILE.html", show_default="none", help="Also write a page of the worst and best captions."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default="none",
            help="Also write the captions: .jsonl, JSON lines; .txt, name and caption a line.",
        ),
    ] = None,
    weights: shared.Weights = None,
    device: shared.Device = "auto",
    precision: shared.PrecisionOption = shared.Precision.auto,
    seed: shared.Seed = DEFAULTS.seed,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    debug: shared.Debug = False,
) -> None:
    """Measure captions: BLEU, ROUGE-L, CIDEr-D.

    On a split of a data set; of a captioner also its perplexity.

    With --references and --hypotheses two files are compared, and no network is needed.
    """
    console = Console(json=json, quiet=quiet, verbose=verbose)
    if (references is None) != (hypotheses is None) or (references is None) == (data is None):
        raise UsageError("Give --data, or --references together with --hypotheses.")
    if str(output) == STDOUT:
        raise UsageError("Nothing but the table goes to stdout. Give --output a file.")
    place = None if data is None else place_of(data)
    read = [references, hypotheses, place, *(checkpoint or []), features, split_file, weights]
    taken: set[Path] = set()
    for path, option in ((page, "--page"), (output, "--output")):
        if path is not None:
            check_besides(path, [each for each in read if each is not None], option, taken)
    if output is not None:
        check_suffix(output)
    started = time.perf_counter()
    if references is not None and hypotheses is not None:
        if page is not None:
            raise UsageError("--page shows pictures, and two files of captions have none. Give --data.")
        judged = _files(references, hypotheses)
    else:
        assert data is not None
        options = DecodeOptions(decode=decode, beam=beam, length_penalty=length_penalty, seed=seed)
        judged = _captioner(
            console, data, checkpoint or [], split, features, options, split_file, skip_bad, page, weights, device,
            precision.value,
        )  # fmt: skip
    if output is not None:
        write_captions(output, judged.captions.items(), several=True)
    for note in judged.metrics.notes:
        console.warn(note)
    console.result(
        "caption evaluate",
        input=data or str(hypotheses),
        output=None if output is None else str(output),
        model=judged.model,
        device=judged.device,
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
        **judged.metrics.numbers(),
        **judged.more,
    )
    if not json:
        numbers = {**judged.metrics.numbers(), **judged.more}
        console.table(
            [(name, f"{value:.4f}" if isinstance(value, float) else str(value)) for name, value in numbers.items()]
        )


@dataclass(frozen=True)
class Judged:
    """Captions and how good they are."""

    metrics: Metrics
    captions: Mapping[str, str]
    more: Mapping[str, Any]
    model: str | None = None
    device: str | None = None


def _files(references: Path, hypotheses: Path) -> Judged:
    from cvtool.caption.metrics import matched, read_caption_file, score_texts

    captions, known = matched(read_caption_file(hypotheses), read_caption_file(references))
    return Judged(score_texts(captions, known), captions, {})


def _captioner(
    console: Console,
    spec: str,
    checkpoints: list[Path],
    split: str,
    features: Path | None,
    options: DecodeOptions,
    split_file: Path | None,
    skip_bad: bool,
    page: Path | None,
    weights: Path | None,
    device: str,
    precision: str,
) -> Judged:
    from cvtool.caption.evaluation import judge, source_for
    from cvtool.caption.service import captioners
    from cvtool.tensors import choose_device

    data = checked(spec, split_file, console, skip_bad=skip_bad, decode=skip_bad or features is None)
    ensemble = captioners(checkpoints)
    place = choose_device(device)
    with console.progress() as progress:
        source = source_for(
            data, split, ensemble[0], features, device=place, weights=weights, precision=precision, progress=progress
        )
        found = judge(data, split, ensemble, source, options, device=place, progress=progress)
    if page is not None:
        _write_page(page, spec, split, found, data)
    more = {"split": split, "loss": found.loss, "perplexity": found.perplexity}
    return Judged(found.metrics, found.captions, more, ensemble[0].model, str(place))


def _write_page(path: Path, spec: str, split: str, found: Judgement, data: CaptionData) -> None:
    from cvtool.caption.report import Described, page, worst_and_best
    from cvtool.images import flatten, read_picture
    from cvtool.pages import encoded

    pictures = {each.name: each for each in data.split(split)}

    def card(name: str) -> Described:
        picture = pictures[name]
        pixels = None if picture.path is None else flatten(read_picture(picture.path))
        return Described(name, found.captions[name], picture.captions, found.metrics.cider_each[name], pixels)

    worst, best = worst_and_best(found.metrics.cider_each, SHOWN)
    text = page(
        f"Captions of {split} pictures",
        found.metrics,
        {"data": spec, "split": split, "perplexity": f"{found.perplexity:.2f}"},
        [card(name) for name in worst],
        [card(name) for name in best],
    )
    make_folder(path.parent)
    write_atomically(path, encoded(text))
