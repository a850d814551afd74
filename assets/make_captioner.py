"""Trains the captioner that comes with the install.

    python assets/make_captioner.py FLICKR8K_DIR RUN_DIR

Two to three hours on one CPU core that knows bfloat16; a GPU is used when there is one. Only the training split is
learned from; the development split chooses the epoch. First people's captions; then the same, together with the end of
the network that sees; then CIDEr-D of the captioner's own. A run that was stopped goes on. The weights are kept in half
precision.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from cvtool.caption.checkpoint import BUNDLED, read_checkpoint, write_checkpoint
from cvtool.cli.main import run
from cvtool.provenance import read_provenance

HERE = Path(__file__).resolve().parent
WORDS = ["--epochs", "12"]
TUNED = ["--finetune-from", "blocks.5", "--epochs", "5", "--rate", "3e-4", "--finetune-rate", "1e-4"]
CRITICAL = ["--epochs", "0", "--scst", "7", "--average", "4"]


def train(arguments: argparse.Namespace, name: str, options: list[str]) -> Path:
    """One run, or what is left of it → its best checkpoint."""
    folder = arguments.run / name
    command = ["caption", "train", "--data", f"flickr8k:{arguments.data}", "--model", "efficientnet-lite2"]
    command += ["--precision", "bf16", "-o", str(folder), *options]
    code = run([*command, *(["--resume"] if (folder / "config.json").exists() else [])])
    if code:
        raise SystemExit(code)
    return folder / "best.safetensors"


def main() -> None:
    """Train, and write assets/captioner.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)
    words = train(arguments, "words", WORDS)
    tuned = train(arguments, "tuned", [*TUNED, "--init", str(words)])
    pack(train(arguments, "critical", [*CRITICAL, "--init", str(tuned)]))


def pack(best: Path) -> None:
    """Keep a checkpoint as the bundled one, with a command line that says nothing of this machine's folders."""
    note = replace(read_provenance(best), command_line="python assets/make_captioner.py FLICKR8K_DIR RUN_DIR")
    write_checkpoint(HERE / BUNDLED, read_checkpoint(best), note.to_json(), torch.float16)
    print(json.dumps(dict(read_checkpoint(HERE / BUNDLED).facts)))


if __name__ == "__main__":
    main()
