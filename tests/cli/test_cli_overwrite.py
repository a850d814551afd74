"""``--overwrite`` of a run: what is read stays, and the old run stays until the new one can begin."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import save

OLD = (
    *("best.safetensors", "last.safetensors", "config.json", "metrics.jsonl", "state.pt", "features.h5", "report.html"),
    *("samples/epoch-001.png", "samples/step-000001.png", "split.json", "c.jsonl", "set.zip"),
)
READ = (
    "caption train --data folder:set --init run/best.safetensors",
    "caption train --data folder:set --init link.safetensors",
    "caption train --data folder:set --weights run/last.safetensors",
    "caption train --data folder:set --split-file run/split.json",
    "caption train --data jsonl:run/c.jsonl",
    "gan train --data folder:run/samples",
    "gan train --data run/set.zip",
    "stylize train-instant --content set --styles set --from run/best.safetensors",
    "stylize train-instant --content set --content folder:run/samples --styles set",
    "stylize train-instant --content set --styles run/samples",
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def old(here: Path) -> Path:
    """What an old run has left, and files of the user beside it."""
    for name in OLD:
        path = here / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"old {name}".encode())
    os.symlink("run/best.safetensors", here / "link.safetensors")
    return here / "run"


@pytest.mark.parametrize("words", READ)
def test_what_is_read_is_not_removed(cvtool: Callable[..., Any], old: Path, words: str) -> None:
    before = files(old)
    done = cvtool(*words.split(), "-o", "run", "--overwrite")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "is an input in 'run', where --overwrite removes the old run" in done.err
    assert files(old) == before


def test_pictures_are_no_directory_of_a_run(cvtool: Callable[..., Any], here: Path) -> None:
    """Neither their folder, nor a run within it that is started again: its samples were among the pictures."""
    for number in range(9):
        save(here / f"pictures/{number}.png", (25 * number, 90, 10), (64, 56))
    save(here / "pictures/run/samples/step-000001.png", size=(64, 56))
    save(here / "art/a.png", size=(64, 56))
    save(here / "art/b.png", (1, 2, 3), (64, 56))
    before = files(here)
    words = ("stylize", "train-instant", "--content", "pictures", "--styles", "art", "--overwrite", "-o")
    for run, said in (
        ("pictures", "'pictures' is an input, too"),
        ("art", "'art' is an input, too"),
        ("pictures/run", "'pictures/run/samples/step-000001.png' is an input in 'pictures/run'"),
    ):
        done = cvtool(*words, run)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert said in done.err
    assert files(here) == before


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ("--init absent.safetensors", 3, "absent.safetensors"),
        ("--init set/train/0.txt", 3, "set/train/0.txt"),
        ("--model efficientnet-lite9", 2, "efficientnet-lite9"),
        ("--weights absent.pth --model squeezenet1_1", 3, "absent.pth"),
        ("--features set/train/0.txt", 3, "set/train/0.txt"),
        ("--finetune-from blocks.99", 2, "blocks.99"),
        ("--threshold 99", 3, "Lower --threshold"),
    ],
)
def test_a_run_that_cannot_begin_leaves_the_old_one(
    cvtool: Callable[..., Any], old: Path, here: Path, more: str, code: int, said: str
) -> None:
    for split in ("train", "dev"):
        save(here / f"set/{split}/0.png")
        (here / f"set/{split}/0.txt").write_text("a red picture .\n")
    before = files(old)
    words = ("caption", "train", "--data", "folder:set", "--threshold", "1", "-o", "run", "--overwrite", "-q")
    done = cvtool(*words, *more.split())
    assert (done.code, done.err.count("\n")) == (code, 1), done.err
    assert said in done.err
    assert files(old) == before
