"""``cvtool stylize`` with its real network, as small as it gets: what only shows when nothing is faked."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from launching import LIMIT, until
from PIL import Image

from cvtool.images import read_picture
from cvtool.provenance import read_provenance

TINY = ("--size", "32", "--device", "cpu", "-q")


@pytest.fixture(autouse=True)
def pictures(here: Path) -> None:
    """A content with shapes and a style with stripes."""
    rows, columns = np.mgrid[0:32, 0:48]
    disc = ((rows - 16) ** 2 + (columns - 24) ** 2 < 100)[..., None] * np.array([255, 120, 0])
    Image.fromarray((disc + (columns * 2)[..., None] // 2).clip(0, 255).astype(np.uint8)).save(here / "disc.png")
    Image.fromarray((np.stack([rows, columns, rows + columns], -1) % 8 * 32).astype(np.uint8)).save(
        here / "stripes.png"
    )


def test_same_words_same_bytes_and_the_line_makes_them_again(cvtool, here: Path) -> None:
    words = ["stylize", "disc.png", "stripes.png", *TINY, "--steps", "3", "--seed", "5", "--init", "noise"]
    assert cvtool(*words, "-o", "one.png").code == 0
    assert cvtool(*words, "-o", "two.png").code == 0
    made = (here / "one.png").read_bytes()
    assert (here / "two.png").read_bytes() == made
    line = shlex.split(read_provenance("one.png").command_line)
    assert cvtool(*line[1:], "-o", "three.png").code == 0
    assert (here / "three.png").read_bytes() == made
    assert cvtool(*words, "--seed", "6", "-o", "other.png").code == 0
    assert (read_picture("other.png").pixels != read_picture("one.png").pixels).any()


def test_json_tells_what_was_done(cvtool) -> None:
    done = cvtool("stylize", "disc.png", "stripes.png", *TINY, "--steps", "2", "--json", "--animate", "film.gif")
    assert (done.code, done.err) == (0, "")
    record = json.loads(done.out)
    assert (record["width"], record["height"], record["steps"], record["stopped_by"]) == (32, 21, 2, "steps")
    assert record["device"] == "cpu"
    assert record["style_loss"] > 0
    with Image.open("film.gif") as film:
        assert film.size == (32, 21)


def test_a_checkpoint_is_resumed(cvtool) -> None:
    words = ["stylize", "disc.png", "stripes.png", *TINY, "--steps", "2"]
    assert cvtool(*words, "--checkpoint", "state.safetensors", "-o", "one.png").code == 0
    assert cvtool(*words, "--resume", "state.safetensors", "-o", "two.png").code == 0
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()
    other = cvtool(*words, "--strength", "10", "--resume", "state.safetensors", "-o", "x.png")
    assert other.code == 3
    assert "strength" in other.err


def test_strength_0_gives_back_the_content(cvtool) -> None:
    assert cvtool("stylize", "disc.png", "stripes.png", "--size", "0", "--strength", "0", "-o", "x.png").code == 0
    assert (read_picture("x.png").pixels == read_picture("disc.png").pixels).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "vgg91"], "No model 'vgg91'. Nearest: vgg"),
        (["--style-layers", "blocks.99"], "blocks.99"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_unknown_names(cvtool, words: list[str], message: str) -> None:
    done = cvtool("stylize", "disc.png", "stripes.png", *TINY, "--steps", "1", *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


def test_ctrl_c_in_the_middle(here: Path) -> None:
    words = [
        "stylize",
        "disc.png",
        "stripes.png",
        "--size",
        "96",
        "--steps",
        "100000",
        "--json",
        "--preview",
        "now.png",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "cvtool", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        until(here / "now.png", process)  # the first preview: the work has begun
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == 130
    record = json.loads(out)
    assert record["stopped_by"] == "interrupt"
    assert 0 < record["steps"] < 100_000
    assert read_picture("disc-stylize.png").pixels.shape == (64, 96, 3)
    assert err.splitlines()[-1].startswith("cvtool: interrupted: ")
    assert "disc-stylize.png" in err.splitlines()[-1]
