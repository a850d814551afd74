"""``cvtool stylize train-instant`` from words to files: a run, what it refuses, stopping, killing and going on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from html_pages import Page, check_stands_alone
from launching import LIMIT, until
from PIL import Image

import cvtool.cli.main as program
from cvtool.charts import number as written
from cvtool.provenance import read_provenance
from cvtool.stylize.instant import training
from cvtool.stylize.instant.checkpoint import read_checkpoint

COMMON = {"command", "input", "output", "model", "device", "seed", "seconds", "version"}
SHORT = (
    *("--width", 8, "--embedding", 8, "--steps", 4, "--every", 2, "--batch", 2, "--samples", 2),
    "--precision",
    "fp32",
)


def make_pictures(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        chance = np.random.default_rng(number)
        coarse = Image.fromarray(chance.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((64, 56), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")
    return folder


def words(shelf: Path, run: Path | str, *more: object) -> list[str]:
    where = ("--content", f"folder:{shelf / 'photos'}", "--styles", shelf / "art", "-o", run)
    return [str(word) for word in ("stylize", "train-instant", *where, *SHORT, *more)]


@pytest.fixture(scope="module")
def quick() -> Any:
    """Pictures of a size for tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PHASES", ((0.0, 32),))
        patch.setattr(training, "CHECK_SIZE", 32)
        patch.setattr(training, "SHOWN", 2)
        patch.setattr(training, "MEASURED", 2)
        yield


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, quick: None) -> Path:
    """Pictures, and an uninterrupted run on them; nobody writes here."""
    folder = tmp_path_factory.mktemp("shelf")
    make_pictures(folder / "photos", 9)
    make_pictures(folder / "art", 4)
    assert program.run([*words(folder, folder / "run"), "-q"]) == 0
    return folder


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path).painter.state_dict()


def assert_same_run(one: Path, other: Path) -> None:
    """The same weights to the bit, and the same metrics but for the clock."""
    for name in ("last.safetensors", "best.safetensors"):
        theirs = weights(other / name)
        assert all(torch.equal(value, theirs[key]) for key, value in weights(one / name).items())
    clock = ("seconds", "pictures_per_second")
    lines = [
        [
            {key: value for key, value in json.loads(line).items() if key not in clock}
            for line in (run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in (one, other)
    ]
    assert lines[0] == lines[1]
    for sheet in (one / "samples").iterdir():
        assert sheet.read_bytes() == (other / "samples" / sheet.name).read_bytes()


def test_a_run_leaves_all_it_promises(shelf: Path) -> None:
    run = shelf / "run"
    assert {path.name for path in run.iterdir()} - {"tensorboard"} == {  # that is there if it is installed
        *("config.json", "metrics.jsonl", "last.safetensors", "best.safetensors", "state.pt", "samples", "report.html")
    }
    assert [path.name for path in sorted((run / "samples").iterdir())] == ["step-000002.png", "step-000004.png"]
    made = read_provenance(run / "samples/step-000002.png")
    assert (made.command, made.options["step"]) == ("stylize train-instant", 2)
    assert made.command_line == read_provenance(run / "last.safetensors").command_line
    config = json.loads((run / "config.json").read_text())
    assert config["training"]["steps"] == 4
    assert len(config["data"].split()) == 2


def test_the_page_shows_the_run(shelf: Path, cvtool: Callable[..., Any], tmp_path: Path) -> None:
    page = Page.read(shelf / "run" / "report.html")
    check_stands_alone(page)
    assert [picture.size for picture in page.pictures()] == [
        Image.open(path).size for path in sorted((shelf / "run" / "samples").iterdir())
    ]
    records = [json.loads(line) for line in (shelf / "run" / "metrics.jsonl").read_text().splitlines()]
    best = [record for record in records if record["is_best"]][-1]
    assert f"The best painter is that of step {best['step']}." in page.texts
    assert written(best["held_out_loss"]) in page.texts
    for record in records:
        caption = f"Step {record['step']}, held-out loss {written(record['held_out_loss'])}"
        assert caption in page.texts
        assert any(caption in str(image["alt"]) for image in page.of("img"))
    labels = [str(svg["aria-label"]).split(" by step")[0] for svg in page.of("svg") if svg.get("role") == "img"]
    assert labels == ["Loss", "Style", "Content", "Variation"]
    assert any(text.startswith("cvtool stylize train-instant --content") for text in page.texts)

    run = tmp_path / "run"
    shutil.copytree(shelf / "run", run)
    (run / "report.html").unlink()
    (run / "samples" / "step-000002.png").write_bytes(b"broken")
    assert cvtool(*words(shelf, run, "--resume")).code == 0
    assert len(Page.read(run / "report.html").pictures()) == 1
    (run / "samples" / "step-000099.png").write_bytes(b"old")
    assert cvtool(*words(shelf, run, "--overwrite")).code == 0
    assert not (run / "samples" / "step-000099.png").exists()
    again = Page.read(run / "report.html")
    assert [image["src"] for image in again.of("img")] == [image["src"] for image in page.of("img")]


def test_info_shows_what_made_the_checkpoint(shelf: Path, cvtool: Callable[..., Any]) -> None:
    found = cvtool("info", shelf / "run", "--json")
    record = json.loads(found.out)["provenance"]
    assert record["command"] == "stylize train-instant"
    assert record["model"] == "efficientnet-lite0"
    assert record["options"]["network"] == {"width": 8, "embedding": 8}
    assert [Path(each["path"]).name for each in record["inputs"]] == ["photos", "art"]
    assert record["command_line"].startswith("cvtool stylize train-instant --content folder:/")
    assert record["command_line"].endswith("-o RUN_DIR")


def test_json_has_a_line_for_each_check(shelf: Path, cvtool: Callable[..., Any], tmp_path: Path) -> None:
    outcome = cvtool(*words(shelf, tmp_path / "run", "--json"))
    assert outcome.code == 0
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert all(set(line) >= COMMON for line in lines)
    assert [line.get("step") for line in lines] == [2, 4, None]
    assert all(line["held_out_loss"] > 0 for line in lines[:2])
    assert Path(lines[2]["checkpoint"]) == tmp_path / "run" / "best.safetensors"
    assert_same_run(shelf / "run", tmp_path / "run")


def test_a_directory_that_is_not_empty_is_refused(shelf: Path, cvtool: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    outcome = cvtool(*words(shelf, tmp_path / "run"))
    assert (outcome.code, "--overwrite" in outcome.err) == (2, True)
    assert cvtool(*words(shelf, tmp_path / "run", "--overwrite")).code == 0
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


def test_going_on_needs_the_same_request(shelf: Path, cvtool: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copytree(shelf / "run", tmp_path / "run")
    outcome = cvtool(*words(shelf, tmp_path / "run", "--rate", "0.5", "--resume"))
    assert (outcome.code, "rate" in outcome.err) == (2, True)
    other = make_pictures(tmp_path / "other", 12)
    outcome = cvtool(*words(shelf, tmp_path / "run", "--styles", other, "--resume"))
    assert (outcome.code, "the data set" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--resume", "--overwrite"), "Give one"),
        (("--budget", "5m"), "Give one"),
        (("--precision", "fp16"), "fp16"),
    ],
)
def test_what_does_not_go_together_is_refused(
    shelf: Path, cvtool: Callable[..., Any], tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    outcome = cvtool(*words(shelf, tmp_path / "run", *more))
    assert (outcome.code, message in outcome.err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_bad_pictures_are_listed_or_skipped(cvtool: Callable[..., Any], quick: None, tmp_path: Path) -> None:
    make_pictures(tmp_path / "photos", 9)
    make_pictures(tmp_path / "art", 3)
    for number in range(12):
        (tmp_path / "photos" / f"broken{number:02d}.jpg").write_bytes(b"no picture")
    outcome = cvtool(*words(tmp_path, tmp_path / "run"))
    assert outcome.code == 3
    assert outcome.err.count("broken") == 10
    assert "… and 2 more" in outcome.err
    assert "12 of 21" in outcome.err
    outcome = cvtool(*words(tmp_path, tmp_path / "run", "--skip-bad"))
    assert outcome.code == 0
    assert "12 pictures of" in outcome.err


def test_a_killed_run_goes_on_to_the_same_end(
    shelf: Path, cvtool: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed without a word between two checks: as after a power cut, only the files are left."""
    run, step = tmp_path / "run", training.Trainer._step

    def dying(self: training.Trainer) -> None:
        if self.position.step == 3:
            raise MemoryError
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "_step", dying)
        assert cvtool(*words(shelf, run)).code != 0
    assert cvtool(*words(shelf, run, "--resume")).code == 0
    assert_same_run(shelf / "run", run)


def test_a_broken_state_is_told(shelf: Path, cvtool: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copytree(shelf / "run", tmp_path / "run")
    state = tmp_path / "run" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    outcome = cvtool(*words(shelf, tmp_path / "run", "--resume"))
    assert (outcome.code, "--overwrite" in outcome.err, "Traceback" in outcome.err) == (3, True, False)


def test_ctrl_c_writes_a_checkpoint_and_exits_130(shelf: Path, tmp_path: Path) -> None:
    """A real process that gets a real signal; it goes on afterwards."""
    run = tmp_path / "run"
    line = [*words(shelf, run), "--steps", "100000", "--every", "2"]
    process = subprocess.Popen([sys.executable, "-m", "cvtool", *line], stderr=subprocess.PIPE, text=True)
    try:
        until(run / "state.pt", process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "--resume" in err
    check_stands_alone(Page.read(run / "report.html"))
    assert torch.load(run / "state.pt", weights_only=True)["state"]["position"]["step"] >= 2


def test_a_painter_is_trained_further(shelf: Path, cvtool: Callable[..., Any], tmp_path: Path) -> None:
    first = shelf / "run" / "last.safetensors"
    assert cvtool(*words(shelf, tmp_path / "run", "--from", first, "--rate", 1e-9)).code == 0
    before, after = weights(first), weights(tmp_path / "run" / "last.safetensors")
    assert all(torch.allclose(value, after[name], atol=1e-5) for name, value in before.items())
    record = json.loads(cvtool("info", tmp_path / "run", "--json").out)["provenance"]
    assert record["inputs"][-1]["path"] == str(first)
    assert "--from" in record["command_line"]
    outcome = cvtool(*words(shelf, tmp_path / "run2", "--from", first, "--width", 16))
    assert (outcome.code, "--width 8" in outcome.err) == (2, True)


def test_one_pass_is_told_as_one(here: Path, cvtool: Callable[..., Any]) -> None:
    done = cvtool("stylize", "asset:cat", "asset:marbling", "--instant", "--size", 64, "-o", "x.png")
    assert done.code == 0
    assert "one pass" in done.err
    assert "steps" not in done.err
