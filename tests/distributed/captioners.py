"""A small run of ``cvtool caption train`` that can be disturbed, for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}
EPOCHS = 40


def make_set(folder: Path, train: int = 12) -> Path:
    """Pictures of one colour each, and what people say of them."""
    for split, count in (("train", train), ("dev", 3)):
        for number in range(count):
            color = list(COLORS)[number % 3]
            noise = np.random.default_rng(number).integers(-20, 20, (64, 64, 3))
            path = folder / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(np.array(COLORS[color]) + noise, 0, 255).astype(np.uint8)).save(path)
            path.with_suffix(".txt").write_text(f"a {color} picture .\nthis picture is {color} .\n")
    return folder


def training(shelf: Path, run: Path, *more: object) -> list[object]:
    """A run of steps that take a moment, so that there is time to disturb it."""
    shape = ("--hidden", 32, "--embedding", 16, "--dropout", 0.1, "--threshold", 1, "--max-length", 8)
    learning = ("--epochs", EPOCHS, "--batch", 4, "--rate", 0.01, "--patience", 99, "--device", "cpu")
    where = ("--data", f"folder:{shelf / 'set'}", "--features", shelf / "f.h5", "-o", run)
    return ["caption", "train", *where, *shape, *learning, *more]


def metrics(run: Path) -> list[dict]:
    """Without the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]


def assert_same_run(run: Path, other: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        one, two = load_file(run / name), load_file(other / name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), name
    assert metrics(run) == metrics(other)
