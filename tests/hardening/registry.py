"""The corpus of bad inputs: each has a name, a maker of its files, and a command line that meets it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

DONE, BAD_INPUT, WRONG_USAGE = 0, 3, 2


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        name: says what is wrong with it; unique.
        make: writes it, and what else the command needs, into the current folder, which is empty.
        words: the command line, without ``cvtool``.
        code: what the command must end with.
        says: a part of its last line on stderr; where it is done, of its last one on stdout.
        listed: it is a data set: what is wrong is listed, a line for each, before the error.
    """

    name: str
    make: Callable[[], object]
    words: tuple[str, ...]
    code: int = BAD_INPUT
    says: str = ""
    listed: bool = False


CASES: dict[str, Case] = {}


def add(
    name: str,
    make: Callable[[], object],
    line: str | Iterable[str],
    *,
    code: int = BAD_INPUT,
    says: str = "",
    listed: bool = False,
) -> None:
    """Put a case into the corpus; `line` is split at blanks where it is one text."""
    if name in CASES:
        raise ValueError(f"two cases are called '{name}'")
    words = line.split() if isinstance(line, str) else line
    CASES[name] = Case(name, make, tuple(words), code, says, listed)
