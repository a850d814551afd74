"""Every table once more, one benchmark after the other; those that can go on where they ended do.

    python benchmarks/all.py                       # measures all; days on two cores, most of it fool.py
    python benchmarks/all.py --minutes 10          # at most about so long for each that can be stopped
    python benchmarks/all.py --only saliency,gan   # by the names of the files
    python benchmarks/all.py --table               # prints what was measured, where a benchmark keeps it
    python benchmarks/all.py --list                # what there is, and how long it takes

Run it alone on the machine. Benchmarks that need data look for it in CVTOOL_SHARED_DATA and are skipped without it.
What ended with an error is named at the end, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PICTURES = "imagenet-samples"
"""Folder of the shared data with ImageNet pictures."""


@dataclass(frozen=True)
class Part:
    """One benchmark as it is run.

    Attributes:
        words: file and arguments, behind ``python benchmarks/``.
        takes: on two cores, in words.
        stoppable: it knows ``--minutes`` and goes on where it ended.
        table: arguments that print what was measured; () where it prints only what it measures.
        data: folder of the shared data that it needs; "" for none.
    """

    words: tuple[str, ...]
    takes: str
    stoppable: bool = False
    table: tuple[str, ...] = ()
    data: str = ""


PARTS = (
    Part(("startup.py",), "10 minutes", table=("--table",)),
    Part(("stylize.py",), "1 hour", table=("--table",)),
    Part(("stylize_size.py",), "hours", stoppable=True, table=("--table",)),
    Part(("stylize_video.py",), "30 minutes", stoppable=True, table=("--table",)),
    Part(("stylize_instant.py",), "40 minutes", table=("--table",)),
    Part(("saliency.py",), "30 minutes"),
    Part(("saliency_quality.py", "--data", PICTURES), "hours", stoppable=True, table=("--table",), data=PICTURES),
    Part(("fool.py",), "a day", stoppable=True, table=("--table",)),
    Part(("visualize.py",), "2 hours", stoppable=True, table=("--table",)),
    Part(("caption.py", "training"), "minutes"),
    Part(("caption.py", "features"), "minutes"),
    Part(("caption.py", "describe"), "minutes"),
    Part(("gan.py", "quality"), "20 minutes", table=("table",)),
    Part(("gan.py", "losses"), "25 minutes"),
    Part(("gan.py", "speed"), "minutes"),
    Part(("scaling.py",), "10 minutes", table=("--table",)),
    Part(("gpu.py",), "minutes, where there is a GPU", table=("--table",)),
)
HELPERS = ("all.py", "gpu_tasks.py", "judges.py")
"""Files here that measure nothing by themselves."""


def run(part: Part, arguments: Sequence[str], data: Path) -> int | None:
    """Run one; its exit code, None where its data is missing."""
    if part.data and not (data / part.data).is_dir():
        return None
    words = [str(data / word) if word and word == part.data else word for word in arguments]
    return subprocess.run([sys.executable, str(HERE / words[0]), *words[1:]]).returncode


def main() -> int:
    """Run what is asked for and say how long each took."""
    parser = argparse.ArgumentParser(description="Every table once more.")
    parser.add_argument("--minutes", type=float, help="for each that can be stopped")
    parser.add_argument("--only", default="", help="names of files without .py, with commas between")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--list", action="store_true", help="run nothing")
    given = parser.parse_args()
    wanted = [name for name in given.only.split(",") if name]
    parts = [part for part in PARTS if not wanted or part.words[0].removesuffix(".py") in wanted]
    data = Path(os.environ.get("CVTOOL_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
    failed = []
    for part in parts:
        name = " ".join(part.words)
        if given.list or (given.table and not part.table):
            print(f"{name:45} {part.takes}", flush=True)
            continue
        print(f"== {name}: {'what was measured' if given.table else part.takes}", flush=True)
        minutes = ("--minutes", str(given.minutes)) if given.minutes and part.stoppable else ()
        start = time.monotonic()
        code = run(part, (part.words[0], *part.table) if given.table else (*part.words, *minutes), data)
        ended = "no data, left out" if code is None else f"exit code {code}" if code else "done"
        print(f"== {name}: {ended} after {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
        failed += [name] if code else []
    if failed:
        print("failed:", ", ".join(failed), file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
