"""``cvtool caption`` from words to files: train, evaluate, describe, keep features, stop and go on."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers import piped, save
from html_pages import Page, check_stands_alone
from PIL import Image
from safetensors.torch import load_file, save_file

import cvtool.cli.main as program
from cvtool.bundled import asset_folder
from cvtool.caption.check import Row
from cvtool.caption.checkpoint import BUNDLED, read_checkpoint, write_checkpoint
from cvtool.caption.datasets import CaptionedPicture
from cvtool.caption.features import read_features
from cvtool.caption.training import Trainer
from cvtool.caption.vocabulary import SPECIALS, Vocabulary
from cvtool.charts import number as written
from cvtool.cli.caption_page import _thumbnails
from cvtool.provenance import read_provenance

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


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, its features, and an uninterrupted run on them; nobody writes here."""
    folder = tmp_path_factory.mktemp("shelf")
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


@pytest.fixture
def data(here: Path) -> Path:
    """A small data set of one's own."""
    return make_set(here / "set", train=4, dev=2, test=1)


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


# Training -------------------------------------------------------------------------------------------------------


def test_train_with_json(cvtool, data: Path, here: Path) -> None:
    done = cvtool("caption", "train", "--data", "folder:set", "-o", "run", *SHORT, "--epochs", 2, "--json")
    *epochs, last = objects(done)
    assert [each["epoch"] for each in epochs] == [1, 2]
    assert all(each["command"] == "caption train" and each.keys() >= METRICS | COMMON for each in epochs)
    assert all({"step", "loss", "perplexity", "seconds", "phase"} <= each.keys() for each in epochs)
    assert last["checkpoint"] == "run/best.safetensors"
    asked = {"input": "folder:set", "model": "efficientnet-lite0", "device": "cpu", "seed": 0}
    assert all(each.items() >= asked.items() for each in (*epochs, last))
    assert epochs[0]["seconds"] <= epochs[1]["seconds"] == last["seconds"]
    assert last["output"] == "run/best.safetensors"
    files = {"best.safetensors", "last.safetensors", "config.json", "metrics.jsonl", "state.pt", "features.h5",
             "samples", "report.html"}  # fmt: skip
    assert {path.name for path in Path("run").iterdir()} - {"tensorboard"} == files  # that is there if it is installed
    assert sorted(path.name for path in Path("run/samples").iterdir()) == ["epoch-001.png", "epoch-002.png"]
    made = read_provenance("run/samples/epoch-002.png")
    assert made.command == "caption train"
    assert f"--data folder:{here / 'set'} " in made.command_line
    assert not any("captions" in each for each in epochs)
    config = json.loads(Path("run/config.json").read_text())
    assert config["train_options"]["epochs"] == 2
    assert config["spec"] == "folder:set"
    assert config["environment"]["torch"] == metadata.version("torch")
    assert config["command_line"] == made.command_line
    assert "--hidden 32" in made.command_line
    kept = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [each["loss"] for each in kept] == [each["loss"] for each in epochs]
    checkpoint = read_checkpoint(Path("run/best.safetensors"))
    assert set(checkpoint.vocabulary.words[4:]) == {"a", "picture", "this", "is", *COLORS}
    assert read_features(Path("run/features.h5")).origin.fingerprint == checkpoint.fingerprint
    assert "4 pictures" in done.err


def check_page(run: Path) -> Page:
    """All that was measured is on the page of a run, and what was said in each epoch."""
    page = Page.read(run / "report.html")
    check_stands_alone(page)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    table = [row for row in page.rows() if len(row) > 2]
    assert [row[0] for row in table] == ["Epoch", *(str(each["epoch"]) for each in records)]
    columns = dict(zip(table[0], table[-1], strict=True))
    assert columns["CIDEr-D"] == written(records[-1]["metrics"]["cider"])
    assert columns["Perplexity"] == written(records[-1]["perplexity"])
    assert (
        f"The best captioner is that of epoch {[each['epoch'] for each in records if each['is_best']][-1]}."
        in page.texts
    )
    for record, image in zip(records, page.of("img"), strict=True):
        assert f"Epoch {record['epoch']}, CIDEr-D {written(record['metrics']['cider'])}." in str(image["alt"])
        assert len(record["captions"]) == 3
        assert all(f"{name}: {said}." in str(image["alt"]) for name, said in record["captions"].items())
    assert len({picture.size for picture in page.pictures()}) == 1  # the slider changes pictures, not the page
    return page


def test_the_page_of_a_run(shelf: Path) -> None:
    page = check_page(shelf / "run")
    with Image.open(shelf / "run/samples/epoch-011.png") as sheet:
        assert page.pictures()[-1].size == sheet.size
        for place, color in enumerate(COLORS.values()):  # three pictures beside each other
            shown = np.asarray(sheet)[20:240, 264 * place + 20 : 264 * place + 240].mean((0, 1))
            assert shown == pytest.approx(np.array(color), abs=8)
    labels = [str(svg["aria-label"]).split(" by epoch")[0] for svg in page.of("svg") if svg.get("role") == "img"]
    assert labels == [
        "Training loss", "Reward", "Perplexity", "CIDEr-D", "BLEU-4 and ROUGE-L", "BLEU of fewer words",
        "Words per caption",
    ]  # fmt: skip
    assert any(text.startswith("cvtool caption train --data folder:") for text in page.texts)
    assert page.numbers()["train_options.scst"] == "1"


def test_overwrite_removes_the_old_pictures(cvtool, data: Path, here: Path) -> None:
    Path("run/samples").mkdir(parents=True)
    old, mine = Path("run/samples/epoch-009.png"), Path("run/samples/mine.png")
    for path in (old, mine, Path("run/report.html")):
        path.write_bytes(b"old")
    words = ("caption", "train", "--data", "folder:set", "-o", "run", *SHORT, "-q")
    assert cvtool(*words, "--overwrite").code == 0
    assert (old.exists(), mine.exists()) == (False, True)
    assert len(Page.read(Path("run/report.html")).pictures()) == 1


def test_a_set_without_pictures_has_a_page_without(cvtool, here: Path) -> None:
    words = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "dog"]
    Path("set").mkdir()
    index = {word: number for number, word in enumerate(words)}
    Path("set/coco2014_vocab.json").write_text(json.dumps({"idx_to_word": words, "word_to_idx": index}))
    captions = np.zeros((3, 17), dtype=np.int32)
    captions[:, :4] = [[1, 4, 5, 2], [1, 5, 2, 0], [1, 4, 3, 2]]
    with h5py.File("set/coco2014_captions.h5", "w") as file:
        for part in ("train", "val"):
            file[f"{part}_captions"] = captions
            file[f"{part}_image_idxs"] = np.array([1, 0, 1], dtype=np.int32)
    for part in ("train", "val"):
        with h5py.File(f"set/{part}2014_vgg16_fc7_pca.h5", "w") as file:
            file["features"] = np.arange(12, dtype=np.float32).reshape(3, 4)
        Path(f"set/{part}2014_urls.txt").write_text("u0\nu1\nu2\n")
    words = ("caption", "train", "--data", "cs231n:set", "-o", "run", *SHORT, *COURSE, "-q", "--overwrite")
    Path("run").mkdir()
    Path("run/best.safetensors").write_bytes(b"old")
    says(cvtool(*words, "--attention"), 2, "no places to look at")
    assert Path("run/best.safetensors").read_bytes() == b"old"
    done = cvtool(*words)
    assert done.code == 0, done.err
    page = Page.read(Path("run/report.html"))
    assert (page.of("img"), page.of("input"), Path("run/samples").exists()) == ([], [], False)
    assert "The best captioner is that of epoch 1." in page.texts
    assert "captions" not in json.loads(Path("run/metrics.jsonl").read_text())


def test_pictures_shown_are_from_all_over_the_split(tmp_path: Path) -> None:
    """One that broke meanwhile gives way to the next: it is no reason to end a run that has its features."""
    make_set(tmp_path, dev=20)
    pictures = [CaptionedPicture(f"{n}", tmp_path / "dev" / f"{n}.png", ("a",), "dev") for n in range(20)]
    assert list(_thumbnails(pictures)) == ["0", "3", "6", "10", "13", "16"]
    (tmp_path / "dev/3.png").write_bytes(b"no picture")
    (tmp_path / "dev/6.png").unlink()
    assert list(_thumbnails(pictures)) == ["0", "4", "7", "10", "13", "16"]
    assert list(_thumbnails(pictures[3:5])) == ["4"]
    assert {pixels.shape for pixels in _thumbnails(pictures).values()} == {(256, 256, 3)}


def test_what_a_run_tells(cvtool, shelf: Path) -> None:
    done = cvtool("info", shelf / "run" / "best.safetensors")
    assert done.code == 0
    assert "caption train" in done.out
    assert "efficientnet-lite0" in done.out
    again = next(line for line in done.out.splitlines() if line.startswith("again"))
    assert "--hidden 32" in again


def test_a_directory_in_use(cvtool, shelf: Path, here: Path) -> None:
    shutil.copytree(shelf / "run", "run")
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    says(cvtool(*training(shelf, "run")), 2, "'run' is not empty", "--resume", "--overwrite")
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before
    says(cvtool(*training(shelf, "run", "--resume", "--overwrite")), 2, "Give one of them")
    (here / "other").mkdir()
    says(cvtool(*training(shelf, "other", "--resume")), 3, "'other' holds no run to resume")
    kept = shutil.copy(shelf / "f.h5", "run/features.h5")  # no part of the old run that is in the way
    short = ("--features", kept, "--epochs", 1, "--scst", 0, "--overwrite", "-q")
    assert cvtool(*training(shelf, "run", *short)).code == 0
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 1
    assert Path(kept).read_bytes() == (shelf / "f.h5").read_bytes()


def test_resume_asks_for_the_same(cvtool, shelf: Path, here: Path) -> None:
    shutil.copytree(shelf / "run", "run")
    done = cvtool(*training(shelf, "run", "--resume", "--rate", 0.5, "--cell", "gru", "--limit", 3))
    says(done, 2, "these differ from it", "cell", "limit", "rate")
    assert "epochs" not in done.err
    make_set(here / "set", train=3, dev=3)
    other = cvtool("caption", "train", "--data", "folder:set", "-o", "run", *ASKED, "--resume")
    says(other, 2, "the data set")
    assert_same_run(Path("run"), shelf / "run")
    assert cvtool(*training(shelf, "run", "--resume", "-q")).code == 0  # there is nothing left to do
    assert_same_run(Path("run"), shelf / "run")


def test_broken_runs(cvtool, shelf: Path, here: Path) -> None:
    shutil.copytree(shelf / "run", "run")
    state = Path("run/state.pt").read_bytes()
    for broken in (b"", state[: len(state) // 2], b"no state" * 100):
        Path("run/state.pt").write_bytes(broken)
        done = cvtool(*training(shelf, "run", "--resume", "-q"))
        says(done, 3, "run/state.pt' is broken", "--overwrite")
    torch.save({"lines": 0, "state": {"captioner": {}, "optimizer": {}}}, "run/state.pt")
    says(cvtool(*training(shelf, "run", "--resume", "-q")), 3, "its state does not fit this run")
    Path("run/config.json").write_text("{")
    says(cvtool(*training(shelf, "run", "--resume", "-q")), 3, "config.json' is broken")


KILLED = """
import os, signal, sys
import cvtool.training
from cvtool.caption.training import Trainer
from cvtool.charts import number as written
from cvtool.cli.caption_page import _thumbnails
from cvtool.cli.main import run

what, count = sys.argv[1], int(sys.argv[2])
places = {"step": (Trainer, "_learn"), "state": (cvtool.training.RunDirectory, "save_state"), "file": (os, "replace")}
owner, name = places[what]
plain, calls = getattr(owner, name), []

def counted(*arguments, **named):
    calls.append(1)
    if len(calls) == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments, **named)

setattr(owner, name, counted)
cvtool.training.SAVE_SECONDS = 0.0 if what == "step" else 1e9
sys.exit(run(sys.argv[3:]))
"""


@pytest.mark.parametrize(("what", "count"), [("step", 14), ("state", 5), ("file", 8), ("step", 32)])
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_and_resumed(cvtool, shelf: Path, here: Path, what: str, count: int) -> None:
    """In a step of the fourth epoch or a self-critical one, before a state, before a file gets its name."""
    words = [str(word) for word in (what, count, *training(shelf, "run", "-q"))]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=here, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) < 11
    assert cvtool(*training(shelf, "run", "--resume", "-q")).code == 0
    assert_same_run(Path("run"), shelf / "run")
    check_page(Path("run"))
    for path in (shelf / "run/samples").iterdir():
        assert (Path("run/samples") / path.name).read_bytes() == path.read_bytes()


def test_training_says_what_it_does_and_where_the_result_is(cvtool, data: Path, here: Path) -> None:
    words = ("caption", "train", "--data", "folder:set", "-o", "my run", *ASKED)
    done = cvtool(*words)
    assert "looking at 6 pictures once; what is seen is kept in 'my run/features.h5'." in done.err
    best = max(json.loads(line)["metrics"]["cider"] for line in Path("my run/metrics.jsonl").read_text().splitlines())
    assert done.err.splitlines()[-1] == (
        f"'my run/best.safetensors' has the best CIDEr-D, {best:.3f}; "
        "try: cvtool caption describe PHOTO --checkpoint 'my run/best.safetensors'"
    )
    assert cvtool(*words, "--overwrite", "-q").err == ""
    Path("my run/features.h5").rename("f.h5")
    again = cvtool(*words, "--overwrite", "--features", "f.h5")
    assert again.code == 0
    assert "looking at" not in again.err
    assert f"--features {here / 'f.h5'} " in json.loads(Path("my run/config.json").read_text())["command_line"]


@pytest.mark.parametrize("step", [2, 20, 33])
def test_ctrl_c(cvtool, shelf: Path, here: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    plain, calls = Trainer._learn, []

    def learn(self, *arguments, **named):
        calls.append(1)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return plain(self, *arguments, **named)

    monkeypatch.setattr(Trainer, "_learn", learn)
    done = cvtool(*training(shelf, "run"))
    if step == 33:  # the last one: there was nothing left to stop
        assert done.code == 0
    else:
        assert done.code == 130
        assert done.err.splitlines()[-1] == "cvtool: interrupted: Stopped; 'run' goes on with --resume."
        assert len(calls) == step
        assert Path("run/state.pt").exists()
        if step > 3:  # an epoch has come to an end
            check_page(Path("run"))
        else:
            assert "Nothing has been measured yet." in Page.read(Path("run/report.html")).texts
        assert cvtool(*training(shelf, "run", "--resume", "-q")).code == 0
        assert len(calls) == 33  # none twice
    assert_same_run(Path("run"), shelf / "run")


def test_ctrl_c_while_features_are_computed(cvtool, data: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvtool.caption.extractor import Extractor

    plain = Extractor.halves

    def halves(self, *arguments, **named):
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(Extractor, "halves", plain)
        return plain(self, *arguments, **named)

    monkeypatch.setattr(Extractor, "halves", halves)
    monkeypatch.setattr("cvtool.caption.extractor.CPU_BATCH", 2)
    done = cvtool("caption", "features", "--data", "folder:set", "-o", "f.h5")
    assert done.code == 130
    assert "'f.h5' holds 2 pictures" in done.err
    (found,) = objects(cvtool("caption", "features", "--data", "folder:set", "-o", "f.h5", "--json"))
    assert found["images"] == 7


def test_numpy_trains(cvtool, shelf: Path, here: Path) -> None:
    words = ("caption", "train", "--data", f"folder:{shelf / 'set'}", "--features", shelf / "f.h5", *SHORT, "-q")
    says(cvtool(*words, "-o", "a", "--engine", "numpy"), 2, "--no-attention")
    assert not Path("a").exists()
    assert cvtool(*words, *COURSE, "-o", "a", "--engine", "numpy", "--cell", "gru").code == 0
    found = read_checkpoint(Path("a/best.safetensors")).captioner
    assert (found.options.cell.value, found.options.attention) == ("gru", False)
    check_page(Path("a"))


def test_start_with_a_checkpoint(cvtool, shelf: Path, here: Path) -> None:
    """With a rate of 0 the weights stay what they were."""
    words = ("--init", shelf / "run/best.safetensors", "--epochs", 1, "--scst", 0, "--rate", 0, "-q")
    assert cvtool(*training(shelf, "run", *words)).code == 0
    one, two = (load_file(each / "run/best.safetensors") for each in (here, shelf))
    assert all(torch.equal(one[key], two[key]) for key in one)


# Data sets that are not as they should be ------------------------------------------------------------------------


def test_missing_pictures(cvtool, data: Path, here: Path) -> None:
    lines = [{"image": f"set/train/{n}.png", "captions": ["a red dog"], "split": "train"} for n in range(16)]
    lines += [{"image": f"set/dev/{n}.png", "captions": ["a red dog"], "split": "dev"} for n in range(2)]
    Path("c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))  # 4 … 15 are missing
    words = ("caption", "train", "--data", "jsonl:c.jsonl", "-o", "run", *SHORT)
    done = cvtool(*words)
    assert (done.code, done.out) == (3, "")
    *listed, more, last = done.err.splitlines()
    assert len(listed) == 10
    assert "'set/train/4.png' is missing" in listed[0]
    assert more == "cvtool: error: … and 2 more like these."
    assert "12 problems" in last
    assert not Path("run").exists()
    done = cvtool(*words, "--skip-bad")
    assert done.code == 0
    assert "12 of 18 pictures are left out" in done.err
    assert "4 pictures, " in done.err


def test_a_broken_picture(cvtool, data: Path, here: Path) -> None:
    (data / "train/0.png").write_bytes((data / "train/0.png").read_bytes()[:200])
    (data / "test/0.png").write_bytes(b"")
    words = ("caption", "train", "--data", "folder:set", "-o", "run", *SHORT)
    done = cvtool(*words, "-q")
    assert done.code == 3
    assert [f"'{name}/0.png' cannot be used" in done.err for name in ("train", "test")] == [True, True]
    assert "has 2 problems" in done.err.splitlines()[-1]
    done = cvtool(*words, "--skip-bad", "--overwrite")
    assert done.code == 0, done.err
    assert "'train/0.png' cannot be used" in done.err
    assert "3 pictures, " in done.err
    judged = ("caption", "evaluate", "--data", "folder:set", "--checkpoint", "run/best.safetensors", "--split", "train")
    assert cvtool(*judged, "-q").code == 3
    assert objects(cvtool(*judged, "--skip-bad", "--json"))[0]["images"] == 3


def test_what_a_file_of_features_lacks_is_looked_at_first(cvtool, data: Path, here: Path) -> None:
    """All of it, before anything is made or emptied; what it has was readable then."""
    compute = ("caption", "features", "--data", "folder:set", "-o", "part.h5", "-q")
    assert cvtool(*compute).code == 0
    before = Path("part.h5").read_bytes()
    for name in ("train/7", "train/8"):
        (data / f"{name}.png").write_bytes(b"no picture")
        (data / f"{name}.txt").write_text("a red picture .\n")
    (data / "train/0.png").write_bytes(b"no picture any more")
    train = ("caption", "train", "--data", "folder:set", "-o", "run", *SHORT, "-q")
    for words in ((*train, "--features", "part.h5"), compute):
        done = cvtool(*words)
        assert done.code == 3
        *listed, last = done.err.splitlines()
        assert [line.split("'")[1] for line in listed] == ["train/7.png", "train/8.png"]
        assert "has 2 problems" in last
    assert not Path("run").exists()
    assert Path("part.h5").read_bytes() == before
    Path("run").mkdir()
    shutil.copy("part.h5", "run/features.h5")  # of a run before, which would go
    done = cvtool(*train, "--overwrite")
    assert (done.code, "has 3 problems" in done.err) == (3, True)
    assert Path("run/features.h5").read_bytes() == before


def test_sets_that_cannot_be_used(cvtool, data: Path, here: Path) -> None:
    words = ("caption", "train", "-o", "run", *SHORT, "-q", "--data")
    says(cvtool(*words, "folder:absent"), 3, "no folder 'absent'")
    says(cvtool(*words, "flicker:set"), 2, "flicker")
    says(cvtool("caption", "train", "-o", "r1", "--data", "folder:set", "--threshold", 50), 3, "Lower --threshold")
    shutil.rmtree(data / "dev")
    says(cvtool("caption", "train", "-o", "r2", "--data", "folder:set", *SHORT), 3, "The split 'dev' has no pictures")


# Judging ---------------------------------------------------------------------------------------------------------


def test_evaluate(cvtool, shelf: Path, here: Path) -> None:
    words = ("caption", "evaluate", "--data", f"folder:{shelf / 'set'}", "--checkpoint", shelf / "run/best.safetensors")
    (found,) = objects(cvtool(*words, "--json", "--page", "pages/new/p.html", "-o", "new/said.jsonl"))
    assert found.keys() >= COMMON | METRICS | {"images", "loss", "perplexity"}
    assert (found["command"], found["model"], found["images"]) == ("caption evaluate", "efficientnet-lite0", 3)
    assert found["cider"] > 1
    said = [json.loads(line) for line in Path("new/said.jsonl").read_text().splitlines()]
    for each in said:
        color = list(COLORS)[int(Path(each["image"]).stem)]
        assert color in each["caption"].split()
    page = Path("pages/new/p.html").read_text()
    assert all(each["caption"] in page for each in said)
    assert page.count("data:image/") >= 3
    (again,) = objects(cvtool(*words, "--json", "--features", shelf / "f.h5"))
    assert {key: again[key] for key in METRICS} == pytest.approx({key: found[key] for key in METRICS})
    table = cvtool(*words, "--features", shelf / "f.h5")
    assert dict(line.split() for line in table.out.splitlines())["cider"] == f"{found['cider']:.4f}"

    known = [
        {"image": f"test/{n}.png", "captions": (shelf / f"set/test/{n}.txt").read_text().splitlines()} for n in range(3)
    ]
    Path("known.jsonl").write_text("".join(json.dumps(line) + "\n" for line in known))
    files = cvtool("caption", "evaluate", "--references", "known.jsonl", "--hypotheses", "new/said.jsonl", "--json")
    assert {key: objects(files)[0][key] for key in METRICS} == pytest.approx({key: found[key] for key in METRICS})


def test_a_page_of_a_set_whose_name_is_not_utf8(cvtool, shelf: Path, here: Path) -> None:
    Path("B\udce4ume").symlink_to(shelf / "set")
    asked = ("--data", "folder:B\udce4ume", "--checkpoint", shelf / "run/best.safetensors", "--page", "p.html", "-q")
    assert cvtool("caption", "evaluate", *asked).code == 0
    assert "B\\udce4ume" in Path("p.html").read_text()


def test_a_run_measures_as_evaluate_does(cvtool, shelf: Path) -> None:
    file = shelf / "run/best.safetensors"
    words = (
        "caption",
        "evaluate",
        "--data",
        f"folder:{shelf / 'set'}",
        "--checkpoint",
        file,
        "--features",
        shelf / "f.h5",
    )
    (found,) = objects(cvtool(*words, "--split", "dev", "--decode", "greedy", "--json"))
    facts = read_checkpoint(file).facts
    for name in METRICS | {"perplexity"}:
        assert facts[name] == pytest.approx(found[name], rel=1e-5)


def test_two_captioners_together(cvtool, shelf: Path) -> None:
    file = shelf / "run/best.safetensors"
    words = ("caption", "evaluate", "--data", f"folder:{shelf / 'set'}", "--features", shelf / "f.h5", "--json")
    one, two = (objects(cvtool(*words, *["--checkpoint", file] * count))[0] for count in (1, 2))
    keys = METRICS | {"loss", "perplexity"}
    assert {key: two[key] for key in keys} == pytest.approx({key: one[key] for key in keys}, rel=1e-4)


def test_evaluate_refuses(cvtool, shelf: Path, here: Path) -> None:
    words = ("caption", "evaluate", "--data", f"folder:{shelf / 'set'}", "--checkpoint", shelf / "run/best.safetensors")
    says(cvtool("caption", "evaluate"), 2, "Give --data")
    says(cvtool(*words, "--references", "a", "--hypotheses", "b"), 2, "Give --data")
    says(cvtool(*words, "--split", "tset"), 2, "tset")
    says(cvtool(*words, "--page", "p.html", "-o", "p.html"), 2, "--output 'p.html' is already another output")
    says(cvtool("caption", "evaluate", "--references", "a", "--hypotheses", "b", "--page", "p.html"), 2, "--page")
    make_set(here / "set", train=2, **{"dev/new": 1})
    mine = ("caption", "evaluate", "--data", "folder:set", "--checkpoint", shelf / "run/best.safetensors")
    says(cvtool(*mine), 3, "The split 'test' has no pictures")
    says(cvtool(*mine, "--split", "dev", "--features", shelf / "f.h5"), 3, "'dev/new/0.png'")


# Features --------------------------------------------------------------------------------------------------------


def test_features(cvtool, data: Path, shelf: Path, here: Path) -> None:
    words = ("caption", "features", "--data", "folder:set", "-o", "new/f.h5", "--json")
    (found,) = objects(cvtool(*words, "--no-flip", "--pca", 3))
    assert (found["images"], found["channels"], found["places"], found["output"]) == (7, 1280, [7, 7], "new/f.h5")
    assert (found["input"], found["model"], found["device"]) == ("folder:set", "efficientnet-lite0", "cpu")
    assert found["seconds"] > 0
    file = read_features(Path("new/f.h5"))
    assert not file.can_flip
    assert file.pca.components.shape == (3, 1280)
    paint(data / "train/9.png", "red")
    (data / "train/9.txt").write_text("a red picture\n")
    (more,) = objects(cvtool(*words))
    assert (more["images"], more["fingerprint"]) == (8, found["fingerprint"])


def test_features_of_another_network(cvtool, data: Path, shelf: Path, here: Path) -> None:
    shutil.copy(shelf / "f.h5", "f.h5")
    before = Path("f.h5").read_bytes()
    other = ("--data", "folder:set", "--model", "efficientnet-lite1", "-q")
    said = "'f.h5' has features of 'efficientnet-lite0'"
    says(cvtool("caption", "features", "-o", "f.h5", *other), 3, said)
    says(cvtool("caption", "train", "--features", "f.h5", "-o", "run", *SHORT, *other), 3, said)
    assert Path("f.h5").read_bytes() == before
    Path("f.h5").write_bytes(before[: len(before) // 2])
    says(cvtool("caption", "train", "--data", "folder:set", "--features", "f.h5", "-o", "run2", "-q"), 3, "f.h5")


# Describing ------------------------------------------------------------------------------------------------------


def test_what_is_read_is_not_written(cvtool, data: Path, shelf: Path, here: Path) -> None:
    rows = [{"image": f"set/dev/{number}.png", "captions": ["a"], "split": "dev"} for number in (0, 1)]
    Path("c.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    shutil.copy(shelf / "run/best.safetensors", "mine.safetensors")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    judge = ("caption", "evaluate", "--split", "dev", "--checkpoint", "mine.safetensors", "--data")
    for option in ("-o", "--page"):
        says(cvtool(*judge, "jsonl:c.jsonl", option, "c.jsonl"), 2, "is an input and would be overwritten")
        says(cvtool(*judge, "c.jsonl", option, "mine.safetensors"), 2, "is an input and would be overwritten")
        says(cvtool(*judge, "folder:set", option, "set/dev/0.png"), 2, "is an input and would be overwritten")
    says(cvtool(*judge, "c.jsonl", "-o", "-"), 2, "Give --output a file")
    for command in ("features", "train"):
        says(cvtool("caption", command, "--data", "jsonl:c.jsonl", "-o", "c.jsonl"), 2, "is an input, too")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_describe(cvtool, shelf: Path, here: Path) -> None:
    words = ("caption", "describe", "--checkpoint", shelf / "run/best.safetensors")
    paint(here / "photos/red.png", "red", 77)
    paint(here / "photos/blue.png", "blue", 78)
    found = objects(cvtool(*words, "photos", "--json", "-n", 3, "-o", "said.jsonl"))
    assert [Path(each["input"]).stem for each in found] == ["blue", "red"]
    for each in found:
        assert each.keys() >= COMMON | {"caption", "log_probability", "tokens", "candidates"}
        assert (each["output"], each["model"], each["device"]) == ("said.jsonl", "efficientnet-lite0", "cpu")
        assert (each["seed"], each["seconds"] > 0) == (0, True)
        assert Path(each["input"]).stem in each["caption"].split()
        assert len(each["candidates"]) == 3
        assert each["candidates"][0] == {"caption": each["caption"], "log_probability": each["log_probability"]}
        assert [token["word"] for token in each["tokens"][:-1]] == each["caption"].split()
        product = float(np.prod([token["probability"] for token in each["tokens"]]))
        assert np.log(product) == pytest.approx(each["log_probability"], rel=1e-3)
    said = [json.loads(line) for line in Path("said.jsonl").read_text().splitlines()]
    assert [each["caption"] for each in said] == [each["caption"] for each in found]
    several = cvtool(*words, "photos/red.png", "photos/blue.png")
    assert several.out == "".join(f"{each['input']}\t{each['caption']}\n" for each in reversed(found))
    alone = cvtool(*words, "photos/red.png", "--words")
    assert alone.out.splitlines()[0] == found[1]["caption"]
    assert alone.out.count("0.") + alone.out.count("1.") >= len(found[1]["tokens"])
    numpy = cvtool(*words, "photos", "--engine", "numpy", "--json")
    assert [each["caption"] for each in objects(numpy)] == [each["caption"] for each in found]
    begun = cvtool(*words, "photos", "--prefix", "this", "--max-length", 2)
    assert [line.split("\t")[1].split()[0] for line in begun.out.splitlines()] == ["this", "this"]
    drawn = [cvtool(*words, "photos/red.png", "--decode", "sample", "--temperature", 3, "-n", 5, "--seed", seed).out
             for seed in (1, 1, 2)]  # fmt: skip
    assert drawn[0] == drawn[1] != drawn[2]


def test_describe_from_stdin(cvtool, shelf: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(here / "green.png", "green")
    monkeypatch.setattr("sys.stdin", piped(here / "green.png"))
    done = cvtool("caption", "describe", "-", "--checkpoint", shelf / "run/best.safetensors")
    assert (done.code, "green" in done.out.split()) == (0, True)


def test_where_it_looked(cvtool, shelf: Path, here: Path) -> None:
    paint(here / "red.png", "red")
    words = ("caption", "describe", "red.png", "--checkpoint", shelf / "run/best.safetensors")
    (found,) = objects(cvtool(*words, "--attention", "look.png", "--json"))
    assert found["output"] == "look.png"
    with Image.open("look.png") as sheet:
        assert sheet.width > 3 * 256
    told = cvtool("info", "look.png")
    assert "caption describe" in told.out
    shown = cvtool(*words, "--attention", "-")
    assert (shown.code, "PNG" in shown.out[:8]) == (0, True)


def test_words_of_strangers(cvtool, shelf: Path, here: Path) -> None:
    """A vocabulary may hold anything: blanks do not make several words of one, and nothing steers the terminal."""
    paint(here / "red.png", "red")
    found = read_checkpoint(shelf / "run/best.safetensors")
    words = (*SPECIALS, *(f"{word} of\x1b]0;owned\x07" for word in found.vocabulary.words[len(SPECIALS) :]))
    write_checkpoint(here / "strange.safetensors", replace(found, vocabulary=Vocabulary(words)))
    line = ("caption", "describe", "red.png", "--checkpoint", "strange.safetensors", "--words")
    done = cvtool(*line, "--attention", "look.png")
    assert (done.code, done.err.count("Traceback")) == (0, 0)
    assert r"of\x1b]0;owned\x07" in done.out
    assert done.out.replace("\n", "").isprintable()
    with Image.open("look.png") as sheet:
        assert sheet.width > 3 * 256


def test_the_line_in_a_sheet_makes_it_again(cvtool, shelf: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(here / "red.png", "red")
    words = ("--checkpoint", shelf / "run/best.safetensors", "--decode", "sample", "--temperature", 2, "--seed", 4)
    assert cvtool("caption", "describe", "red.png", *words, "--attention", "look.png").code == 0
    line = shlex.split(read_provenance("look.png").command_line)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert cvtool(*line[1:], "--attention", "again.png").code == 0
    with Image.open("../look.png") as sheet, Image.open("again.png") as again:
        assert np.array_equal(np.asarray(sheet), np.asarray(again))


def test_what_is_transparent_is_white(cvtool, shelf: Path, here: Path) -> None:
    save("clear.png", (40, 10, 10, 0))
    save("white.png", (255, 255, 255))
    words = ("caption", "describe", "clear.png", "white.png", "--checkpoint", shelf / "run/best.safetensors", "--json")
    clear, white = objects(cvtool(*words))
    assert clear["candidates"] == white["candidates"]


def test_ways_of_reading_out_that_are_the_same(cvtool, shelf: Path, here: Path) -> None:
    """Of a picture of no colour it learned, so that there is something to choose."""
    save("grey.png", (120, 120, 110))
    words = ("caption", "describe", "grey.png", "--checkpoint", shelf / "run/best.safetensors", "--json")
    ways = (
        "--decode greedy",
        "--beam 1",
        "--decode sample --temperature 5 --top-p 0",
        "--decode sample --temperature 5",
    )
    greedy, narrow, sure, drawn = (objects(cvtool(*words, *way.split()))[0] for way in ways)
    assert greedy["tokens"] == narrow["tokens"]
    assert greedy["caption"] == sure["caption"] != drawn["caption"]


def test_several_pictures_one_of_them_bad(cvtool, shelf: Path, here: Path) -> None:
    paint(here / "photos/a.png", "red")
    (here / "photos/b.png").write_bytes(b"no picture")
    paint(here / "photos/c.png", "blue")
    words = ("caption", "describe", "photos", "--checkpoint", shelf / "run/best.safetensors", "--json")
    done = cvtool(*words, "-o", "new/said.jsonl")
    assert done.code == 3
    found = [json.loads(line) for line in done.out.splitlines()]
    assert ["error" in each for each in found] == [False, True, False]
    assert len(Path("new/said.jsonl").read_text().splitlines()) == 2


def test_ctrl_c_names_what_was_described(cvtool, shelf: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cvtool.caption.service as service

    plain, calls = service.describe, []

    def describe(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return plain(*arguments, **named)

    monkeypatch.setattr(service, "describe", describe)
    for color in COLORS:
        paint(here / f"photos/{color}.png", color)
    words = ("caption", "describe", "photos", "--checkpoint", shelf / "run/best.safetensors", "--batch", 1, "-q")
    done = cvtool(*words, "-o", "said.jsonl")
    assert done.code == 130
    assert done.err == "cvtool: interrupted: stopped after 1 of 3 pictures; their captions are in 'said.jsonl'.\n"
    assert len(Path("said.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(("times", "described"), [(1, 2), (2, 0)])
def test_ctrl_c_while_a_description_is_written(
    cvtool, shelf: Path, here: Path, monkeypatch: pytest.MonkeyPatch, times: int, described: int
) -> None:
    """Of three pictures two are described together: both are told; the second Ctrl-C ends at once."""
    import cvtool.caption.views as views

    plain, left = views.attention_sheet, [times]

    def draw(*arguments):
        for _ in range(left.pop() if left else 0):
            signal.raise_signal(signal.SIGINT)
        return plain(*arguments)

    monkeypatch.setattr(views, "attention_sheet", draw)
    for color in COLORS:
        paint(here / f"photos/{color}.png", color)
    words = ("caption", "describe", "photos", "--checkpoint", shelf / "run/best.safetensors", "--batch", 2, "-q")
    done = cvtool(*words, "-o", "said.jsonl", "--attention", "out")
    assert done.code == 130
    assert f"stopped after {described} of 3 pictures" in done.err
    assert len(list(Path("out").glob("*"))) == described
    if described:
        said = [json.loads(line)["image"] for line in Path("said.jsonl").read_text().splitlines()]
        assert said == ["photos/blue.png", "photos/green.png"]


@pytest.mark.parametrize("words", [("photos",), ("--files-from", "list.txt")], ids=lambda words: words[0])
def test_attention_of_what_may_be_several_goes_to_a_folder(cvtool, shelf: Path, here: Path, words) -> None:
    """However many there are this time."""
    paint(here / "photos/red.png", "red")
    (here / "list.txt").write_text("photos/red.png\n")
    checkpoint = shelf / "run/best.safetensors"
    assert cvtool("caption", "describe", *words, "--checkpoint", checkpoint, "--attention", "out", "-q").code == 0
    assert [path.name for path in Path("out").iterdir()] == ["red-attention.png"]


def test_describe_refuses(cvtool, shelf: Path, here: Path) -> None:
    paint(here / "red.png", "red")
    paint(here / "blue.png", "blue")
    words = ("caption", "describe", "red.png", "--checkpoint", shelf / "run/best.safetensors")
    says(cvtool(*words, "--prefix", "a rde"), 2, "does not know the word 'rde'", "Nearest: red")
    says(cvtool(*words, "--prefix", "a red picture", "--max-length", 2), 2, "A prefix of 3 words")
    says(cvtool(*words, "-o", "red.png"), 2, "would be overwritten")
    says(cvtool(*words, "-o", "r.html", "--report", "r.html"), 2, "--report 'r.html' is already another output")
    says(cvtool(*words, "-o", "x.png", "--attention", "x.png"), 2, "--output 'x.png' is already another output")
    says(cvtool(*words, "-o", "-"), 2, "Captions go to stdout")
    says(cvtool(*words, "--decode", "greedy", "-n", 2), 2, "--decode greedy finds one caption")
    says(cvtool("caption", "describe", "absent.png"), 3, "absent.png")
    for number in (1, 2):  # however many pictures: the checkpoint is what is wrong
        pictures = ("red.png", "blue.png")[:number]
        says(cvtool("caption", "describe", *pictures, "--checkpoint", "absent.safetensors"), 3, "absent.safetensors")
        save_file({"x": torch.zeros(1)}, "other.safetensors", {"cvtool": "{}"})
        done = cvtool("caption", "describe", *pictures, "--checkpoint", "other.safetensors")
        says(done, 3, "'other.safetensors' is not a checkpoint of a captioner")


def test_no_attention_to_show(cvtool, shelf: Path, here: Path) -> None:
    words = ("caption", "train", "--data", f"folder:{shelf / 'set'}", "--features", shelf / "f.h5", "-o", "run", "-q")
    assert cvtool(*words, *SHORT, "--no-attention").code == 0
    paint(here / "red.png", "red")
    done = cvtool("caption", "describe", "red.png", "--checkpoint", "run/best.safetensors", "--attention", "look.png")
    assert done.code == 2
    assert "no attention" in done.err
    assert not Path("look.png").exists()


@pytest.mark.skipif(not (asset_folder() / BUNDLED).is_file(), reason=f"not bundled here: {BUNDLED}")
def test_describe_at_once(cvtool) -> None:
    (found,) = objects(cvtool("caption", "describe", "asset:cameraman", "--json"))
    assert {"man", "camera"} <= set(found["caption"].split())


# Check and help --------------------------------------------------------------------------------------------------


def test_check(cvtool) -> None:
    found = objects(cvtool("caption", "check", "gru", "--json"))
    assert {each["cell"] for each in found} == {"gru"}
    assert max(each["error"] for each in found) < 1e-6
    table = cvtool("caption", "check", "rnn")
    assert table.out.splitlines()[0].split() == ["cell", "output", "or", "gradient", "relative", "error"]
    says(cvtool("caption", "check", "transformer"), 2, "transformer")


@pytest.mark.parametrize("error", [math.nan, 1e-3])
@pytest.mark.parametrize("place", [0, 1])
def test_a_check_that_fails(cvtool, monkeypatch: pytest.MonkeyPatch, error: float, place: int) -> None:
    rows = [Row("gru", "h", 1e-12)]
    rows.insert(place, Row("gru", "d Wx", error))
    monkeypatch.setattr("cvtool.caption.check.check", lambda *_: tuple(rows))
    done = cvtool("caption", "check", "gru", "--json")
    assert done.code == 1
    assert "gru, d Wx: the two differ" in done.err
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [each["quantity"] for each in found if each["error"] != 1e-12] == ["d Wx"]
