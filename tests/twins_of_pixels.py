"""Slow twins, as in `twins`: of attacks on few pixels, by labels, and with one change for all pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from twins import Array, Case, Put, Rounds, falling, nearest, size, steep


def jsma(case: Case, steps: int) -> Rounds:
    """Papernot et al., algorithm 3, single pixels: a 2000th of them at a time goes to an end; then eight halvings."""
    x, changed = case.x, set()
    for _ in range(steps):
        if (yield):
            break
        _, gradient = case.show(x, case.gap)
        rises = [(worth_of(gradient, x, place), place) for place in np.ndindex(x.shape[1:]) if place not in changed]
        if not case.fooled:
            x = x.copy()
            for _, (r, c) in sorted(rises, reverse=True)[: max(1, round(x[0].size / 2000))]:
                x[:, r, c] = gradient[:, r, c] > 0
                changed.add((r, c))
    _, gradient = case.show(x, case.gap)
    moved = [place for place in changed if (x != case.x).any(0)[place]]
    moved.sort(key=lambda place: -(gradient * (x - case.x)).sum(0)[place])
    few, enough = 0, len(moved)
    for _ in range(8):
        middle = (few + enough) // 2
        tried = case.x.copy()
        for r, c in moved[:middle]:
            tried[:, r, c] = x[:, r, c]
        few, enough = (few, middle) if case.ask(tried) >= 0 else (middle, enough)


def worth_of(gradient: Array, x: Array, place: tuple[int, int]) -> float:
    """What sending a pixel's channels to the better end gains, to first order."""
    values = zip(gradient[:, *place], x[:, *place], strict=True)
    return sum(max(slope * (1 - value), -slope * value) for slope, value in values)


def boundary(case: Case, steps: int, generator: torch.Generator) -> None:
    """Chen et al., algorithm 2 for L2, from 100 probes on, with the radii that the attack declares.

    As in the authors' code, a probe counts with what clipping left of it.
    """
    shape = case.x.shape
    for _ in range(100):
        x = case.in_box(torch.rand(shape, generator=generator).double().numpy())
        if case.ask(x) >= 0:
            break
    else:
        return
    x = to_border(case, x)
    for t in range(1, steps + 1):
        distance = size(x - case.x, "l2")
        radius = 0.1 * distance if t == 1 else distance * max(x.size**-0.5, 0.01)
        total, kept, wanted = 0.0, [], round(100 * math.sqrt(t))
        for first in range(0, wanted, 8):  # drawn in batches
            noise = torch.randn((min(8, wanted - first), *shape), generator=generator).double().numpy()
            for each in noise:
                ball = each * (1 if case.mask is None else case.mask)
                perturbed = case.in_box(x + radius * ball / size(ball, "l2"))
                case.shown.append(perturbed)
                case.look(perturbed)
                kept.append((1 if case.worst(case.ahead) >= 0 else -1, (perturbed - x) / radius))
        mean = sum(side for side, _ in kept) / len(kept)
        for side, ball in kept:
            total = total + (side if abs(mean) == 1 else side - mean) * ball
        step = distance / math.sqrt(t)
        while step > 1e-3 * distance:
            tried = case.in_box(x + step * total / size(total, "l2"))
            if case.ask(tried) >= 0:
                x = to_border(case, tried)
                break
            step /= 2


def to_border(case: Case, outside: Array) -> Array:
    """Twelve halvings of the way back."""
    low, high = 0, 4096
    while high - low > 1:
        middle = (low + high) // 2
        fools = case.ask(case.x + middle / 4096 * (outside - case.x)) >= 0
        low, high = (low, middle) if fools else (middle, high)
    return case.x + high / 4096 * (outside - case.x)


def universal(cases: list[Case], steps: int, batch: int) -> None:
    """Shafahi et al., algorithm 2, with steps of 2.5 eps / steps; the change that fools most is shown last."""
    eps, norm = cases[0].eps, cases[0].norm
    change, best, most = np.zeros_like(cases[0].x), np.zeros_like(cases[0].x), 0
    for _ in range(steps):
        for first in range(0, len(cases), batch):
            total = sum(case.show(case.in_ball(case.x + change), case.likelihood)[1] for case in cases[first:][:batch])
            change = nearest(change + 2.5 * eps / steps * steep(total, norm), norm, eps)
        fooled = fools_of(cases, change)
        if fooled >= most:
            best, most = change, fooled
    fools_of(cases, best)


def fools_of(cases: list[Case], change: Array) -> int:
    for case in cases:
        case.forget()
    return sum(case.ask(case.in_ball(case.x + change)) >= 0 for case in cases)


def patch(case: Case, steps: int, share: float, put: Put | None = None) -> Rounds:
    """Brown et al. at one place, the square of the strongest gradient: signs, steps from 0.1 to 0.01.

    With `put`, which lays a sticker on a picture, first at random places.
    """
    _, gradient = case.show(case.x, case.likelihood)
    height, width = case.x.shape[1:]
    side = max(1, round(share * min(height, width)))
    strength = np.abs(gradient).sum(0)
    places = list(np.ndindex(height - side + 1, width - side + 1))
    top, left = max(places, key=lambda place: strength[place[0] :, place[1] :][:side, :side].sum())
    free = np.zeros((1, height, width))
    free[:, top : top + side, left : left + side] = 1
    case.mask = free if case.mask is None else free * case.mask
    x, first = case.in_box(np.full_like(case.x, 0.5)), 0.1
    if put is not None:
        x, first = hold_anywhere(case, x, steps, (slice(None), slice(top, top + side), slice(left, left + side)), put)
    for k in range(steps):
        if (yield):
            break
        _, gradient = case.show(x, case.likelihood)
        x = case.in_box(x + falling(k, steps, first, 0.01) * np.sign(gradient))
    case.ask(x)


def hold_anywhere(case: Case, x: Array, steps: int, spot: tuple[slice, ...], put: Put) -> tuple[Array, float]:
    """Athalye et al., equation 3: the sum over the place itself and four random ones; momentum of 0.9.

    Afterwards a last touch is enough: all its steps are of 0.01.
    """
    generator, direction = torch.Generator().manual_seed(0), np.zeros_like(x)
    for k in range(steps):
        _, gradient = case.show(x, case.likelihood)
        for where in placements(4, x[spot].shape[1], x.shape[1:], generator):
            leaf = torch.from_numpy(x.copy()).requires_grad_()
            placed = put(leaf[spot], torch.from_numpy(case.x), *where)
            case.shown.append(placed.detach().numpy())
            out = case.module(placed[None])[0]
            (slope,) = torch.autograd.grad(out @ torch.from_numpy(case.likelihood(out.detach().numpy())), leaf)
            gradient = gradient + slope.numpy()
        direction = 0.9 * direction + gradient / np.abs(gradient).sum()
        x = case.in_box(x + falling(k, steps, 0.1, 0.01) * np.sign(direction))
    case.forget()
    case.ask(x)
    return x, 0.01


def placements(
    count: int, side: int, whole: tuple[int, int], generator: torch.Generator
) -> Iterator[tuple[float, float, float, float]]:
    """Row and column of the centre, scale (3/4 to 4/3, evenly in its logarithm), angle (22.5° either way)."""
    for row, column, zoom, turn in torch.rand((count, 4), generator=generator).tolist():
        scale, angle = math.exp(math.log(3 / 4) + zoom * math.log(16 / 9)), math.pi / 8 * (2 * turn - 1)
        half = (
            scale
            * side
            * math.sqrt(2)
            / 2
            * max(abs(math.cos(angle + quarter)) for quarter in (-math.pi / 4, math.pi / 4))
        )
        centre = [
            half + share * (length - 2 * half) if 2 * half < length else length / 2
            for share, length in zip((row, column), whole, strict=True)
        ]
        yield centre[0], centre[1], scale, angle
