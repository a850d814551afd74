"""The page of a generator's run: what `cvtool.run_pages` shows of any, a walk and nearest pictures. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cvtool.pages import data_url
from cvtool.run_pages import Kind, Panel, Record, frame, thinned, value
from cvtool.run_pages import page as run_page

_PACKAGE, _PAGE = "cvtool.gan", "generator.html.j2"

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

_PANELS = (
    Panel("Fréchet distance", ("fd",), "Lower is better. The band holds 95 %.", (0.0, 0.0), may_be_logarithmic=True),
    Panel("Kernel distance", ("kd",), "Lower is better; about 0 for real pictures.", (0.0, 0.0)),
    Panel(
        "Fidelity and variety",
        ("precision", "recall", "coverage"),
        "Precision: samples that look real. Recall and coverage: real pictures that are like samples.",
        (0.0, 1.0),
    ),
    Panel("Losses", ("loss_g", "loss_d"), "Of a game: they need not fall.", (0.0, 0.0)),
    Panel("Penalty", ("penalty",), "On the discriminator's gradients, before its weight.", (0.0, 0.0)),
    Panel(
        "Losses of the autoencoder",
        ("loss", "reconstruction", "divergence"),
        "Per picture; their sum is the negative evidence lower bound.",
        (0.0, 0.0),
    ),
    Panel("Discriminator's accuracy", ("accuracy_d",), "0.5 is chance; near 1 it teaches nothing.", (0.0, 1.0)),
    Panel(
        "Nearest real picture",
        ("nearest",),
        "Distance against that among real pictures; near 0 samples are copies.",
        (0.0, 1.0),
    ),
)

_KIND = Kind(
    what="generator",
    by="step",
    names=_NAMES,
    panels=_PANELS,
    tiles=("fd", "kd", "precision", "recall", "coverage", "nearest"),
    judge=("fd", "Fréchet distance"),
    shows="Grid of generated pictures",
)


def page(
    config: Mapping[str, object],
    checks: Sequence[Record],
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
        grids: step and PNG file of pictures of the same noise, in order; at most `cvtool.run_pages.FRAMES` are shown.
        walk: an animated WebP file of a walk through the latent space.
        neighbours: a PNG file of samples beside the nearest training pictures.
        command: the shell command that repeats the run.
        title: heading and name of the page.
    """
    return run_page(
        _KIND,
        checks,
        best=_best(checks),
        frames=[frame(_KIND, checks, step, data_url(png, "image/png")) for step, png in thinned(grids)],
        config=config,
        command=command,
        title=title,
        package=_PACKAGE,
        template=_PAGE,
        walk=None if walk is None else data_url(walk, "image/webp"),
        neighbours=None if neighbours is None else data_url(neighbours, "image/png"),
    )


def _best(checks: Sequence[Record]) -> Record | None:
    """The check of the smallest Fréchet distance."""
    measured = [each for each in checks if math.isfinite(value(each, "fd"))]
    return min(measured, key=lambda each: value(each, "fd"), default=None)
