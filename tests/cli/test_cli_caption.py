"""``cvtool caption`` with what was trained: evaluate, describe, keep features, check the formulas."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cli.caption_runs import COLORS, COMMON, METRICS, SHORT, make_set, make_shelf, objects, paint, says
from helpers import piped, save
from PIL import Image
from safetensors.torch import save_file

from cvtool.bundled import asset_folder
from cvtool.caption.check import Row
from cvtool.caption.checkpoint import BUNDLED, read_checkpoint, write_checkpoint
from cvtool.caption.features import read_features
from cvtool.caption.vocabulary import SPECIALS, Vocabulary
from cvtool.provenance import read_provenance


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `make_shelf`."""
    return make_shelf(tmp_path_factory)


@pytest.fixture
def data(here: Path) -> Path:
    """A small data set of one's own."""
    return make_set(here / "set", train=4, dev=2, test=1)


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
    several = cvtool(*words, "photos/red.png", "photos/blue.png", "-o", "said.txt")
    assert (
        several.out
        == Path("said.txt").read_text()
        == "".join(f"{each['input']}\t{each['caption']}\n" for each in reversed(found))
    )
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
