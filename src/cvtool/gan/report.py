"""The page of a run: curves, pictures over time and settings in one HTML file that needs no network. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cvtool.gan.charts import Chart, Curve, chart, number
from cvtool.pages import data_url, render, rows, worded

GRIDS = 40
"""At most so many grids are on the page, evenly over the run."""
_PACKAGE, _PAGE, _SCRIPT = "cvtool.gan", "run.html.j2", "run.js"

_NAMES = {
    "step": "Step",
    "fd": "Fréchet distance",
    "kd": "Kernel distance",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "nearest": "Nearest real picture",
    "loss_g": "Generator",
    "loss_d": "Discriminator",
    "penalty": "Penalty",
    "loss": "Sum",
    "reconstruction": "Reconstruction",
    "divergence": "Divergence",
    "accuracy_d": "Accuracy",
    "pictures_per_second": "Pictures/s",
    "seconds": "Seconds",
}
"""What people call the keys of a check, in the order of the table."""


@dataclass(frozen=True)
class _Panel:
    title: str
    keys: tuple[str, ...]
    note: str = ""
    within: tuple[float, float] | None = None
    may_be_logarithmic: bool = False


_PANELS = (
    _Panel("Fréchet distance", ("fd",), "Lower is better. The band holds 95 %.", (0.0, 0.0), may_be_logarithmic=True),
    _Panel("Kernel distance", ("kd",), "Lower is better; about 0 for real pictures.", (0.0, 0.0)),
    _Panel(
        "Fidelity and variety",
        ("precision", "recall", "coverage"),
        "Precision: samples that look real. Recall and coverage: real pictures that are like samples.",
        (0.0, 1.0),
    ),
    _Panel("Losses", ("loss_g", "loss_d"), "Of a game: they need not fall.", (0.0, 0.0)),
    _Panel("Penalty", ("penalty",), "On the discriminator's gradients, before its weight.", (0.0, 0.0)),
    _Panel(
        "Losses of the autoencoder",
        ("loss", "reconstruction", "divergence"),
        "Per picture; their sum is the negative evidence lower bound.",
        (0.0, 0.0),
    ),
    _Panel("Discriminator's accuracy", ("accuracy_d",), "0.5 is chance; near 1 it teaches nothing.", (0.0, 1.0)),
    _Panel(
        "Nearest real picture",
        ("nearest",),
        "Distance against that among real pictures; near 0 samples are copies.",
        (0.0, 1.0),
    ),
)


def page(
    config: Mapping[str, object],
    checks: Sequence[Mapping[str, object]],
    grids: Sequence[tuple[int, bytes]] = (),
    *,
    walk: bytes | None = None,
    neighbours: bytes | None = None,
    command: str = "",
    title: str = "Training of a generator",
) -> str:
    """The page as HTML text, to be written as UTF-8; the same arguments give the same text.

    Args:
        config: the run's settings, name → value; mappings within become ``outer.inner``.
        checks: the run's metrics in order, each with ``step`` and what was measured; what is missing or not finite
            leaves gaps. ``trouble`` (a text) is shown above all.
        grids: step and PNG file of pictures of the same noise, in order; at most `GRIDS` are shown.
        walk: an animated WebP file of a walk through the latent space.
        neighbours: a PNG file of samples beside the nearest training pictures.
        command: the shell command that repeats the run.
        title: heading and name of the page.
    """
    best = _best(checks)
    return render(
        _PACKAGE,
        _PAGE,
        [_SCRIPT],
        title=title,
        troubles=[(number(_value(each, "step")), each["trouble"]) for each in checks if each.get("trouble")],
        best=None if best is None else number(_value(best, "step")),
        tiles=[] if best is None else _tiles(best),
        frames=[_frame(step, png, checks) for step, png in _thinned(grids)],
        walk=None if walk is None else data_url(walk, "image/webp"),
        neighbours=None if neighbours is None else data_url(neighbours, "image/png"),
        charts=_charts(checks),
        columns=(columns := _columns(checks)),
        rows=[[number(_value(each, key)) for key, _ in columns] for each in checks],
        settings=[(name, worded(value)) for name, value in rows(config)],
        command=command,
    )


def _value(check: Mapping[str, object], key: str) -> float:
    """NaN where there is none."""
    found = check.get(key)
    return float(found) if isinstance(found, (int, float)) else math.nan


def _best(checks: Sequence[Mapping[str, object]]) -> Mapping[str, object] | None:
    """The check of the smallest Fréchet distance."""
    measured = [each for each in checks if math.isfinite(_value(each, "fd"))]
    return min(measured, key=lambda each: _value(each, "fd"), default=None)


@dataclass(frozen=True)
class _Tile:
    name: str
    value: str
    interval: str


def _tiles(check: Mapping[str, object]) -> list[_Tile]:
    """What was measured of samples, with intervals where there are."""
    tiles = []
    for key in ("fd", "kd", "precision", "recall", "coverage", "nearest"):
        value, low, high = (_value(check, name) for name in (key, f"{key}_low", f"{key}_high"))
        if math.isfinite(value):
            interval = f"{number(low)} to {number(high)}" if math.isfinite(low + high) else ""
            tiles.append(_Tile(_NAMES[key], number(value), interval))
    return tiles


@dataclass(frozen=True)
class _Frame:
    caption: str
    picture: str
    alt: str


def _frame(step: int, png: bytes, checks: Sequence[Mapping[str, object]]) -> _Frame:
    caption = f"Step {number(step)}"
    distances = [_value(each, "fd") for each in checks if _value(each, "step") == step]
    if distances and math.isfinite(distances[-1]):
        caption += f", Fréchet distance {number(distances[-1])}"
    return _Frame(caption, data_url(png, "image/png"), f"Grid of generated pictures. {caption}.")


def _thinned(grids: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """At most `GRIDS` of them, evenly, the first and the last among them."""
    if len(grids) <= GRIDS:
        return list(grids)
    return [grids[round(i * (len(grids) - 1) / (GRIDS - 1))] for i in range(GRIDS)]


def _charts(checks: Sequence[Mapping[str, object]]) -> list[Chart]:
    events = [_value(each, "step") for each in checks if each.get("trouble")]
    laid_out = (
        chart(
            panel.title,
            [_curve(key, checks) for key in panel.keys],
            note=panel.note,
            within=panel.within,
            may_be_logarithmic=panel.may_be_logarithmic,
            events=events,
        )
        for panel in _PANELS
    )
    return [each for each in laid_out if each is not None]


def _curve(key: str, checks: Sequence[Mapping[str, object]]) -> Curve:
    there = [each for each in checks if key in each and math.isfinite(_value(each, "step"))]
    low, high = ([_value(each, f"{key}_{end}") for each in there] for end in ("low", "high"))
    return Curve(
        _NAMES[key],
        [_value(each, "step") for each in there],
        [_value(each, key) for each in there],
        low,
        high,
    )


def _columns(checks: Sequence[Mapping[str, object]]) -> list[tuple[str, str]]:
    """Key and name of what any check has."""
    return [(key, name) for key, name in _NAMES.items() if any(key in each for each in checks)]
