"""``cvtool saliency`` from words to files, on the bundled network."""

from __future__ import annotations

import csv
import io
import json
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers import save
from PIL import Image
from safetensors.torch import save_file

from cvtool.bundled import find_asset
from cvtool.cli.console import Console
from cvtool.cli.saliency_table import show_ranking
from cvtool.errors import UsageError
from cvtool.images import read_picture
from cvtool.models.loader import load
from cvtool.provenance import read_provenance
from cvtool.saliency.evaluation import Evaluation
from cvtool.saliency.methods import METHODS
from cvtool.saliency.options import Method, SaliencyOptions


@pytest.fixture
def photo(here: Path) -> Path:
    """The bundled cat, small."""
    with Image.open(find_asset("cat").path) as picture:
        picture.resize((120, 80)).save(here / "tabby.png")
    return here / "tabby.png"


@pytest.fixture
def photos(here: Path, photo: Path) -> Path:
    """A folder with three pictures of two sizes and a broken file."""
    folder = here / "photos"
    folder.mkdir()
    with Image.open(photo) as picture:
        picture.save(folder / "a.png")
        picture.transpose(Image.Transpose.ROTATE_90).save(folder / "b.png")
        picture.save(folder / "d.png")
    (folder / "c.png").write_bytes(b"no picture")
    return folder


def lines(outcome) -> list[dict]:
    assert outcome.code in (0, 3), outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_a_picture(cvtool, photo: Path, here: Path, dialled: list[object]) -> None:
    done = cvtool("saliency", "tabby.png")
    assert (done.code, done.out) == (0, "")
    assert dialled == []
    assert sorted(p.name for p in here.iterdir()) == ["tabby-saliency-gradient.png", "tabby.png"]
    assert "gradient" in done.err


def test_json(cvtool, photo: Path) -> None:
    (found,) = lines(cvtool("saliency", "tabby.png", "--json", "--top-k", 3))
    assert {"command", "input", "output", "model", "device", "seed", "seconds", "version"} <= found.keys()
    assert found["method"] == "gradient"
    assert found["target"] == {name: found["predictions"][0][name] for name in ("index", "name", "probability")}
    assert [sorted(each) for each in found["predictions"]] == [["index", "name", "probability", "wnid"]] * 3
    chances = [each["probability"] for each in found["predictions"]]
    assert chances == sorted(chances, reverse=True)
    x0, y0, x1, y1 = found["box"]
    assert 0 <= x0 < x1 <= 120
    assert 0 <= y0 < y1 <= 80


def test_the_box_lies_where_the_map_is_strongest(cvtool, photo: Path) -> None:
    """A small cat on grey, right of the middle and low: in pixels of the whole picture, x before y."""
    canvas = Image.new("RGB", (300, 150), (128, 128, 128))
    with Image.open(photo) as picture:
        canvas.paste(picture.resize((60, 40)), (210, 100))
    canvas.save("far.png")
    words = ("--method", "grad-cam", "--target", "tabby", "--raw", "m.npy", "-o", "x.png", "--json")
    (found,) = lines(cvtool("saliency", "far.png", *words))
    x0, y0, x1, y1 = found["box"]
    row, column = np.unravel_index(np.load("m.npy").argmax(), (150, 300))
    assert (x0 <= column < x1, y0 <= row < y1) == (True, True)
    assert (x0 < 240 < x1, y0 < 120 < y1) == (True, True)
    assert (x1 - x0) * (y1 - y0) < 300 * 150 / 3


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_of_ones_own(cvtool, photo: Path, suffix: str) -> None:
    state = dict(load("efficientnet-lite0").module.state_dict())
    state["classifier.bias"] = state["classifier.bias"] + 100 * torch.nn.functional.one_hot(torch.tensor(5), 1000)
    {"safetensors": save_file, "pth": torch.save}[suffix](state, f"w.{suffix}")
    (found,) = lines(cvtool("saliency", "tabby.png", "--weights", f"w.{suffix}", "--json"))
    assert found["target"]["index"] == 5


@pytest.mark.parametrize("target", ["282", "tiger cat", "n02123159", "tiger-cat"])
def test_targets(cvtool, photo: Path, target: str) -> None:
    (found,) = lines(cvtool("saliency", "tabby.png", "--json", "--target", target))
    assert found["target"]["index"] == 282


def test_contrast_changes_the_map(cvtool, photo: Path) -> None:
    cvtool("saliency", "tabby.png", "--raw", "plain.npy", "--target", "tabby")
    (found,) = lines(
        cvtool("saliency", "tabby.png", "--raw", "versus.npy", "--target", "tabby", "--contrast", "tiger cat", "--json")
    )
    assert found["contrast"]["index"] == 282
    assert not np.allclose(np.load("plain.npy"), np.load("versus.npy"))


@pytest.mark.parametrize("view", ["overlay", "heatmap", "masked"])
def test_views_have_the_pictures_size(cvtool, photo: Path, view: str) -> None:
    assert cvtool("saliency", "tabby.png", "--view", view, "-o", "map.png").code == 0
    assert read_picture("map.png").pixels.shape == (80, 120, 3)


def test_the_panel_shows_three_pictures(cvtool, photo: Path) -> None:
    cvtool("saliency", "tabby.png", "-o", "map.png", "--method", "grad-cam")
    height, width = read_picture("map.png").pixels.shape[:2]
    assert width > 3 * height * 0.8


def test_several_methods(cvtool, photo: Path, here: Path) -> None:
    done = cvtool("saliency", "tabby.png", "--method", "gradient,grad-cam", "--method", "layer-cam", "--json")
    assert [each["method"] for each in lines(done)] == ["gradient", "grad-cam", "layer-cam"]
    assert (here / "tabby-saliency-layer-cam.png").is_file()
    assert lines(done)[1]["layer"] == "bn2"


def test_auto_takes_the_best(cvtool, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three methods, for the sake of time; one of them does not fit the network."""
    monkeypatch.setattr("cvtool.saliency.evaluation.STEPS", 5)
    for method, spec in METHODS.items():
        quick = method in (Method.gradient, Method.grad_cam, Method.attention_rollout)
        monkeypatch.setitem(METHODS, method, replace(spec, slow=not quick))
    monkeypatch.setattr("cvtool.cli.saliency_explainer.SLOW_SECONDS", 0)
    done = cvtool("saliency", "tabby.png", "--method", "auto", "--json")
    announced, *told = (line for line in done.err.splitlines() if "methods" in line)
    assert announced == "auto: 3 methods, which takes minutes without a GPU"
    assert [line.split("(")[1] for line in told] == [f"{number} of 3 methods)" for number in (1, 2, 3)]
    (found,) = lines(done)
    assert found["method"] in ("gradient", "grad-cam")
    other = "gradient" if found["method"] == "grad-cam" else "grad-cam"
    (beaten,) = lines(cvtool("saliency", "tabby.png", "--method", other, "--evaluate", "--json"))
    scores = [each["insertion_auc"] - each["deletion_auc"] for each in (found, beaten)]
    assert scores[0] >= scores[1]
    assert found["insertion_auc"] > found["deletion_auc"]


def keep_only(monkeypatch: pytest.MonkeyPatch, *methods: Method) -> None:
    """Let all other methods say that they do not fit."""

    def refuse(question) -> None:
        raise UsageError("too slow for a test.")

    for method, spec in METHODS.items():
        if method not in methods:
            monkeypatch.setitem(METHODS, method, replace(spec, explain=refuse))


def press(question) -> None:
    """A method in the middle of which Ctrl-C is pressed."""
    signal.raise_signal(signal.SIGINT)


def test_all_says_how_far_it_is(cvtool, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_only(monkeypatch, Method.gradient, Method.grad_cam)
    monkeypatch.setattr("cvtool.cli.saliency_explainer.SLOW_SECONDS", 0)
    done = cvtool("saliency", "tabby.png", "--method", "all")
    told = [line.split(":")[0].strip() for line in done.err.splitlines() if line.endswith("of 18 methods)")]
    assert told[0] == "gradient"
    assert "grad-cam" in told
    assert cvtool("saliency", "tabby.png", "--method", "all", "-q").err == ""
    assert "methods)" not in cvtool("saliency", "tabby.png", "--method", "gradient").err


@pytest.mark.parametrize("words", ["all", "gradient,grad-cam,rise,gradient-x-input"])
def test_after_an_interrupt_what_is_done_is_written(
    cvtool, photo: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    keep_only(monkeypatch, Method.gradient, Method.grad_cam)
    monkeypatch.setitem(METHODS, Method.rise, replace(METHODS[Method.rise], explain=press))
    Path("both").mkdir()
    for name in "ab":
        (Path("both") / f"{name}.png").write_bytes(photo.read_bytes())
    done = cvtool("saliency", "both", "--method", words, "-o", "out", "--json")
    assert done.code == 130
    found = [json.loads(line) for line in done.out.splitlines()]
    written = ", ".join(repr(each["output"]) for each in found)
    assert done.err.splitlines()[-1] == f"cvtool: interrupted: stopped at 'both/a.png'; what was done is in {written}."
    assert {each["input"] for each in found} == {"both/a.png", "both/b.png"}
    assert all(Path(each["output"]).is_file() for each in found)
    told = [one["method"] for one in found[0].get("methods", found[:2])]
    assert told == ["gradient", "grad-cam"]


def test_all_is_one_result(cvtool, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_only(monkeypatch, Method.gradient, Method.grad_cam)
    done = cvtool("saliency", "tabby.png", "--method", "all", "--json")
    (found,) = lines(done)
    assert (done.code, found["method"], found["output"]) == (0, "all", "tabby-saliency-all.png")
    assert {"target", "predictions", "box"} <= found.keys()
    assert [each["method"] for each in found["methods"]] == ["gradient", "grad-cam"]
    assert read_provenance("tabby-saliency-all.png").command == "saliency"
    sheet = read_picture("tabby-saliency-all.png").pixels
    assert sheet.shape[1] > 3 * 120  # the picture and two maps


def test_an_interrupt_before_anything_is_done(cvtool, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, Method.gradient, replace(METHODS[Method.gradient], explain=press))
    done = cvtool("saliency", "tabby.png", "--method", "all")
    announced = f"all: {len(METHODS)} methods, which takes minutes without a GPU\n"
    assert (done.code, done.err) == (130, f"{announced}cvtool: interrupted: nothing more was written\n")
    assert [path.name for path in Path().iterdir()] == ["tabby.png"]


def test_evaluate(cvtool, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtool.saliency.evaluation.STEPS", 5)
    done = cvtool("saliency", "tabby.png", "--method", "full-grad", "--evaluate", "--json")
    (found,) = lines(done)
    assert 0 <= found["deletion_auc"] <= 1
    assert 0 <= found["road_morf"] <= found["road_lerf"] <= 1
    assert 0 <= found["insertion_auc"] <= 1
    assert found["completeness_error"] < 0.05
    assert isinstance(found["verdict"], str)


def test_only_what_promises_completeness_tells_of_it(cvtool, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtool.saliency.evaluation.STEPS", 2)
    monkeypatch.setattr("cvtool.cli.saliency.DEFAULTS", SaliencyOptions(most_steps=4))
    words = ("--method", "integrated-gradients,grad-cam", "--steps", 4, "--evaluate", "--json")
    gradients, cam = lines(cvtool("saliency", "tabby.png", *words))
    assert 0 <= gradients["completeness_error"] < 1
    assert "completeness_error" not in cam
    assert {"insertion_auc", "deletion_auc"} <= cam.keys()


def test_a_ranking_over_a_folder(cvtool, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtool.saliency.evaluation.STEPS", 5)
    done = cvtool(
        *("saliency", "photos", "--method", "gradient,grad-cam", "--evaluate", "--table", "t.csv", "-o", "out")
    )
    assert done.code == 3
    assert "c.png" in done.err
    assert "grad-cam" in done.out
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == {"gradient", "grad-cam"}
    assert {row["pictures"] for row in rows} == {"3"}
    for row in rows:
        assert float(row["score_low"]) <= float(row["score"]) <= float(row["score_high"])
        assert float(row["road_morf_low"]) <= float(row["road_morf"]) <= float(row["road_morf_high"])
    assert len(list(Path("out").iterdir())) == 6


def test_the_ranking_leaves_the_picture_on_stdout_alone(cvtool, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_only(monkeypatch, Method.gradient, Method.grad_cam)
    found = Evaluation(0.6, 0.1, 0.2, 0.4, 1.0, 0.2, 0.2, None)
    monkeypatch.setattr("cvtool.saliency.evaluation.evaluate", lambda *_: found)
    done = cvtool("saliency", "tabby.png", "--method", "all", "--evaluate", "-o", "-")
    assert done.code == 0
    assert ("PNG" in done.out[:8], len(done.out.rpartition("IEND")[2]) <= 12) == (True, True), "what ends it, escaped"
    assert "insertion − deletion" in done.err
    assert [line.split()[0] for line in done.err.splitlines()[-2:]] in (
        ["gradient", "grad-cam"],
        ["grad-cam", "gradient"],
    )


def test_a_folder_with_a_broken_file(cvtool, photos: Path) -> None:
    done = cvtool("saliency", "photos", "-o", "out", "--json")
    found = lines(done)
    assert done.code == 3
    assert ["error" in each for each in found] == [False, False, True, False]
    assert sorted(path.name for path in Path("out").iterdir()) == [f"{n}-saliency-gradient.png" for n in "abd"]


def test_one_scale_for_all(cvtool, photos: Path, here: Path) -> None:
    """A picture and its faint copy: side by side on one scale, the faint one's map is darker."""
    folder = here / "two"
    folder.mkdir()
    pixels = np.asarray(Image.open(here / "tabby.png").convert("RGB"))
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray((pixels * 0.1).astype(np.uint8)).save(folder / "b.png")
    options = ("--view", "heatmap", "--method", "gradient-x-input", "--reduce", "max", "--target", "tabby")
    cvtool("saliency", "two", *options, "-o", "own")
    cvtool("saliency", "two", *options, "-o", "shared", "--same-scale")
    own, shared = ([read_picture(p).pixels.mean() for p in sorted(Path(f).iterdir())] for f in ("own", "shared"))
    assert abs(shared[0] - shared[1]) > abs(own[0] - own[1])


def test_a_picture_on_one_scale_is_made_again_with_the_others(
    cvtool, photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--view", "heatmap", "--method", "gradient-x-input", "--target", "tabby", "--same-scale", "-o", "out")
    assert cvtool("saliency", "photos", *words).code == 3  # one file is broken
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for name in "bd":
        file = here / f"out/{name}-saliency-gradient-x-input.png"
        made = read_provenance(file)
        assert [Path(each["path"]).stem for each in made.inputs] == [name, *"abd".replace(name, "")]
        assert shlex.split(made.command_line)[-3:] == [str(photos / f"{each}.png") for each in "abd"]
        assert cvtool(*shlex.split(made.command_line)[1:]).code == 0
        assert Path(file.name).read_bytes() == file.read_bytes()


def test_fooled_pictures_are_seen_as_they_were_judged(cvtool, photo: Path, here: Path) -> None:
    """The cat's picture is wide: its central part is not all of it."""
    made = cvtool("fool", "tabby.png", "--target", "espresso", "-o", "fooled.png")
    assert "in its central part" in made.err
    (here / "both").mkdir()
    for name in ("fooled.png", "tabby.png"):
        (here / "both" / name).write_bytes((here / name).read_bytes())
    (here / "both" / "again.png").write_bytes((here / "fooled.png").read_bytes())
    (central,) = lines(cvtool("saliency", "fooled.png", "--json", "--resize", "crop"))
    done = cvtool("saliency", "both", "--json", "-o", "maps")
    again, fooled, plain = lines(done)
    assert done.err.count("--resize crop") == 1
    (whole,) = lines(cvtool("saliency", "tabby.png", "--json", "--resize", "fit"))
    for found, alone in ((again, central), (fooled, central), (plain, whole)):
        assert found["target"]["index"] == alone["target"]["index"]
        assert found["target"]["probability"] == pytest.approx(alone["target"]["probability"], abs=1e-5)
    assert central["target"]["name"] == "espresso"
    assert "--resize crop" in read_provenance(fooled["output"]).command_line
    assert "--resize" not in read_provenance(plain["output"]).command_line
    assert cvtool("saliency", "both", "--same-scale", "-o", "one").code == 0
    for name in ("fooled", "tabby"):  # it would hold for all of them
        assert "--resize" not in read_provenance(f"one/{name}-saliency-gradient.png").command_line

    done = cvtool("saliency", "fooled.png", "--json", "--resize", "fit")
    assert abs(lines(done)[0]["predictions"][0]["probability"] - central["target"]["probability"]) > 1e-3
    assert "made to fool" not in done.err
    assert cvtool("saliency", "fooled.png", "-q").err == ""


def test_raw_maps(cvtool, photos: Path, photo: Path) -> None:
    cvtool("saliency", "tabby.png", "--raw", "one.npy", "-o", "x.png")
    one = np.load("one.npy", allow_pickle=False)
    assert one.shape == (80, 120)
    assert one.dtype == np.float32
    cvtool("saliency", "tabby.png", "--method", "gradient,grad-cam", "--raw", "two.h5", "-o", "out")
    with h5py.File("two.h5") as file:
        assert file["maps"].shape == (2, 80, 120)
        assert file["inputs"].shape == (2, 80, 120, 3)
        assert list(file.attrs["methods"]) == ["gradient", "grad-cam"]
        np.testing.assert_array_equal(file["maps"][0], one)
    cvtool("saliency", "photos", "--raw", "many.h5", "-o", "out")
    with h5py.File("many.h5") as file:
        assert [file[name]["maps"].shape for name in file] == [(1, 80, 120), (1, 120, 80), (1, 80, 120)]


def test_provenance_makes_it_again(cvtool, photo: Path) -> None:
    cvtool("saliency", "tabby.png", "--method", "smoothgrad,gradient", "--samples", 3, "--seed", 5, "-o", "out")
    first = Path("out/tabby-saliency-smoothgrad.png")
    words = shlex.split(read_provenance(first).command_line)
    assert words[:2] == ["cvtool", "saliency"]
    assert cvtool(*words[1:], "-o", "again.png").code == 0
    assert Path("again.png").read_bytes() == first.read_bytes()
    other = read_provenance("out/tabby-saliency-gradient.png")  # for which --samples would be refused
    assert (other.options["samples"], "--samples" in other.command_line) == (None, False)
    assert cvtool(*shlex.split(other.command_line)[1:], "-o", "again.png").code == 0
    assert Path("again.png").read_bytes() == Path("out/tabby-saliency-gradient.png").read_bytes()


def test_a_contrast_that_is_the_class_itself(cvtool, photo: Path) -> None:
    (found,) = map(json.loads, cvtool("saliency", "tabby.png", "--json").out.splitlines())
    done = cvtool("saliency", "tabby.png", "--contrast", found["target"]["index"])
    assert (done.code, "the contrast is the class itself" in done.err) == (0, True)


@pytest.mark.parametrize("layer", ["blocks.99", "classifier"])
def test_a_wrong_layer_is_told_in_a_readable_line(cvtool, photo: Path, layer: str) -> None:
    done = cvtool("saliency", "tabby.png", "--method", "grad-cam", "--layer", layer)
    assert done.code == 2
    assert "blocks.6" in done.err
    assert len(done.err) < 400


@pytest.mark.parametrize("both", [True, False])
def test_pipes(cvtool, photo: Path, monkeypatch: pytest.MonkeyPatch, both: bool) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    if both:
        done = cvtool("saliency", "-", "--json", "-o", "-")
        assert done.code == 2
        assert "stdout" in done.err
    else:
        (found,) = lines(cvtool("saliency", "-", "--json"))
        assert found["output"] == "stdin-saliency-gradient.png"


def test_stdout(cvtool, photo: Path, here: Path) -> None:
    done = cvtool("saliency", "tabby.png", "-o", "-")
    assert (done.code, "PNG" in done.out[:8]) == (0, True)
    assert [path.name for path in here.iterdir()] == ["tabby.png"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--method", "grad-camm"], "grad-cam"),
        (["--target", "tabbi"], "tabby"),
        (["--target", "5000"], "999"),
        (["--layer", "blocks.77", "--method", "grad-cam"], "blocks.6"),
        (["--model", "vgg19"], "no classifier"),
        (["--table", "t.csv"], "--evaluate"),
        (["--raw", "map.txt"], ".npy"),
        (["--raw", "m.npy", "-o", "m.npy", "--format", "png"], "--raw 'm.npy' is already another output"),
        (["--raw", "map.npy", "--method", "gradient,grad-cam"], ".h5"),
        (["--method", "all,gradient"], "alone"),
        (["--method", "rise", "--contrast", "3", "--method", "score-cam"], "contrast"),
        (["--method", "attention-rollout"], "no attention"),
        (["--batch", "0"], "--batch"),
        (["--target", "tabby", "--contrast", "281"], "one class"),
        (["--samples", "3"], "--samples has no effect with --method gradient. Leave it out, or choose of smoothgrad"),
        (["--layer", "blocks.3"], "choose of grad-cam, grad-cam++, layer-cam, score-cam, guided-grad-cam."),
        (["--method", "grad-cam", "--baseline", "blur"], "choose of integrated-gradients, occlusion, rise."),
        (["--method", "grad-cam,full-grad", "--reduce", "sum"], "--reduce has no effect with --method grad-cam, full-"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_in_one_line(cvtool, photo: Path, words: list[str], says: str) -> None:
    done = cvtool("saliency", "tabby.png", *words)
    assert done.code == 2, done.err
    assert says in done.err
    assert len(done.err.strip().splitlines()) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (7, 5), (31, 300)])
def test_odd_sizes(cvtool, here: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (90, 160, 30)).save(here / "odd.png")
    done = cvtool("saliency", "odd.png", "--method", "gradient,grad-cam,layer-cam", "--raw", "m.h5", "-o", "out", "-q")
    assert (done.code, done.err) == (0, "")
    with h5py.File("m.h5") as file:
        assert file["maps"].shape == (3, size[1], size[0])
        assert np.isfinite(file["maps"][:]).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_kinds_of_pictures(cvtool, photo: Path, mode: str) -> None:
    suffix = "tiff" if mode == "CMYK" else "png"
    with Image.open(photo) as picture:
        picture.convert(mode).save(f"kind.{suffix}")
    assert cvtool("saliency", f"kind.{suffix}", "-o", "map.png").code == 0


def test_what_is_transparent_is_white(cvtool, here: Path) -> None:
    save("clear.png", (40, 10, 10, 0))
    save("white.png", (255, 255, 255))
    for name in ("clear", "white"):
        assert cvtool("saliency", f"{name}.png", "--raw", f"{name}.npy").code == 0
    np.testing.assert_array_equal(np.load("clear.npy"), np.load("white.npy"))


def test_a_baseline_from_a_file(cvtool, photo: Path) -> None:
    Image.new("RGB", (10, 10), (255, 255, 255)).save("white.png")
    for name in ("white", "white.png"):
        words = ("saliency", "tabby.png", "--method", "rise", "--samples", 8, "--baseline", name)
        assert cvtool(*words, "--raw", f"{name}.npy", "-o", "map.png").code == 0
    np.testing.assert_allclose(np.load("white.npy"), np.load("white.png.npy"), atol=1e-5)
    cvtool("saliency", "tabby.png", "--method", "rise", "--samples", 8, "--raw", "mean.npy", "-o", "map.png")
    assert not np.allclose(np.load("white.npy"), np.load("mean.npy"), atol=1e-3)


def test_boxes(cvtool, photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of three pictures has a box, around everything: whatever the map, it points there."""
    monkeypatch.setattr("cvtool.saliency.evaluation.STEPS", 5)
    (here / "a.xml").write_text(
        "<annotation><size><width>1200</width><height>800</height></size><object><name>cat</name><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>1200</xmax><ymax>800</ymax></bndbox></object></annotation>"
    )
    asked = ("saliency", "photos", "--evaluate", "--boxes", "voc:.", "-o", "out")
    done = cvtool(*asked, "--method", "gradient,grad-cam", "--table", "t.json")
    rows = json.loads(Path("t.json").read_text())
    assert [(row["pointing"], row["energy_inside"], row["box_area"]) for row in rows] == [(1, 1, 1)] * 2
    assert "points" in done.out
    found = lines(cvtool(*asked, "--json"))
    assert [each.get("pointing") for each in found] == [1, None, None, None]


def test_a_ranking_of_which_one_method_met_no_boxes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after --method auto, which takes another method for each picture."""
    bare = Evaluation(0.6, 0.1, 0.2, 0.5, 1.0, 0.2, 0.2, None)
    boxed = replace(bare, insertion_auc=0.5, pointing=1.0, energy_inside=0.75, box_area=0.25)
    for suffix in ("csv", "json"):
        found = [("a.png", "gradient", boxed), ("b.png", "grad-cam", bare)]
        show_ranking(found, here / f"t.{suffix}", Console(json=False, quiet=False, verbose=False))
    heading, first, second = capsys.readouterr().out.splitlines()[:3]
    assert heading.split()[-4:] == ["points", "inside", "of", "area"]
    assert first.split()[-3:] == ["–"] * 3
    assert second.split()[-3:] == ["100%", "75%", "25%"]
    rows = json.loads((here / "t.json").read_text())
    assert [row["energy_inside"] for row in rows] == [None, 0.75]
    assert [row["energy_inside"] for row in csv.DictReader((here / "t.csv").read_text().splitlines())] == ["", "0.75"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--boxes", "voc:."), 2, "--evaluate"),
        (("--boxes", "yolo:.", "--evaluate"), 2, "coco:DIR"),
        (("--boxes", "coco:.", "--evaluate"), 3, "instances"),
        (("--boxes", "voc:boxes", "--evaluate"), 2, "None of the pictures"),
    ],
)
def test_boxes_that_cannot_be_used(cvtool, photo: Path, here: Path, words, code, said) -> None:
    (here / "boxes").mkdir()
    (here / "boxes/other.xml").write_text(
        "<annotation><size><width>9</width><height>9</height></size><object><name>cat</name><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
    )
    done = cvtool("saliency", "tabby.png", *words)
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert said in done.err
