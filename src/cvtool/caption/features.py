"""Features of pictures in HDF5 files: what is in one, and its rows straight from the disk. No torch.

A file holds ``names`` (N,) UTF-8, ``sizes`` (N,) of the pictures' files in bytes, ``pooled`` (N, C) float16 and, where
captioners with attention are to use it, ``spatial`` (N, h·w, C) float16; ``pooled_flipped`` and ``spatial_flipped`` are
of the mirror images. Its attributes say which network made them. Of the N rows the first ``count`` are valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvtool.errors import BadInputError, UsageError
from cvtool.files import shown
from cvtool.hdf5 import Placement, attribute, dataset, opened, placement, whole

if TYPE_CHECKING:
    import h5py

FORMAT = "cvtool caption features"
FORMAT_VERSION = 1

NAMES, SIZES, POOLED, SPATIAL = "names", "sizes", "pooled", "spatial"
FLIPPED = "_flipped"
_BLOCK = 2048  # rows read at a time for principal components
PCA_MEAN, PCA_COMPONENTS = "pca_mean", "pca_components"


@dataclass(frozen=True)
class Origin:
    """What made features; the fingerprint changes with everything that changes them.

    Attributes:
        model: the network's name.
        fingerprint: SHA-256 (64 hex digits) over weights, input size, framing and layer.
        channels: C, features of a place.
        places: (h, w) of the map.
    """

    model: str
    fingerprint: str
    channels: int
    places: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Pca:
    """Principal components of pooled features.

    Attributes:
        mean: (C,) float32.
        components: (K, C) float32, orthonormal rows, most variance first.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]

    def project(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """(…, C) → (…, K) float32."""
        result: NDArray[np.float32] = np.matmul(features.astype(np.float32) - self.mean, self.components.T)
        return result


@dataclass(frozen=True, eq=False)
class _Matrix:
    """A dataset mapped into memory: rows (P, C) float16."""

    path: Path
    shape: tuple[int, int]
    place: Placement

    def read(self, numbers: Sequence[int]) -> NDArray[np.float16]:
        """(N, P, C), a copy."""
        result = np.empty((len(numbers), *self.shape), dtype=np.float16)
        flat = result.view(np.uint8).reshape(len(numbers), self.place.row)
        for index, number in enumerate(numbers):
            start = self.place.start(number)
            flat[index] = self._bytes[start : start + self.place.row]
        return result

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        try:
            return np.memmap(self.path, np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise BadInputError(f"'{shown(self.path)}' cannot be read any more: {error}.") from error


@dataclass(frozen=True, eq=False)
class Rows:
    """Features as a captioner takes them: (N, P, C), P = 1 where they are pooled."""

    _plain: _Matrix
    _mirrored: _Matrix | None
    _pca: Pca | None

    @property
    def channels(self) -> int:
        """Features a place has."""
        return self._plain.shape[1] if self._pca is None else len(self._pca.components)

    @property
    def can_flip(self) -> bool:
        """Whether the mirror images are there."""
        return self._mirrored is not None

    def read(self, numbers: Sequence[int], flipped: bool = False) -> NDArray[np.float16]:
        """(N, P, C) of some pictures by their rows, as they are or of their mirror images; a copy.

        Raises:
            UsageError: `flipped`, and the file has no mirror images.
        """
        if flipped and self._mirrored is None:
            raise UsageError("These features are not of mirror images, too. Make them with both views.")
        values = (self._mirrored if flipped and self._mirrored else self._plain).read(numbers)
        return values if self._pca is None else self._pca.project(values).astype(np.float16)


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """A file of features, read but for the features themselves.

    Attributes:
        path: of the file.
        origin: what made it.
        names: of the pictures, by row.
        pca: principal components, if they have been computed.
    """

    path: Path
    origin: Origin
    names: tuple[str, ...]
    pca: Pca | None
    _matrices: Mapping[str, _Matrix]

    @property
    def has_spatial(self) -> bool:
        """Whether there are features of places, which attention needs."""
        return SPATIAL in self._matrices

    @property
    def can_flip(self) -> bool:
        """Whether there are features of the mirror images."""
        return POOLED + FLIPPED in self._matrices

    def rows(self, kind: str = SPATIAL, *, pca: bool = False) -> Rows:
        """The features of one kind.

        Args:
            kind: ``"spatial"`` (N, h·w, C), or ``"pooled"`` (N, 1, C).
            pca: projected on the principal components, (N, P, K).

        Raises:
            BadInputError: the file has none of that kind, or no principal components.
        """
        if kind not in self._matrices:
            raise BadInputError(f"'{shown(self.path)}' has no {kind} features. Make a file that has.")
        if pca and self.pca is None:
            raise BadInputError(f"'{shown(self.path)}' has no principal components. Make a file with --pca.")
        return Rows(self._matrices[kind], self._matrices.get(kind + FLIPPED), self.pca if pca else None)

    def numbers(self, names: Iterable[str]) -> list[int]:
        """The rows of pictures.

        Raises:
            BadInputError: some picture is not in the file.
        """
        wanted = list(names)
        missing = [name for name in wanted if name not in self._numbers]
        if missing:
            raise BadInputError(
                f"'{shown(self.path)}' lacks {len(missing)} of {len(wanted)} pictures, the first is "
                f"'{shown(missing[0])}'. Run 'cvtool caption features' again: it adds what is missing."
            )
        return [self._numbers[name] for name in wanted]

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}


def read_features(path: Path, *, fingerprint: str | None = None) -> FeatureFile:
    """A file of features, checked; with `fingerprint` also that this network made it.

    Raises:
        BadInputError: missing, truncated, broken, not such a file, or of another network.
    """
    with opened(path) as file:
        origin, count = read_header(file)
        check_origin(path, origin, fingerprint)
        names = read_names(file, count)
        width = origin.places[0] * origin.places[1]
        matrices = {}
        for kind, shape in ((POOLED, (origin.channels,)), (SPATIAL, (width, origin.channels))):
            for name in (kind, kind + FLIPPED):
                if name in file or name == POOLED:
                    found = dataset(file, name, 1 + len(shape), "f")
                    matrices[name] = _matrix(path, found, shape, count)
        pca = None
        if PCA_MEAN in file:
            pca = Pca(whole(dataset(file, PCA_MEAN, 1, "f")), whole(dataset(file, PCA_COMPONENTS, 2, "f")))
            if pca.mean.shape != (origin.channels,) or pca.components.shape[1:] != (origin.channels,):
                raise BadInputError(f"'{shown(path)}': its principal components do not fit its features.")
    return FeatureFile(path, origin, names, pca, matrices)


def read_header(file: h5py.File) -> tuple[Origin, int]:
    """What made an open file, and how many rows are valid.

    Raises:
        BadInputError: it is no file of features, or of a version that is not known.
    """
    path = shown(file.filename)
    if attribute(file, "format", "S") != FORMAT:
        raise BadInputError(f"'{path}' is no file of cvtool's features. Make one with 'cvtool caption features'.")
    version = attribute(file, "format_version", "iu")
    if version != FORMAT_VERSION:
        raise BadInputError(f"'{path}' has format {version}; this cvtool reads {FORMAT_VERSION}. Make it again.")
    try:
        height, width = (int(side) for side in attribute(file, "places", "iu"))
        channels, count = (int(attribute(file, name, "iu")) for name in ("channels", "count"))
        model, fingerprint = (str(attribute(file, name, "S")) for name in ("model", "fingerprint"))
    except (TypeError, ValueError) as error:
        raise BadInputError(
            f"'{path}' is broken: an attribute is missing or wrong ({error}). Make it again."
        ) from error
    if min(height, width, channels) < 1 or count < 0:
        raise BadInputError(f"'{path}' is broken: its attributes make no sense. Make it again.")
    return Origin(model, fingerprint, channels, (height, width)), count


def check_origin(path: Path, origin: Origin, fingerprint: str | None) -> None:
    """Refuse features of another network.

    Raises:
        BadInputError: `fingerprint` is given and another one.
    """
    if fingerprint is not None and origin.fingerprint != fingerprint:
        raise BadInputError(
            f"'{shown(path)}' has features of '{shown(origin.model)}' ({shown(origin.fingerprint[:12])}), not of the "
            f"network and framing asked for ({fingerprint[:12]}). Give another file, or that network."
        )


def read_names(file: h5py.File, count: int) -> tuple[str, ...]:
    """Names of the first `count` rows.

    Raises:
        BadInputError: there are fewer, one comes twice, or one is not UTF-8.
    """
    found = dataset(file, NAMES, 1, "S")
    path = shown(file.filename)
    if len(found) < count:
        raise BadInputError(f"'{path}' is broken: {count} rows but {len(found)} names. Make it again.")
    try:
        names = tuple(name.decode() for name in whole(found)[:count].tolist())
    except UnicodeDecodeError as error:
        raise BadInputError(f"'{path}' is broken: a name is not UTF-8. Make it again.") from error
    if len(set(names)) < count:
        raise BadInputError(f"'{path}' is broken: a picture is in it twice. Make it again.")
    return names


def _matrix(path: Path, found: h5py.Dataset, shape: tuple[int, ...], count: int) -> _Matrix:
    """A dataset with rows of `shape`, the first `count` of them valid."""
    if found.shape[1:] != shape or found.dtype != np.float16:
        raise BadInputError(
            f"'{shown(path)}': '{found.name}' is {found.shape} of {found.dtype}, which does not fit the rest. "
            "Make the file again."
        )
    return _Matrix(path, (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1]), placement(found, count))


def principal_components(features: Rows, numbers: Sequence[int], components: int) -> Pca:
    """The `components` directions in which pooled features (N, 1, C) vary most; signs are fixed.

    Raises:
        UsageError: fewer than 1, or more than the features or the pictures allow.
    """
    check_components(components, features.channels, len(numbers))
    blocks = [numbers[start : start + _BLOCK] for start in range(0, len(numbers), _BLOCK)]
    mean = sum(features.read(block)[:, 0].astype(np.float64).sum(0) for block in blocks) / len(numbers)
    scatter = np.zeros((features.channels, features.channels))
    for block in blocks:
        centred = features.read(block)[:, 0] - mean
        scatter += centred.T @ centred
    _, vectors = np.linalg.eigh(scatter)  # eigenvalues rise
    best = vectors[:, ::-1][:, :components].T
    largest = np.abs(best).argmax(1)
    best = best * np.sign(best[np.arange(len(best)), largest])[:, None]
    return Pca(mean.astype(np.float32), best.astype(np.float32))


def check_components(components: int, channels: int, pictures: int) -> None:
    """Refuse a number of principal components that `pictures` pictures with `channels` features do not have.

    Raises:
        UsageError: it is below 1 or too large.
    """
    most = min(channels, pictures - 1)
    if not 1 <= components <= most:
        raise UsageError(f"{pictures} pictures do not have {components} principal components. Ask for 1 to {most}.")
