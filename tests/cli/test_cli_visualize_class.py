"""``cvtool visualize-class`` from words to files, on a bundled network and with few steps."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import save
from PIL import Image

from cvtool.images import read_picture
from cvtool.provenance import read_provenance

LITE = ("--model", "efficientnet-lite0", "--device", "cpu")
TINY = (*LITE, "--size", "48", "--views", "1")


def lines(outcome) -> list[dict]:
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_a_class(cvtool, here: Path) -> None:
    done = cvtool("visualize-class", "flamingo", *TINY, "--steps", 1)
    assert (done.code, done.out) == (0, "")
    assert [path.name for path in here.iterdir()] == ["flamingo-visualize-class.png"]
    assert "1 steps, seen as" in done.err
    assert read_picture("flamingo-visualize-class.png").pixels.shape == (48, 48, 3)


def test_json(cvtool) -> None:
    words = ("visualize-class", "n02007558", "tabby", *TINY, "--steps", 2, "--top-k", 3, "--json")
    flamingo, tabby = lines(cvtool(*words, "--judge", "efficientnet-lite0"))
    assert {"command", "input", "output", "model", "device", "seed", "seconds", "version"} <= flamingo.keys()
    assert flamingo["target"] == {"index": 130, "name": "flamingo", "wnid": "n02007558"}
    assert (flamingo["input"], tabby["input"]) == ("n02007558", "tabby")
    assert (tabby["width"], tabby["height"], tabby["steps"], tabby["stopped_by"]) == (48, 48, 2, "steps")
    assert 0 <= flamingo["probability"] <= 1
    assert isinstance(flamingo["logit"], float)
    assert isinstance(flamingo["started_from"], float)
    assert [sorted(each) for each in flamingo["predictions"]] == [["index", "name", "probability", "wnid"]] * 3
    judge = flamingo["judges"]["efficientnet-lite0"]
    assert judge["probability"] == pytest.approx(flamingo["probability"], abs=1e-6)
    assert 1 <= judge["rank"] <= 1000


def test_the_logit_is_that_of_the_file(cvtool) -> None:
    from cvtool.models.cards import Resize
    from cvtool.models.framing import classify
    from cvtool.models.loader import load

    (found,) = lines(cvtool("visualize-class", "pizza", *TINY, "--steps", 4, "--json"))
    logits = classify(read_picture(found["output"]).pixels, load("efficientnet-lite0"), Resize.fit, True)
    assert found["logit"] == pytest.approx(float(logits[963]), abs=1e-3)
    assert found["probability"] == pytest.approx(float(logits.softmax(0)[963]), abs=1e-5)


def test_the_three_bundled_networks_take_turns_unless_one_is_named(cvtool, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvtool.visualize_class import service

    asked = []
    monkeypatch.setattr(service, "_climb", lambda task, *_: asked.append(task) or pytest.fail("enough"))
    trio = [f"efficientnet-lite{number}" for number in range(3)]
    for words, names in [
        ((), trio),
        (("--method", "cs231n"), trio[:1]),
        (("--model", trio[1]), trio[1:2]),
        (("--ensemble", f"{trio[2]},{trio[0]}"), [trio[0], trio[2]]),
    ]:
        asked.clear()
        cvtool("visualize-class", "pizza", "--device", "cpu", *words)
        assert [question.model.card.name for question in asked[0].questions] == names


def test_units_of_a_layer(cvtool, here: Path) -> None:
    found = lines(cvtool("visualize-class", *TINY, "--steps", 1, "--layer", "blocks.2", "--channel", "3,5", "--json"))
    assert [each["target"]["number"] for each in found] == [3, 5]
    assert found[0]["target"] == {"layer": "blocks.2", "unit": "channel", "number": 3, "direction": False}
    assert found[0]["probability"] is None
    assert isinstance(found[0]["activation"], float)
    assert (here / "blocks.2-channel-5-visualize-class.png").is_file()
    (neuron,) = lines(cvtool("visualize-class", *TINY, "--steps", 1, "--layer", "bn1", "--neuron", "3", "--json"))
    assert neuron["target"]["unit"] == "neuron"


def test_a_direction(cvtool) -> None:
    np.save("way.npy", np.eye(40)[7])  # blocks.2 has 40 channels: this is one of them
    words = ("visualize-class", *TINY, "--steps", 2, "--layer", "blocks.2")
    (along,) = lines(cvtool(*words, "--direction", "way.npy", "--json", "-o", "a.png"))
    lines(cvtool(*words, "--channel", 7, "--json", "-o", "b.png"))
    difference = read_picture("a.png").pixels - read_picture("b.png").pixels
    assert np.abs(difference).max() <= 3 / 255
    assert along["target"]["direction"] is True


def test_deepdream(cvtool, here: Path) -> None:
    save(here / "sky.png", (90, 120, 200), (96, 64))
    (found,) = lines(
        cvtool(
            "visualize-class", *LITE, "--init", "sky.png", "--layer", "blocks.3", "--size", 96, "--steps", 4, "--json"
        )
    )
    assert (found["method"], found["width"], found["height"]) == ("deepdream", 96, 64)
    assert found["activation"] > found["started_from"]
    assert found["output"] == "sky-visualize-class-blocks.3.png"


def test_two_photos_make_two_files(cvtool, here: Path) -> None:
    for name in ("sky", "sea"):
        save(here / f"{name}.png", (90, 120, 200), (64, 64))
        words = ("--init", f"{name}.png", "--diversity", 2, "--steps", 1, "-o", "out/")
        assert cvtool("visualize-class", "tabby", *TINY, *words).code == 0
    assert {path.name for path in (here / "out").iterdir()} == {
        f"{name}-visualize-class-tabby-{number}.png" for name in ("sky", "sea") for number in (1, 2)
    }


def test_diversity_and_a_sheet(cvtool, here: Path) -> None:
    words = ("visualize-class", "pizza", "tabby", *TINY, "--steps", 1, "--diversity", 2, "--sheet", "all.png")
    found = lines(cvtool(*words, "-o", "out", "--json"))
    assert [(each["input"], each["variant"]) for each in found] == [
        ("pizza", 1),
        ("pizza", 2),
        ("tabby", 1),
        ("tabby", 2),
    ]
    assert sorted(path.name for path in (here / "out").iterdir()) == [
        f"{name}-visualize-class-{number}.png" for name in ("pizza", "tabby") for number in (1, 2)
    ]
    height, width = read_picture("all.png").pixels.shape[:2]
    assert width > 2 * 256
    assert height > 2 * 256
    made = read_provenance("all.png")
    assert (made.command, made.options["targets"]) == ("visualize-class", ["pizza", "pizza", "tabby", "tabby"])
    again_from(cvtool, here, made.command_line)
    assert Path("all.png").read_bytes() == Path("again/all.png").read_bytes()


def again_from(cvtool, here: Path, line: str) -> None:
    """Run the line in a folder of its own."""
    (here / "again").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here / "again")
        assert cvtool(*shlex.split(line)[1:]).code == 0


def test_a_sheet_of_channels_makes_them_all_again(cvtool, here: Path) -> None:
    words = ("--layer", "blocks.2", "--channel", "3,5", *TINY, "--steps", 1, "--format", "jpg")
    assert cvtool("visualize-class", *words, "--sheet", "all.webp", "-o", "out").code == 0
    again_from(cvtool, here, read_provenance("all.webp").command_line)
    assert Path("all.webp").read_bytes() == Path("again/all.webp").read_bytes()


def test_transparent_pictures(cvtool) -> None:
    assert cvtool("visualize-class", "pizza", *TINY, "--steps", 1, "--transparent", "-o", "p.png").code == 0
    with Image.open("p.png") as picture:
        assert picture.mode == "RGBA"


@pytest.mark.parametrize("suffix", [".webp", ".mp4"])
def test_an_animation_knows_how_it_was_made(cvtool, here: Path, suffix: str) -> None:
    words = ("visualize-class", "pizza", *TINY, "--steps", 4, "--animate", f"film{suffix}")
    assert cvtool(*words, "-o", "p.png").code == 0
    made = read_provenance(f"film{suffix}")
    assert (made.command, made.options["animate"]) == ("visualize-class", f"film{suffix}")
    assert "--animate" not in read_provenance("p.png").command_line
    again_from(cvtool, here, made.command_line)
    assert Path(f"film{suffix}").read_bytes() == Path(f"again/film{suffix}").read_bytes()


def test_an_animation(cvtool) -> None:
    assert cvtool("visualize-class", "pizza", *TINY, "--steps", 10, "--animate", "film.gif", "-o", "p.png").code == 0
    assert "visualize-class" in cvtool("info", "film.gif").out
    with Image.open("film.gif") as film:
        assert film.size == (48, 48)
        assert film.n_frames >= 2


@pytest.mark.parametrize(
    "words",
    [
        ("tabby", "--steps", 2, "--seed", 5),
        ("--layer", "blocks.2", "--channel", "3,4", "--steps", 1),
        ("tabby", "--method", "cs231n", "--steps", 1),
    ],
    ids=["class", "channels", "cs231n"],
)
def test_provenance_makes_it_again(cvtool, words: tuple[object, ...]) -> None:
    assert cvtool("visualize-class", *words, *TINY, "-o", "out/").code == 0
    first = sorted(Path("out").iterdir())[-1]
    line = shlex.split(read_provenance(first).command_line)
    assert cvtool(*line[1:], "-o", "again.png").code == 0
    assert Path("again.png").read_bytes() == first.read_bytes()


def test_a_start_is_in_the_provenance(cvtool, here: Path) -> None:
    save(here / "sky.png", (90, 120, 200), (64, 64))
    assert cvtool("visualize-class", "tabby", *TINY, "--init", "sky.png", "--steps", 1, "-o", "p.png").code == 0
    found = read_provenance("p.png")
    assert found.inputs[0]["path"] == str(here / "sky.png")
    assert str(here / "sky.png") in found.command_line


def test_a_start_that_is_transparent_is_white(cvtool, here: Path) -> None:
    save(here / "clear.png", (40, 10, 10, 0), (48, 48))
    save(here / "white.png", (255, 255, 255), (48, 48))
    for name in ("clear", "white"):
        words = ("--init", f"{name}.png", "--steps", 1, "-o", f"from-{name}.png")
        assert cvtool("visualize-class", "tabby", *TINY, *words).code == 0
    clear, white = (read_picture(f"from-{name}.png").pixels for name in ("clear", "white"))
    np.testing.assert_array_equal(clear, white)


def test_stdout(cvtool, here: Path) -> None:
    done = cvtool("visualize-class", "tabby", *TINY, "--steps", 1, "-o", "-")
    assert (done.code, "PNG" in done.out[:8]) == (0, True)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Say what to visualise"),
        (["tabby", "--layer", "bn1"], "Say what to visualise"),
        (["tabbi"], "tabby"),
        (["5000"], "999"),
        (["crane"], "names 2 classes"),
        (["tabby", "--channel", "3"], "Give --layer"),
        (["--layer", "bn1", "--channel", "3", "--neuron", "4"], "exclude each other"),
        (["--layer", "bn1", "--channel", "x"], "a channel's number"),
        (["--layer", "bn1", "--channel", "32"], "counted from 0"),
        (["--layer", "blocks.77"], "blocks"),
        (["--layer", "bn1", "--direction", "way.txt"], ".npy"),
        (["--layer", "bn1", "--ensemble", "vgg19"], "--ensemble"),
        (["tabby", "--model", "vgg19"], "no classifier"),
        (["tabby", "--method", "cs231m"], "cs231n"),
        (["tabby", "--method", "maco", "--init", "asset:cat"], "cannot start"),
        (["tabby", "--method", "maco", "--transparent"], "fourier"),
        (["tabby", "--spectrum", "asset:cat"], "maco"),
        (["tabby", "pizza", "--animate", "x.gif"], "single picture"),
        (["tabby", "--animate", "x.png"], ".gif"),
        (["tabby", "--sheet", "x.gif"], ".png"),
        (["tabby", "--sheet", "tabby-visualize-class.png"], "another output"),
        (["tabby", "--judge", "efficientnet-lite9"], "efficientnet-lite"),
        (["tabby", "--steps", "0"], "--steps"),
        (["tabby", "--size", "20"], "--size"),
        (["tabby", "pizza", "-o", "one.png"], "one file"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_in_one_line(cvtool, here: Path, words: list[str], says: str) -> None:
    done = cvtool("visualize-class", *words, "--device", "cpu")
    assert done.code == 2, done.err
    assert says in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(here.iterdir())


@pytest.mark.parametrize("content", [b"no array", "text", "matrix", "nothing", "objects"])
def test_a_bad_direction(cvtool, content: bytes | str) -> None:
    arrays = {"text": np.array(["a"]), "matrix": np.ones((2, 2)), "nothing": np.zeros(32), "objects": np.array([{}])}
    if isinstance(content, bytes):
        Path("way.npy").write_bytes(content)
    else:
        np.save("way.npy", arrays[content])
    done = cvtool("visualize-class", "--layer", "bn1", "--direction", "way.npy", *LITE)
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert "way.npy" in done.err


def test_a_missing_start(cvtool) -> None:
    done = cvtool("visualize-class", "tabby", "--init", "nowhere.png")
    assert (done.code, len(done.err.splitlines())) == (3, 1)


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("--model", "Give the file with --weights."),
        ("--ensemble", "Give the file as --ensemble squeezenet1_1=FILE."),
        ("--judge", "Give the file as --judge squeezenet1_1=FILE."),
    ],
)
def test_missing_weights_are_given_by_the_option(
    cvtool, here: Path, monkeypatch: pytest.MonkeyPatch, option: str, advice: str
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(here / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    done = cvtool("visualize-class", "tabby", "--device", "cpu", option, "squeezenet1_1")
    assert (done.code, len(done.err.splitlines())) == (4, 1)
    assert done.err.endswith(f"(no network). {advice}\n")


def test_a_judge_with_weights_of_ones_own(cvtool) -> None:
    """A torchvision network whose weights are in a file here; a missing file is a bad input."""
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_1

    save_file(squeezenet1_1().state_dict(), "squeeze.safetensors")
    words = ("visualize-class", "tabby", *TINY, "--steps", 1, "--json")
    (found,) = lines(cvtool(*words, "--judge", "squeezenet1_1=squeeze.safetensors"))
    assert 1 <= found["judges"]["squeezenet1_1"]["rank"] <= 1000
    assert cvtool(*words, "--judge", "squeezenet1_1=nowhere.safetensors").code == 3


def test_ctrl_c_writes_the_picture_so_far(cvtool, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pressed in the second step of the first of two classes; the sheet holds what there is."""
    from cvtool.visualize_class.objectives import Question

    looks = []
    original = Question.look

    def look(self: Question, views: object, **more: object) -> object:
        looks.append(1)
        if len(looks) == 3:  # a trial, two steps
            signal.raise_signal(signal.SIGINT)
        return original(self, views, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Question, "look", look)
    done = cvtool("visualize-class", "tabby", "pizza", *TINY, "--steps", 50, "--json", "-o", "out/", "--sheet", "s.png")
    assert done.code == 130
    (found,) = [json.loads(line) for line in done.out.splitlines()]
    assert (found["stopped_by"], found["steps"]) == ("interrupt", 2)
    assert [path.name for path in (here / "out").iterdir()] == ["tabby-visualize-class.png"]
    assert (here / "s.png").is_file()
    assert done.err.splitlines()[-1].startswith("cvtool: interrupted: ")
    assert "tabby-visualize-class.png" in done.err.splitlines()[-1]
    line = shlex.split(read_provenance("out/tabby-visualize-class.png").command_line)
    assert line[line.index("--steps") + 1] == "2"
