"""A source's pictures read, decoded and made alike, by several threads, into one array."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from cvtool.codecs.quiet import no_warnings
from cvtool.errors import BadInputError
from cvtool.gan.datasets.data import Item, Source
from cvtool.gan.datasets.framing import Pixels, frame, is_grey, size_for, to_grey
from cvtool.gan.picture_options import USUAL_SIZE, Color, Fit, PictureOptions
from cvtool.images import decode_picture, flatten
from cvtool.problems import BadPicturesError, Problem
from cvtool.progress import Progress, Step

STAGE = "decoding"
MOST_THREADS = 16
FEW_THREADS = 4
"""The same for photographs straight from a camera: while it is decoded, each takes 40 bytes of memory a pixel."""

_SMALL_FILE, _LARGE_FILE = 16 << 10, 1 << 20  # bytes
_BATCH, _BATCH_BYTES = 64, 4 << 20  # pictures, and bytes of their files, that a thread gets at a time

Allocate = Callable[[tuple[int, ...]], NDArray[np.uint8]]
"""Makes room of a shape for uint8."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What became of the chosen pictures.

    Attributes:
        pixels: (N, S, S, C) uint8.
        rows: (N,) int64, which of the chosen they are.
        problems: of the others, in the order of the chosen.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Plan:
    """What all pictures become; `shape` (H, W) is what each must have, None for any."""

    size: int
    fit: Fit
    channels: int
    shape: tuple[int, int] | None = None


@dataclass(frozen=True)
class _Report:
    """Of one batch: how many pictures, which failed, and whether the others are all grey."""

    count: int
    problems: dict[int, Problem]
    grey: bool


class _SizesDiffer(Exception):
    """The size of the first picture was taken for that of all, wrongly."""


def decode(
    source: Source, chosen: NDArray[np.int64], options: PictureOptions, allocate: Allocate, progress: Progress
) -> Decoded:
    """Pictures number `chosen` (sorted) of a source, as the options want them.

    Raises:
        BadInputError: a value is out of range, or no size was asked for and no picture can be opened to find one.
    """
    channels = 1 if options.color is Color.grey or (options.color is Color.auto and source.grey) else 3
    if options.size is not None:
        return _decode(source, chosen, _Plan(options.size, options.fit, channels), options.color, allocate, progress)
    # Whether all are of one size is known only when all are open: it is assumed until one differs.
    shape = source.shape or _first_shape(source, chosen)
    plan = _Plan(size_for(*shape, options.fit), options.fit, channels, shape)
    try:
        return _decode(source, chosen, plan, options.color, allocate, progress)
    except _SizesDiffer:
        plan = _Plan(USUAL_SIZE, options.fit, channels)
        return _decode(source, chosen, plan, options.color, allocate, progress)


def _decode(
    source: Source,
    chosen: NDArray[np.int64],
    plan: _Plan,
    color: Color,
    allocate: Allocate,
    progress: Progress,
) -> Decoded:
    room = allocate((len(chosen), plan.size, plan.size, plan.channels))
    problems: dict[int, Problem] = {}
    grey, done = color is Color.auto and plan.channels == 3, 0
    for report in _in_threads(lambda batch: _fill(room, batch, plan), _batches(source.items(chosen))):
        problems |= report.problems
        grey, done = grey and report.grey, done + report.count
        progress(Step(STAGE, done, len(chosen)))
    rows = np.setdiff1d(np.arange(len(chosen)), list(problems))
    if problems or grey:
        room = _packed(room, rows, 1 if grey else plan.channels, allocate)
    return Decoded(room, rows, tuple(problems[row] for row in sorted(problems)))


def _fill(room: NDArray[np.uint8], batch: list[Item], plan: _Plan) -> _Report:
    """Put a batch into its rows of `room`."""
    problems: dict[int, Problem] = {}
    grey = True
    with no_warnings:  # entered once here, so that it costs nothing for each picture
        for item in batch:
            outcome = _put(room, item, plan)
            if isinstance(outcome, Problem):
                problems[item.row] = outcome
            else:
                grey = grey and outcome
    return _Report(len(batch), problems, grey)


def _put(room: NDArray[np.uint8], item: Item, plan: _Plan) -> bool | Problem:
    """Put one picture into its row; whether it is grey. A function of its own: what it opened is gone at its end."""
    picture = _pixels_of(item)
    if isinstance(picture, Problem):
        return picture
    if plan.shape is not None and picture.shape[:2] != plan.shape:
        raise _SizesDiffer
    square = frame(picture, plan.size, plan.fit)
    room[item.row] = to_grey(square) if plan.channels == 1 else square
    return plan.channels == 1 or is_grey(picture)


def _packed(room: NDArray[np.uint8], rows: NDArray[np.int64], channels: int, allocate: Allocate) -> NDArray[np.uint8]:
    """These rows, and so many channels, in an array of their own."""
    pixels = allocate((len(rows), *room.shape[1:3], channels))
    for start in range(0, len(rows), _BATCH):
        pixels[start : start + _BATCH] = room[rows[start : start + _BATCH], :, :, :channels]
    return pixels


def _pixels_of(item: Item) -> Pixels | Problem:
    """(H, W, C) of one picture, transparent ones on white."""
    if not isinstance(item.content, bytes):
        return item.content
    try:
        return flatten(decode_picture(item.content, item.name))
    except BadInputError as error:
        return Problem.of(item.name, error)


def _first_shape(source: Source, chosen: NDArray[np.int64]) -> tuple[int, int]:
    problems = list(source.found)
    for item in source.items(chosen):
        picture = _pixels_of(item)
        if not isinstance(picture, Problem):
            return picture.shape[0], picture.shape[1]
        problems.append(picture)
    raise BadPicturesError(f"None of {len(problems)} pictures can be used. Check the path.", problems)


def _batches(items: Iterator[Item]) -> Iterator[list[Item]]:
    """Few enough at a time that a batch of large files does not fill the memory."""
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item.content) if isinstance(item.content, bytes) else 0
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _threads_for(batch: list[Item]) -> int:
    """How many threads such pictures are worth: small ones keep Python's one lock so busy that a second only waits."""
    sizes = [len(item.content) for item in batch if isinstance(item.content, bytes)]
    if sum(sizes) < _SMALL_FILE * max(1, len(sizes)):
        return 1
    most = FEW_THREADS if sum(sizes) > _LARGE_FILE * max(1, len(sizes)) else MOST_THREADS
    return max(1, min(most, os.cpu_count() or 1))


def _in_threads(work: Callable[[list[Item]], _Report], batches: Iterator[list[Item]]) -> Iterator[_Report]:
    """What the threads make of the batches, in order; they are read no faster than they are worked on."""
    first = next(batches, [])
    threads = _threads_for(first)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Report]] = deque()
        try:
            for batch in chain([first], batches):
                waiting.append(pool.submit(work, batch))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
