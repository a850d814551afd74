"""What a network sees in pictures: the last map before its places are pooled, and files of that."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cvtool.caption.datasets.data import CaptionedPicture, is_text
from cvtool.caption.feature_store import existing_sizes, kinds_of, store_pca, writing
from cvtool.caption.features import (
    FLIPPED,
    POOLED,
    SPATIAL,
    FeatureFile,
    Origin,
    check_components,
    principal_components,
    read_features,
)
from cvtool.errors import BadInputError, UsageError
from cvtool.files import read_input
from cvtool.files import shown as printable
from cvtool.hooks import feature_layers, features
from cvtool.images import Picture, decode_picture, flatten
from cvtool.models.cards import Resize
from cvtool.models.folding import fold_batch_norm
from cvtool.models.framing import frame_for, shown
from cvtool.models.loader import Model
from cvtool.problems import Problem
from cvtool.progress import Progress, Step, Stop, never, silent
from cvtool.tensors import autocast

Pixels = NDArray[np.float32]
Values = NDArray[np.float32]
Halves = NDArray[np.float16]

STAGE = "features"
CPU_BATCH, GPU_BATCH = 8, 128
"""Pictures at a time: on a CPU more are slower, as their maps leave its caches."""

_AHEAD = 3  # batches that are read while one is computed
_READERS = 4


class Extractor:
    """A network as a maker of features, the same for every picture whatever its batch.

    Attributes:
        origin: what identifies the features.
        layer: the layer whose output they are.
    """

    def __init__(
        self, model: Model, *, resize: Resize = Resize.stretch, precision: str = "auto", fold: bool = True
    ) -> None:
        """Find the layer by a probe.

        Args:
            model: with maps: any convolutional network, or one of timm's with patches.
            resize: how a picture is brought to the network's input; ``stretch`` shows all of it.
            precision: as `autocast` takes it.
            fold: make a faster copy of the network when features are first asked for; the cost of some ten pictures.

        Raises:
            UsageError: the network has no maps.
        """
        self.model, self.resize, self.precision = model, resize, precision
        self._folded: nn.Module | None = None if fold else model.module
        side = model.card.input_size
        probe = torch.zeros(1, 3, side, side, device=model.device)
        self.layer = _last_layer(model.module, probe)
        with torch.no_grad():
            found = _maps(model.module, probe, self.layer)
        self.origin = Origin(model.card.name, self._fingerprint(), found.shape[1], (found.shape[2], found.shape[3]))

    def canvas(self, picture: Picture) -> Pixels:
        """What the network is shown of a picture: (S, S, 3) in [0, 1]; transparency is laid on white."""
        pixels = flatten(picture)
        frame = frame_for(pixels.shape[0], pixels.shape[1], self.model.card, self.resize, False)
        return shown(pixels, frame, self.model.card)

    @property
    def framing(self) -> tuple[object, ...]:
        """All that `canvas` depends on besides the picture, as JSON can hold it."""
        card = self.model.card
        return card.input_size, card.crop, card.interpolation, card.mean, card.scale, card.channels, self.resize.value

    @property
    def batch(self) -> int:
        """Pictures at a time that suit the device."""
        return CPU_BATCH if self.model.device.type == "cpu" else GPU_BATCH

    def tune(self, weights: Mapping[str, Tensor]) -> None:
        """Give the network fine-tuned weights, before features are first asked for; `origin` then says so.

        Args:
            weights: name of a parameter → its value.

        Raises:
            BadInputError: they are not of this network.
        """
        assert self._folded is None or self._folded is self.model.module
        parameters = dict(self.model.module.named_parameters())
        wrong = [name for name, value in weights.items() if _shape(parameters.get(name)) != value.shape]
        if wrong:
            raise BadInputError(
                f"The fine-tuned weight '{printable(wrong[0])}' does not fit {self.model.card.name}. Get it again."
            )
        with torch.no_grad():
            for name, value in weights.items():
                parameters[name].copy_(value)
        self.origin = replace(
            self.origin,
            model=f"{self.model.card.name}, fine-tuned",
            fingerprint=tuned_fingerprint(self.origin.fingerprint, weights),
        )

    def maps(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1] → (N, C, h, w) float32, differentiable where the parameters are."""
        with autocast(self.model.device, self.precision):
            return self.last_map(self.model.normalize(x)).float()

    def last_map(self, x: Tensor) -> Tensor:
        """Normalised (N, 3, H, W) → (N, C, h, w) as the network itself gives it."""
        return _maps(self.model.module, x, self.layer)

    def __call__(self, canvases: Sequence[Pixels], *, flipped: bool = False) -> tuple[Values, Values]:
        """Canvases (S, S, 3), or with `flipped` their mirror images → pooled (N, C), spatial (N, h·w, C), float32.

        The values are those that a file would give back, so that a captioner sees what it was trained on.
        """
        pooled, spatial = self.halves(canvases, flipped=flipped)
        return pooled.astype(np.float32), spatial.astype(np.float32)

    def halves(self, canvases: Sequence[Pixels], *, flipped: bool = False) -> tuple[Halves, Halves]:
        """The same in float16, as files keep it; what does not fit is clipped."""
        pixels = torch.from_numpy(np.stack(canvases))  # (N, S, S, 3): seen as (N, 3, S, S) it is channels_last
        x = pixels.permute(0, 3, 1, 2).to(self.model.device)
        with torch.no_grad(), autocast(self.model.device, self.precision):
            x = self.model.normalize(x.flip(3) if flipped else x)
            found = _maps(self._fast(), x.contiguous(memory_format=torch.channels_last), self.layer)
        spatial = found.float().flatten(2).transpose(1, 2)
        pooled = spatial.mean(1)
        return as_halves(pooled), as_halves(spatial)

    def _fast(self) -> nn.Module:
        """The same function in less time; made when first needed."""
        if self._folded is None:
            self._folded = fold_batch_norm(self.model.module, self.model.card.input_size)
        return self._folded

    def _fingerprint(self) -> str:
        card = self.model.card
        facts = [card.name, self.model.fingerprint, card.input_size, card.crop, card.interpolation]
        facts += [card.mean, card.std, card.scale, card.channels, self.resize.value, self.layer]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def tuned_fingerprint(fingerprint: str, weights: Mapping[str, Tensor]) -> str:
    """What identifies the features of a network that had `fingerprint` before it got these weights; SHA-256."""
    digest = hashlib.sha256(fingerprint.encode())
    for name in sorted(weights):
        digest.update(name.encode() + b"\0")
        digest.update(weights[name].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _shape(parameter: Tensor | None) -> torch.Size | None:
    return None if parameter is None else parameter.shape


FORWARD_FEATURES = "forward_features()"
"""Stands for a layer's name where timm's function gives the map."""


def _last_layer(module: nn.Module, probe: Tensor) -> str:
    if hasattr(module, "forward_features"):
        return FORWARD_FEATURES
    found = [layer.name for layer in feature_layers(module, probe) if layer.activated]
    if not found:
        raise UsageError("This network has no maps to caption from. Choose a convolutional one, e.g. resnet50.")
    return found[-1]


def as_halves(x: Tensor) -> Halves:
    """Numbers in float16, as files keep them; what does not fit is clipped."""
    largest = torch.finfo(torch.float16).max
    return x.clamp(-largest, largest).half().contiguous().cpu().numpy()


def _maps(module: nn.Module, x: Tensor, layer: str) -> Tensor:
    """Normalised (N, 3, S, S) → (N, C, h, w) of `layer`."""
    if layer != FORWARD_FEATURES:
        return features(module, x, [layer])[layer]
    found: Tensor = module.forward_features(x)  # type: ignore[operator]
    if found.ndim == 3:  # tokens (N, prefix + h·w, C)
        places = found[:, int(getattr(module, "num_prefix_tokens", 0)) :]
        side = round(places.shape[1] ** 0.5)
        if side * side != places.shape[1]:
            raise UsageError("This network's patches form no square map. Choose a convolutional one, e.g. resnet50.")
        return places.transpose(1, 2).reshape(len(x), -1, side, side)
    if found.ndim != 4:
        raise UsageError("This network has no maps to caption from. Choose a convolutional one, e.g. resnet50.")
    last = int(getattr(module, "num_features", found.shape[1]))
    return found.permute(0, 3, 1, 2) if found.shape[1] != last == found.shape[3] else found


def compute_features(
    pictures: Sequence[CaptionedPicture],
    extractor: Extractor,
    path: Path,
    *,
    spatial: bool = True,
    flipped: bool = False,
    components: int = 0,
    batch: int = 0,
    skip: Callable[[Problem], None] | None = None,
    progress: Progress = silent,
    stop: Stop = never,
) -> FeatureFile:
    """Features of pictures in the file `path`; only of those that it does not have yet.

    Whatever ends this early, also a kill, leaves a valid file that the next call goes on with.

    Args:
        pictures: with files.
        extractor: makes the features.
        path: an HDF5 file, made if there is none.
        spatial: keep the map besides its mean.
        flipped: keep the features of the mirror images, too.
        components: also compute this many principal components of the pooled features of all `pictures`, unless the
            file has as many already; 0 for none.
        batch: pictures at a time; 0 asks the device.
        skip: told of each picture that cannot be read, which is then left out; without it such a picture is an error.
        progress: hears how many pictures are done, in the stage ``"features"``.
        stop: asked between batches.

    Raises:
        BadInputError: a picture cannot be read or is not the one that the file has under its name; `path` is something
            else, broken, or of another network.
        UsageError: `path` holds other kinds of features; a picture has no file; too many components.
        CvtoolError: the disk is full.
    """
    if components:
        check_components(components, extractor.origin.channels, len(pictures))
    pending = with_files(pictures, existing_sizes(path, extractor.origin), path)
    kinds = kinds_of(spatial=spatial, flipped=flipped)
    size = batch or extractor.batch
    with writing(path, extractor.origin, [picture.name for picture, _ in pending], kinds) as writer:
        done = 0
        for seen, group in read_ahead(pending, extractor, size, skip):
            if group:
                values = _values(extractor, [each.canvas for each in group], kinds)
                writer.add([each.name for each in group], [each.size for each in group], values)
            done += seen
            progress(Step(STAGE, done, len(pending)))
            if stop():
                break
    file = read_features(path, fingerprint=extractor.origin.fingerprint)
    if components and done == len(pending) and (file.pca is None or len(file.pca.components) != components):
        numbers = file.numbers(each.name for each in pictures if each.name in file)
        store_pca(path, principal_components(file.rows(POOLED), numbers, components))
        return read_features(path)
    return file


def with_files(
    pictures: Sequence[CaptionedPicture], present: Mapping[str, int], path: Path
) -> list[tuple[CaptionedPicture, Path]]:
    """Pictures that are not present yet in `path`, each once, with their files; those that are must be the same ones.

    Raises:
        UsageError: a picture has no file.
        BadInputError: a name is not UTF-8, or `path` has another picture of that name.
    """
    found: dict[str, tuple[CaptionedPicture, Path]] = {}
    for picture in pictures:
        name = printable(picture.name)
        if picture.path is None:
            raise UsageError(f"'{name}' has no picture file, only features that came with its data set.")
        if not is_text(picture.name):
            raise BadInputError(f"'{name}' has a name that is not UTF-8. Rename the picture.")
        if picture.name not in present:
            found[picture.name] = (picture, picture.path)
        elif picture.path.is_file() and picture.path.stat().st_size != present[picture.name]:
            raise BadInputError(
                f"'{printable(path)}' has features of another picture called '{name}'. Give another file for this set."
            )
    return list(found.values())


@dataclass(frozen=True, eq=False)
class Framed:
    """A picture ready for the network.

    Attributes:
        name: of the picture.
        size: of its file, in bytes.
        canvas: (S, S, 3) in [0, 1].
    """

    name: str
    size: int
    canvas: Pixels


def _values(extractor: Extractor, canvases: Sequence[Pixels], kinds: Sequence[str]) -> dict[str, Halves]:
    found: dict[str, Halves] = {}
    found[POOLED], found[SPATIAL] = extractor.halves(canvases)
    if POOLED + FLIPPED in kinds:
        found[POOLED + FLIPPED], found[SPATIAL + FLIPPED] = extractor.halves(canvases, flipped=True)
    return {kind: found[kind] for kind in kinds}


def read_ahead(
    pictures: Sequence[tuple[CaptionedPicture, Path]],
    extractor: Extractor,
    size: int,
    skip: Callable[[Problem], None] | None = None,
) -> Iterator[tuple[int, list[Framed]]]:
    """Batches, with how many pictures each stands for; the next are read while one is used.

    Raises:
        BadInputError: a picture cannot be read, and `skip` is not there to be told.
    """

    def read(name: str, path: Path) -> Framed:
        data = read_input(path)
        return Framed(name, len(data), extractor.canvas(decode_picture(data, str(path))))

    waiting: deque[tuple[str, Future[Framed]]] = deque()
    coming = iter(pictures)
    with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as pool:
        try:
            for _ in range(0, len(pictures), size):
                for picture, path in islice(coming, size * _AHEAD - len(waiting)):
                    waiting.append((picture.name, pool.submit(read, picture.name, path)))
                group, seen = [], min(size, len(waiting))
                for name, future in (waiting.popleft() for _ in range(seen)):
                    try:
                        group.append(future.result())
                    except BadInputError as error:
                        if skip is None:
                            raise
                        skip(Problem(name, f"cannot be used: {error}"))
                yield seen, group
        finally:
            pool.shutdown(cancel_futures=True)
