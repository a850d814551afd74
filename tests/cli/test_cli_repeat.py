"""The line that makes a picture again."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli.repeat import command_line


class Kind(str, Enum):
    """A choice."""

    one = "one"
    two = "two"


def repeated(words: list[str], arguments: list[str], **options) -> str:
    """What `command_line` makes of ``tool draw WORDS``."""
    app = typer.Typer(rich_markup_mode=None)
    lines: list[str] = []

    @app.callback()
    def root() -> None: ...

    @app.command()
    def draw(
        context: typer.Context,
        paths: list[str],
        size: Annotated[int, typer.Option("-s", "--size")] = 5,
        offset: float = 0.0,
        kind: Kind = Kind.one,
        name: Annotated[list[str] | None, typer.Option()] = None,
        file: Annotated[Path | None, typer.Option()] = None,
        soft: bool = True,
        output: str = "",
        json: bool = False,
        quiet: bool = False,
    ) -> None:
        lines.append(command_line(context, arguments, **options))

    app(words, prog_name="tool", standalone_mode=False)
    return lines[0]


def test_only_what_was_given_and_has_an_effect_is_repeated(here: Path) -> None:
    words = "draw a b -s 7 --kind two --name x --name y z --no-soft --file f.pth --output o.png --json --quiet"
    line = repeated([*shlex.split(words), "--name", "it's"], ["/in/a.png"], replaced={"file": Path("f.pth")})
    assert shlex.split(line) == [
        *["tool", "draw", "--size", "7", "--kind", "two", "--name", "x", "--name", "y", "--name"],
        "it's",
        "--file",
        str(here / "f.pth"),
        "--no-soft",
        "/in/a.png",
    ]
    assert repeated(["draw", "a"], ["/in/a.png"]) == "tool draw /in/a.png"


def test_values_can_be_replaced_added_and_dropped() -> None:
    line = repeated(
        ["draw", "a", "--size", "3", "--offset", "2"], ["a"], replaced={"size": 9, "name": ["n"], "offset": None}
    )
    assert line == "tool draw --size 9 --name n a"
    assert repeated(["draw", "a", "--size", "3"], ["a"], dropped=frozenset({"size"})) == "tool draw a"
    words = ["draw", "a", "--output", "deep/o.png", "--json"]
    assert repeated(words, ["a"], replaced={"output": "o.png"}) == "tool draw --output o.png a"


def test_files_are_absolute_whether_they_are_replaced_or_not(here: Path) -> None:
    assert repeated(["draw", "a", "--file", "f.pth"], ["a"]) == f"tool draw --file {here / 'f.pth'} a"
    assert repeated(["draw", "a", "--file", "f.pth"], ["a"], replaced={"file": "g.pth"}) == "tool draw --file g.pth a"


def test_words_that_look_like_options() -> None:
    line = repeated(["draw", "a", "--offset=-1.5"], ["-odd.png", "-"])
    assert line == "tool draw --offset=-1.5 -- -odd.png -"
