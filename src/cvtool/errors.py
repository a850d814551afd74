"""Everything that can go wrong, as one tree; each class carries the exit code of the command line.

    CvtoolError                     1   unexpected failure
    ├── UsageError                  2   wrong usage: the call cannot be carried out as written
    │   ├── UnknownNameError        2   a model, method, layer, class … that does not exist; names the nearest
    │   └── UnsuitableInputError    2   an input of such a kind or size that this call cannot be carried out for it
    ├── BadInputError               3   a file that is missing, unreadable, truncated or of another kind
    ├── WeightsUnavailableError     4   the model is known, its weights are not on this machine
    ├── GoalNotReachedError         5   the work was done, its goal was not reached
    └── Interrupted               130   the user pressed Ctrl-C

Messages are one line: what, where, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class CvtoolError(Exception):
    """Base of all errors that cvtool raises on purpose."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Comes out of another process as it was: not made again, which takes other arguments for other classes."""
        return _remade, (type(self), self.args), self.__dict__


class UsageError(CvtoolError):
    """The call cannot be carried out as written."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in the list of known ones.

    Args:
        kind: what the name should have named, e.g. ``"model"``.
        name: what was given.
        known: the names that exist; the nearest are shown.
        hint: what to do next, e.g. ``"'cvtool models' lists them."``
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.nearest = nearest_names(name, known)
        parts = [f"No {kind} '{name}'."]
        if self.nearest:
            parts.append(f"Nearest: {', '.join(self.nearest)}.")
        if hint:
            parts.append(hint)
        super().__init__(" ".join(parts))


class UnsuitableInputError(UsageError):
    """Sound, but too large or otherwise such that the call cannot be carried out for it; it could for another."""


class BadInputError(CvtoolError):
    """A file that is missing, unreadable, truncated, or not what it should be."""

    exit_code = 3


GIVE_WEIGHTS = "Give the file with --weights."


class WeightsUnavailableError(CvtoolError):
    """The model is known, but its weights are neither here nor can they be fetched."""

    exit_code = 4

    def advising(self, advice: str) -> WeightsUnavailableError:
        """The same of a network whose weights ``--weights`` does not give: with other `advice` than `GIVE_WEIGHTS`."""
        return WeightsUnavailableError(str(self).replace(GIVE_WEIGHTS, advice))


class GoalNotReachedError(CvtoolError):
    """The work was done and written, but it did not reach the goal asked for."""

    exit_code = 5


class Interrupted(CvtoolError):
    """The user asked to stop; what was finished has been written."""

    exit_code = 130


def _remade(kind: type[CvtoolError], args: tuple[Any, ...]) -> CvtoolError:
    return kind.__new__(kind, *args)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, in Python, NumPy or torch, on any device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # torch on the CPU raises a plain RuntimeError.
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def nearest_names(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The names most like `name`, best first: those spelled alike, then those that contain it."""
    folded = {candidate.casefold(): candidate for candidate in known}
    wanted = name.casefold()
    alike = difflib.get_close_matches(wanted, folded, n=count, cutoff=0.5)
    containing = sorted((k for k in folded if wanted and wanted in k), key=len)
    ranked = dict.fromkeys([*alike, *containing])
    return [folded[key] for key in ranked][:count]
