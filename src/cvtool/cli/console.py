"""The only place that prints: results to stdout, everything said to people to stderr."""

from __future__ import annotations

import json as json_format
import math
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from cvtool import __version__
from cvtool.cli.measure import cost, duration
from cvtool.progress import Progress, Step, silent

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class OutputClosed(Exception):
    """Whoever read our stdout went away; there is nobody left to write for."""


def one_line(text: str) -> str:
    """`text` fit for one line: white space as single blanks, control characters as escapes."""
    from cvtool.files import shown

    return shown(" ".join(text.split()))


_UNSAFE = re.compile("[\0-\x08\n-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What steers a terminal, breaks a line or turns its direction. The joiners of emoji and scripts, and blanks of other
widths, are not printable to Python either, but do no harm."""


def harmless(text: str) -> str:
    """A line as it may reach a terminal, whoever wrote what is in it: control characters but tabs as escapes."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


Said = tuple[str, str]
"""Where something was said, `OUT` or `ERR`, and the text."""
OUT, ERR = "out", "err"
WARNING = "cvtool: warning: "
LISTED = 10
"""Problems that are listed; of the others only the number is told."""
SILENCE_SECONDS = 30.0
"""After so long without a word, work says how far it is where no bar shows it."""
_tapes: list[list[Said]] = []
_verbose: list[Console] = []
"""Consoles of the running command that tell what it cost."""


@contextmanager
def cost_told() -> Iterator[None]:
    """A block in which one command runs; where its console is verbose, the time and memory it took are said at last."""
    started = time.perf_counter()
    _verbose.clear()
    try:
        yield
    finally:
        for console in _verbose[:1]:
            console.detail(cost(time.perf_counter() - started))


@contextmanager
def taped() -> Iterator[list[Said]]:
    """A block in which lines and what is said to people is not said but kept, for `replay`."""
    kept: list[Said] = []
    _tapes.append(kept)  # of all threads: some read pictures, and warn
    try:
        yield kept
    finally:
        _tapes.pop()


def replay(said: Iterable[Said]) -> None:
    """Say what was kept."""
    for where, text in said:
        _print(text) if where == OUT else _tell(text)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits at the other end; a stream that was closed from the start is None in Python."""
    return stream is not None and stream.isatty()


def _tell(text: str) -> None:
    """Print on stderr; nobody is told where it was closed from the start or went away, and the work goes on."""
    if _tapes:
        _tapes[-1].append((ERR, text))
    elif sys.stderr is not None:  # print would take stdout instead
        with suppress(BrokenPipeError):
            print(harmless(text), file=sys.stderr, flush=True)


def print_error(text: str, label: str = "error") -> None:
    """Say on stderr, in one line, what went wrong."""
    _tell(f"cvtool: {label}: {one_line(text)}")


def print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Stand in for `warnings.showwarning`: one line without the place in the code."""
    _tell(f"{WARNING}{one_line(str(message))}")


def list_problems(problems: Sequence[object], say: Callable[[str], None]) -> None:
    """Say the first of them, and how many more there are."""
    for problem in problems[:LISTED]:
        say(str(problem))
    if len(problems) > LISTED:
        say(f"… and {len(problems) - LISTED} more like these.")


class Console:
    """What one command says, and where.

    Args:
        json: print one JSON object per result on stdout.
        quiet: errors only; Python's warnings are silenced too.
        verbose: also say how long the stages took, and at the end of the command (`cost_told`) how long it took in all
            and how much memory.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose and not quiet
        self.listener: Callable[[Mapping[str, Any]], None] | None = None
        """Is told every result, with or without ``--json``."""
        self._said = time.monotonic()
        self._pace = _Pace()
        if self.verbose:
            _verbose.append(self)
        if quiet:
            warnings.simplefilter("ignore")

    @property
    def wants_results(self) -> bool:
        """Whether anybody wants to know what `result` says."""
        return self.json or self.listener is not None

    def result(
        self,
        command: str,
        *,
        input: str | None = None,
        output: str | None = None,
        model: str | None = None,
        device: str | None = None,
        seed: int | None = None,
        seconds: float | None = None,
        **more: Any,
    ) -> None:
        """With ``--json``, print one result as one line; numbers that are not finite become null."""
        if not self.wants_results:
            return
        common = {"command": command, "input": input, "output": output, "model": model, "device": device}
        record = _finite({**common, "seed": seed, "seconds": seconds, "version": __version__, **more})
        if self.listener is not None:
            self.listener(record)
        if self.json:  # ASCII only, so that no locale and no file name can break it
            # DEL is ASCII, and JSON lets it be.
            self.line(json_format.dumps(record, allow_nan=False).replace("\x7f", "\\u007f"))

    def table(self, rows: Iterable[Sequence[str]], header: Sequence[str] = (), *, aside: bool = False) -> None:
        """Print columns, aligned with blanks to stay easy to read and to cut: on stdout, or `aside` on stderr."""
        lines = [tuple(map(harmless, line)) for line in ((header, *rows) if header else rows)]
        if not lines:
            return
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        tell = self.say if aside else self.line
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            tell("  ".join(cells).rstrip())

    def line(self, text: str) -> None:
        """Print one line of data on stdout."""
        _print(text)

    def picture(self, data: bytes) -> None:
        """Write the bytes of a picture to stdout."""
        with _watched_stdout():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def say(self, text: str) -> None:
        """Tell people something on stderr, unless they asked for quiet."""
        if not self.quiet:
            self._said = time.monotonic()
            _tell(text)

    def _tell_of_life(self, step: Step) -> None:
        """Say how far the work is, where a log would show nothing for long; what is taped is read when all is done."""
        left = self._pace.left(step)
        if time.monotonic() - self._said >= SILENCE_SECONDS and not _tapes:
            total = f"/{step.total}" if step.total else ""
            more = f", about {duration(left)} left" if left else ""
            self.say(f"{step.stage}: {step.done}{total}{more}")

    def detail(self, text: str) -> None:
        """Say something only the verbose want to know."""
        if self.verbose:
            self.say(text)

    def warn(self, text: str) -> None:
        """Say on stderr that something is not as it may have been meant."""
        self.say(f"{WARNING}{one_line(text)}")

    def error(self, text: str) -> None:
        """Say on stderr what went wrong, also when quiet."""
        print_error(text)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Lend a listener for the time of some work: a bar on a terminal, else a line now and then; times of stages for
        the verbose.
        """
        stages = _StageTimes(self)
        hear_stages = stages if self.verbose else silent

        def both(step: Step) -> None:
            show(step)
            hear_stages(step)

        if self.quiet:
            yield silent
        elif not is_terminal(sys.stderr):
            show: Progress = self._tell_of_life
            yield both
        else:
            with _bar() as bar:
                show = _BarListener(bar)
                yield both
        if self.verbose:
            stages.finish()


class _Pace:
    """How long a stage goes on, by the steps that were heard of it: one that goes on with old work begins late."""

    def __init__(self) -> None:
        self.first: tuple[Step, float] | None = None
        self.last: Step | None = None

    def left(self, step: Step) -> float:
        """Seconds until the stage of this step ends; 0 where nobody knows."""
        now, before = time.monotonic(), self.last
        if self.first is None or before is None or before.stage != step.stage or before.done > step.done:
            self.first = (step, now)
        self.last = step
        first, since = self.first
        steps = step.done - first.done
        return (now - since) / steps * max(0, step.total - step.done) if steps else 0.0


class _StageTimes:
    """Says after each stage how many steps it took, and how long."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last: Step | None = None
        self.started = time.perf_counter()

    def __call__(self, step: Step) -> None:
        if self.last is not None and step.stage != self.last.stage:
            self.finish()
        self.last = step

    def finish(self) -> None:
        now = time.perf_counter()
        if self.last is not None:
            self.console.detail(f"{self.last.stage}: {self.last.done} steps in {now - self.started:.1f} s")
        self.last, self.started = None, now


class _BarListener:
    """Shows steps on a Rich bar: a fresh row of numbers for every stage."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.task = bar.add_task("starting", total=None, metrics="")
        self.stage = ""
        self.started = time.perf_counter()

    def __call__(self, step: Step) -> None:
        if step.stage != self.stage:
            self.stage, self.started = step.stage, time.perf_counter()
            self.bar.reset(self.task, description=step.stage, total=step.total or None)
        elapsed = time.perf_counter() - self.started
        rate = f"{step.done / elapsed:.1f} steps/s" if step.done and elapsed > 0 else ""
        metrics = " ".join([*(f"{name} {value:.4g}" for name, value in step.metrics.items()), rate])
        self.bar.update(self.task, completed=step.done, total=step.total or None, metrics=metrics)


def _bar() -> Bar:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[metrics]}", markup=False),
        TimeRemainingColumn(),
    )
    # stdout is left alone: it may carry JSON lines or a picture.
    return Bar(*columns, console=RichConsole(stderr=True), transient=True, redirect_stdout=False)


def _print(text: str) -> None:
    if _tapes:
        _tapes[-1].append((OUT, text))
        return
    with _watched_stdout():
        print(harmless(text), flush=True)


@contextmanager
def _watched_stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosed from error


def _finite(value: Any) -> Any:
    """`value` as JSON can hold it: tuples as lists, NaN and infinities as None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
