"""The page of a training run: curves, pictures over time and settings in one HTML file that needs no network.

What is trained, what its measures are called and what is drawn of them says a `Kind`, one for each training command.
No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cvtool.charts import Chart, Curve, chart, number
from cvtool.pages import render, rows, worded

FRAMES = 40
"""At most so many pictures over time are on the page, evenly over the run."""
TEMPLATE, SCRIPT = "run.html.j2", "run.js"

Record = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True)
class Panel:
    """A chart of some of the measures; it is left out where none of them was measured.

    Attributes:
        title: of the chart.
        keys: of the measures, at most three.
        note: how to read it.
        within: see `cvtool.charts.chart`.
        may_be_logarithmic: likewise.
    """

    title: str
    keys: tuple[str, ...]
    note: str = ""
    within: tuple[float, float] | None = None
    may_be_logarithmic: bool = False


@dataclass(frozen=True)
class Kind:
    """What the pages of all runs of a command have in common.

    Attributes:
        what: is trained, e.g. ``generator``.
        by: key of the records that counts them, and what people call it: ``step`` or ``epoch``.
        names: what people call the keys, in the order of the table.
        panels: in the order of the page.
        tiles: keys of what is shown of the best record, large.
        judge: key of what decides which record is best, and its name within a sentence.
        shows: what the pictures over time show.
        finest: ticks of the charts are at least so far apart.
    """

    what: str
    by: str
    names: Mapping[str, str]
    panels: Sequence[Panel]
    tiles: Sequence[str]
    judge: tuple[str, str]
    shows: str
    finest: float = 0.0


@dataclass(frozen=True)
class Frame:
    """A picture of the run at some time, as the page has it: what stands below, its URL, and what it shows."""

    caption: str
    picture: str
    alt: str


@dataclass(frozen=True)
class Tile:
    """A measure, written out; `interval` is empty where none is known."""

    name: str
    value: str
    interval: str


def page(
    kind: Kind,
    records: Sequence[Record],
    *,
    best: Record | None,
    frames: Sequence[Frame],
    config: Mapping[str, object],
    command: str,
    title: str,
    package: str = "cvtool",
    template: str = TEMPLATE,
    **own: Any,
) -> str:
    """The page as HTML text, to be written as UTF-8; the same arguments give the same text.

    Args:
        kind: of run.
        records: the run's metrics in order, each counted by ``kind.by``; what is missing or not finite leaves gaps.
            ``trouble`` (a text) is shown above all.
        best: the one of them whose checkpoint is kept as the best.
        frames: pictures in order, see `frame` and `thinned`.
        config: the run's settings, name → value; mappings within become ``outer.inner``; the command is shown apart.
        command: the shell command that repeats the run.
        title: heading and name of the page.
        package, template: of a page that adds something of its own, in the block ``own``.
        own: what its template asks for.
    """
    return render(
        package,
        template,
        [SCRIPT],
        what=kind.what,
        by=kind.by,
        title=title,
        troubles=[(number(value(each, kind.by)), each["trouble"]) for each in records if each.get("trouble")],
        best=None if best is None else number(value(best, kind.by)),
        tiles=[] if best is None else _tiles(kind, best),
        frames=frames,
        charts=_charts(kind, records),
        columns=(columns := _columns(kind, records)),
        rows=[[number(value(each, key)) for key, _ in columns] for each in records],
        settings=[(name, worded(found)) for name, found in rows(config) if name != "command_line"],
        command=command,
        **own,
    )


def value(record: Record, key: str) -> float:
    """NaN where there is none."""
    found = record.get(key)
    try:
        return float(found) if isinstance(found, (int, float)) else math.nan
    except OverflowError:  # whole numbers have no end
        return math.nan


def last_best(records: Sequence[Record]) -> Record | None:
    """The last record that said of itself that it is the best so far."""
    return next((each for each in reversed(records) if each.get("is_best") is True), None)


def frame(kind: Kind, records: Sequence[Record], count: int, picture: str, said: str = "") -> Frame:
    """A picture of step or epoch `count`.

    Args:
        kind: of run.
        records: among which is what was measured then.
        count: which it was.
        picture: its URL.
        said: more about what it shows, for those who cannot see it.
    """
    key, name = kind.judge
    caption = f"{kind.by.capitalize()} {number(count)}"
    measured = [value(each, key) for each in records if value(each, kind.by) == count]
    if measured and math.isfinite(measured[-1]):
        caption += f", {name} {number(measured[-1])}"
    return Frame(caption, picture, f"{kind.shows}. {caption}.{said and f' {said}'}")


def thinned(items: Sequence[T]) -> list[T]:
    """At most `FRAMES` of them, evenly, the first and the last among them."""
    if len(items) <= FRAMES:
        return list(items)
    return [items[round(i * (len(items) - 1) / (FRAMES - 1))] for i in range(FRAMES)]


def _tiles(kind: Kind, record: Record) -> list[Tile]:
    """What was measured then, with intervals where there are."""
    tiles = []
    for key in kind.tiles:
        found, low, high = (value(record, name) for name in (key, f"{key}_low", f"{key}_high"))
        if math.isfinite(found):
            interval = f"{number(low)} to {number(high)}" if math.isfinite(low + high) else ""
            tiles.append(Tile(kind.names[key], number(found), interval))
    return tiles


def _charts(kind: Kind, records: Sequence[Record]) -> list[Chart]:
    events = [value(each, kind.by) for each in records if each.get("trouble")]
    laid_out = (
        chart(
            panel.title,
            [_curve(kind, key, records) for key in panel.keys],
            note=panel.note,
            within=panel.within,
            may_be_logarithmic=panel.may_be_logarithmic,
            events=events,
            by=kind.by,
            finest=kind.finest,
        )
        for panel in kind.panels
    )
    return [each for each in laid_out if each is not None]


def _curve(kind: Kind, key: str, records: Sequence[Record]) -> Curve:
    there = [each for each in records if key in each and math.isfinite(value(each, kind.by))]
    low, high = ([value(each, f"{key}_{end}") for each in there] for end in ("low", "high"))
    return Curve(
        kind.names[key],
        [value(each, kind.by) for each in there],
        [value(each, key) for each in there],
        low,
        high,
    )


def _columns(kind: Kind, records: Sequence[Record]) -> list[tuple[str, str]]:
    """Key and name of what any record has."""
    return [(key, name) for key, name in kind.names.items() if any(key in each for each in records)]
