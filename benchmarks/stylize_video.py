"""Steady video: flicker, style and content of clips painted with --video, against each frame painted by itself.

    python benchmarks/stylize_video.py                 # goes on where the last run ended; half an hour on two cores
    python benchmarks/stylize_video.py --minutes 10
    python benchmarks/stylize_video.py --table         # only prints what was measured
    python benchmarks/stylize_video.py --sheets DIR    # also writes contact sheets of what it paints

The clip is that of assets/make_clip.py, whose true motion is known. Flicker is the root mean square difference between
a frame and the one before carried along that motion, over the pixels that can be seen in both. Style and content are
the judgements of networks that took no part in painting (see judges.py), over the last frames, where drift would show.
Each row of results/stylize_video.jsonl is one way of painting one style.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
ASSETS = HERE.parent / "assets"
sys.path[:0] = [str(HERE), str(ASSETS)]
import kept  # noqa: E402

RESULTS = kept.results("stylize_video")
STYLES = ("marbling", "woodblock", "mosaic", "watercolor")
SIZE = 256
FIRST, FRAMES = 30, 48  # two seconds of the clip: behind the eye much comes into view
LAST = 4  # frames that are judged, and painted by themselves
JUDGES = ("efficientnet-lite2", "vgg19")
EACH, STEADY = "each frame by itself", "--video"
WAYS: dict[str, dict[str, Any]] = {
    EACH: {},
    STEADY: {},
    "--video, 8 steps a frame": {"frame_steps": 8},
    "--video, nothing held": {"steadiness": 0.0},
}

Pixels = NDArray[np.float32]


def true_flicker(frames: Sequence[Pixels], first: int) -> float:
    """Mean over pairs of neighbours; `first` is the number of the first in the scene."""
    from make_clip import Scene

    from cvtool.stylize.video.flow import warp

    scene, found = Scene(SIZE), []
    for number in range(1, len(frames)):
        flow, visible = scene.flow_back(first + number)
        difference = (warp(frames[number - 1], flow) - frames[number])[visible]
        found.append(float(np.sqrt(np.square(difference).mean())))
    return statistics.mean(found)


def paint(way: str, style: Pixels, folder: Path) -> tuple[list[Pixels], int]:
    """The frames painted in one way, and the number of the first of them in the scene."""
    from make_clip import Scene

    from cvtool.clips import open_clip
    from cvtool.images import encode_picture
    from cvtool.models.loader import load
    from cvtool.stylize.options import StylizeOptions
    from cvtool.stylize.service import stylize
    from cvtool.stylize.video.options import VideoOptions
    from cvtool.stylize.video.service import Job, finished_frames, paint_clip

    model, scene, options = load("efficientnet-lite0"), Scene(SIZE), StylizeOptions(size=SIZE)
    contents = [scene.frame(FIRST + number).astype(np.float32) / 255 for number in range(FRAMES)]
    if way == EACH:
        return [stylize(content, [style], model, options).pixels for content in contents[-LAST:]], FRAMES - LAST
    clip = folder / "clip"
    clip.mkdir()
    for number, content in enumerate(contents):
        (clip / f"{number}.png").write_bytes(encode_picture(content, "png"))
    job = Job(open_clip(clip), (style,), options, VideoOptions(**WAYS[way]), None, folder / "work")
    paint_clip(job, model)
    return [picture.pixels for picture in finished_frames(job)], 0


def measure(minutes: float, styles: int, sheets: Path | None) -> None:
    """Paint and judge what is not in the results yet."""
    from judges import Judge
    from make_clip import Scene

    from cvtool.images import encode_picture, fit_longer_side, read_picture, resize

    end = time.monotonic() + 60 * minutes
    done = {(row["way"], row["style_name"]) for row in kept.rows(RESULTS)}
    judges = {name: Judge(name) for name in JUDGES}
    for name in STYLES[:styles]:
        style = read_picture(ASSETS / "styles" / f"{name}.jpg").pixels
        seen = resize(style, *fit_longer_side(style.shape[0], style.shape[1], SIZE))
        for way in WAYS:
            if (way, name) in done:
                continue
            if time.monotonic() > end:
                return
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu = time.monotonic(), time.process_time()
                frames, first = paint(way, style, Path(folder))
                wall, cpu = time.monotonic() - wall, time.process_time() - cpu
            contents = [Scene(SIZE).frame(FIRST + FRAMES - LAST + i).astype(np.float32) / 255 for i in range(LAST)]
            verdicts = {
                judge: [see(frame, content, seen) for frame, content in zip(frames[-LAST:], contents, strict=True)]
                for judge, see in judges.items()
            }
            row = {
                "way": way,
                "style_name": name,
                "size": SIZE,
                "frames": len(frames),
                "flicker": round(true_flicker(frames, FIRST + first), 5),
                "style": {j: round(statistics.mean(v.style for v in vs), 4) for j, vs in verdicts.items()},
                "content": {j: round(statistics.mean(v.content for v in vs), 4) for j, vs in verdicts.items()},
                "seconds_per_frame": round(wall / len(frames), 2),
                "cpu_seconds_per_frame": round(cpu / len(frames), 2),
            }
            kept.add(RESULTS, row)
            if sheets is not None:
                sheets.mkdir(parents=True, exist_ok=True)
                shown = [frames[round(i * (len(frames) - 1) / 5)] for i in range(6)]
                sheet = np.vstack([np.hstack(shown[i : i + 3]) for i in (0, 3)])
                stem = way.strip("-").replace(",", "").replace(" ", "_")
                (sheets / f"{name}-{stem}.png").write_bytes(encode_picture(sheet, "png"))


def table() -> str:
    """One line per way: means over the styles, and how the flicker compares with frames painted by themselves."""
    found = {(row["way"], row["style_name"]): row for row in kept.rows(RESULTS)}
    styles = [style for style in STYLES if all((way, style) in found for way in (EACH, STEADY))]
    lines = [
        kept.headline(RESULTS, "torch"),
        "",
        "| way | styles | flicker | ratio | style: lite2 / vgg19 | content: lite2 / vgg19 | CPU seconds a frame |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way in WAYS:
        mine = [found[way, style] for style in styles if (way, style) in found]
        if not mine:
            continue
        ratio = statistics.mean(row["flicker"] / found[EACH, row["style_name"]]["flicker"] for row in mine)
        judged = [
            " / ".join(f"{statistics.mean(row[what][judge] for row in mine):.3f}" for judge in JUDGES)
            for what in ("style", "content")
        ]
        flicker, seconds = (statistics.mean(row[key] for row in mine) for key in ("flicker", "cpu_seconds_per_frame"))
        lines.append(
            f"| {way} | {len(mine)} | {flicker:.4f} | {ratio:.2f} | {judged[0]} | {judged[1]} | {seconds:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=600.0, help="begin nothing new after so long")
    parser.add_argument("--styles", type=int, default=len(STYLES), help="only the first so many")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    given = parser.parse_args()
    if not given.table:
        measure(given.minutes, given.styles, given.sheets)
    print(table())


if __name__ == "__main__":
    main()
