"""Faults put into losses, metrics and attacks by Cosmic Ray, one at a time: how many does the suite notice?

    python tests/mutants.py DIR                 # 100 of each group, drawn with a seed; hours on two cores
    python tests/mutants.py DIR --table         # only counts what was tried
    python tests/mutants.py DIR --group attacks --count 20

DIR keeps a copy of the sources, in which the faults are made, and what was found; the same command goes on there.
A `|` is left as it is: nearly all of them are in annotations, which nobody evaluates.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("src", "tests", "assets", "docs", "pyproject.toml")
SECONDS = 120.0
"""A fault may make a loop endless."""
SEED = 0


@dataclass(frozen=True)
class Group:
    """Modules, and the tests that are theirs: paths below ``src/cvtool`` and ``tests``."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS = {
    "gan": Group(
        ("gan/losses.py", "gan/penalties.py", "gan/metrics.py"),
        ("gan/test_gan_losses.py", "gan/test_gan_penalties.py", "gan/test_gan_metrics.py"),
    ),
    "caption": Group(
        ("caption/losses.py", *(f"caption/metrics/{name}.py" for name in ("bleu", "cider", "ngrams", "rouge"))),
        (
            "caption/test_caption_decoder.py",
            "caption/test_metrics_known.py",
            "caption/test_metrics_properties.py",
            "caption/test_metrics_oracle.py",
            "caption/test_caption_training.py",
        ),
    ),
    "stylize": Group(("stylize/losses.py",), ("stylize/test_losses.py", "stylize/test_style_files.py")),
    "attacks": Group(
        ("fool/attacks/",),
        tuple(f"fool/test_{name}.py" for name in ("oracles", "twins", "parts", "attacks", "patch")),
    ),
}


def prepare(folder: Path, name: str, count: int) -> Path:
    """Cosmic Ray's session of one group, of which all but `count` faults are left out."""
    group, session = GROUPS[name], folder / f"{name}.sqlite"
    sources = folder / "copy"
    for part in COPIED:
        if (sources / part).exists():
            continue
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, sources / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, sources / part)
    tests = " ".join(f"tests/{each}" for each in group.tests)
    settings = folder / f"{name}.toml"
    settings.write_text(
        f"""[cosmic-ray]
module-path = {[f"src/cvtool/{each}" for each in group.modules]!r}
timeout = {SECONDS}
excluded-modules = []
test-command = "{sys.executable} -m pytest -x -q -p no:cacheprovider {tests}"

[cosmic-ray.distributor]
name = "local"
""",
        "utf-8",
    )
    if not session.exists():
        run("baseline", str(settings), sources)
        run("init", str(settings), sources, str(session))
        with use_db(session) as found:
            draw(found, count)
    return session


def draw(found: WorkDB, count: int) -> None:
    """Leave out all faults but `count`, the same for each seed."""
    items = sorted(found.pending_work_items, key=place)
    possible = [item for item in items if "BitOr" not in item.mutations[0].operator_name]
    kept = {item.job_id for item in random.Random(SEED).sample(possible, min(count, len(possible)))}
    for item in items:
        if item.job_id not in kept:
            found.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))


def place(item: WorkItem) -> tuple[str, tuple[int, int], str, int]:
    """What a fault is, in words that do not change from run to run."""
    fault = item.mutations[0]
    return (str(fault.module_path), fault.start_pos, fault.operator_name, fault.occurrence)


def run(command: str, settings: str, sources: Path, *more: str) -> None:
    """Cosmic Ray in the copy, whose sources come first."""
    environment = {**os.environ, "PYTHONPATH": str(sources / "src")}
    words = [sys.executable, "-m", "cosmic_ray.cli", command, settings, *more]
    subprocess.run(words, cwd=sources, env=environment, check=True)


def tried(session: Path) -> Iterator[tuple[WorkItem, WorkResult]]:
    """The faults that were made, and what came of them."""
    with use_db(session) as found:
        items = {item.job_id: item for item in found.work_items}
        for job, result in found.results:
            if result.worker_outcome != WorkerOutcome.SKIPPED:
                yield items[job], result


def table(folder: Path) -> str:
    """Counts for each group, then every fault that nobody noticed."""
    lines, unseen = ["| group | faults tried | noticed | share |", "| --- | ---: | ---: | ---: |"], []
    tries = kills = 0
    for name in GROUPS:
        session = folder / f"{name}.sqlite"
        found = list(tried(session)) if session.exists() else []
        left = [(item, result) for item, result in found if result.test_outcome == TestOutcome.SURVIVED]
        tries, kills = tries + len(found), kills + len(found) - len(left)
        if found:
            lines.append(f"| {name} | {len(found)} | {len(found) - len(left)} | {1 - len(left) / len(found):.0%} |")
        unseen += left
    if tries:
        lines.append(f"| all | {tries} | {kills} | {kills / tries:.0%} |")
    return "\n".join([*lines, "", *(result.diff or str(place(item)) for item, result in unseen)])


def main() -> None:
    """Try what is asked for, then count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--group", choices=GROUPS, help="only this")
    parser.add_argument("--count", type=int, default=100, help="faults in each group")
    parser.add_argument("--table", action="store_true", help="try nothing")
    given = parser.parse_args()
    folder = given.folder.resolve()
    if not given.table:
        (folder / "copy").mkdir(parents=True, exist_ok=True)
        for name in [given.group] if given.group else GROUPS:
            session = prepare(folder, name, given.count)
            run("exec", str(folder / f"{name}.toml"), folder / "copy", str(session))
    print(table(folder))


if __name__ == "__main__":
    main()
