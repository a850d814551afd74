"""Every command line that a page shows is one that the command line takes, as far as its parser can tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from fences import blocks, command_lines, inline
from parsing import parse

from cvtool.cli.failures import TYPER_ERROR

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FIGURES = ROOT / "docs" / "reproducing.md"
LINES = [
    pytest.param(words, id=f"{page.stem}: cvtool {' '.join(words)}"[:100])
    for page in PAGES
    for block in blocks(page, "sh", "make", "bash") + (inline(page) if page == FIGURES else [])
    for words in command_lines(block)
]


@pytest.mark.parametrize("words", LINES)
def test_the_parser_takes_it(words: list[str]) -> None:
    parse(words)


@pytest.mark.parametrize("page", [page for page in PAGES if page != FIGURES], ids=lambda page: page.stem)
def test_no_command_for_users_writes_over_the_figures(page: Path) -> None:
    """They would find the folder in the repository, and elsewhere make one."""
    shown = [words for block in blocks(page, "sh", "make", "bash") for words in command_lines(block)]
    assert [words for words in shown if any("docs/pictures" in word for word in words)] == []


def test_there_are_many() -> None:
    assert len(LINES) > 100


@pytest.mark.parametrize(
    "words",
    [["stylize", "--strenght", "5"], ["gan", "invert"], ["gan", "sample", "--seed", "x"], ["paint", "a.jpg"]],
    ids=" ".join,
)
def test_it_would_notice(words: list[str]) -> None:
    with pytest.raises(TYPER_ERROR):
        parse(words)
