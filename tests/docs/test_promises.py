"""The list of promises names tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROWS = re.findall(r"^\| (?!promise|---)(.+?) \| (.+) \|$", (TESTS / "promises.md").read_text("utf-8"), re.MULTILINE)
MEASURED = "measured, not tested: `benchmarks/startup.py`"


@cache
def names_in(file: Path) -> set[str]:
    """Of functions, and of methods behind their class's."""
    found: set[str] = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


def test_there_are_many() -> None:
    assert len(ROWS) > 200
    assert [tests for _, tests in ROWS if "::" not in tests] == [MEASURED]


@pytest.mark.parametrize(("promise", "tests"), ROWS)
def test_each_is_proved_by_tests_that_are_there(promise: str, tests: str) -> None:
    for name in re.findall(r"`([^`]+::[^`]+)`", tests):
        file, _, test = name.partition("::")
        assert test in names_in(TESTS / file), f"{promise}: {name}"
