"""``h5:FILE#dataset``: pictures in one dataset of an HDF5 file, labels in one called ``labels`` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvtool.codecs.rasters import to_levels
from cvtool.errors import BadInputError
from cvtool.files import shown
from cvtool.gan.datasets.archives import FileOrigin
from cvtool.gan.datasets.data import LARGEST_DATA, Item, Source, no_split
from cvtool.gan.picture_options import Conditional
from cvtool.hdf5 import opened, own_dataset
from cvtool.problems import Problem

if TYPE_CHECKING:
    import h5py

LABELS = "labels"
USUAL_NAMES = ("images", "pictures", "pixels", "data", "x", "x_train")
"""Where pictures are looked for if no dataset is named and there are several."""

TOLERANCE = 1e-3
"""By how much floating-point pixels may leave [0, 1]: what rounding and resampling add; they are clipped."""

_BLOCK = 1 << 24  # bytes read at a time


class Hdf5Origin(FileOrigin):
    """Pictures (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 or 3, uint8 or floating point in [0, 1].

    Args:
        path: of the file.
        dataset: inside it, e.g. ``"train/images"``; "" looks for the only one, or one with a usual name.

    Raises:
        BadInputError: it cannot be read.
    """

    def __init__(self, path: Path, dataset: str = "") -> None:
        super().__init__(path)
        self._wanted = dataset.strip("/")
        self.place = f"{self.place}#{self._wanted}"

    def open(self, split: str, conditional: Conditional) -> Source:
        """The pictures and labels; values are looked at while they are read.

        Raises:
            BadInputError: no such dataset, or it holds no pictures.
        """
        if split != "train":
            raise no_split(self._path, split)
        with opened(self._path) as file:
            name = self._wanted or _the_only(file, self._path)
            pixels = own_dataset(file, name)
            axes = _axes(pixels, self._path, name)
            count, height, width = (pixels.shape[axis] for axis in axes[:3])
            grey = len(axes) == 3 or pixels.shape[axes[3]] == 1
            labels: NDArray[np.int64] | None = None
            classes: tuple[str, ...] = ()
            if conditional is not Conditional.no:
                labels, classes = _labels(file, name, count, self._path)

        def items(chosen: NDArray[np.int64]) -> Iterator[Item]:
            with opened(self._path) as again:
                yield from _items(own_dataset(again, name), axes, chosen, self._path, name)

        return Source(count, labels, classes, items, shape=(height, width), grey=grey)


def _items(
    pixels: h5py.Dataset, axes: tuple[int, ...], chosen: NDArray[np.int64], path: Path, name: str
) -> Iterator[Item]:
    step = max(1, _BLOCK // max(1, pixels.nbytes // len(pixels)))
    for start in range(0, len(pixels), step):
        first, last = np.searchsorted(chosen, (start, start + step)).tolist()
        if first == last:
            continue
        block = np.asarray(pixels[start : start + step])[chosen[first:last] - start]
        block = np.transpose(block, axes[: block.ndim]) if block.ndim == 4 else block[..., None]
        whole = np.isfinite(block).all(axis=(1, 2, 3)) if block.dtype.kind == "f" else np.ones(len(block), bool)
        levels = _levels(block, whole, path, name)
        for row in range(first, last):
            title = f"{name}[{chosen[row]}]"
            good = whole[row - first]
            yield Item(row, title, levels[row - first] if good else Problem(title, "holds values that are not numbers"))


def _levels(block: NDArray[Any], whole: NDArray[np.bool_], path: Path, name: str) -> NDArray[np.uint8]:
    """Rows as they are stored → uint8; rows that are not `whole` become 0."""
    if block.dtype == np.uint8:
        return block
    values = np.where(whole[:, None, None, None], block, 0).astype(np.float32)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise BadInputError(
            f"'{shown(path)}#{shown(name)}' holds values from {low:.4g} to {high:.4g}. Scale them to 0 … 1 or to uint8."
        )
    return to_levels(values)


def _axes(pixels: h5py.Dataset, path: Path, name: str) -> tuple[int, ...]:
    """Which axes of the dataset are N, H, W and C; three for grey."""
    shape = pixels.shape
    kind = pixels.dtype.kind == "f" or pixels.dtype == np.uint8
    if kind and 0 not in shape and pixels.nbytes <= LARGEST_DATA:
        if len(shape) == 3:
            return (0, 1, 2)
        if len(shape) == 4 and shape[3] in (1, 3):
            return (0, 1, 2, 3)
        if len(shape) == 4 and shape[1] in (1, 3):
            return (0, 2, 3, 1)
    raise BadInputError(
        f"'{shown(path)}#{shown(name)}' is {shape} of {pixels.dtype}. Pictures are (N, H, W), (N, H, W, C) or "
        "(N, C, H, W) with C = 1 or 3, uint8 or floating point."
    )


def _labels(file: h5py.File, name: str, count: int, path: Path) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    group, slash, _ = name.rpartition("/")
    beside = f"{group}{slash}{LABELS}"
    if file.get(beside, getlink=True) is None:
        return None, ()
    found = own_dataset(file, beside)
    if found.dtype.kind not in "iub" or found.size != count or found.shape[0] != count:
        raise BadInputError(
            f"'{shown(path)}#{shown(beside)}' is {found.shape} of {found.dtype}, not one whole number for each of "
            f"{count} pictures."
        )
    present, labels = np.unique(np.asarray(found).reshape(count), return_inverse=True)
    return labels.reshape(count).astype(np.int64), tuple(str(int(label)) for label in present)


def _the_only(file: h5py.File, path: Path) -> str:
    import h5py

    fitting = [
        name
        for name in file
        if isinstance(file.get(name, getlink=True), h5py.HardLink)
        and isinstance(file[name], h5py.Dataset)
        and file[name].ndim in (3, 4)
    ]
    usual = [name for wanted in USUAL_NAMES for name in fitting if name.lower() == wanted]
    if len(fitting) == 1 or usual:
        return str((usual or fitting)[0])
    names = ", ".join(map(shown, list(file)[:5])) or "nothing"
    raise BadInputError(f"'{shown(path)}' does not tell which dataset holds pictures ({names}). Give h5:FILE#DATASET.")
