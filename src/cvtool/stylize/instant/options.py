"""What the instant painter and its training can be told, with every default in one place. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

WEAKEST = 30.0
"""The faintest strength a painter learns. Below, its picture fades into the content, which strength 0 gives back."""

WIDTHS, EMBEDDINGS = range(8, 513), range(8, 4097)
"""What `PainterOptions` may hold."""

BUNDLED = "painter.safetensors"
"""The painter that comes with the install; a file among the bundled assets."""


@dataclass(frozen=True)
class PainterOptions:
    """The shape of a painter's network.

    Attributes:
        width: channels at half of the picture's size; deeper maps have up to three times as many.
        embedding: numbers that a style's statistics are boiled down to.
    """

    width: int = 32
    embedding: int = 128


CHECKS = 24
"""Checks of a run, unless `InstantTrainOptions.every` says otherwise."""


@dataclass(frozen=True)
class InstantTrainOptions:
    """How a painter is trained.

    Attributes:
        steps: of the optimiser; None plans them by `budget`.
        budget: seconds of wall time, where `steps` is None.
        batch: pictures a step at the first, smallest size; fewer at larger ones, so that a step costs the same.
        rate: learning rate at its highest; it rises over the first steps and falls along a cosine to 0.
        ema: decay of the average over weights, which is what is kept.
        photos: share of the styles that are contents' pictures: the painter learns what no painting shows.
        held_out: share of the contents and of the styles that the checks keep for themselves.
        every: steps between checks; None asks the plan.
        samples: pairs that a check paints, in sixes; six at least.
        skip_bad: go on without pictures that cannot be read.
        seed: of everything random.
        precision: ``auto``, ``fp32`` or ``bf16``.
    """

    steps: int | None = None
    budget: float = 3600.0
    batch: int = 4
    rate: float = 2e-3
    ema: float = 0.998
    photos: float = 0.3
    held_out: float = 0.1
    every: int | None = None
    samples: int = 12
    skip_bad: bool = False
    seed: int = 0
    precision: str = "auto"
