"""Every bad input of the corpus: one line, a documented exit code, nothing written, little memory and time."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from cli.conftest import Outcome
from hardening.corpus import CASES, Case
from hardening.registry import DONE

FEWEST = 1000
TECHNIQUES = {"stylize", "saliency", "fool", "visualize-class", "caption", "gan", "info"}
NOTES = ("cvtool: warning: ", "decoded ")


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= FEWEST
    assert {case.words[0] for case in CASES.values()} >= TECHNIQUES


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bad_input(case: Case, watched: Callable[..., Outcome]) -> None:
    case.make()
    done = watched(*case.words)
    (assert_shown if case.code == DONE else assert_refused)(done, case)


def assert_shown(done: Outcome, case: Case) -> None:
    """What is shown of it steers no terminal."""
    assert (done.code, done.err) == (DONE, "")
    lines = done.out.removesuffix("\n").split("\n")
    assert case.says in lines[-1]
    assert not any(line.startswith("cvtool: error: ") for line in lines)
    assert {unicodedata.category(letter) for line in lines for letter in line}.isdisjoint(("Cc", "Zl", "Zp", "Cf"))


def assert_refused(done: Outcome, case: Case) -> None:
    """One line for a bad input; for a data set one for each thing that is wrong with it, and a last one."""
    assert done.code == case.code, done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    lines = done.err.removesuffix("\n").split("\n")
    errors = [line for line in lines if line.startswith("cvtool: error: ")]
    assert len(errors) == 1 or case.listed, done.err
    assert lines[-1] == errors[-1], done.err
    assert all(line.startswith(("cvtool: error: ", *NOTES)) for line in lines), done.err
    assert all(line.isprintable() for line in lines), done.err
    assert case.says in lines[-1], done.err
