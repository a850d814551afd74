"""Contents and styles to learn from: folders of pictures, and random views of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cvtool.codecs.rasters import to_levels
from cvtool.errors import BadInputError, CvtoolError, UsageError
from cvtool.files import PICTURE_SUFFIXES, read_lines, shown
from cvtool.flickr8k import SPLIT_FILE, picture_folder, text_file
from cvtool.images import fit_longer_side, flatten, read_picture, resize
from cvtool.problems import BadPicturesError, Problem
from cvtool.progress import Progress, Step, silent
from cvtool.run_files import is_run
from cvtool.stylize.color import grey

KINDS = ("folder", "flickr8k")
FLICKR_SPLIT = SPLIT_FILE.format("train")
SMALLEST = 48
"""Shorter side of a picture that can be learned from, in pixels."""
LARGEST_STYLE = 640
"""Longer side to which styles are reduced when they are read, in pixels."""

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Shelf:
    """Pictures to learn from, and those kept for checks.

    Attributes:
        train, held_out: files.
        problems: pictures that were left out.
        fingerprint: of the names and sizes of all files.
    """

    train: tuple[Path, ...]
    held_out: tuple[Path, ...]
    problems: tuple[Problem, ...] = ()
    fingerprint: str = ""


def find_pictures(spec: str) -> list[Path]:
    """The files that ``folder:DIR``, ``flickr8k:DIR`` (its training split) or a path names, in order.

    Raises:
        BadInputError: there is no such folder, or no picture in it.
    """
    kind, colon, place = spec.partition(":")
    if not colon or kind not in KINDS:
        kind, place = "", spec
    folder = Path(place)
    if not folder.is_dir():
        raise BadInputError(f"'{shown(folder)}' is no folder. Give folder:DIR, flickr8k:DIR or a folder of pictures.")
    split = text_file(folder, [FLICKR_SPLIT]) if kind in ("", "flickr8k") else None
    if split is not None:
        return _flickr(folder, split)
    if kind == "flickr8k":
        raise BadInputError(f"'{shown(folder)}' has no {FLICKR_SPLIT}. Use folder:DIR.")
    found = sorted(_pictures_below(folder))
    if not found:
        raise BadInputError(f"'{shown(folder)}' holds no pictures. Give another folder.")
    return found


def _pictures_below(folder: Path) -> Iterator[Path]:
    """All but what is hidden, and what a run in this folder has painted."""
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and not is_run(os.path.join(where, name))]
        for path in (Path(where, name) for name in files if not name.startswith(".")):
            if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
                yield path


def _flickr(folder: Path, split: Path) -> list[Path]:
    lines = [line for _, line in read_lines(split)]
    if None in lines:
        raise BadInputError(f"'{shown(split)}' is not UTF-8. Save it as UTF-8.")
    names = [line.strip() for line in lines if line and line.strip()]
    place = picture_folder(folder, split, names)
    return [place / name for name in names]


def read_shelf(
    specs: Sequence[str],
    *,
    held_out: float,
    fewest: int,
    skip_bad: bool = False,
    progress: Progress = silent,
) -> Shelf:
    """Check every picture of some folders, and put a part of them aside, chosen by their names.

    Raises:
        BadPicturesError: pictures cannot be used, and `skip_bad` is off.
        BadInputError: a folder is missing, or too few pictures are left.
    """
    files = [path for spec in specs for path in find_pictures(spec)]
    good, problems, digest = [], [], hashlib.sha256()
    for done, path in enumerate(files, 1):
        problem = _problem(path)
        if problem is not None:
            problems.append(problem)
        else:
            good.append(path)
            digest.update(f"{path.name} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
        progress(Step("checking pictures", done, len(files), {}))
    if problems and not skip_bad:
        count = f"{len(problems)} of {len(files)} pictures"
        raise BadPicturesError(f"{count} cannot be used. Repair them, or go on without them: --skip-bad.", problems)
    if len(good) < fewest:
        raise BadInputError(f"{len(good)} pictures in {', '.join(map(shown, specs))} are too few: {fewest} are needed.")
    order = sorted(range(len(good)), key=lambda i: hashlib.sha256(good[i].name.encode("utf-8", "replace")).digest())
    aside = set(order[: max(1, round(held_out * len(good)))])
    return Shelf(
        tuple(path for i, path in enumerate(good) if i not in aside),
        tuple(path for i, path in enumerate(good) if i in aside),
        tuple(problems),
        digest.hexdigest()[:16],
    )


def _problem(path: Path) -> Problem | None:
    """Why a picture cannot be used, if so."""
    try:
        height, width = flatten(read_picture(path)).shape[:2]
    except CvtoolError as error:
        return Problem.of(str(path), error)
    if min(height, width) >= SMALLEST:
        return None
    return Problem(str(path), f"is too small: {width} x {height} pixels, {SMALLEST} a side are needed.")


class Views:
    """Random views of pictures; what a view shows comes from the generator it is given alone.

    Args:
        contents, styles: files.
        photos: share of the styles that are contents.
    """

    def __init__(self, contents: Sequence[Path], styles: Sequence[Path], photos: float) -> None:
        if not contents or not styles:
            raise UsageError("Nothing to learn from: give contents and styles.")
        self.contents, self.photos = contents, photos
        self.styles = [_reduced(path) for path in styles]

    def content(self, size: int, chance: np.random.Generator) -> Tensor:
        """A square part of a content, (3, size, size) in [0, 1]."""
        pixels = self._content(chance)
        view = _part(pixels, size, chance, smallest=0.3)
        if chance.random() < 0.05:
            view = grey(view)
        gain, gamma = chance.uniform(0.85, 1.15), np.exp(chance.normal(0, 0.15))
        return _tensor(np.asarray(np.clip(gain * view, 0, 1) ** gamma, dtype=np.float32))

    def style(self, size: int, chance: np.random.Generator) -> Tensor:
        """A square part of a style in other colours, (3, size, size) in [0, 1]."""
        if chance.random() < self.photos:
            pixels = self._content(chance)
        else:
            pixels = np.asarray(self.styles[int(chance.integers(len(self.styles)))] / 255, dtype=np.float32)
        view = _part(pixels, size, chance, smallest=0.25)
        if chance.random() < 0.25:
            view = np.rot90(view)
        return _tensor(_recolored(view, chance) if chance.random() < 0.7 else view)

    def _content(self, chance: np.random.Generator) -> Pixels:
        return flatten(read_picture(self.contents[int(chance.integers(len(self.contents)))]))


def batch(views: Views, size: int, count: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Contents (N, 3, size, size) and styles (N, 3, s, s) of one step; s is 4/3 size, down to a multiple of 16."""
    chance = np.random.default_rng([seed, step])
    larger = size * 4 // 3 // 16 * 16
    contents = [views.content(size, chance) for _ in range(count)]
    styles = [views.style(larger, chance) for _ in range(count)]
    return torch.stack(contents), torch.stack(styles)


def _reduced(path: Path) -> NDArray[np.uint8]:
    pixels = flatten(read_picture(path))
    height, width = pixels.shape[:2]
    if max(height, width) > LARGEST_STYLE:
        pixels = resize(pixels, *fit_longer_side(height, width, LARGEST_STYLE))
    return to_levels(pixels)


def _part(pixels: Pixels, size: int, chance: np.random.Generator, smallest: float) -> Pixels:
    """A square whose side is `smallest` to 1 of the picture's shorter one, but not below `size` where it can be."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    least = min(max(smallest * shorter, size), shorter)
    side = int(chance.uniform(least, shorter + 1))
    top, left = (int(chance.integers(length - side + 1)) for length in (height, width))
    part = pixels[top : top + side, left : left + side]
    part = part[:, ::-1] if chance.random() < 0.5 else part
    return np.ascontiguousarray(part) if side == size else resize(np.ascontiguousarray(part), size, size)


def _recolored(view: Pixels, chance: np.random.Generator) -> Pixels:
    """Other colours: hues turned about the grey axis, saturation, contrast, brightness, now and then a negative."""
    if chance.random() < 0.1:
        view = 1 - view
    if chance.random() < 0.3:
        view = view[..., chance.permutation(3)]
    turn = chance.normal(0, 0.6)
    mean = view.mean((0, 1), keepdims=True)
    matrix = _hue_rotation(turn)
    grey = np.full((3, 3), 1 / 3)
    saturation = np.exp(chance.normal(0, 0.3))
    matrix = grey + saturation * (matrix - grey)
    moved = (view - mean) @ matrix.T * np.exp(chance.normal(0, 0.2)) + mean @ matrix.T + chance.normal(0, 0.06)
    return np.asarray(np.clip(moved, 0, 1), dtype=np.float32)


def _hue_rotation(angle: float) -> NDArray[np.float64]:
    """Rotation of RGB about the grey axis (Rodrigues)."""
    axis = np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross, dtype=np.float64)


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))
