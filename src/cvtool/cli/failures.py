"""From an exception to the one line on stderr and the exit code: the only such table."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import Any

import typer

from cvtool.errors import BadInputError, CvtoolError, GoalNotReachedError, Interrupted, is_out_of_memory

# Typer may carry its own copy of Click, so the base classes are reached through the name Typer makes public:
# BadParameter → UsageError → ClickException.
TYPER_ERROR = typer.BadParameter.__mro__[2]

UNEXPECTED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell shows for a program that SIGPIPE ended, as it would for most programs."""


@dataclass(frozen=True)
class Failure:
    """What to say about an exception.

    Attributes:
        label: first word of the line, ``"error"`` nearly always.
        message: what, where, what to do.
        exit_code: what the process ends with.
    """

    message: str
    exit_code: int
    label: str = "error"


def explain(error: BaseException) -> Failure:
    """The line and the exit code for any exception that ends a command."""
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return Failure(str(error) or "nothing more was written", INTERRUPTED, "interrupted")
    if isinstance(error, GoalNotReachedError):
        return Failure(str(error), error.exit_code, "goal not reached")
    if isinstance(error, CvtoolError):
        return Failure(str(error), error.exit_code)
    if isinstance(error, TYPER_ERROR):
        return Failure(_usage_message(error), WRONG_USAGE)
    if isinstance(error, typer.Abort):
        return Failure("nothing was done", UNEXPECTED, "aborted")
    if is_out_of_memory(error):
        return Failure(
            "out of memory. A smaller --size needs less; so does --device cpu when a GPU ran out.", UNEXPECTED
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # even asking whether it is there raises
        return Failure(f"The name '{error.filename}' is too long. Check the path.", BadInputError.exit_code)
    if isinstance(error, OSError) and error.strerror:
        where = f" '{error.filename}'" if error.filename is not None else ""
        return Failure(f"{error.strerror}:{where} --debug shows where this came up.", UNEXPECTED)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Failure(f"unexpected failure: {what}. Run again with --debug for the traceback.", UNEXPECTED)


_NO_NUMBER = re.compile(r"Input should be (?:(?:less|greater) than|a valid (?:number|integer)).*")
"""How Typer tells, in the words of a library, that a number is missed or one end of a range."""


def _wanted_number(error: BaseException) -> str:
    """What number an option takes, with both ends of its range."""
    option: Any = getattr(error, "param", None)
    runtime = option.get_runtime_param() if hasattr(option, "get_runtime_param") else None
    declared = getattr(runtime, "parameter_info", None)
    low, high = getattr(declared, "min", None), getattr(declared, "max", None)
    kind = "a whole number" if getattr(runtime, "annotation", None) is int else "a number"
    reach = [f" from {low:.10g}" if low is not None else "", f" to {high:.10g}" if high is not None else ""]
    return f"it takes {kind}{''.join(reach) if high is not None or low is None else f' of at least {low:.10g}'}."


def _usage_message(error: BaseException) -> str:
    """Typer's own complaint, with a hint at the help of the command it is about."""
    message = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "cvtool"
    sentence = message.replace("Value error, ", "")  # how Typer's own checks begin
    sentence = _NO_NUMBER.sub(lambda _: _wanted_number(error), sentence)
    if not sentence.endswith((".", "?")):
        sentence += "."
    return f"{sentence} '{command} --help' lists what is possible."
