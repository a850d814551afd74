"""Several inputs: what they share is told once, what concerns one ends one, Ctrl-C loses nothing that is computed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import save
from PIL import Image

import cvtool.fool.service as fooling
from cvtool import images
from cvtool.bundled import find_asset
from cvtool.cli import saliency_explainer

FOOL = ("--untargeted", "--method", "fgsm", "--eps", "4/255")
STYLE = ("--style", "wave.png")
COMMANDS = {
    "saliency": ("saliency", (), "saliency-gradient"),
    "fool": ("fool", FOOL, "fool-untargeted"),
    "stylize": ("stylize", STYLE, "stylize"),
}


@pytest.fixture
def photos(here: Path) -> Path:
    """Three pictures of a cat, and a style."""
    with Image.open(find_asset("cat").path) as picture:
        for name in "abc":
            picture.resize((60, 40)).save(here / f"{name}.png")
    save(here / "wave.png", (20, 40, 180))
    (here / "w.pth").write_bytes(b"no weights")
    return here


# What all share


@pytest.mark.parametrize(
    "words",
    [
        ("saliency", "--weights", "w.pth", "--json"),
        ("saliency", "--method", "rise", "--baseline", "w.pth", "--json"),
        ("fool", *FOOL, "--weights", "w.pth", "--json"),
        ("fool", "--all-targets", "--weights", "w.pth", "--json"),
        ("stylize", *STYLE, "--weights", "w.pth", "--json"),
        ("stylize", *STYLE, "--instant", "--painter", "w.pth", "--json"),
        ("stylize", *STYLE, "--sheet", "sheets/", "--weights", "w.pth"),
    ],
    ids=lambda words: " ".join(words),
)
def test_what_is_wrong_with_the_network_is_told_once(cvtool, photos: Path, words: tuple[str, ...]) -> None:
    done = cvtool(words[0], "a.png", "b.png", *words[1:])
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1), done.err
    assert "w.pth" in done.err


@pytest.mark.parametrize(("command", "words", "_"), COMMANDS.values(), ids=COMMANDS)
def test_of_a_single_input_the_wrong_path_is_told_first(cvtool, photos: Path, command, words, _) -> None:
    done = cvtool(command, "absent.png", *words, "--weights", "w.pth")
    assert (done.code, "absent.png" in done.err, "w.pth" in done.err) == (3, True, False)


@pytest.mark.parametrize(("command", "words", "detail"), COMMANDS.values(), ids=COMMANDS)
def test_nothing_is_loaded_where_nothing_is_left_to_do(cvtool, photos: Path, command, words, detail) -> None:
    for name in "ab":
        save(f"out/{name}-{detail}.png")
    asked = (command, "a.png", "b.png", *words, "--weights", "w.pth", "-o", "out", "--skip-existing")
    done = cvtool(*asked)
    assert (done.code, done.err) == (0, "left out, since their results are there already: 2\n")
    Path(f"out/b-{detail}.png").unlink()
    assert (cvtool(*asked, "-q").code, Path(f"out/b-{detail}.png").exists()) == (3, False)


# What concerns one


def test_where_nothing_could_be_done_there_are_no_others(cvtool, here: Path) -> None:
    done = cvtool("info", "a.png", "b.png")
    assert (done.code, done.err.splitlines()[-1]) == (
        3,
        "cvtool: error: 2 of 2 inputs could not be done: a.png, b.png.",
    )


def test_a_picture_that_the_format_cannot_hold(cvtool, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(images.MAX_SIDE, "webp", 100)
    with Image.open("b.png") as picture:
        picture.resize((120, 20)).save("b.png")
    done = cvtool(
        *("saliency", "a.png", "b.png", "c.png", "--view", "overlay", "--format", "webp", "-o", "out", "--json")
    )
    assert done.code == 3
    assert ["error" in json.loads(line) for line in done.out.splitlines()] == [False, True, False]
    assert "b.png: A side of 120 pixels is more than the 100 of webp" in done.err
    assert done.err.endswith("1 of 3 inputs could not be done: b.png. The others are done.\n")
    assert sorted(path.name for path in Path("out").iterdir()) == [f"{n}-saliency-gradient.webp" for n in "ac"]


def test_a_content_that_is_too_large(cvtool, painter, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtool.stylize.pyramid.MAX_SIDE", 100)
    save("b.png", size=(120, 20))
    words = ("stylize", "a.png", "b.png", "c.png", *STYLE, "--budget", "60s", "--json")
    done = cvtool(*words, "--size", 0)
    assert done.code == 3
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [(each["input"], "error" in each) for each in found] == [("a.png", False), ("b.png", True), ("c.png", False)]
    assert "b.png: A result of 120×20 pixels is too large" in done.err
    done = cvtool(*words, "--size", 110)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), "the size was asked for: it would meet all"


# Ctrl-C


def pressing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, times: int) -> None:
    """Press Ctrl-C so many times when this is first called."""
    plain: Callable[..., Any] = getattr(owner, name)
    left = [times]

    def call(*arguments: Any, **named: Any) -> Any:
        for _ in range(left.pop() if left else 0):
            signal.raise_signal(signal.SIGINT)
        return plain(*arguments, **named)

    monkeypatch.setattr(owner, name, call)


WRITING = {
    "saliency": ("saliency", (), "saliency-gradient", saliency_explainer, "draw"),
    "fool": ("fool", FOOL, "fool-untargeted", fooling, "judge"),
}


@pytest.mark.parametrize(("command", "words", "detail", "owner", "name"), WRITING.values(), ids=WRITING)
def test_ctrl_c_while_one_is_written(
    cvtool, photos: Path, monkeypatch: pytest.MonkeyPatch, command, words, detail, owner, name
) -> None:
    pressing(monkeypatch, owner, name, 1)
    done = cvtool(command, "a.png", "b.png", "c.png", *words, "--batch", 2, "-o", "out", "--json")
    assert done.code == 130
    files = [f"out/{each}-{detail}.png" for each in "ab"]
    assert sorted(str(path) for path in Path("out").iterdir()) == files, "the third was not computed yet"
    assert [json.loads(line)["output"] for line in done.out.splitlines()] == files
    assert done.err.endswith(f" is in '{files[0]}', '{files[1]}'.\n")


@pytest.mark.parametrize(("command", "words", "detail", "owner", "name"), WRITING.values(), ids=WRITING)
def test_ctrl_c_twice_while_one_is_written(
    cvtool, photos: Path, monkeypatch: pytest.MonkeyPatch, command, words, detail, owner, name
) -> None:
    pressing(monkeypatch, owner, name, 2)
    done = cvtool(command, "a.png", "b.png", *words, "-o", "out", "--json")
    assert (done.code, done.out) == (130, "")
    assert not Path(f"out/b-{detail}.png").exists()
