"""What a picture tells of how it was made, and ``cvtool info``, which shows it."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import mean_color, piped, save

from cvtool.provenance import read_provenance, sha256_of

pytestmark = pytest.mark.usefixtures("cat", "wave")


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff"])
def test_every_picture_knows_how_it_was_made(cvtool, painter, here: Path, format: str) -> None:
    words = ["stylize", "cat.png", "wave.png", "--strength", "70", "--budget", "60s", "-q", "--format", format]
    assert cvtool(*words).code == 0
    found = read_provenance(f"cat-stylize.{format}")
    assert (found.command, found.model, found.device, found.seed) == ("stylize", "efficientnet-lite0", "cpu", 0)
    assert list(found.inputs) == [
        {"path": str(here / name), "sha256": sha256_of(here / name)} for name in ("cat.png", "wave.png")
    ]
    assert found.options["strength"] == 70
    expected = ["cvtool", "stylize", "--strength", "70.0", "--steps", "3,2", "--format", format]
    assert sorted(shlex.split(found.command_line)) == sorted([*expected, str(here / "cat.png"), str(here / "wave.png")])


def test_the_line_makes_the_same_bytes_from_any_folder(
    cvtool, painter, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("pics/a b.png", (1, 2, 3))
    save("start.png")
    words = """stylize pics --style wave.png --style asset:mosaic --style-weight 1 --style-weight 2 --budget 1m
        --init start.png --seed 4 --weights w.pth --bits 16 --json"""
    assert cvtool(*words.split()).code == 0
    line = read_provenance("a b-stylize.png").command_line
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert cvtool(*shlex.split(line)[1:]).code == 0
    assert (elsewhere / "a b-stylize.png").read_bytes() == (here / "a b-stylize.png").read_bytes()
    again = painter.calls[1]
    assert again["options"].steps == (3, 2)
    assert again["options"].budget is None
    assert again["options"].style_weights == (1.0, 2.0)
    assert mean_color(again["content"]) == [1, 2, 3]


def test_the_line_keeps_the_weights_of_a_folder(cvtool, painter) -> None:
    save("more/b.png")
    save("more/a.png")
    words = ["stylize", "cat.png", "wave.png", "more", "--style-weight", 1, "--style-weight", 3, "-o", "x.png"]
    assert cvtool(*words).code == 0
    line = read_provenance("x.png").command_line
    assert cvtool(*shlex.split(line)[1:], "-o", "y.png").code == 0
    first, again = (call["options"].style_weights for call in painter.calls)
    assert first == again == (1.0, 1.5, 1.5)
    assert Path("x.png").read_bytes() == Path("y.png").read_bytes()


def test_the_place_of_the_result_leaves_no_trace_in_it(cvtool, painter) -> None:
    assert cvtool("stylize", "cat.png", "wave.png", "-o", "x.png").code == 0
    assert cvtool("stylize", "cat.png", "wave.png", "-o", "new/y.png", "--preview", "p.png", "--json").code == 0
    assert Path("x.png").read_bytes() == Path("new/y.png").read_bytes()


# info


def test_info_shows_the_inputs_and_the_line(cvtool, painter, here: Path) -> None:
    cvtool("stylize", "cat.png", "wave.png", "-o", "x.webp")
    shown = cvtool("info", "x.webp")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.splitlines()[-1].split(maxsplit=1) == ["again", read_provenance("x.webp").command_line]
    assert str(here / "cat.png") in shown.out
    assert sha256_of("wave.png") in shown.out


def test_info_as_json(cvtool, painter) -> None:
    cvtool("stylize", "cat.png", "wave.png", "-o", "x.png", "--seed", "9")
    record = json.loads(cvtool("info", "x.png", "--json").out)
    common = {"command": "info", "input": "x.png", "output": None, "model": "efficientnet-lite0", "seed": 9}
    assert record.items() >= common.items()
    assert record["provenance"]["command"] == "stylize"
    assert shlex.split(record["provenance"]["command_line"])[:2] == ["cvtool", "stylize"]


def test_info_from_stdin(cvtool, painter, monkeypatch: pytest.MonkeyPatch) -> None:
    cvtool("stylize", "cat.png", "wave.png", "-o", "x.png")
    monkeypatch.setattr(sys, "stdin", piped("x.png"))
    assert "stylize" in cvtool("info", "-").out
    monkeypatch.setattr(sys, "stdin", piped("cat.png"))
    plain = cvtool("info", "-")
    assert plain.code == 3
    assert "'stdin' carries no provenance" in plain.err


@pytest.mark.parametrize("name", ["locked/b.png", "b" * 300 + ".png", "b" * 5000 + "/b.png"], ids=len)
def test_a_file_out_of_reach_does_not_stop_the_others(
    cvtool, painter, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Not even asking what it is. (As it is for all but the superuser, who may look everywhere.)"""
    plain = os.stat

    def locked(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        if str(path).startswith("locked/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return plain(path, *arguments, **named)

    cvtool("stylize", "cat.png", "wave.png", "-o", "x.png")
    monkeypatch.setattr(os, "stat", locked)
    done = cvtool("info", "x.png", name, "x.png", "--json")
    assert done.code == 3
    assert ["error" in json.loads(line) for line in done.out.splitlines()] == [False, True, False]
    assert ("permission denied" if name.startswith("locked") else "the name is too long") in done.err
    assert cvtool("info", name).err.count("\n") == 1


def test_info_about_a_run_without_a_checkpoint(cvtool, here: Path) -> None:
    line = "cvtool caption train --data folder:/set --rate 0.5 -o RUN_DIR"
    config = {"version": "0.1.0", "train_options": {"rate": 0.5}, "environment": {"torch": "2.9"}}
    (here / "run").mkdir()
    (here / "run/config.json").write_text(json.dumps({**config, "command_line": line}))
    done = cvtool("info", "run")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split() == ["command", "caption", "train"]
    assert done.out.splitlines()[-1].split(maxsplit=1) == ["again", line]
    assert "0.5" in done.out
    for broken in ("{", "[]", "{}", json.dumps(config), '{"command_line": 3}', "[" * 100000):
        (here / "run/config.json").write_text(broken)
        done = cvtool("info", "run")
        assert (done.code, done.out, done.err.count("\n")) == (3, "", 1), broken[:20]


@pytest.mark.parametrize("file", ["cat.png", "gone.png", "text.txt"])
def test_info_about_what_cvtool_did_not_write(cvtool, here: Path, file: str) -> None:
    (here / "text.txt").write_text("hello")
    done = cvtool("info", file)
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert file in done.err
