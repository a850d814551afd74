"""How much memory a style transfer takes, and the tiles that keep it below a limit.

What the network's graph takes is measured on two small pictures, for any network: every tensor's memory is counted
from its birth to its death, forward and backward. What stands beside it at full size is counted below, by name.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cvtool.errors import UnsuitableInputError, UsageError
from cvtool.memory import available_memory, gpu_memory, process_memory, show_bytes
from cvtool.models.loader import Model
from cvtool.stylize.extractor import Extractor, Seen
from cvtool.stylize.receptive import Field
from cvtool.stylize.run import LBFGS_HISTORY
from cvtool.stylize.tiles import Side, plan_sides

PICTURE = 12
"""Bytes per pixel of one picture: three float32. The next seven count such pictures, at the size of the result."""

KEPT = 7.0
"""Content, the same at this scale, the picture, its average, its gradient, Adam's two moments."""

PASSING = 9.0
"""At the peak of a step: the gradient's second copy, total variation (4), colours' moments and their gradient (3), 1
to go on with."""

OF_TILES = 2.0
"""The picture with its margin, and the gradient on it."""

OF_FIDELITY = 2.0
"""The difference from the content's pixels, and its square."""

OF_REGION = 4.0
"""A mask at both sizes (2/3), the colours weighted by it and the gradient on them."""

OF_ANCHOR = 5.0
"""The anchor at both sizes, its weight, the difference and its square."""

OF_CHECKPOINT = 10.0
"""Four pictures as a snapshot's tensors, as a file's bytes, and 2 on the way there."""

MAPS_WHOLE, MAPS_OF_TILES = 4.0, 7.0
"""Copies of the content layers' maps beside the graph, while they are compared: the target, the difference and its
square, and their gradient; with tiles also what was put together from them, and what goes back to them."""

MAPS_PASSING = 2.0
"""The same with tiles at the peak of the pixels' losses: the target, and what was put together."""

WALKING, MAPS_WALKING = 3.0, 3.0
"""Pictures and maps, besides those kept, while a gradient is brought back tile by tile: gradients so far and one more;
maps' targets, their gradients and one more. All losses have been left behind then, so what they hold and the graph of
a tile are never there together."""

STYLE = 3.0
"""Copies of a style picture while its statistics are taken."""

FIXED = 100e6
"""Bytes: what libraries load and threads reserve on first use, whatever the size."""

SLACK, SLACK_OF_WHOLE, SLACK_OF_TILES = 1.05, 1.15, 1.3
"""Memory that was given back is not always in the right pieces: for pictures and maps, for the graph of a picture, and
for the graphs of tiles of several shapes one after the other. Measured, and rounded up."""

SHARE = 0.8
"""Of the memory that is free now, this much is used without a limit."""

LARGEST_TILE = 1024
"""Pixels; larger tiles save little of the halos' work and lose more by memory that is fetched afresh at every step."""

WHOLE = 1536
"""Longer side in pixels up to which a picture that fits is worked on in one go; a larger one is no slower in tiles."""

LEAST_TILE = 64
"""Pixels; smaller tiles are all halo."""

PROBES = (128, 192)
"""Sides of the pictures on which a network is measured."""


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors made in this block that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key not in self._known:

            def gone(_: object) -> None:
                del self._known[key]
                self.now -= size

            self._known[key] = weakref.ref(storage, gone)
            self.now += size
            self.peak = max(self.peak, self.now)


def peak_bytes(work: Callable[[], object]) -> int:
    """Most bytes that tensors made by `work` hold at once, on any device; what was there before does not count."""
    live = _Live()
    with live:
        work()
    return live.peak


@dataclass(frozen=True)
class Cost:
    """Bytes that grow with the size of a picture: `fixed`, and `per_pixel`."""

    fixed: float
    per_pixel: float

    def at(self, pixels: float) -> float:
        """For a picture of so many pixels."""
        return self.fixed + self.per_pixel * pixels


@dataclass(frozen=True)
class Needs:
    """What a network takes.

    Attributes:
        graph: to see a picture and bring a gradient back to it, per pixel that the network is given.
        look: to see it only.
        maps: bytes per pixel of one float32 copy of the content layers' maps.
        weights: bytes of the network, which kernels put in an order of their own once more.
    """

    graph: Cost
    look: Cost
    maps: float
    weights: int = 0


def measure_needs(
    model: Model, style_layers: Sequence[str], content_layers: Sequence[str], precision: str, regions: int = 1
) -> Needs:
    """Measure on `PROBES`; a second on a slow core for EfficientNet-Lite, four for VGG-19."""
    extractor = Extractor(model, style_layers, content_layers, 0, precision)
    graphs, looks, maps = [], [], 0.0
    for side in (PROBES[0] // 2, *PROBES):  # the first warms up: constants, and the layers that need copies
        picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(model.device)
        guides = [torch.ones(1, 1, side, side, device=model.device)] * max(1, regions)
        seen: list[Seen] = []

        def look(picture: Tensor = picture, guides: Sequence[Tensor] = guides, seen: list[Seen] = seen) -> None:
            with torch.no_grad():
                seen.append(extractor(picture, guides))

        def walk(picture: Tensor = picture, guides: Sequence[Tensor] = guides) -> None:
            everything_of(extractor(picture.requires_grad_(True), guides)).backward()  # type: ignore[no-untyped-call]

        looks.append(peak_bytes(look))
        graphs.append(peak_bytes(walk))
        maps = sum(each.numel() for each in seen[0].maps.values()) * 4 / side**2
    weights = sum(each.numel() * each.element_size() for each in extractor.module.parameters())
    return Needs(_line(graphs[1:]), _line(looks[1:]), maps, weights)


def everything_of(seen: Seen) -> Tensor:
    """One number that has a gradient on all that was seen."""
    parts = [part.sum() for region in seen.moments for each in region for part in each]
    return torch.stack([*parts, *(each.float().sum() for each in seen.maps.values())]).sum()


def _line(found: Sequence[int]) -> Cost:
    """Through two measurements; never falling, never below 0 at the start."""
    small, large = (side**2 for side in PROBES)
    slope = (found[1] - found[0]) / (large - small)
    fixed = found[0] - slope * small
    return Cost(fixed, slope) if fixed >= 0 else Cost(0.0, max(found[0] / small, found[1] / large))


@dataclass(frozen=True)
class Job:
    """What is to be painted, as far as memory goes.

    Attributes:
        height, width: of the largest scale.
        margin: of the recipe.
        style_pixels: of the largest style picture at the size its statistics are taken; 0 for style files only.
        regions: number of masks.
        lbfgs, fidelity, anchor, checkpoint: what else is in play; `fidelity` below strength 50.
    """

    height: int
    width: int
    margin: int = 0
    style_pixels: int = 0
    regions: int = 0
    lbfgs: bool = False
    fidelity: bool = False
    anchor: bool = False
    checkpoint: bool = False

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of what the network is given: margins on both sides, up to a multiple of them."""
        height, width = (
            size + 2 * self.margin + (-size % self.margin if self.margin else 0) for size in (self.height, self.width)
        )
        return height, width


def estimate(job: Job, needs: Needs, tile: int, field: Field | None, base: float) -> int:
    """Most bytes that the process will hold.

    Args:
        job: what is to be painted.
        needs: of its network.
        tile: side of the tiles in pixels, 0 for none.
        field: of the network; None without tiles.
        base: what the process holds now, see `base_memory`.
    """
    area = job.height * job.width
    kept = KEPT + OF_REGION * job.regions / 3 + (2.0 if job.anchor else 0.0) + (2 * LBFGS_HISTORY if job.lbfgs else 0)
    passing = PASSING + (OF_FIDELITY if job.fidelity else 0) + (OF_ANCHOR - 2 if job.anchor else 0)
    passing += OF_REGION * job.regions + (6 if job.lbfgs else 0)

    def beside(pictures: float, maps: float) -> float:
        return SLACK * area * (PICTURE * (kept + pictures) + needs.maps * maps)

    styles = beside(0, 1) + SLACK * PICTURE * STYLE * job.style_pixels
    phases = [beside(OF_CHECKPOINT if job.checkpoint else 0, 1)]
    if tile and field is not None and max(job.height, job.width) > tile:
        given = _largest_tile(job, tile, field)
        phases.append(styles + SLACK_OF_TILES * needs.look.at(min(given, job.style_pixels)))
        phases.append(beside(passing + OF_TILES, MAPS_PASSING))
        phases.append(beside(WALKING + OF_TILES, MAPS_OF_TILES))
        phases.append(beside(OF_TILES + WALKING, MAPS_WALKING) + SLACK_OF_TILES * needs.graph.at(given))
    else:
        given = job.padded[0] * job.padded[1]
        phases.append(styles + SLACK_OF_WHOLE * needs.look.at(job.style_pixels))
        phases.append(beside(passing, MAPS_WHOLE) + SLACK_OF_WHOLE * needs.graph.at(given))
    return int(base + FIXED + needs.weights + max(phases))


def _largest_tile(job: Job, tile: int, field: Field) -> int:
    """Pixels of the largest tile with its halo."""

    def longest(sides: Sequence[Side]) -> int:
        return max(side.outer_stop - side.outer_start for side in sides)

    rows, columns = (longest(plan_sides(size, tile, field.halo, field.stride)) for size in job.padded)
    # Scales that fit into a tile are worked on in one go.
    whole = min(tile, job.height) + 3 * job.margin, min(tile, job.width) + 3 * job.margin
    return max(rows * columns, whole[0] * whole[1])


@dataclass(frozen=True)
class Fit:
    """How a job fits: `tile` is the side of its tiles in pixels, 0 for none; it takes `bytes` at most."""

    tile: int
    bytes: int


@dataclass(frozen=True)
class Limit:
    """What may be held: `bytes` in all, `asked` for or found."""

    bytes: float
    asked: bool = True

    @property
    def name(self) -> str:
        """What it is, behind the number."""
        return "at --max-memory" if self.asked else "of free memory"

    @property
    def advice(self) -> str:
        """How to get more."""
        return "Raise it," if self.asked else "Close other programs,"


def choose_tile(
    job: Job,
    needs: Needs,
    field: Callable[[], Field],
    base: float,
    limit: Limit,
    *,
    tile: int | None = None,
) -> Fit:
    """No tiles for what is not large and stays below the limit, else the largest that do.

    Args:
        job, needs: as for `estimate`.
        field: measures the network's field; asked only where tiles are needed.
        base: what the process holds now.
        limit: what it may hold.
        tile: a side that was asked for, 0 for no tiles; None chooses. It is checked against the limit, too.

    Raises:
        UnsuitableInputError: nothing stays below the limit; says the least that would do.
    """
    whole = Fit(0, estimate(job, needs, 0, None, base))
    fits = tile is None and whole.bytes <= limit.bytes
    if tile == 0 or (fits and max(job.height, job.width) <= WHOLE):
        return _within(job, whole, limit, "Use --tile auto, " if tile == 0 else "")
    try:
        seen = field()
    except UsageError as error:
        if tile is not None:
            raise
        if fits:
            return whole
        reason = str(error).partition(" Use --tile off")[0]  # which would not help here
        text = f"{_too_little(job, whole, limit)} {reason} {limit.advice} or lower --size."
        raise UnsuitableInputError(text) from error
    if tile is not None:
        return _within(job, Fit(tile, estimate(job, needs, tile, seen, base)), limit, "Use smaller tiles, ")
    least = whole
    largest = min(LARGEST_TILE, max(job.height, job.width)) // seen.stride * seen.stride
    for side in range(largest, max(seen.stride, LEAST_TILE) - 1, -seen.stride):
        found = Fit(side, estimate(job, needs, side, seen, base))
        if found.bytes <= limit.bytes:
            return found
        least = min(least, found, key=lambda fit: fit.bytes)
    return _within(job, least, limit, "")


def _within(job: Job, fit: Fit, limit: Limit, instead: str) -> Fit:
    if fit.bytes > limit.bytes:
        advice = f"{instead}{limit.advice[0].lower()}{limit.advice[1:]}" if instead else limit.advice
        raise UnsuitableInputError(f"{_too_little(job, fit, limit)} {advice} or lower --size.")
    return fit


def _too_little(job: Job, fit: Fit, limit: Limit) -> str:
    # The least is rounded up, so that who gives it gets through.
    step = 10 ** max(6, math.floor(math.log10(fit.bytes)) - 1)
    least = show_bytes(math.ceil(1.01 * fit.bytes / step) * step)
    return f"{show_bytes(limit.bytes)} {limit.name} is too little for {job.width}×{job.height}: the least is {least}."


def base_memory(device: torch.device) -> int:
    """What counts against a limit now: the process, or on a CUDA device its tensors there."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else process_memory()


def limit_of(device: torch.device, base: float, asked: float | None) -> Limit:
    """The limit that was asked for; else most of what is free, besides what is held already."""
    if asked is not None:
        return Limit(asked)
    free = gpu_memory(device.index) if device.type == "cuda" else available_memory()
    return Limit(math.inf if free is None else base + SHARE * free, asked=False)
