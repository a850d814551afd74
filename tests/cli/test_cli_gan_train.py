"""``cvtool gan train`` from words to files: a run, its pictures and page, stopping, killing and going on."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cvtool.cli.main as program
from cvtool.cli.gan_data import absolute
from cvtool.gan.adversarial import Adversarial
from cvtool.gan.checkpoint import read_checkpoint
from cvtool.provenance import read_provenance

COMMON = {"command", "input", "output", "model", "device", "seed", "seconds", "version"}
SHAPE = ("--width", 4, "--latent", 4, "--size", 16)
SHORT = (*SHAPE, "--steps", 6, "--every", 3, "--batch", 8, "--samples", 100, "--precision", "fp32")


def make_pictures(folder: Path, count: int = 60, side: int = 16) -> Path:
    """Bars on black, one folder for each of two ways they lie."""
    chance = np.random.default_rng(0)
    for number in range(count):
        pixels = np.zeros((side, side), np.uint8)
        place = int(chance.integers(0, side - 2))
        level = number % 2
        if level:
            pixels[place : place + 2] = 230
        else:
            pixels[:, place : place + 2] = 230
        path = folder / ("level" if level else "upright") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def training(shelf: Path, run: Path | str, *more: object) -> list[object]:
    where = ("--data", f"folder:{shelf / 'bars'}", "--cache", shelf / "cache", "-o", run)
    return ["gan", "train", *where, *SHORT, "--augment", "off", *more]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and an uninterrupted run on them; nobody writes here."""
    folder = tmp_path_factory.mktemp("shelf")
    make_pictures(folder / "bars")
    assert program.run([*map(str, training(folder, folder / "run")), "-q"]) == 0
    return folder


def state_of(run: Path) -> dict:
    return torch.load(run / "state.pt", weights_only=True)["state"]


def assert_same_run(one: Path, other: Path) -> None:
    """The same weights to the bit, and the same metrics but for the clock."""
    for name in ("last", "best"):
        weights = [read_checkpoint(run / f"{name}.safetensors").generator.state_dict() for run in (one, other)]
        assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    for part in ("generator", "discriminator"):
        states = [state_of(run)["game"][part] for run in (one, other)]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())

    def lines(run: Path) -> list[dict]:
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        clock = ("seconds", "pictures_per_second")
        return [{key: value for key, value in record.items() if key not in clock} for record in records]

    assert lines(one) == lines(other)
    sheets = [
        {path.name: path.read_bytes() for path in (run / "samples").glob("step-00000?.png")} for run in (one, other)
    ]
    assert sheets[0] == sheets[1]


def test_a_run_leaves_all_it_promises(shelf: Path) -> None:
    run = shelf / "run"
    names = {path.name for path in run.iterdir()} - {"tensorboard"}  # that is there if it is installed
    assert names == {
        "config.json", "metrics.jsonl", "best.safetensors", "last.safetensors", "state.pt", "samples", "report.html",
    }  # fmt: skip
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["step-000003.png", "step-000006.png"]
    for step in (3, 6):
        made = read_provenance(run / f"samples/step-{step:06d}.png")
        assert (made.command, made.options["step"]) == ("gan train", step)
        assert made.command_line == read_provenance(run / "best.safetensors").command_line
    checkpoint = read_checkpoint(run / "best.safetensors")
    assert checkpoint.classes == ("level", "upright")
    assert checkpoint.generator.shape.size == 16
    config = json.loads((run / "config.json").read_text())
    assert config["train_options"]["steps"] == 6
    assert config["train_options"]["augment"] == "off"
    page = (run / "report.html").read_text()
    assert page.count("data:image/png") == 3  # two grids, and samples beside their neighbours
    assert "data:image/webp" in page
    assert "gan train" in page


def test_json(cvtool, shelf: Path) -> None:
    done = cvtool(*training(shelf, "run", "--json", "--seed", 5))
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line.get("step") for line in lines] == [3, 6, None]
    assert all(set(line) >= COMMON for line in lines)
    assert {"epoch", "loss_g", "loss_d", "accuracy_d", "fd", "kd", "precision", "recall"} <= set(lines[0])
    assert {line["seed"] for line in lines[:2]} == {5}
    assert lines[-1]["checkpoint"] == str(Path("run/best.safetensors"))


def test_the_checkpoint_says_how_it_was_made(cvtool, shelf: Path) -> None:
    done = cvtool("info", shelf / "run/best.safetensors")
    assert done.code == 0
    assert "gan train" in done.out


def test_a_set_whose_name_is_not_utf8(cvtool, shelf: Path, here: Path) -> None:
    Path("B\udce4ume").symlink_to(shelf / "bars")
    assert cvtool("gan", "train", "--data", "folder:B\udce4ume", *SHORT, "-o", "run", "-q").code == 0
    assert "B\\udce4ume" in Path("run/report.html").read_text()


def test_a_budget_is_repeated_by_its_steps(cvtool, shelf: Path, here: Path) -> None:
    words = [word for word in training(shelf, "run", "--budget", "1s", "-q") if word not in ("--steps", 6)]
    assert cvtool(*words).code == 0
    again = cvtool("info", "run").out.splitlines()[-1]
    planned = state_of(Path("run"))["position"]["total"]  # more than were done, if a busy machine cut the run
    assert f"--steps {planned} " in again
    assert "--budget" not in again


def test_specs_mean_the_same_elsewhere(here: Path) -> None:
    assert absolute("fashion-mnist") == "fashion-mnist"
    assert absolute("folder:bars") == f"folder:{here / 'bars'}"
    assert absolute("h5:d.h5#set") == f"h5:{here / 'd.h5'}#set"
    assert absolute("bars.zip") == str(here / "bars.zip")


def test_a_run_that_collapses_shows_it(cvtool, shelf: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Adversarial.step

    def step(self, number, *rest):
        facts = plain(self, number, *rest)
        return {**facts, "loss_g": facts["loss_g"] * math.nan} if number == 4 else facts

    monkeypatch.setattr(Adversarial, "step", step)
    done = cvtool(*training(shelf, "run", "--no-recover", "--json"))
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("cvtool: error: The run ended")
    assert "not finite" in Path("run/report.html").read_text()
    for line in [*done.out.splitlines(), *Path("run/metrics.jsonl").read_text().splitlines()]:
        json.loads(line, parse_constant=pytest.fail)
    assert read_checkpoint(Path("run/best.safetensors")).facts["step"] == 3


def test_other_files_among_the_pictures(cvtool, shelf: Path, here: Path) -> None:
    shutil.copytree(shelf / "run", "run")
    shutil.copy("run/samples/step-000003.png", "run/samples/step-000003 copy.png")
    assert cvtool(*training(shelf, "run", "--resume", "-q")).code == 0
    assert Path("run/report.html").read_text().count("data:image/png") == 3


KILLED = """
import os, signal, sys
import cvtool.gan.training, cvtool.training, cvtool.files
from cvtool.cli.main import run

what, count = sys.argv[1], int(sys.argv[2])
owner, name = {
    "step": (cvtool.gan.training.Trainer, "_step"),
    "state": (cvtool.training.RunDirectory, "save_state"),
    "file": (os, "replace"),
}[what]
plain, calls = getattr(owner, name), []

def counted(*arguments, **named):
    calls.append(1)
    if len(calls) == count:
        assert "torch._dynamo" not in sys.modules  # torch's compiler takes seconds to import
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments, **named)

setattr(owner, name, counted)
cvtool.training.SAVE_SECONDS = 0.0 if what == "step" else 1e9
sys.exit(run(sys.argv[3:]))
"""


@pytest.mark.parametrize(("what", "count"), [("step", 5), ("state", 2), ("file", 7)])
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_and_resumed(cvtool, shelf: Path, here: Path, what: str, count: int) -> None:
    words = [str(word) for word in (what, count, *training(shelf, "run", "-q"))]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=here, check=False)
    assert done.returncode == -signal.SIGKILL
    assert cvtool(*training(shelf, "run", "--resume", "-q")).code == 0
    assert_same_run(Path("run"), shelf / "run")


def test_ctrl_c(cvtool, shelf: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = Adversarial.step, []

    def step(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return plain(self, *arguments)

    monkeypatch.setattr(Adversarial, "step", step)
    done = cvtool(*training(shelf, "run"))
    assert done.code == 130
    assert done.err.splitlines()[-1] == "cvtool: interrupted: Stopped; 'run' goes on with --resume."
    assert len(calls) == 2
    told = cvtool("info", "run")  # though it has no checkpoint yet
    assert told.code == 0, told.err
    made = read_provenance(shelf / "run/best.safetensors")
    assert told.out.splitlines()[-1].split(maxsplit=1) == ["again", made.command_line]
    assert told.out.splitlines()[0].split(maxsplit=1) == ["command", made.command]
    assert cvtool(*training(shelf, "run", "--resume", "-q")).code == 0
    assert_same_run(Path("run"), shelf / "run")


class TestRefusals:
    def test_a_directory_in_use(self, cvtool, shelf: Path, here: Path) -> None:
        Path("run").mkdir()
        Path("run/mine.txt").write_text("mine")
        done = cvtool(*training(shelf, "run"))
        assert (done.code, Path("run/mine.txt").read_text()) == (2, "mine")
        assert "--overwrite" in done.err
        done = cvtool("gan", "train", "--data", "folder:nowhere", "-o", "run")
        assert (done.code, "is not empty" in done.err) == (2, True), "told before the data is looked for"

    def test_overwrite_removes_the_old_pictures(self, cvtool, shelf: Path, here: Path) -> None:
        Path("run/samples").mkdir(parents=True)
        old = Path("run/samples/step-000001.png")
        old.write_bytes(b"old")
        assert cvtool(*training(shelf, "run", "--overwrite", "-q")).code == 0
        assert not old.exists()

    def test_overwrite_leaves_the_old_run_if_the_new_cannot_be(self, cvtool, shelf: Path, here: Path) -> None:
        shutil.copytree(shelf / "run", "run")
        assert cvtool(*training(shelf, "run", "--overwrite", "--features", "vgg19@x")).code == 2
        assert cvtool(*training(shelf, "run", "--overwrite", "--smoothing", "0.1")).code == 2
        assert_same_run(Path("run"), shelf / "run")

    def test_resume_asks_the_same(self, cvtool, shelf: Path, here: Path) -> None:
        shutil.copytree(shelf / "run", "run")
        done = cvtool(*training(shelf, "run", "--resume", "--loss", "hinge"))
        assert done.code == 2
        assert "loss" in done.err

    def test_a_state_of_another_run(self, cvtool, shelf: Path, here: Path) -> None:
        shutil.copytree(shelf / "run", "run")
        torch.save({"lines": 1, "state": {"game": 3}}, "run/state.pt")
        done = cvtool(*training(shelf, "run", "--resume"))
        assert done.code == 3
        assert "--overwrite" in done.err

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (["--budget", "5m"], 2, "--budget and --steps"),
            (["--resume", "--overwrite"], 2, "--resume goes on"),
            (["--precision", "fp16"], 2, "bf16"),
            (["--arch", "cs231n-dc"], 2, "28 px"),
            (["--smoothing", "0.1"], 2, "labels to smooth"),
            (["--features", "vgg19@x"], 2, "MODEL@SIZE"),
            (["--limit", "5"], 3, "too few"),
            (["--vae", "--loss", "hinge"], 2, "--loss has no effect with --vae"),
            (["--kl", "2"], 2, "--kl has no effect without --vae"),
        ],
    )
    def test_what_cannot_be(self, cvtool, shelf: Path, here: Path, words: list[str], code: int, said: str) -> None:
        done = cvtool(*training(shelf, "run", *words))
        assert done.code == code, done.err
        assert said in done.err
        assert "Traceback" not in done.err
        assert not list(Path("run").glob("*"))

    def test_no_pictures(self, cvtool, here: Path) -> None:
        Path("empty").mkdir()
        done = cvtool("gan", "train", "--data", "folder:empty", "-o", "run")
        assert done.code == 3
        assert not Path("run").exists()


def test_the_data_is_no_directory_for_a_run(cvtool, here: Path) -> None:
    shutil.make_archive("set", "zip", make_pictures(here / "set", count=3))
    before = Path("set.zip").read_bytes()
    for spec in ("zip:set.zip", "set.zip"):
        done = cvtool("gan", "train", "--data", spec, "-o", "set.zip")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "'set.zip' is an input, too" in done.err
    assert Path("set.zip").read_bytes() == before


def test_few_pictures_are_augmented_and_that_is_said(cvtool, shelf: Path, here: Path) -> None:
    words = [word for word in training(shelf, "run") if word not in ("--augment", "off")]
    done = cvtool(*words)
    assert done.code == 0
    assert "DiffAugment is on" in done.err
    assert "60 pictures of 16 px, 2 classes" in done.err
    assert "efficientnet-lite0@48" in done.err
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["step 3 of 6", "step 6 of 6"]
    assert json.loads(Path("run/config.json").read_text())["train_options"]["augment"] == "diff"


@pytest.mark.parametrize("more", [["--vae"], ["--loss", "wgan-gp", "--arch", "resnet"], ["--size", "37"]])
def test_other_ways(cvtool, shelf: Path, here: Path, more: list[str]) -> None:
    assert cvtool(*training(shelf, "run", "-q", *more)).code == 0
    assert read_checkpoint(Path("run/best.safetensors")).generator.shape.channels == 1
