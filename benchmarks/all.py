"""Every table in one go, on one machine: a sample of each benchmark, about an hour on two cores.

    python benchmarks/all.py                       # into results/one-go/, emptied before; its README.md has the tables
    python benchmarks/all.py --only saliency,gan   # by the names of the files; what is there is kept
    python benchmarks/all.py --whole               # as much as each can measure, into results/; days, most of them fool
    python benchmarks/all.py --whole --minutes 10  # at most about so long for each that can be stopped
    python benchmarks/all.py --table               # prints what was measured; of all with --whole
    python benchmarks/all.py --list                # what there is, and how long all of it takes

Run it alone on the machine. Benchmarks that need data look for it in CVTOOL_SHARED_DATA and are left out without it.
In results/ those that can go on where they ended do; in one go nothing is taken from an earlier run. What ended with an
error is named at the end, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kept

HERE = Path(__file__).resolve().parent
ONE_GO = HERE / "results" / "one-go"
PICTURES, CAPTIONS = "{data}/imagenet-samples", "{data}/flickr8k"
GARMENTS = "/usr/share/datasets/fashion-mnist"  # Debian's dataset-fashion-mnist


@dataclass(frozen=True)
class Part:
    """One benchmark as it is run. ``{data}`` in a word is the folder of the shared data.

    Attributes:
        words: file and arguments, behind ``python benchmarks/``.
        takes: all of it on two cores, in words.
        sample: more arguments, so that it takes minutes.
        stoppable: it knows ``--minutes`` and goes on where it ended.
        table: arguments that print what was measured, instead of the others.
        needs: folder of data; "" for none.
    """

    words: tuple[str, ...]
    takes: str
    sample: tuple[str, ...] = ()
    stoppable: bool = False
    table: tuple[str, ...] = ("--table",)
    needs: str = ""

    def words_to_run(self, whole: bool, minutes: float | None) -> tuple[str, ...]:
        """To measure all of it, or a sample."""
        if not whole:
            return (*self.words, *self.sample)
        return (*self.words, *(("--minutes", str(minutes)) if minutes and self.stoppable else ()))


PARTS = (
    Part(("startup.py",), "10 minutes", ("--help-runs", "3", "--cold-runs", "1")),
    Part(("stylize.py",), "1 hour", ("--quick",)),
    Part(("stylize_size.py",), "hours", ("--sizes", "512,1024", "--models", "efficientnet-lite0"), stoppable=True),
    Part(("stylize_size.py", "--peer"), "1 hour", ("--sizes", "512"), stoppable=True),
    Part(("stylize_video.py",), "30 minutes", ("--styles", "1"), stoppable=True),
    Part(("stylize_instant.py",), "40 minutes", ("--quick",)),
    Part(("saliency.py",), "30 minutes", ("--pictures", "4")),
    Part(("saliency_quality.py", "--data", PICTURES), "hours", ("--pictures", "2"), stoppable=True, needs=PICTURES),
    Part(("fool.py",), "a day", ("--pictures", "4", "--targets", "1"), stoppable=True),
    Part(("visualize.py",), "2 hours", ("--classes", "1"), stoppable=True),
    Part(("caption.py", "training"), "minutes", table=("table",)),
    Part(("caption.py", "features"), "minutes", table=("table",)),
    Part(("caption.py", "describe"), "minutes", table=("table",)),
    Part(("caption.py", "quality", "--data", f"flickr8k:{CAPTIONS}"), "minutes", table=("table",), needs=CAPTIONS),
    Part(("gan.py", "quality"), "20 minutes", ("--minutes", "1"), table=("table",), needs=GARMENTS),
    Part(("gan.py", "losses"), "25 minutes", ("--minutes", "0.5"), table=("table",), needs=GARMENTS),
    Part(("gan.py", "speed"), "minutes", table=("table",), needs=GARMENTS),
    Part(("scaling.py",), "10 minutes", ("--quick",)),
    Part(("gpu.py",), "minutes, where there is a GPU"),
)
HELPERS = ("all.py", "gpu_tasks.py", "judges.py", "kept.py")
"""Files here that measure nothing by themselves."""


def run(words: Sequence[str], folder: Path, printed: list[str]) -> int:
    """Run one with its results in a folder; its exit code. Its lines are shown as they come."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / words[0]), *words[1:]],
        env={**os.environ, kept.VARIABLE: str(folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        printed.append(line.rstrip())
    return process.wait()


def page(sections: Sequence[str], minutes: float) -> str:
    """All tables, and where they were measured."""
    facts = kept.machine()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [
        "# Every benchmark in one go",
        "",
        f"`python benchmarks/all.py` on {facts['date']}: {minutes:.0f} minutes, {facts['machine']}, {facts['cpu']}, "
        f"{facts['cpus']} cores, Python {facts['python']}, {versions}.",
        "",
        "A sample of each, run one after the other and alone, so that all figures are of one state of the code and of "
        "one machine; few pictures, so speeds say more than qualities. What each measures in full is in the folder "
        "above. All that is drawn at random is drawn with seeds, which stand in the benchmarks' files (0; of targets "
        "the picture's name).",
    ]
    return "\n".join([*lines, *sections]) + "\n"


def section(words: Sequence[str], ended: str, printed: Sequence[str]) -> str:
    """A benchmark's part of the page: what it printed but for its raw rows."""
    shown = [line for line in printed if not line.startswith("{")]
    return "\n".join(["", f"## {words[0].removesuffix('.py')}", "", f"`{' '.join(words)}`: {ended}.", "", *shown])


def main() -> int:
    """Run what is asked for and say how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help="not a sample of each but all, into results/")
    parser.add_argument("--minutes", type=float, help="with --whole: for each that can be stopped")
    parser.add_argument("--only", default="", help="names of files without .py, with commas between")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--list", action="store_true", help="run nothing")
    given = parser.parse_args()
    if given.minutes and not given.whole:
        parser.error("--minutes goes with --whole")
    wanted = [name for name in given.only.split(",") if name]
    parts = [part for part in PARTS if not wanted or part.words[0].removesuffix(".py") in wanted]
    if given.list:
        print("\n".join(f"{' '.join(part.words):70} {part.takes}" for part in parts))
        return 0
    folder = HERE / "results" if given.whole else ONE_GO
    if given.table and not given.whole:
        print((folder / "README.md").read_text("utf-8"))
        return 0
    if given.table:
        tables = dict.fromkeys((part.words[0], *part.table) for part in parts)
        return max(run(words, folder, []) for words in tables)
    if not given.whole and not wanted:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ.get("CVTOOL_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
    failed: list[str] = []
    sections: list[str] = []
    began = time.monotonic()
    for part in parts:
        words = part.words_to_run(given.whole, given.minutes)
        name = " ".join(words)
        print(f"== {name}", flush=True)
        printed: list[str] = []
        start = time.monotonic()
        if part.needs and not Path(part.needs.format(data=data)).is_dir():
            ended = f"left out, there is no {part.needs.format(data='CVTOOL_SHARED_DATA')}"
        else:
            code = run([word.format(data=data) for word in words], folder, printed)
            failed += [name] if code else []
            ended = f"{f'exit code {code}' if code else 'done'} after {(time.monotonic() - start) / 60:.1f} minutes"
        print(f"== {name}: {ended}", flush=True)
        sections.append(section(words, ended, printed))
        if not given.whole and not wanted:
            (folder / "README.md").write_text(page(sections, (time.monotonic() - began) / 60), "utf-8")
    if failed:
        print("failed:", ", ".join(failed), file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
