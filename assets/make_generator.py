"""Trains the generator that comes with the install, on Fashion-MNIST.

    python assets/make_generator.py RUN_DIR

Under half an hour on one CPU core that knows bfloat16; a GPU is used when there is one. Only the training split is
learned from; samples of each check are compared with training pictures, and the nearest check is kept. A run that was
stopped goes on. The weights are kept in half precision.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from cvtool.cli.main import run
from cvtool.gan.checkpoint import BUNDLED, read_checkpoint, write_checkpoint
from cvtool.provenance import read_provenance

HERE = Path(__file__).resolve().parent
OPTIONS = ["--width", "32", "--steps", "16000", "--ema", "0.9995", "--rate-g", "4e-3", "--rate-d", "4e-3"]


def main() -> None:
    """Train, and write assets/generator.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run
    command = ["gan", "train", "--data", "fashion-mnist", "-o", str(folder), *OPTIONS]
    code = run([*command, *(["--resume"] if (folder / "config.json").exists() else [])])
    if code:
        raise SystemExit(code)
    pack(folder / "best.safetensors")


def pack(best: Path) -> None:
    """Keep a checkpoint as the bundled one, with a command line that says nothing of this machine's folders."""
    note = replace(read_provenance(best), command_line="python assets/make_generator.py RUN_DIR")
    write_checkpoint(HERE / BUNDLED, read_checkpoint(best), note.to_json(), torch.float16)
    print(json.dumps(dict(read_checkpoint(HERE / BUNDLED).facts)))


if __name__ == "__main__":
    main()
