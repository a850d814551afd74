"""``--report``: all results of a command on one page of HTML, which needs nothing but itself.

The page hears what ``--json`` says (`Console.listener`); the commands only add pictures and the line that repeats them.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import typer

from cvtool import __version__
from cvtool.cli.console import Console, one_line
from cvtool.cli.failures import explain
from cvtool.cli.outputs import Destination, check_besides, files_of, make_folder
from cvtool.errors import BadInputError, GoalNotReachedError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cvtool.cli.reporting_facts import Table

SUFFIXES = (".html", ".htm")
LONGEST, SHORTEST = 1024, 160  # pixels, of previews
FULL_SIZE = 16  # results up to which previews have the longest side
THUMBNAIL = 320  # pixels, of inputs that all results share


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture for the page.

    Attributes:
        caption: what stands at it.
        alt: what it shows, for those who do not see it.
        pixels: (H, W, 3) in [0, 1], sRGB or the RGB of `profile`.
        alpha: (H, W) in [0, 1], or None.
        profile: an ICC profile, or None.
    """

    caption: str
    alt: str
    pixels: NDArray[np.float32]
    alpha: NDArray[np.float32] | None = None
    profile: bytes | None = None


@dataclass(frozen=True)
class Preview:
    """A picture as it is on the page."""

    caption: str
    alt: str
    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Link:
    """A file's name, and the way to it from the page; "" where there is none."""

    name: str
    url: str


@dataclass(frozen=True)
class Pending:
    """What was shown of a result that is yet to be told."""

    pair: tuple[Preview, ...] = ()
    pictures: tuple[Preview, ...] = ()
    command: str = ""
    lead: str = ""


@dataclass(frozen=True)
class Chapter:
    """What a page with several techniques says of one."""

    heading: str
    sentence: str
    command: str


@dataclass(frozen=True)
class Entry:
    """One result on the page."""

    heading: str
    sentence: str
    lead: str
    missed: bool
    pair: tuple[Preview, ...]
    pictures: tuple[Preview, ...]
    rows: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    command: str
    files: tuple[Link, ...]


@dataclass(eq=False)
class Report:
    """Collects the results of a command, and writes its page at the end.

    Attributes:
        path: of the page; None if none is wanted, and then nothing is collected.
        title: heading and name of the page.
        results: how many there may be; the more, the smaller are the previews.
        introduction: paragraphs below the title.
        chapter: stands for what a result would say of itself, in a page with several techniques.
    """

    path: Path | None = None
    title: str = ""
    results: int = 1
    introduction: tuple[str, ...] = ()
    chapter: Chapter | None = None
    entries: list[Entry] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    _inputs: dict[str, Preview] = field(default_factory=dict)
    _aside: list[Preview] = field(default_factory=list)
    _pending: Pending = field(default_factory=Pending)
    _open: int = 0
    _stopped: str = ""

    @property
    def wanted(self) -> bool:
        """Whether there is anything to collect for."""
        return self.path is not None

    def share(self, *pictures: Shown) -> None:
        """Show inputs of all results, each once however often it is given; in a chapter, with its result."""
        for each in pictures if self.wanted else ():
            if self.chapter is not None:
                self._aside.append(_preview(each, THUMBNAIL))
            elif each.caption not in self._inputs:
                self._inputs[each.caption] = _preview(each, THUMBNAIL)

    def show(self, *pictures: Shown, pair: Sequence[Shown] = (), command: str = "", lead: str = "") -> None:
        """Show pictures of the result that is told next.

        Args:
            pictures: each by itself, the most important first.
            pair: before and after, of one shape: a slider compares them.
            command: the shell command that makes the result again.
            lead: the result in a sentence.
        """
        if self.wanted:
            side = preview_side(self.results)
            first, others = (tuple(_preview(each, side) for each in group) for group in (pair, pictures))
            self._pending = Pending(first, others, command, lead)

    def hear(self, record: Mapping[str, Any]) -> None:
        """Take in what JSON says of a result, or of an input that failed."""
        from cvtool.cli.reporting_facts import numbers, tables

        shown, aside, chapter = self._pending, tuple(self._aside), self.chapter
        self._pending = Pending()
        self._aside.clear()
        name = record["input"] or record["output"] or record["command"]
        if "error" in record:
            self.failed.append((one_line(chapter.heading if chapter else name), one_line(record["error"])))
            return
        method = record.get("method")
        self.entries.append(
            Entry(
                heading=chapter.heading if chapter else one_line(f"{name}, {method}" if method else name),
                sentence=chapter.sentence if chapter else "",
                lead=shown.lead,
                missed=record.get("success") is False,
                pair=shown.pair,
                pictures=shown.pictures + aside,
                rows=numbers(record),
                tables=tables(record),
                command=chapter.command if chapter else shown.command,
                files=tuple(self._link(record[key]) for key in ("input", "output") if record[key]),
            )
        )

    @contextmanager
    def written(self, console: Console) -> Iterator[None]:
        """Write the page after the block, however that ends, if anything was finished; within itself, it waits.

        Raises:
            CvtoolError: the page cannot be written.
        """
        self._open += 1
        try:
            yield
        except (BadInputError, GoalNotReachedError):  # listed by themselves
            raise
        except BaseException as error:
            self._stopped = one_line(explain(error).message)
            raise
        finally:
            self._open -= 1
            if self.path is not None and self.entries and not self._open:
                self._write(self.path)
                console.say(f"report -> {self.path}")

    def _write(self, path: Path) -> None:
        from cvtool.files import write_atomically
        from cvtool.pages import PREVIEW_QUALITY, encoded, render
        from cvtool.provenance import environment

        now = datetime.now().astimezone()
        page = render(
            "cvtool",
            "results.html.j2",
            ["compare.js"] if any(entry.pair for entry in self.entries) else [],
            title=self.title,
            made=f"Made on {now:%Y-%m-%d at %H:%M %Z} by cvtool {__version__}.",
            introduction=self.introduction,
            brief=self.chapter is not None,
            stopped=self._stopped,
            failed=self.failed,
            inputs=list(self._inputs.values()),
            entries=self.entries,
            versions=[
                ("cvtool", __version__),
                *environment().items(),
                ("machine", f"{platform.machine()}, {os.cpu_count()} processors"),
            ],
            quality=PREVIEW_QUALITY,
            side=preview_side(self.results),
        )
        make_folder(path.parent)
        write_atomically(path, encoded(page))

    def _link(self, name: str) -> Link:
        """A relative link, so that page and results can be moved together."""
        assert self.path is not None
        shown = one_line(name)
        if not os.path.isfile(name):
            return Link(shown, "")
        try:
            way = os.path.relpath(name, self.path.parent)
        except ValueError:  # on another drive of Windows
            return Link(shown, Path(name).resolve().as_uri())
        return Link(shown, quote(Path(way).as_posix().encode("utf-8", "surrogateescape")))


def plan_report(
    context: typer.Context,
    console: Console,
    path: Path | None,
    *,
    results: int,
    inputs: Iterable[Path],
    destinations: Iterable[Destination | None] = (),
    taken: Iterable[Path] = (),
) -> Report:
    """The report of a command; told to the console, so that it hears of all results.

    Args:
        context: of the running command. A tour puts its own report there.
        console: of the running command.
        path: of the page, None for none.
        results: how many pictures will be made.
        inputs: files that are read; none may be written to.
        destinations: of the results.
        taken: other files that will be written, absolute.

    Raises:
        UsageError: the page has no suffix of a page, cannot be written, or is an input or another output.
    """
    report = context.obj if isinstance(context.obj, Report) else Report(path, context.command_path, results)
    if path is not None:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"--report '{path}' must end in .html.")
        check_besides(path, inputs, "--report", {*files_of(destinations), *taken})
    if report.wanted:
        console.listener = report.hear
    return report


def preview_side(results: int) -> int:
    """Longer side of a preview in pixels: all previews of a page together stay at about as many pixels."""
    return max(SHORTEST, min(LONGEST, int(LONGEST * math.sqrt(FULL_SIZE / max(1, results)))))


def _preview(shown: Shown, side: int) -> Preview:
    from cvtool.images import fit_longer_side
    from cvtool.pages import preview

    height, width = shown.pixels.shape[:2]
    if max(height, width) > side:
        height, width = fit_longer_side(height, width, side)
    url = preview(shown.pixels, side, alpha=shown.alpha, profile=shown.profile)
    return Preview(one_line(shown.caption), one_line(shown.alt), url, width, height)
