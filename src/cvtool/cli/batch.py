"""Do the same to several inputs: a bad one is reported, the others are still done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def for_each(inputs: Iterable[N], work: Callable[[N], None], *, command: str, console: Console) -> None:
    """Call `work` on every input.

    A bad input, a goal that was not reached, and an input too big for the memory end only that input's
    work. Wrong usage and everything unexpected ends all: it would meet the next input, too.

    Raises:
        CvtoolError: what a single input raised.
        BadInputError: several inputs, and not all could be done.
        GoalNotReachedError: several inputs, all could be done, but not all reached the goal.
    """
    every = list(inputs)
    failed: list[tuple[str, BaseException]] = []
    for given in every:
        try:
            work(given)
        except Exception as error:
            if not _concerns_one_input(error):
                raise
            failure = explain(error)
            if not isinstance(error, GoalNotReachedError):  # that one has printed its result already
                console.result(command, input=given.name, error=failure.message)
            if len(every) == 1:
                raise
            console.error(failure.message if given.name in failure.message else f"{given.name}: {failure.message}")
            failed.append((given.name, error))
    if failed:
        raise _summary(failed, len(every))


def _concerns_one_input(error: Exception) -> bool:
    return isinstance(error, (BadInputError, GoalNotReachedError)) or is_out_of_memory(error)


def _summary(failed: list[tuple[str, BaseException]], total: int) -> CvtoolError:
    names = ", ".join(name for name, _ in failed[:10]) + (", …" if len(failed) > 10 else "")
    if all(isinstance(error, GoalNotReachedError) for _, error in failed):
        return GoalNotReachedError(f"{len(failed)} of {total} inputs missed the goal: {names}.")
    return BadInputError(f"{len(failed)} of {total} inputs could not be done: {names}. The others are written.")
