"""What using a generator can be told, with every default in one place. No torch here: the command line reads this."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLES = 64
"""Pictures of a grid, unless told otherwise; with classes so many more that every class has as many."""
FEWEST_JUDGED = 10
"""Pictures below which there is no neighbourhood to speak of, real or generated."""
LEAST_TRUNCATION = 0.05
"""Tighter bounds would take thousands of draws for each number, to make pictures that are all the same."""


@dataclass(frozen=True)
class WalkOptions:
    """How a walk between pictures is shown.

    Attributes:
        stops: pictures that are walked between; with classes one of each, if there are so many.
        most_stops: of a generator with classes.
        per_leg: frames from one stop to the next in an animation; on a strip, where each picture takes its place.
        per_leg_on_strip: the same on a strip.
        fps: frames of an animation a second.
    """

    stops: int = 6
    most_stops: int = 10
    per_leg: int = 16
    per_leg_on_strip: int = 10
    fps: float = 16.0


@dataclass(frozen=True)
class InvertOptions:
    """How the noise behind a picture is looked for.

    Attributes:
        starts: places where the search begins, all at once.
        survivors: of them, that are followed to the end.
        steps: of all starts, then as many again of the survivors.
        rate: Adam's learning rate in the space of noise; it falls to a tenth in the second half.
        features: weight of what an image network sees against the plain difference of pixels. 0 leaves it out: on
            garments of 28 px it was measured to bring nothing.
        prior: weight of the noise's size against what the generator was trained with.
        seed: of the starts.
    """

    starts: int = 32
    survivors: int = 4
    steps: int = 300
    rate: float = 0.1
    features: float = 0.0
    prior: float = 0.002
    seed: int = 0


@dataclass(frozen=True)
class JudgeOptions:
    """How a generator is judged.

    Attributes:
        samples: generated pictures, and real ones they are compared with.
        seed: of noise, labels, and of the choice of real pictures.
        neighbours: real pictures shown beside each sample.
        shown: samples shown beside their neighbours.
    """

    samples: int = 5000
    seed: int = 0
    neighbours: int = 5
    shown: int = 10
