"""Work killed at any moment: nothing is torn, and what goes on afterwards ends as if nothing had happened."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hardening.faults import assert_whole, emptied, forked, killed, moments, plan
from hardening.materials import pixels, write
from PIL import Image
from safetensors.torch import load_file

import cvtool.training
from cvtool.cli.main import run
from cvtool.stylize import run as stylizing
from cvtool.stylize.instant import training

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork")

SMALL = ("--size", 32, "--device", "cpu", "-q")
IMPORTED = (
    "torch._dynamo",
    "timm",
    "cv2",
    "cvtool.gan.training",
    "cvtool.cli.caption_trainer",
    "cvtool.caption.training",
)
CLOCKS = {"seconds", "pictures_per_second", "tokens_per_second", "steps_per_second"}


@dataclass(frozen=True)
class Work:
    """One kind of work.

    Attributes:
        words: the command line, for an output folder.
        resumed: what is added to go on with what lies in that folder.
        same: fails unless two output folders hold the same.
    """

    words: Callable[[Path, Path], Sequence[object]]
    resumed: Callable[[Path], Sequence[object]]
    same: Callable[[Path, Path], None]


def same_tensors(one: Path, other: Path) -> None:
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def same_runs(one: Path, other: Path) -> None:
    """The same weights to the bit, and the same metrics but for the clock."""
    for name in ("last.safetensors", "best.safetensors"):
        same_tensors(one / "run" / name, other / "run" / name)
    lines = []
    for folder in (one, other):
        records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
        lines.append([{key: value for key, value in each.items() if key not in CLOCKS} for each in records])
    assert lines[0] == lines[1]


def same_file(name: str, one: Path, other: Path) -> None:
    assert frames_of(one / name) == frames_of(other / name)


def frames_of(path: Path) -> list[bytes]:
    """Pixels; what a file says of how it came to be differs when it was made in two goes."""
    found = []
    with Image.open(path) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            found.append(image.convert("RGB").tobytes())
    return found


def resume_run(folder: Path) -> Sequence[object]:
    return ("--resume",) if (folder / "run" / "config.json").exists() else ("--overwrite",)


def resume_picture(folder: Path) -> Sequence[object]:
    state = folder / "state.safetensors"
    return ("--resume", state) if state.exists() else ()


def resume_clip(folder: Path) -> Sequence[object]:
    frames = folder / "out.gif.frames"
    return ("--resume", frames) if frames.exists() and not (folder / "out.gif").exists() else ()


def gan(shelf: Path, folder: Path) -> Sequence[object]:
    data = ("--data", f"folder:{shelf / 'photos'}", "--cache", shelf / "cache", "-o", folder / "run")
    shape = ("--width", 4, "--latent", 4, "--size", 16, "--steps", 4, "--every", 2, "--batch", 4, "--samples", 100)
    return ("gan", "train", *data, *shape, "--precision", "fp32", "--augment", "off", "-q")


def caption(shelf: Path, folder: Path) -> Sequence[object]:
    data = ("--data", shelf / "captions.jsonl", "--features", shelf / "features.h5", "-o", folder / "run")
    shape = ("--hidden", 16, "--embedding", 8, "--threshold", 1, "--max-length", 6, "--dropout", 0.1, "--warmup", 2)
    return ("caption", "train", *data, *shape, "--epochs", 2, "--batch", 4, "--scst", 1, "--patience", 99, "-q")


def instant(shelf: Path, folder: Path) -> Sequence[object]:
    data = ("--content", f"folder:{shelf / 'photos'}", "--styles", shelf / "photos", "-o", folder / "run")
    shape = ("--width", 8, "--embedding", 8, "--steps", 4, "--every", 2, "--batch", 2, "--samples", 2)
    return ("stylize", "train-instant", *data, *shape, "--precision", "fp32", "-q")


def picture(shelf: Path, folder: Path) -> Sequence[object]:
    files = (shelf / "photos" / "0.png", shelf / "photos" / "1.png")
    return (
        "stylize",
        *files,
        *SMALL,
        "--steps",
        6,
        "--checkpoint",
        folder / "state.safetensors",
        "-o",
        folder / "a.png",
    )


def clip(shelf: Path, folder: Path) -> Sequence[object]:
    files = (shelf / "clip.gif", shelf / "photos" / "1.png")
    return ("stylize", *files, *SMALL, "--steps", 2, "--video", "-o", folder / "out.gif")


WORKS = {
    "gan": Work(gan, resume_run, same_runs),
    "caption": Work(caption, resume_run, same_runs),
    "instant": Work(instant, resume_run, same_runs),
    "picture": Work(picture, resume_picture, partial(same_file, "a.png")),
    "clip": Work(clip, resume_clip, partial(same_file, "out.gif")),
}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> object:
    """States at every step, pictures of a size for tests, and what takes long to import is there before the forks."""
    for name in IMPORTED:
        importlib.import_module(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cvtool.training, "SAVE_SECONDS", 0.0)
        patch.setattr(stylizing, "SNAPSHOT_EVERY", 2)
        patch.setattr(training, "PHASES", ((0.0, 32),))
        patch.setattr(training, "CHECK_SIZE", 32)
        patch.setattr(training, "SHOWN", 2)
        patch.setattr(training, "MEASURED", 2)
        yield


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all of them read; nobody writes here."""
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "photos").mkdir()
    names = [str(folder / "photos" / f"{number}.png") for number in range(12)]
    for number, name in enumerate(names):
        levels = Image.fromarray((pixels(number) * 255).astype(np.uint8))
        levels.resize((64, 56), Image.Resampling.BICUBIC).save(name)
    splits = ["train"] * 9 + ["dev"] * 3
    lines = [
        json.dumps({"image": name, "captions": [f"a picture of {number % 3}"], "split": split})
        for number, (name, split) in enumerate(zip(names, splits, strict=True))
    ]
    write(str(folder / "captions.jsonl"), "".join(f"{line}\n" for line in lines))
    data = ["caption", "features", "--data", str(folder / "captions.jsonl"), "-o", str(folder / "features.h5"), "-q"]
    assert forked(partial(run, data)) == 0
    images = [Image.fromarray((np.roll(pixels(), n, 1) * 255).astype(np.uint8)) for n in range(3)]
    images[0].save(folder / "clip.gif", save_all=True, append_images=images[1:], duration=100)
    return folder


@pytest.mark.parametrize("kind", WORKS)
def test_killed_at_any_moment(kind: str, shelf: Path, tmp_path: Path) -> None:
    work = WORKS[kind]
    whole = emptied(tmp_path / "whole")
    count = moments(work.words(shelf, whole), whole)
    assert count > 3
    deaths = 0
    for moment, delay in plan(kind, count):
        folder = emptied(tmp_path / "killed")
        code = killed(work.words(shelf, folder), folder, moment, delay)
        assert code <= 0, f"moment {moment} of {count}, {delay} s"
        deaths += code < 0
        assert_whole(folder)
        if code < 0:
            words = [str(word) for word in (*work.words(shelf, folder), *work.resumed(folder))]
            assert forked(partial(run, words)) == 0, f"moment {moment} of {count}, {delay} s"
        work.same(folder, whole)
        assert_whole(folder)
        # In a run's directory nobody else writes, so what was begun and never finished is removed there.
        assert not list((folder / "run").rglob(".cvtool-*")), f"left behind by moment {moment} of {count}"
    assert deaths
