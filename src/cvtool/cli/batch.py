"""Do the same to several inputs: a bad one is reported, the others are still done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from cvtool.cli.console import Console
from cvtool.cli.failures import explain
from cvtool.cli.outputs import Destination, Skipping
from cvtool.errors import BadInputError, GoalNotReachedError, UnsuitableInputError, is_out_of_memory


class Named(Protocol):
    """Anything with the name its user knows it by."""

    @property
    def name(self) -> str:
        """What the user sees."""


N = TypeVar("N", bound=Named)
MOST_NAMES = 10
"""Bad inputs that the last line names; all have been told before."""


def for_each(inputs: Collection[N], work: Callable[[N], None], *, command: str, console: Console) -> None:
    """Call `work` on every input.

    A bad input, one that is too large, e.g. for the memory, and a goal that was not reached end only that input's
    work. Wrong usage and everything unexpected ends all: it would meet the next input, too.

    Raises:
        CvtoolError: what a single input raised.
        BadInputError: several inputs, and not all could be done.
        GoalNotReachedError: several inputs, all could be done, but not all reached the goal.
    """
    failed = Failed()
    for given in inputs:
        error = attempt(given, work, command=command, console=console, alone=len(inputs) == 1)
        if error is not None:
            failed.add(given.name, missed=isinstance(error, GoalNotReachedError))
    failed.check(len(inputs))


def attempt(given: N, work: Callable[[N], None], *, command: str, console: Console, alone: bool) -> Exception | None:
    """Call `work` on one input; what is wrong with that one is told and returned, or raised where it is `alone`.

    Raises:
        Exception: what does not concern this input only.
    """
    try:
        work(given)
    except Exception as error:
        if not concerns_one_input(error):
            raise
        failure = explain(error)
        if not isinstance(error, GoalNotReachedError):  # that one has printed its result already
            console.result(command, input=given.name, error=failure.message)
        if alone:
            raise
        console.error(failure.message if given.name in failure.message else f"{given.name}: {failure.message}")
        return error
    return None


def concerns_one_input(error: Exception) -> bool:
    """Whether other inputs may still be done after that."""
    return isinstance(error, (BadInputError, GoalNotReachedError, UnsuitableInputError)) or is_out_of_memory(error)


def worth_preparing(inputs: int, skipping: Skipping, results: Iterable[Destination]) -> bool:
    """Whether to load what all inputs share before the first, so that what is wrong with it is told once.

    A single input is read first, since a wrong path is told at once then; and where all results are left as they are,
    there is nothing to load for.
    """
    there = skipping.wanted and all(each.path is not None and each.path.exists() for each in results)
    return inputs > 1 and not there


@dataclass
class Failed:
    """How many inputs failed, and the names of the first; the errors themselves would hold on to their pictures."""

    count: int = 0
    bad: bool = False
    names: list[str] = field(default_factory=list)

    def add(self, name: str, *, missed: bool) -> None:
        """Count one in; `missed`: it was done, and missed the goal."""
        self.count += 1
        self.bad = self.bad or not missed
        if len(self.names) < MOST_NAMES:
            self.names.append(name)

    def check(self, total: int) -> None:
        """Raise if there were any.

        Raises:
            BadInputError: not all of the `total` could be done.
            GoalNotReachedError: all could be done, but not all reached the goal.
        """
        if not self.count:
            return
        names = ", ".join(self.names) + (", …" if self.count > MOST_NAMES else "")
        if not self.bad:
            raise GoalNotReachedError(f"{self.count} of {total} inputs missed the goal: {names}.")
        others = " The others are done." if self.count < total else ""
        raise BadInputError(f"{self.count} of {total} inputs could not be done: {names}.{others}")
