"""A small data set, what is learned from it in seconds, and how tests read what ``cvtool caption`` says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import cvtool.cli.main as program
from cvtool.caption.checkpoint import read_checkpoint

COMMON = {"command", "input", "output", "model", "device", "seed", "seconds", "version"}
METRICS = {"bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"}
COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}
SHAPE = ("--hidden", 32, "--embedding", 16, "--dropout", 0.1, "--threshold", 1, "--max-length", 8)
LEARNING = ("--epochs", 10, "--batch", 4, "--rate", 0.02, "--warmup", 2, "--patience", 99)
CRITICAL = ("--scst", 1, "--scst-rate", "1e-4", "--scst-samples", 3, "--seed", 3)
ASKED = (*SHAPE, *LEARNING, *CRITICAL)
SHORT = (*SHAPE, "--epochs", 1, "--batch", 4)
COURSE = ("--no-attention", "--layers", 1, "--no-tie", "--dropout", 0, "--smoothing", 0, "--decay", 0)


def paint(path: Path, color: str, seed: int = 0) -> None:
    noise = np.random.default_rng(seed).integers(-20, 20, (64, 64, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(COLORS[color]) + noise, 0, 255).astype(np.uint8)).save(path)


def make_set(folder: Path, **counts: int) -> Path:
    """Pictures of one colour each, and what people say of them, for each split so many."""
    for split, count in counts.items():
        for number in range(count):
            color = list(COLORS)[number % 3]
            paint(folder / split / f"{number}.png", color, number)
            (folder / split / f"{number}.txt").write_text(f"a {color} picture .\nthis picture is {color} .\n")
    return folder


def make_shelf(factory: pytest.TempPathFactory) -> Path:
    """A data set, its features, and an uninterrupted run on them; nobody writes here."""
    folder = factory.mktemp("shelf")
    make_set(folder / "set", train=12, dev=3, test=3)
    words = ["caption", "features", "--data", f"folder:{folder / 'set'}", "-o", str(folder / "f.h5"), "-q"]
    assert program.run(words) == 0
    assert program.run([*map(str, training(folder, folder / "run")), "-q"]) == 0
    return folder


def training(shelf: Path, run: Path | str, *more: object) -> tuple[object, ...]:
    return (
        "caption",
        "train",
        "--data",
        f"folder:{shelf / 'set'}",
        "--features",
        shelf / "f.h5",
        "-o",
        run,
        *ASKED,
        *more,
    )


def objects(outcome) -> list[dict]:
    assert outcome.code == 0, outcome.err
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert all(each.keys() >= COMMON for each in found)
    return found


def says(outcome, code: int, *texts: str) -> None:
    """Nothing but one line of complaint."""
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert outcome.err.startswith("cvtool: error: ")
    assert outcome.err.count("\n") == 1
    for text in texts:
        assert text in outcome.err


def assert_same_run(run: Path, other: Path) -> None:
    """Weights bit for bit, and the same metrics but for the time they took."""
    for name in ("best.safetensors", "last.safetensors"):
        one, two = load_file(run / name), load_file(other / name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), name
        assert read_checkpoint(run / name).facts == read_checkpoint(other / name).facts
    lines = [[json.loads(line) for line in (each / "metrics.jsonl").read_text().splitlines()] for each in (run, other)]
    for line in (*lines[0], *lines[1]):
        del line["seconds"], line["tokens_per_second"]
    assert lines[0] == lines[1]
