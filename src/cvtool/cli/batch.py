"""Do the same to several inputs: a bad one is reported, the others are still done."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from cvtool.cli.console import Console
from cvtool.cli.failures import explain
from cvtool.errors import BadInputError, CvtoolError, GoalNotReachedError, is_out_of_memory


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

    A bad input, a goal that was not reached, and an input too big for the memory end only that input's
    work. Wrong usage and everything unexpected ends all: it would meet the next input, too.

    Raises:
        CvtoolError: what a single input raised.
        BadInputError: several inputs, and not all could be done.
        GoalNotReachedError: several inputs, all could be done, but not all reached the goal.
    """
    failed = _Failed()
    for given in inputs:
        try:
            work(given)
        except Exception as error:
            if not _concerns_one_input(error):
                raise
            failure = explain(error)
            if not isinstance(error, GoalNotReachedError):  # that one has printed its result already
                console.result(command, input=given.name, error=failure.message)
            if len(inputs) == 1:
                raise
            console.error(failure.message if given.name in failure.message else f"{given.name}: {failure.message}")
            failed.add(given.name, error)
    if failed.count:
        raise failed.summary(len(inputs))


def _concerns_one_input(error: Exception) -> bool:
    return isinstance(error, (BadInputError, GoalNotReachedError)) or is_out_of_memory(error)


@dataclass
class _Failed:
    """How many inputs failed, and the names of the first; the errors themselves would hold on to their pictures."""

    count: int = 0
    bad: bool = False
    names: list[str] = field(default_factory=list)

    def add(self, name: str, error: Exception) -> None:
        self.count += 1
        self.bad = self.bad or not isinstance(error, GoalNotReachedError)
        if len(self.names) < MOST_NAMES:
            self.names.append(name)

    def summary(self, total: int) -> CvtoolError:
        names = ", ".join(self.names) + (", …" if self.count > MOST_NAMES else "")
        if not self.bad:
            return GoalNotReachedError(f"{self.count} of {total} inputs missed the goal: {names}.")
        return BadInputError(f"{self.count} of {total} inputs could not be done: {names}. The others are written.")
