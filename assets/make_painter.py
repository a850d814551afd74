"""Trains the painter that comes with the install, on photographs and on styles of our own.

    python assets/make_painter.py --content flickr8k:DIR --paintings DIR RUN_DIR [--budget 70m]
    python assets/make_painter.py --pack RUN_DIR

Paints `VARIANTS` pictures of each kind of `KINDS` first, into RUN_DIR-styles, from other seeds than those of
`assets/styles`: none of the bundled styles is learned from, and kinds that are not named here are never seen at all.
Besides, the paintings of the named folders. About an hour on one CPU core that knows bfloat16. A run that was stopped
goes on. The weights are kept in half precision.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cvtool.cli.main import run
from cvtool.provenance import read_provenance
from cvtool.stylize.instant.checkpoint import read_checkpoint, write_checkpoint
from cvtool.stylize.instant.options import BUNDLED

HERE = Path(__file__).resolve().parent
KINDS = ("flow_strokes", "marbling", "stained_glass", "mosaic", "ink_wash")
"""Watercolours and woodblock prints are left out, to see what the painter makes of styles it has never met."""
VARIANTS, LONGER_SIDE, QUALITY = 8, 640, 92


def paint_styles(folder: Path) -> None:
    """Our own art from other seeds; pictures that are there already stay."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE))
    for seed in range(1, VARIANTS + 1):
        for kind in KINDS:
            path = folder / f"{kind}-{seed}.jpg"
            if path.exists():
                continue
            rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
            pixels = import_module(f"art.{kind}").paint(rng)
            picture = Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
            picture.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
            picture.save(path, quality=QUALITY)


def pack(folder: Path) -> None:
    """Keep a run's best checkpoint as the bundled one, with a record that says nothing of this machine's folders."""
    best = folder / "best.safetensors"
    note = read_provenance(best)
    inputs = tuple({**each, "path": Path(str(each["path"])).name} for each in note.inputs)
    line = "python assets/make_painter.py --content flickr8k:DIR --paintings DIR RUN_DIR"
    note = replace(note, command_line=line, inputs=inputs)
    write_checkpoint(HERE / BUNDLED, read_checkpoint(best), note.to_json(), torch.float16)
    kept = read_checkpoint(HERE / BUNDLED)
    print(json.dumps({"bytes": (HERE / BUNDLED).stat().st_size, **kept.facts}))


def main() -> None:
    """Train, and write assets/painter.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--content", metavar="SPEC")
    parser.add_argument("--paintings", metavar="DIR", action="append", default=[])
    parser.add_argument("--budget", default="70m")
    parser.add_argument("--pack", action="store_true", help="only keep what a run has come to")
    options = parser.parse_args()
    if not options.pack:
        if options.content is None:
            parser.error("--content is needed to train")
        drawn = options.run.with_name(options.run.name + "-styles")
        paint_styles(drawn)
        folders = [word for folder in (drawn, *options.paintings) for word in ("--styles", str(folder))]
        command = ["stylize", "train-instant", "--content", options.content, *folders, "-o", str(options.run)]
        going_on = ["--resume"] if (options.run / "config.json").exists() else []
        code = run([*command, "--budget", options.budget, *going_on])
        if code:
            raise SystemExit(code)
    pack(options.run)


if __name__ == "__main__":
    main()
