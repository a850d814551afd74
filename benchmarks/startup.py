"""How long it takes until something happens: --help, the first picture of each technique, and how large it all is.

    python benchmarks/startup.py                              # of the environment that runs it
    python benchmarks/startup.py --python env/bin/python      # of another that cvtool is installed in
    python benchmarks/startup.py --help-runs 3 --cold-runs 1  # quicker
    python benchmarks/startup.py --ci FILE                    # take up what .ci/run wrote for CVTOOL_CI_TIMES=FILE
    python benchmarks/startup.py --table                      # print what was measured
    python benchmarks/startup.py --table --write              # and put it into the README

Every run is a process of its own, timed from start to exit, one after the other; run it alone on the machine. The
first run of each command is not counted, so that files come from memory as they do when the tool is in use. Peak memory
is the process's. Results go to results/startup.json; the README's table stands between <!-- startup --> and
<!-- /startup -->.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import kept

HERE = Path(__file__).resolve().parent
RESULTS, CI_RESULTS = kept.FOLDER / "startup.json", kept.FOLDER / "ci.json"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- startup -->", "<!-- /startup -->"
FIRST = {
    "stylize": "stylize asset:cat asset:marbling -o painted.png",
    "stylize --instant": "stylize asset:cat asset:marbling --instant -o instant.png",
    "saliency": "saliency asset:cat -o seen.png",
    "fool": "fool asset:cat --target espresso -o fooled.png",
    "visualize-class": "visualize-class flamingo -o flamingo.png",
    "caption describe": "caption describe asset:cameraman",
    "gan sample": "gan sample -o garments.png",
}
"""What someone would try first of each technique, all else as it comes."""
FACTS = """
import importlib.metadata as about, json, os, pathlib, platform, sys, sysconfig
import cvtool
def size(folder):
    # What hard links share counts once; links lead elsewhere.
    seen = {}
    for base, _, names in os.walk(folder):
        for name in names:
            fact = os.lstat(os.path.join(base, name))
            seen[fact.st_dev, fact.st_ino] = fact.st_size
    return sum(seen.values()) / 1e6
package = pathlib.Path(cvtool.__file__).parent
assets = package / "assets"
if not assets.is_dir():
    assets = package.parents[1] / "assets"
    extra = size(assets)
else:
    extra = 0.0
names = ("torch", "torchvision", "timm", "typer", "numpy", "pillow")
print(json.dumps({
    "python": platform.python_version(), "cvtool": cvtool.__version__,
    "versions": {name: about.version(name) for name in names},
    "package_mb": size(package) + extra,
    "environment_mb": size(sysconfig.get_paths()["purelib"]) + extra,
}))
"""
COMMANDS = """
import typer
from cvtool.cli.main import app
def walk(group, words):
    print(*words)
    for name, command in getattr(group, "commands", {}).items():
        walk(command, [*words, name])
walk(typer.main.get_command(app), [])
"""


@dataclass(frozen=True)
class Run:
    """One process: wall time in seconds, peak memory in MB (10⁶ bytes)."""

    seconds: float
    peak_mb: float


def timed(command: Sequence[str], folder: Path) -> Run:
    """Run a command to its end in a folder.

    Raises:
        RuntimeError: its exit code is not 0.
    """
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            out.seek(0)
            last = out.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"{' '.join(command[2:])}: exit code {process.returncode}: {last}")
    return Run(seconds, _megabytes(used))


def _megabytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / 1e6 if sys.platform == "darwin" else used.ru_maxrss * 1024 / 1e6


def ask(python: str, program: str) -> str:
    """What a program prints in that environment."""
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout


def helps(python: str, runs: int, folder: Path) -> dict[str, list[float]]:
    """Seconds of ``--help`` of each command, by the words that call it."""
    found = {}
    for words in ask(python, COMMANDS).splitlines():
        command = [python, "-m", "cvtool", *words.split(), "--help"]
        found[f"cvtool {words}".strip()] = [timed(command, folder).seconds for _ in range(runs + 1)][1:]
    return found


def first_results(python: str, runs: int, folder: Path) -> dict[str, list[Run]]:
    """Each technique's first picture."""
    found = {}
    for name, words in FIRST.items():
        command = [python, "-m", "cvtool", *words.split()]
        found[name] = [timed(command, folder) for _ in range(runs + 1)][1:]
        print(f"{name}: {statistics.median(run.seconds for run in found[name]):.1f} s", file=sys.stderr)
    return found


def wheel_mb() -> float:
    """Size of the wheel of this checkout."""
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(HERE.parent)]
        subprocess.run(build, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.stat().st_size / 1e6


def measure(python: str, help_runs: int, cold_runs: int) -> dict[str, Any]:
    """Everything that the table shows."""
    wheel = wheel_mb()  # first: it is what may fail
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown = helps(python, help_runs, folder)
        first = first_results(python, cold_runs, folder)
    return {
        "date": date.today().isoformat(),
        "machine": {"arch": platform.machine(), "cpu": kept.cpu(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        **json.loads(ask(python, FACTS)),
        "wheel_mb": wheel,
        "help": shown,
        "first": {each: [[run.seconds, run.peak_mb] for run in runs] for each, runs in first.items()},
    }


def ci_times(path: Path) -> dict[str, Any]:
    """Seconds of each part of .ci/run, from the lines that it wrote: seconds, a tab, the part."""
    lines = [line.split("\t", 1) for line in path.read_text("utf-8").splitlines()]
    return {"seconds": {part: int(seconds) for seconds, part in lines}, "at": kept.machine()}


def table(found: Mapping[str, Any], ci: Mapping[str, Any] | None = None) -> str:
    """Markdown; `ci`: what `ci_times` gave."""
    machine, medians = found["machine"], {name: statistics.median(each) for name, each in found["help"].items()}
    helps, firsts = (len(next(iter(found[part].values()))) for part in ("help", "first"))
    slowest = max(medians, key=lambda name: medians[name])
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        f"`python benchmarks/startup.py` on {found['date']}: {machine['arch']}, {machine['cpu']}, {machine['cores']} "
        f"cores (load {machine['load']:.1f} at the end), Python {found['python']}, cvtool {found['cvtool']}, "
        f"{versions}. Processes from start to exit, one after the other: the median of {helps} of each `--help`, of "
        f"{firsts} of the others; a first run of each is not counted.",
        "",
        "| | seconds | peak MB |",
        "| --- | ---: | ---: |",
        f"| `cvtool --help` | {medians['cvtool']:.2f} | |",
        f"| median of all {len(medians)} `--help` | {statistics.median(medians.values()):.2f} | |",
        f"| slowest: `{slowest} --help` | {medians[slowest]:.2f} | |",
    ]
    for name, runs in found["first"].items():
        seconds, peak = (statistics.median(values) for values in zip(*runs, strict=True))
        lines.append(f"| `cvtool {FIRST[name]}` | {seconds:.1f} | {peak:.0f} |")
    if ci:
        *_, suite = ci["seconds"].values()
        day = f"{ci['at']['date']}, {ci['at']['cpus']} cores"
        lines += [
            f"| `bash .ci/run` in a fresh clone ({day}) | {sum(ci['seconds'].values())} | |",
            f"| of it the suite | {suite} | |",
        ]
    lines += [
        "",
        "| | MB |",
        "| --- | ---: |",
        f"| wheel | {found['wheel_mb']:.1f} |",
        f"| installed, the package itself | {found['package_mb']:.1f} |",
        f"| installed, everything that it needs | {found['environment_mb']:.0f} |",
    ]
    return "\n".join(lines)


def write_into(readme: str, text: str) -> str:
    """The README with the text between the markers.

    Raises:
        ValueError: it has no such markers.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"the README needs one {BEGIN} and one {END}")
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description="Start, first pictures, sizes.")
    parser.add_argument("--python", default=sys.executable, help="of the environment that is measured")
    parser.add_argument("--help-runs", type=int, default=7)
    parser.add_argument("--cold-runs", type=int, default=3)
    parser.add_argument("--ci", type=Path, metavar="FILE", help="take up times of .ci/run, measure nothing")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    given = parser.parse_args()
    if given.ci:
        CI_RESULTS.write_text(json.dumps(ci_times(given.ci), indent=1) + "\n", encoding="utf-8")
    elif not given.table:
        found = measure(given.python, given.help_runs, given.cold_runs)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not RESULTS.exists():
        sys.exit(f"nothing was measured yet: {RESULTS} is not here")
    ci = json.loads(CI_RESULTS.read_text("utf-8")) if CI_RESULTS.exists() else None
    text = table(json.loads(RESULTS.read_text("utf-8")), ci)
    print(text)
    if given.write:
        README.write_text(write_into(README.read_text("utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
