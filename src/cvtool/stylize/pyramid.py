"""Scales and steps: a plan from small to large, and how it is cut to a budget of time. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cvtool.errors import UnsuitableInputError, UsageError
from cvtool.images import fit_longer_side

MAX_SIDE = 16384
"""Longer sides above this are refused: such a picture needs tens of gigabytes here."""


CHEAP_SIDE = 256
"""Up to this longer side steps cost so little that every scale gets as many as the first."""


@dataclass(frozen=True)
class Scale:
    """One level of the pyramid: optimise `steps` steps at height × width pixels."""

    height: int
    width: int
    steps: int

    @property
    def pixels(self) -> int:
        """Number of pixels; what a step costs is proportional to it."""
        return self.height * self.width

    @property
    def label(self) -> str:
        """What the progress bar calls it."""
        return f"{self.width}×{self.height}"


def output_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width of the result of a content: longer side `size`, or the content's own for 0.

    Raises:
        UsageError: larger than `MAX_SIDE`; an `UnsuitableInputError` where that is the content's own size.
    """
    if size:
        height, width = fit_longer_side(height, width, size)
    if max(height, width) > MAX_SIDE:
        kind = UsageError if size else UnsuitableInputError
        raise kind(f"A result of {width}×{height} pixels is too large. Use --size up to {MAX_SIDE}.")
    return height, width


def plan_scales(
    height: int,
    width: int,
    *,
    smallest: int | None,
    steps: tuple[int, int],
    wanted: tuple[int, ...] = (),
    own_size: bool = False,
) -> tuple[Scale, ...]:
    """The pyramid that ends at height × width: longer sides end / 2^(i/2) from `smallest` up.

    Args:
        height, width: of the result.
        smallest: about the longer side of the first scale; None for one scale only.
        steps: of the first and of the last scale, geometric in between; a single scale has the first number, and a
            result between `CHEAP_SIDE` and twice that has a last scale in between.
        wanted: () for the above; one number to spread in the same proportions; or one number per scale.
        own_size: whether height and width are the content's own, rather than asked for.

    Raises:
        UsageError: more or fewer numbers than scales; an `UnsuitableInputError` where the size is the content's own.
    """
    longer = max(height, width)
    octaves = 0.0 if smallest is None else math.log2(max(1.0, longer / smallest))
    count = math.floor(2 * octaves + 0.01) + 1  # 181 px are half an octave above 128, but for rounding
    sides = [round(longer / 2 ** (i / 2)) for i in reversed(range(count))]
    sizes = [fit_longer_side(height, width, side) for side in sides[:-1]] + [(height, width)]
    first, last = steps
    fall = (last / first) ** min(1.0, max(0.0, math.log2(longer / CHEAP_SIDE)))
    shares = [first * fall ** (i / max(1, count - 1)) for i in range(count)]
    if len(wanted) > 1 and len(wanted) != count:
        names = ", ".join(f"{w}×{h}" for h, w in sizes)
        kind = UnsuitableInputError if own_size else UsageError
        raise kind(f"--steps has {len(wanted)} numbers, but there are {count} scales here ({names}).")
    if len(wanted) == count and count > 1:
        numbers = list(wanted)
    elif wanted:
        numbers = spread(wanted[0], shares)
    else:
        numbers = [round(share) for share in shares]
    return tuple(Scale(h, w, n) for (h, w), n in zip(sizes, numbers, strict=True))


SCALES_AFTER_A_GUESS = 3
"""From half the result's size on: what smaller scales would do, the instant painter has done."""


def after_a_guess(plan: Sequence[Scale]) -> tuple[Scale, ...]:
    """The plan for a start that the instant painter made: the small scales without steps."""
    first = len(plan) - SCALES_AFTER_A_GUESS
    return tuple(replace(scale, steps=0) if i < first else scale for i, scale in enumerate(plan))


def spread(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers in the proportions `shares` whose sum is exactly `total` (largest remainders get the rest)."""
    exact = [total * share / sum(shares) for share in shares]
    numbers = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: numbers[i] - exact[i])
    for i in by_remainder[: total - sum(numbers)]:
        numbers[i] += 1
    return numbers


LEAST_STEPS = 12
"""A scale with fewer steps than this changes too little to be worth its time."""


def fit_to_budget(scales: Sequence[Scale], current: int, done: int, seconds: float, cost: float) -> tuple[Scale, ...]:
    """Change the steps of scale `current` and all later ones so that they take `seconds`.

    What later scales would get in proportion is kept while there is enough time. When the largest scales cannot have
    `LEAST_STEPS` each, smaller ones give way, first to last; the last scale comes first since it makes the result.

    Args:
        scales: the plan so far; steps of finished scales are not touched.
        current: index of the scale that is running.
        done: its steps so far.
        seconds: time left.
        cost: measured seconds per step and pixel.
    """
    rest = [scale if i > current else replace(scale, steps=scale.steps - done) for i, scale in enumerate(scales)]
    rest = rest[current:]
    wanted = sum(max(0, scale.steps) * scale.pixels for scale in rest) * cost
    factor = max(0.0, seconds) / wanted if wanted > 0 else 0.0
    numbers = [max(0, math.floor(scale.steps * factor)) for scale in rest]
    if numbers[-1] < LEAST_STEPS:
        numbers = _last_first(rest, max(0.0, seconds), cost)
    numbers[0] += done
    fitted = [replace(scale, steps=number) for scale, number in zip(scales[current:], numbers, strict=True)]
    return (*scales[:current], *fitted)


def _last_first(rest: Sequence[Scale], seconds: float, cost: float) -> list[int]:
    """Too little time for all: as many steps as fit for the last scale, up to `LEAST_STEPS`, then the one before it…"""
    numbers = [0] * len(rest)
    for i in reversed(range(len(rest))):
        price = rest[i].pixels * cost
        numbers[i] = min(LEAST_STEPS, math.floor(seconds / price))
        seconds -= numbers[i] * price
    return numbers
