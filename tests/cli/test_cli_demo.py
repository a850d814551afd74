"""``cvtool demo``: six techniques, one page. Here with the smallest work that the same commands can be asked for."""

from __future__ import annotations

import json
import shlex
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from helpers import save
from html_pages import Page, check_for_everybody, check_stands_alone

from cvtool.bundled import find_asset
from cvtool.cli import demo
from cvtool.cli.main import app

TECHNIQUES = ["stylize", "saliency", "fool", "visualize-class", "caption describe", "gan sample"]
QUICK = {
    "stylize": "stylize asset:astronaut asset:flow_strokes --size 64 --steps 1",
    "fool": "fool asset:cat --untargeted --method fgsm --eps 8/255",
    "visualize-class": "visualize-class peacock --size 32 --steps 1 --views 1 --model efficientnet-lite0",
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    stops = tuple(replace(stop, words=QUICK.get(stop.words.split()[0], stop.words)) for stop in demo.TOUR)
    monkeypatch.setattr(demo, "TOUR", stops)


@pytest.fixture
def painting_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three stops that the fake painter can make."""
    stop = replace(demo.TOUR[0], words=QUICK["stylize"])
    stops = tuple(replace(stop, heading=f"Painting {i}", output=("-o", f"{i}.png")) for i in (1, 2, 3))
    monkeypatch.setattr(demo, "TOUR", stops)


def test_the_tour(cvtool, quick, here: Path) -> None:
    done = cvtool("demo", "--json")
    assert done.code == 0, done.err
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [record["command"] for record in told] == TECHNIQUES
    said = [line for line in done.err.splitlines() if line[:1].isdigit()]
    assert [line.split(" ", 1)[0] for line in said] == [f"{i}/6" for i in range(1, 7)]
    folder = here / "cvtool-demo"
    files = {Path(record["output"]).name for record in told}
    assert {path.name for path in folder.iterdir()} == files | {"index.html"}

    page = Page.read(folder / "index.html")
    check_stands_alone(page)
    check_for_everybody(page)
    assert len(page.of("section")) == 6
    assert len(page.of("input")) == 3  # before and after: painted, explained, fooled
    for stop, line in zip(demo.TOUR, said, strict=True):
        command = line.split(": ", 1)[1]
        assert {stop.heading, stop.sentence, command} <= set(page.texts)
    assert {"man", "camera"} <= set(told[4]["caption"].split())  # a picture that the captioner tells right
    assert any(text == told[4]["caption"] for text in page.texts)
    assert {link["href"] for link in page.of("a")} >= files
    assert (folder / "index.html").stat().st_size < 3e6


def test_the_commands_are_those_that_a_user_can_type() -> None:
    group = typer.main.get_command(app)
    for stop, name in zip(demo.TOUR, TECHNIQUES, strict=True):
        words = stop.arguments(Path("d"), "cpu")
        assert " ".join(words).startswith(name)
        command, context = group, typer.Context(group)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        context = command.make_context(name, words)  # raises for an option or a value that is not known
        assert context.params["device"] == "cpu"
        for word in stop.words.split():
            if word.startswith("asset:"):
                assert find_asset(word.removeprefix("asset:")).path.is_file()


def test_a_full_folder_is_refused(cvtool, painter, painting_only, here: Path) -> None:
    save(here / "mine" / "holiday.png")
    done = cvtool("demo", "-o", "mine")
    assert done.code == 2
    assert "--overwrite" in done.err
    assert [path.name for path in (here / "mine").iterdir()] == ["holiday.png"]
    assert cvtool("demo", "-o", "mine", "--overwrite").code == 0
    assert {path.name for path in (here / "mine").iterdir()} == {"holiday.png", "1.png", "2.png", "3.png", "index.html"}


def test_a_file_is_no_folder(cvtool, here: Path) -> None:
    (here / "file").touch()
    assert cvtool("demo", "-o", "file").code == 2


def test_without_json_stdout_stays_empty_and_quiet_is_quiet(cvtool, painter, painting_only) -> None:
    done = cvtool("demo", "-o", "one")
    assert (done.code, done.out) == (0, "")
    assert done.err.count("\n") == 4  # three stops and the page
    assert cvtool("demo", "-o", "two", "--quiet") == type(done)(0, "", "")


def test_ctrl_c_leaves_what_is_finished_with_a_page(cvtool, painter, painting_only, here: Path) -> None:
    def in_the_second() -> None:
        if len(painter.calls) == 2:
            signal.raise_signal(signal.SIGINT)

    painter.during = in_the_second
    done = cvtool("demo", "-o", "tour", "--json")
    assert done.code == 130
    assert [Path(json.loads(line)["output"]).name for line in done.out.splitlines()] == ["1.png", "2.png"]
    page = Page.read(here / "tour" / "index.html")
    assert {"Painting 1", "Painting 2"} <= set(page.texts)
    assert "Painting 3" not in page.texts
    assert any(text.startswith("Stopped before the end: ") for text in page.texts)
    assert not (here / "tour" / "3.png").exists()


def test_a_stop_that_fails_is_listed_and_the_others_are_made(cvtool, painter, painting_only, monkeypatch, here) -> None:
    first, second, third = demo.TOUR
    broken = replace(second, words="stylize missing.png asset:marbling")
    monkeypatch.setattr(demo, "TOUR", (first, broken, third))
    done = cvtool("demo", "-o", "tour", "--json")
    assert done.code == 3
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [each["command"] for each in told] == ["stylize", "demo", "stylize"]
    assert ["error" in each for each in told] == [False, True, False]
    page = Page.read(here / "tour" / "index.html")
    assert any(text.startswith("Painting 2: ") and "missing.png" in text for text in page.texts)
    assert len(page.of("section")) == 2


def test_a_stop_that_misses_its_goal_tells_what_it_came_to(cvtool, quick, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = replace(demo.TOUR[2], words="fool asset:cat --target espresso --method fgsm --eps 1/255")
    monkeypatch.setattr(demo, "TOUR", (stop,))
    done = cvtool("demo", "-o", "tour", "--json")
    assert done.code == 5, done.err
    (told,) = (json.loads(line) for line in done.out.splitlines())
    assert (told["command"], told["success"], told["output"]) == ("fool", False, "tour/fool.png")


def test_its_results_can_be_repeated(cvtool, painter, painting_only, here: Path) -> None:
    from cvtool.provenance import read_provenance

    cvtool("demo", "-o", "tour")
    line = shlex.split(read_provenance(here / "tour" / "1.png").command_line)
    assert line[:2] == ["cvtool", "stylize"]
    assert not {"--json", "--quiet"} & set(line)
