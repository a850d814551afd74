"""What a GPU is worth: every technique on it and on the CPU of the same machine, and peers on the same GPU.

    python benchmarks/gpu.py                       # minutes, most of them on the CPU
    python benchmarks/gpu.py --only gan,fool       # by the beginnings of the names
    python benchmarks/gpu.py --cpu-seconds 0       # leave the CPU out
    python benchmarks/gpu.py --table               # only prints what was measured

Everything runs in one process: what is timed is the work after loading and a first time, which meets compiling and
memory. Peers are the same as in the other benchmarks, told to use the GPU. What takes minutes on CPUs is left out
there. Each row of results/gpu.jsonl is one task of `gpu_tasks.py`; of one that is measured again the last counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import kept
import torch
from gpu_tasks import GPU, TASKS, Task, Timed, Work

RESULTS = kept.results("gpu")


def rate(make: Callable[[str], Work | Timed], device: str, seconds: float) -> tuple[float, float]:
    """How much in a second, and seconds of one piece of work, after a first one."""
    work = make(device)
    if isinstance(work, Timed):
        return work.rate(seconds), 0.0
    work()
    done, times, start = 0.0, 0, time.perf_counter()
    while not times or time.perf_counter() - start < seconds:
        done, times = done + work(), times + 1
    took = time.perf_counter() - start
    return done / took, took / times


def measure(task: Task, seconds: float, cpu_seconds: float) -> dict[str, Any]:
    """A row."""
    row: dict[str, Any] = {"name": task.name, "unit": task.unit, "device": torch.cuda.get_device_name()}
    torch.cuda.reset_peak_memory_stats()
    row["gpu"], row["gpu_piece"] = rate(task.ours, GPU, seconds)
    row["gpu_gb"] = torch.cuda.max_memory_allocated() / 1e9
    if task.peer is not None:
        row["peer"], row["peer_name"] = rate(task.peer, GPU, seconds)[0], task.peer_name
    torch.cuda.empty_cache()
    if cpu_seconds and not task.slow:
        row["cpu"] = rate(task.ours, "cpu", cpu_seconds)[0]
    return row


def table() -> str:
    """All rows in the order of the tasks."""
    found = {row["name"]: row for row in kept.rows(RESULTS)}
    if not found:
        return "Nothing was measured yet."
    lines = [
        ", ".join([*dict.fromkeys(row["device"] for row in found.values()), kept.headline(RESULTS, "torch")]),
        "",
        "| a second | on the GPU | on the CPUs | times | peer on the GPU | times |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in (found[task.name] for task in TASKS if task.name in found):
        cpu, peer = row.get("cpu"), row.get("peer")
        cells = [
            f"{row['name']}: {row['unit']}",
            short(row["gpu"]),
            short(cpu) if cpu else "",
            f"{row['gpu'] / cpu:.1f}" if cpu else "",
            f"{short(peer)} ({row['peer_name']})" if peer else "",
            f"{row['gpu'] / peer:.1f}" if peer else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def short(number: float) -> str:
    """Three digits that count."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def main() -> None:
    """Measure what is asked for, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="beginnings of names, with commas between")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each on the GPU")
    parser.add_argument("--cpu-seconds", type=float, default=2.0, help="for each on the CPU; 0: none")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    given = parser.parse_args()
    if given.table:
        print(table())
        return
    if not torch.cuda.is_available():
        print("no CUDA device here; nothing to measure")
        return
    for task in TASKS:
        if given.only and not task.name.startswith(tuple(given.only.split(","))):
            continue
        try:
            row = measure(task, given.seconds, given.cpu_seconds)
        except Exception as error:  # the others are measured all the same
            print(f"{task.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        print(json.dumps(row), flush=True)
        kept.add(RESULTS, row)
    print(table())


if __name__ == "__main__":
    main()
