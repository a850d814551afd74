"""Curves over the steps or epochs of a run, laid out for the template that draws them as SVG. No torch here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 480, 260
"""Of a chart, in its own units."""
LEFT, RIGHT, TOP, BOTTOM = 58, 26, 12, 40
"""Margins around the curves."""
TICKS = 5
"""About so many to an axis."""
MARKED = 40
"""With more points than these, a curve is drawn without a mark at each."""

LARGEST, SMALLEST = 1e30, 1e-30
"""A value beyond the first is a gap like one that is not finite; differences below the second are none."""
ALIKE = 1e-6
"""Relative difference of values that are taken for equal: float32 has no more."""


@dataclass(frozen=True)
class Curve:
    """One quantity over time.

    Attributes:
        name: of the quantity, for the legend.
        steps: of the points, or epochs.
        values: one for each; NaN, and what else is not finite, leaves a gap.
        low, high: ends of their intervals; empty, or one for each.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Drawn:
    """A curve in the chart's units.

    Attributes:
        name: as given.
        lines: ``points`` of polylines, one for each part without gaps.
        bands: ``points`` of polygons from the low to the high ends.
        marks: x, y and what to say there, of each point.
        last: the last value, written out.
    """

    name: str
    lines: tuple[str, ...]
    bands: tuple[str, ...]
    marks: tuple[tuple[float, float, str], ...]
    last: str


@dataclass(frozen=True)
class Chart:
    """Everything the template draws.

    Attributes:
        title: what is shown.
        note: how to read it, one sentence; may be empty.
        curves: at least one, with at least one point each.
        x, y: the ticks of both axes.
        events: places on the axis of x.
        logarithmic: each tick of y is a power or a simple multiple of one.
        by: what x counts.
    """

    title: str
    note: str
    curves: tuple[Drawn, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    events: tuple[float, ...]
    logarithmic: bool
    by: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @property
    def summary(self) -> str:
        """For those who cannot see it."""
        last = ", ".join(f"{each.name} {each.last}" for each in self.curves)
        return f"{self.title} by {self.by}. Last: {last}."


def chart(
    title: str,
    curves: Sequence[Curve],
    *,
    note: str = "",
    within: tuple[float, float] | None = None,
    may_be_logarithmic: bool = False,
    events: Sequence[float] = (),
    by: str = "step",
    finest: float = 0.0,
) -> Chart | None:
    """Lay out curves over common axes; None when none of them has a finite value.

    Args:
        title: of the chart.
        curves: those without a finite value are left out.
        note: how to read it.
        within: ends of y at least, unless it is logarithmic; what lies outside widens them.
        may_be_logarithmic: y is so if all values are positive and their range is over 20-fold.
        events: steps at which something happened; those on the axis become vertical lines.
        by: what x counts.
        finest: ticks of x are at least so far apart.
    """
    shown = [curve for curve in curves if any(_is_number(value) for value in curve.values)]
    if not shown:
        return None
    end = max(step for curve in shown for step in curve.steps)
    values = [v for curve in shown for v in (*curve.values, *curve.low, *curve.high) if _is_number(v)]
    logarithmic = may_be_logarithmic and min(values) > 0 and max(values) / min(values) > 20
    widened = values if logarithmic else [*values, *(within or ())]
    low, high = min(widened), max(widened)
    x_ticks, to_x = _axis(0.0, end, LEFT, WIDTH - RIGHT, snug=True, finest=finest)
    y_ticks, to_y = (_log_axis if logarithmic else _axis)(low, high, HEIGHT - BOTTOM, TOP)
    drawn = tuple(_drawn(curve, to_x, to_y, by) for curve in shown)
    lines = tuple(to_x(event) for event in events if 0 <= event <= end)
    return Chart(title, note, drawn, x_ticks, y_ticks, lines, logarithmic, by)


def number(value: float) -> str:
    """For people: three or four digits, thousands separated; not a number is a dash."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"


def _is_number(value: float) -> bool:
    return abs(value) <= LARGEST  # False for NaN


Axis = tuple[tuple[Tick, ...], Callable[[float], float]]


def _axis(low: float, high: float, start: float, end: float, *, snug: bool = False, finest: float = 0.0) -> Axis:
    """Ticks at round numbers, `finest` apart at least; and the map to start … end, which are ticks unless `snug`."""
    if high - low <= max(ALIKE * max(abs(low), abs(high)), SMALLEST):
        room = abs(low) / 2 if abs(low) > SMALLEST else 1.0
        low, high = low - room, high + room
    pace = max(finest, round_up((high - low) / TICKS))
    if snug:
        first, last = math.ceil(low / pace - 1e-9), math.floor(high / pace + 1e-9)
    else:
        first, last = math.floor(low / pace + 1e-9), math.ceil(high / pace - 1e-9)
        low, high = first * pace, last * pace

    def place(value: float) -> float:
        return round(start + (value - low) / (high - low) * (end - start), 1)

    return tuple(Tick(place(i * pace), _tick_text(i * pace, pace)) for i in range(first, last + 1)), place


def _log_axis(low: float, high: float, start: float, end: float) -> Axis:
    """The same for logarithms: ticks at 1, 2, 5, 10 … as far as there is room."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for parts in ((1, 2, 5), (1, 3), (1,)):
        ticks = [part * 10.0**power for power in range(first, last + 1) for part in parts]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= 2 * TICKS:
            break
    pace = max(1, -(-len(inside) // (2 * TICKS)))
    top, bottom = math.log(high), math.log(low)

    def place(value: float) -> float:
        return round(start + (math.log(value) - bottom) / (top - bottom) * (end - start), 1)

    return tuple(Tick(place(tick), _tick_text(tick, tick)) for tick in inside[::pace]), place


def round_up(pace: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(pace))
    return next(part * power for part in (1, 2, 5, 10) if part * power >= pace * (1 - 1e-9))


def _tick_text(value: float, pace: float) -> str:
    """With as many digits as tell neighbouring ticks apart."""
    size = max(abs(value), pace)
    if size >= 1e6 or pace < 1e-4:
        digits = 1 + math.floor(math.log10(size) + 1e-9) - math.floor(math.log10(pace) + 1e-9)
        return re.sub(r"e([+-])0*", lambda found: "e" + found[1].replace("+", ""), f"{value:.{digits}g}")
    return f"{value:,.{max(0, -math.floor(math.log10(pace) + 1e-9))}f}"


def _drawn(curve: Curve, to_x: Callable[[float], float], to_y: Callable[[float], float], by: str) -> Drawn:
    parts = _unbroken(curve)
    lines = tuple(_points([(to_x(curve.steps[i]), to_y(curve.values[i])) for i in part]) for part in parts)
    bands = tuple(_band(curve, part, to_x, to_y) for part in parts if len(part) > 1 and _has_interval(curve, part))
    there = [i for part in parts for i in part]
    marked = there if len(there) <= MARKED else [there[0], there[-1]]
    marks = tuple((to_x(curve.steps[i]), to_y(curve.values[i]), _said(curve, i, by)) for i in marked)
    return Drawn(curve.name, lines, bands, marks, number(curve.values[there[-1]]))


def _unbroken(curve: Curve) -> list[list[int]]:
    """Indices of values in a row that are numbers, of steps that only go up."""
    parts: list[list[int]] = [[]]
    for i, value in enumerate(curve.values):
        if parts[-1] and (not _is_number(value) or curve.steps[i] <= curve.steps[i - 1]):
            parts.append([])
        if _is_number(value):
            parts[-1].append(i)
    return [part for part in parts if part]


def _has_interval(curve: Curve, part: Sequence[int]) -> bool:
    ends = (curve.low, curve.high)
    return all(ends) and all(_is_number(end[i]) for end in ends for i in part)


def _band(curve: Curve, part: Sequence[int], to_x: Callable[[float], float], to_y: Callable[[float], float]) -> str:
    above = [(to_x(curve.steps[i]), to_y(curve.high[i])) for i in part]
    below = [(to_x(curve.steps[i]), to_y(curve.low[i])) for i in part]
    return _points([*above, *below[::-1]])


def _said(curve: Curve, i: int, by: str) -> str:
    return f"{curve.name} at {by} {number(curve.steps[i])}: {number(curve.values[i])}"


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)
