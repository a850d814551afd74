"""``cvtool caption train``: runs, their pages, stopping and going on, and data sets that are not as they should be."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from cli.caption_runs import (
    ASKED,
    COLORS,
    COMMON,
    COURSE,
    METRICS,
    SHORT,
    assert_same_run,
    make_set,
    make_shelf,
    objects,
    says,
    training,
)
from html_pages import Page, check_stands_alone
from PIL import Image
from safetensors.torch import load_file

from cvtool.caption.checkpoint import read_checkpoint
from cvtool.caption.datasets import CaptionedPicture
from cvtool.caption.features import read_features
from cvtool.caption.training import Trainer
from cvtool.charts import number as written
from cvtool.cli.caption_page import _thumbnails
from cvtool.provenance import read_provenance


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `make_shelf`."""
    return make_shelf(tmp_path_factory)


@pytest.fixture
def data(here: Path) -> Path:
    """A small data set of one's own."""
    return make_set(here / "set", train=4, dev=2, test=1)


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
